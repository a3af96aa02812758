"""A server that is told to stop ends what is open in order, and one that cannot start says so and ends."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.raw import PATIENCE, Connection, Head, request
from tests.server_process import ServerProcess, wait_until
from tests.test_slow_viewers import EVENT, Reader, post, readers

GRACE = 3 * PATIENCE  # what only ends with the grace comes too late for a test


@pytest.fixture
def patient_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """One whose grace no test waits for."""
    process = ServerProcess(tmp_path, "--grace", f"{GRACE:g}")
    try:
        yield process.start()
    finally:
        process.close()


@contextmanager
def stopping(server: ServerProcess, tell: Callable[[], None] | None = None) -> Iterator[Future[int]]:
    """Inside, SIGTERM, or what `tell` sends, has arrived. The future is the exit status."""
    with ThreadPoolExecutor(1) as pool:
        status = pool.submit(server.stop, tell)
        wait_until(lambda: "Stopping: " in server.log.read_text(), "the server has the signal")
        yield status


def open_connection(server: ServerProcess) -> Connection:
    """One that the server has taken and keeps alive."""
    connection = Connection(server.port)
    connection.send(request("GET", "/health"))
    assert connection.answer().status == 200
    return connection


def send_and_arrive(server: ServerProcess, connection: Connection, data: bytes) -> None:
    """Send a request; whoever came after it, over a connection that was still to be taken, has been answered."""
    connection.send(data)
    assert server.request("GET", "/health") == (200, {"status": "alive"})


def test_a_stream_that_is_opened_while_the_server_stops_is_ended_in_order(patient_server: ServerProcess) -> None:
    """Over a connection that a proxy has kept open, while another stream is still to be read to its end. Mutant caught:
    `Hub.follow` does not look at `stopping`: the stream holds the stop up for the whole grace, and is cut."""
    server = patient_server
    run = server.make_run()
    stuck = Reader(server, run, small=True)
    with readers(stuck), open_connection(server) as kept:
        for _ in range(80):
            post(server, run, {"type": "log", "message": EVENT})
        with stopping(server) as status:
            kept.send(request("GET", f"/api/v1/runs/{run}/events?snapshot=0"))
            head = Head.read(kept)
            assert (head.status, head.headers["transfer-encoding"]) == (200, "chunked")
            assert kept.rest().endswith(b"\r\n0\r\n\r\n")
            assert not status.done(), "the other stream is not cut"
            kept.socket.close()
            stuck.close()
            assert status.result(PATIENCE) == 0


def test_a_post_that_waits_for_the_store_is_answered(server: ServerProcess) -> None:
    """What is stored is said to be. Mutant caught: the connections are closed before the store."""
    run = server.make_run()
    with open_connection(server) as publisher, closing(sqlite3.connect(server.database, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        body = b'{"type":"log","message":"x"}'
        headers = {"Content-Type": "application/json"}
        send_and_arrive(server, publisher, request("POST", f"/api/v1/runs/{run}/events", headers, body))
        with stopping(server) as status:
            lock.execute("ROLLBACK")
            assert publisher.answer().status == 201
            assert status.result(PATIENCE) == 0
    server.start()
    assert [event["seq"] for event in server.history(run)] == [1]


def test_a_long_poll_is_answered(patient_server: ServerProcess) -> None:
    """At once, not when its time is over. Mutant caught: the connections are closed before the hub has stopped."""
    server = patient_server
    run = server.make_run()
    path = f"/api/v1/runs/{run}/events?wait="
    with open_connection(server) as poller:
        poller.send(request("GET", f"{path}30", {"Accept": "application/json"}))
        # One that came after it has waited in vain: so the first one waits, too.
        assert server.request("GET", f"{path}1", headers={"Accept": "application/json"})[0] == 200
        with stopping(server) as status:
            answer = poller.answer()
            assert (answer.status, answer.json["events"]) == (200, [])
            assert status.result(PATIENCE) == 0


def serve(*options: str) -> "subprocess.CompletedProcess[str]":
    """A server that is to end by itself."""
    command = [sys.executable, "-m", "sentri_events", "serve", "--port", "0", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_a_fleet_that_cannot_start_gives_up(tmp_path: Path) -> None:
    """What the first children cannot start with, the next cannot either. Mutant caught: `Fleet.run` goes on to
    replace those that end before all are ready."""
    database = tmp_path / "events.db"
    database.write_bytes(b"this is no database at all" * 100)
    ended = serve("--processes", "2", "--redis-url", "redis://127.0.0.1:1", "--database", f"sqlite:///{database}")
    assert ended.returncode > 0
    assert "A server process cannot start: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize("option", ["--run-timeout", "--stall-timeout", "--grace"])
def test_an_infinite_setting_is_one_sentence(tmp_path: Path, option: str) -> None:
    """Times are counted in milliseconds, and infinity cannot be. Mutant caught: without an upper bound all is right."""
    ended = serve(option, "inf", "--database", f"sqlite:///{tmp_path / 'events.db'}")
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"Error: {option} (")
    assert ended.stderr.endswith("not inf.\n")
    assert ended.stdout == ""
