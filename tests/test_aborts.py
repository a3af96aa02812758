"""Ten thousand connects and aborts leave nothing behind (P14): no viewer, task, descriptor or subscription."""

import asyncio
import os
import re
import signal
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.raw import request
from tests.redis_server import RedisServer
from tests.running import running
from tests.server_process import ServerProcess, wait_until
from tests.test_metrics import scrape
from tests.test_slow_viewers import rss

ABORTS = 10_000
FIRST = 5000  # of them, after which what is made once is there: connections to the database, caches, a heap
AT_ONCE = 200
RUNS = 20
RESET = struct.pack("ii", 1, 0)
# What it is asked by a signal: how many there are of what lives as long as a connection, and of what it leads to.
COUNTED = """
import asyncio, collections, gc, os, runpy, signal
KINDS = ("Channel", "HTTP1ServerConnection", "IOStream", "Place", "Socket", "StreamHandler", "Task", "Viewer")
def tell(*_):
    gc.collect()
    seen = collections.Counter(type(one).__name__ for one in gc.get_objects())
    seen["Task"] = len(asyncio.all_tasks(asyncio.get_running_loop()))
    os.write(2, ("counted: %s\\n" % " ".join(f"{kind}={seen[kind]}" for kind in KINDS)).encode())
signal.signal(signal.SIGUSR1, tell)
runpy.run_module("sentri_events", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(params=["memory", "redis"])
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer | None]:
    if request.param == "memory":
        yield None
        return
    with running(RedisServer(tmp_path)) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, redis: RedisServer | None) -> Iterator[ServerProcess]:
    """One that has room for those that are there at once, and little more: a place that is kept is soon missed."""
    options = ["--max-streams", str(2 * AT_ONCE), "--heartbeat", "0.5"] + (["--redis-url", redis.url] if redis else [])
    process = ServerProcess(tmp_path, *options, program=("-c", COUNTED))
    try:
        yield process.start()
    finally:
        process.close()


def moments(run: str, other: str) -> list[tuple[bytes, str]]:
    """What is sent, and how it then goes on: `cut` at once, or once something has come, `closed` or `half` closed."""
    stream = request("GET", f"/api/v1/runs/{run}/events")
    several = request("GET", f"/api/v1/events?run={run}&run={other}")
    listing = request("GET", "/api/v1/workspace/events")
    poll = request("GET", f"/api/v1/runs/{run}/events?after=0&wait=30", {"Accept": "application/json"})
    half_body = request("POST", f"/api/v1/runs/{run}/events", {"Content-Length": "100"}) + b'{"type":'
    return [
        (b"", "cut"),
        (stream[:20], "cut"),
        (half_body, "cut"),
        (stream, "cut"),
        (several, "cut"),
        (listing, "cut"),
        (poll, "cut"),
        (poll, "closed"),
        (stream, "cut in mid-stream"),
        (several, "cut in mid-stream"),
        (listing, "cut in mid-stream"),
        (stream, "closed in mid-stream"),
        (stream, "half closed in mid-stream"),
    ]


def abort(server: ServerProcess, runs: list[str], number: int) -> None:
    """So many connections, some hundreds at a time, each to end in another way."""
    for first in range(0, number, AT_ONCE):
        opened: list[tuple[socket.socket, str]] = []
        for turn in range(first, min(first + AT_ONCE, number)):
            run, other = runs[turn % RUNS], runs[(turn + 1) % RUNS]
            ways = moments(run, other)
            sent, how = ways[turn % len(ways)]
            connection = socket.create_connection(("127.0.0.1", server.port), 20)
            connection.sendall(sent)
            opened.append((connection, how))
        for connection, how in opened:
            if "mid-stream" in how:
                assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200"), how
        publish = request("POST", f"/api/v1/runs/{runs[first // AT_ONCE % RUNS]}/events", body=b'{"type":"x"}')
        with socket.create_connection(("127.0.0.1", server.port), 20) as publisher:
            publisher.sendall(publish)  # so that some go while they are written to
            for connection, how in opened:
                if "half" in how:
                    connection.shutdown(socket.SHUT_WR)
                    continue
                if "cut" in how:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.close()
            assert publisher.recv(1 << 16).startswith(b"HTTP/1.1 201")
        for connection, how in opened:
            if "half" in how:
                with connection, suppress(ConnectionResetError):
                    while connection.recv(1 << 16):  # the server closes its side, too
                        pass


def counted(server: ServerProcess) -> Counter[str]:
    before = server.log.read_text().count("counted: ")
    os.kill(server.pid, signal.SIGUSR1)
    text = wait_until(lambda: (now := server.log.read_text()).count("counted: ") > before and now, "it has counted")
    return Counter({kind: int(number) for kind, number in re.findall(r"(\w+)=(\d+)", text.rpartition("counted: ")[2])})


def idle(seen: Counter[str]) -> bool:
    """Whether nobody is there."""
    return not any(seen[kind] for kind in ("Channel", "Place", "Socket", "StreamHandler", "Viewer"))


def descriptors(server: ServerProcess) -> int:
    """How many the server holds, but for the database's: of those there are few, and as many as were needed at once."""
    held = list(Path(f"/proc/{server.pid}/fd").iterdir())
    return sum(not os.path.realpath(one).startswith(str(server.database)) for one in held)


def subscribed(redis: RedisServer) -> set[bytes]:
    """The channels of runs and workspaces that somebody listens to."""
    channels = asyncio.run(redis.say("PUBSUB", "CHANNELS"))
    return {name for name in channels if name.startswith((b"sentri:run:", b"sentri:workspace:"))}


def test_ten_thousand_aborts_leave_nothing_behind(server: ServerProcess, redis: RedisServer | None) -> None:
    """At every moment: before and in the middle of a request, before the answer, in mid-stream; by a reset, an end and
    half an end; of streams of one and of several runs, of lists and of long polls.

    It found a request for several runs that waited for ever because its client had gone before the answer began.
    Mutants caught: `Hub` keeps a channel without viewers; `unsubscribe` does nothing; `Streams.closed` frees no place;
    `on_connection_close` of a long poll does nothing; `Listener.on_close` keeps who was waited for."""
    runs = [server.make_run() for _ in range(RUNS)]
    abort(server, runs, FIRST)
    wait_until(lambda: scrape(server.port)["viewers"] == 0, "the first have left")
    wait_until(lambda: idle(counted(server)), "nothing is left of them")
    before, held, memory = counted(server), descriptors(server), rss(server)

    abort(server, runs, ABORTS - FIRST)

    wait_until(lambda: scrape(server.port)["viewers"] == scrape(server.port)["streams_open"] == 0, "all have left")
    assert server.request("GET", "/api/v1/admin/streams")[1] == {"data": [], "total": 0}
    wait_until(lambda: counted(server) <= before, f"no more than {before} are left")
    wait_until(lambda: descriptors(server) <= held, f"no more than {held} descriptors are left")
    assert rss(server) - memory < 10 << 20
    if redis is not None:
        wait_until(lambda: subscribed(redis) == set(), "nothing is subscribed")
    for run in runs:  # and everything still works
        assert server.document(run)["status"] == "running"
