"""Which of many sockets can be read or written: they share one selector, and the event loop watches that as one.

The loop's own watch over each takes several objects and system calls more.
"""

import asyncio
import selectors
from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

TURN = 64  # sockets that are seen to before the loop may do something else


class Watched(Protocol):
    """Who has a socket in a `Readiness`. It is closed only after it was removed."""

    def ready(self, events: int) -> None:
        """It can be read (`selectors.EVENT_READ`) or written, or could be a moment ago."""


class Readiness:
    """From its making, on the running event loop, until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._selector: Any = selectors.DefaultSelector()  # on Linux and BSD it can be watched itself
        self._turn: Iterator[tuple[selectors.SelectorKey, int]] = iter(())
        self._loop.add_reader(self._selector.fileno(), self._see)

    def add(self, file: int, watched: Watched) -> None:
        """From now on it is told when that descriptor can be read."""
        self._selector.register(file, selectors.EVENT_READ, watched)

    def change(self, file: int, watched: Watched, writing: bool) -> None:
        """Whether it is also told when it can be written."""
        events = selectors.EVENT_READ | selectors.EVENT_WRITE if writing else selectors.EVENT_READ
        self._selector.modify(file, events, watched)

    def remove(self, file: int) -> None:
        """It is told no more."""
        self._selector.unregister(file)

    def close(self) -> None:
        """Let go of everything."""
        self._loop.remove_reader(self._selector.fileno())
        self._selector.close()

    def _see(self) -> None:
        """Called in each turn of the loop while one of them is ready; whoever is left over is ready then, too."""
        some = list(islice(self._turn, TURN))
        if not some:
            self._turn = iter(self._selector.select(0))
            some = list(islice(self._turn, TURN))
        for key, events in some:
            key.data.ready(events)
