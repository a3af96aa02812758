"""Parts that run for as long as one test or measurement needs them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.chaos.parts import Part

P = TypeVar("P", bound=Part)


@contextmanager
def running(part: P) -> Iterator[P]:
    """It runs while inside."""
    with asyncio.Runner() as runner:
        try:
            runner.run(part.start())
            yield part
        finally:
            runner.run(part.close())
