"""Tasks that end together: the first failure, all of them ended, and a cancellation in any moment."""

import asyncio

import pytest

from sentri_events.backends.tasks import until_one_ends

ended: list[str] = []


async def fail(turns: int = 1) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    raise ConnectionError("cut")


async def wait(name: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        ended.append(name)


async def test_a_failure_ends_all() -> None:
    """Mutants caught: the failure is not raised; the others go on; nobody waits until they have ended."""
    ended.clear()
    with pytest.raises(ConnectionError, match="cut"):
        await until_one_ends(wait("a"), fail(), wait("b"))
    assert ended == ["a", "b"]


async def test_one_that_has_done_all_it_had_to_ends_all() -> None:
    ended.clear()
    await until_one_ends(wait("a"), asyncio.sleep(0))
    assert ended == ["a"]


@pytest.mark.parametrize("turns", range(1, 8))
async def test_a_cancellation_comes_through_whatever_fails_meanwhile(turns: int) -> None:
    """In every order of the two. Mutant caught: asyncio.TaskGroup, on Python 3.11 and 3.12."""
    ended.clear()
    cancelled = asyncio.create_task(until_one_ends(wait("a"), fail(4)))
    for _ in range(turns):
        await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert ended == ["a"]
