"""One selector for many sockets: each is told, none holds up the rest, and nobody is told for ever."""

import asyncio
import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sentri_events.handlers.readiness import TURN, Readiness
from tests.bridge import until
from tests.embedded import Embedded
from tests.raw import Stream
from tests.server_process import wait_until
from tests.test_embedding import make, publish

SOCKETS = 3 * TURN + 1
LARGE = "x" * 500_000


class Noting:
    """Reads what came, and notes that it was told."""

    def __init__(self, sock: socket.socket, told: list[tuple["Noting", int]]) -> None:
        self.socket = sock
        self._told = told

    def ready(self, events: int) -> None:
        self._told.append((self, events))
        if events & selectors.EVENT_READ:
            self.socket.recv(10)


@contextmanager
def watched(number: int) -> Iterator[tuple[Readiness, list[Noting], list[socket.socket], list[tuple[Noting, int]]]]:
    """So many sockets, their other ends, and who was told of what."""
    told: list[tuple[Noting, int]] = []
    readiness = Readiness()
    with ExitStack() as stack:
        stack.callback(readiness.close)
        pairs = [socket.socketpair() for _ in range(number)]
        for one in (end for pair in pairs for end in pair):
            stack.enter_context(one)
        near = [Noting(pair[0], told) for pair in pairs]
        for noting in near:
            noting.socket.setblocking(False)
            readiness.add(noting.socket.fileno(), noting)
        yield readiness, near, [pair[1] for pair in pairs], told


async def test_each_is_told_and_the_loop_goes_on_between() -> None:
    """Caught: all in one turn; only the first ones; who is told twice of one thing."""
    with watched(SOCKETS) as (_, near, far, told):
        for one in far:
            one.send(b"a")
        turns = [0]
        while len(told) < SOCKETS:
            await asyncio.sleep(0)
            turns.append(len(told))
            assert turns[-1] - turns[-2] <= TURN
        far[0].send(b"b")  # what is told twice would be told before this
        await until(lambda: told[SOCKETS:], "the next is told")
        assert sorted(map(id, [near[0], *near])) == sorted(id(noting) for noting, _ in told)


async def test_who_is_removed_or_wants_to_write_no_more_is_not_told() -> None:
    """Caught: `change` that only adds; `remove` that does nothing."""
    with watched(2) as (readiness, (one, other), far, told):
        readiness.change(one.socket.fileno(), one, True)
        await until(lambda: (one, selectors.EVENT_WRITE) in told, "it is told that it can write")
        readiness.change(one.socket.fileno(), one, False)
        readiness.remove(other.socket.fileno())
        await asyncio.sleep(0)
        told.clear()
        for end in far:
            end.send(b"a")
        await until(lambda: told, "one is told")
        far[0].send(b"b")
        await until(lambda: told[1:], "and again")
        assert told == 2 * [(one, selectors.EVENT_READ)]


def test_a_stream_that_has_caught_up_does_not_wait_to_write(tmp_path: Path) -> None:
    """Or else the loop would turn for nothing from then on."""
    with Embedded(tmp_path) as application:
        run = application.call(make(application))
        with Stream(application.port, run) as stream:
            stream.block()
            (sink,) = application.ask(lambda: list(application.streams.open))
            for _ in range(20):
                application.call(publish(application, run, {"type": "log", "message": LARGE}))
            wait_until(lambda: sink._unsent is not None, "it cannot take all")
            for _ in range(20):
                stream.block()
            wait_until(lambda: sink._unsent is None, "it has all")
            key = application.ask(lambda: application.streams.readiness._selector.get_key(sink._socket.fileno()))
            assert key.events == selectors.EVENT_READ
