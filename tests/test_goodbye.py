"""A server says goodbye (P13): who watches is sent away within the grace, each with the moment to come back at.

What viewers see of it between two instances is in test_restart.py.
"""

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sentri_events.audience import ELSEWHERE, HERE, LEAVING, TICK
from sentri_events.queue_sink import EventsDialect, QueueSink
from sentri_events.server import open_hub
from sentri_events.settings import Settings
from tests.embedded import Embedded
from tests.raw import PATIENCE, Stream, ask, data, id_of
from tests.server_process import ServerProcess
from tests.test_fleet import children
from tests.test_slow_viewers import EVENT, Reader, post, readers
from tests.test_stopping import open_connection, stopping

STREAMS = 500
GRACE = 3 * PATIENCE  # what only ends with the grace comes too late for a test


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path, "--grace", f"{GRACE:g}")
    try:
        yield process.start()
    finally:
        process.close()


def delay(block: bytes) -> int:
    """The milliseconds of a block that holds nothing but `retry`, and so changes no id."""
    found = re.fullmatch(rb"retry: ([0-9]+)\n\n", block)
    assert found, block
    return int(found[1])


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_500_streams_get_their_end_and_each_another_moment_to_come_back(server: ServerProcess, version: str) -> None:
    """All that was answered is seen, then `retry`, then a proper end; exit 0, long before the grace is over. Afterwards
    each gets exactly the rest. Mutants caught: everyone comes back after the same time; the last chunk is left out."""
    run = server.make_run()
    with ExitStack() as stack:
        viewers = [
            stack.enter_context(Stream(server.port, run, "lastEventId=0", version=version)) for _ in range(STREAMS)
        ]
        post(server, run, {"type": "log", "message": "before"})
        ids = {id_of(viewer.block()) for viewer in viewers}
        assert len(ids) == 1
        with stopping(server) as status:
            last = [viewer.rest() for viewer in viewers]
            for viewer in viewers:
                viewer.connection.socket.close()
            assert status.result(PATIENCE) == 0
    assert {len(blocks) for blocks in last} == {1}
    delays = [delay(blocks[0]) for blocks in last]
    assert all(HERE[0] <= delay <= HERE[1] for delay in delays)
    assert len(set(delays)) > STREAMS / 2
    server.start()
    with ExitStack() as stack:
        headers = {"Last-Event-ID": str(ids.pop())}
        viewers = [stack.enter_context(Stream(server.port, run, "", headers, version)) for _ in range(STREAMS)]
        post(server, run, {"type": "done", "status": "completed"})
        for viewer in viewers:
            assert [data(block)["type"] for block in viewer.rest()] == ["done"]


async def test_they_do_not_leave_in_one_wave(tmp_path: Path) -> None:
    """So many in a tick, and no more. Mutant caught: `drain` does not wait between two shares."""
    share = int(LEAVING * TICK)
    left: list[float] = []

    class Noted(QueueSink):
        def finish(self, last: bytes = b"") -> None:
            left.append(asyncio.get_running_loop().time())
            super().finish(last)

    async with open_hub(Settings(database=f"sqlite:///{tmp_path / 'events.db'}")) as hub:
        await hub.create_run("default", "web", id="R", make_project=True)
        for _ in range(3 * share):
            await hub.follow("default", "R", None, Noted("R").opened, EventsDialect())
        await hub.drain(60)
        assert hub.viewers == 0
        assert len(left) == 3 * share
        assert left[share] - left[share - 1] >= TICK / 2
        assert left[2 * share] - left[2 * share - 1] >= TICK / 2
        # Where they are too many for that, the time that there is decides.
        left.clear()
        hub.stopping = False
        for _ in range(3 * share):
            await hub.follow("default", "R", None, Noted("R").opened, EventsDialect())
        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(asyncio, "sleep")
            await hub.drain(TICK)
        assert len(left) == 3 * share


def test_where_there_are_other_instances_they_come_back_sooner(tmp_path: Path) -> None:
    """Mutant caught: nobody asks whether the backend is shared."""
    with Embedded(tmp_path) as application:
        for shared, (least, most) in ((True, ELSEWHERE), (False, HERE)):
            application.ask(lambda shared=shared: setattr(application.hub.backend, "shared", shared))  # type: ignore[misc]
            delays = [delay(application.ask(application.hub.audience.farewell)) for _ in range(200)]
            assert least <= min(delays) < max(delays) <= most


def test_while_it_says_goodbye_it_still_answers(server: ServerProcess) -> None:
    """Over new connections, as long as one stream is still to be read to its end: it is not ready, a stream gets 200
    and its end at once, what is posted is stored. Mutants caught: the listening socket is closed first; `get` does not
    look at `stopping`, so that a snapshot is made for nothing; connections are kept for the next request."""
    run = server.make_run()
    stuck = Reader(server, run, small=True)
    with readers(stuck):
        for _ in range(80):
            post(server, run, {"type": "log", "message": EVENT})
        with stopping(server) as status:
            ready = ask(server.port, "GET", "/health/ready")
            assert (ready.status, ready.headers["connection"]) == (503, "close")
            assert ask(server.port, "GET", "/health").status == 200
            for headers in ({}, {"Last-Event-ID": "5"}):
                with Stream(server.port, run, headers=headers) as late:
                    assert late.head.status == 200
                    assert late.head.headers["content-type"] == "text/event-stream"
                    (farewell,) = raw_blocks(late)
                    assert HERE[0] <= delay(farewell) <= HERE[1]
            answer = ask(server.port, "POST", f"/api/v1/runs/{run}/events", {"type": "x"})
            assert (answer.status, answer.json["last"]) == (201, 81)
            assert answer.headers["connection"] == "close"
            assert not status.done(), "the other stream is not cut"
            stuck.close()
            assert status.result(PATIENCE) == 0
    server.start()
    assert [event["seq"] for event in server.history(run)] == list(range(1, 82))


def raw_blocks(stream: Stream) -> list[bytes]:
    """All of a stream that does not begin as others do."""
    body = b""
    while size := int(stream.connection.until(b"\r\n"), 16):
        body += stream.connection.exactly(size)
        assert stream.connection.exactly(2) == b"\r\n"
    assert stream.connection.rest() == b"\r\n"
    return [block + b"\n\n" for block in body.split(b"\n\n")[:-1]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(server: ServerProcess, number: signal.Signals) -> None:
    """Although a stream is still to be read to its end. Mutant caught: the second is taken as the first."""
    run = server.make_run()
    stuck = Reader(server, run, small=True)
    with readers(stuck):
        for _ in range(80):
            post(server, run, {"type": "log", "message": EVENT})
        with stopping(server) as status:
            assert not status.done()
            os.kill(server.pid, number)
            assert status.result(PATIENCE) == -number
    server.start()
    assert len(server.history(run)) == 80


def fleet_of_two(folder: Path) -> ServerProcess:
    """It takes a Redis, but can do without one that answers."""
    return ServerProcess(folder, "--processes", "2", "--redis-url", "redis://127.0.0.1:1", "--grace", f"{GRACE:g}")


def tell_all(server: ServerProcess, number: signal.Signals) -> None:
    for pid in (server.pid, *children(server)):
        os.kill(pid, number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_fleet_may_be_told_parent_and_children_alike(tmp_path: Path, number: signal.Signals) -> None:
    """As Ctrl-C and systemd do it: that is one signal and not two. Mutant caught: a child that serves counts them."""
    server = fleet_of_two(tmp_path)
    try:
        run = server.start().make_run()
        viewers = [Stream(server.port, run) for _ in range(20)]
        with ExitStack() as stack:
            for viewer in viewers:
                stack.enter_context(viewer).block()
            with stopping(server, lambda: tell_all(server, number)) as status:
                for viewer in viewers:
                    assert ELSEWHERE[0] <= delay(viewer.rest()[-1]) <= ELSEWHERE[1]
                    viewer.connection.socket.close()
                assert status.result(PATIENCE) == 0
    finally:
        server.close()


def test_a_second_signal_ends_a_fleet_at_once(tmp_path: Path) -> None:
    """Mutant caught: the parent passes on the same signal again."""
    server = fleet_of_two(tmp_path)
    try:
        run = server.start().make_run()
        stuck = Reader(server, run, small=True)
        with readers(stuck):
            for _ in range(80):
                post(server, run, {"type": "log", "message": EVENT})
            born = children(server)
            with stopping(server) as status:
                os.kill(server.pid, signal.SIGTERM)
                assert status.result(PATIENCE) == signal.SIGKILL
            assert not any(Path(f"/proc/{child}").exists() for child in born)
    finally:
        server.close()


def test_idle_connections_do_not_hold_it_up(server: ServerProcess) -> None:
    """They are closed, with nothing asked and nothing said."""
    with open_connection(server) as kept, stopping(server) as status:
        assert status.result(PATIENCE) == 0
        assert kept.rest() == b""
