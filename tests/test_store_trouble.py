"""A database that cannot be written: the truth is told, nothing is half-written, streams stay, and all goes on after.

Real servers, and a real lock, bound, fault of the disk and missing permission. Where a test says "caught", that mutant
was tried and failed it.
"""

import os
import resource
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run as command
from tests.raw import HEARTBEAT, Answer, Stream, ask, data, id_of
from tests.server_process import ServerProcess, wait_until

EVENTS = "/api/v1/runs/{}/events"
BATCH = [{"type": "log", "message": str(n)} for n in range(3)]
# root has the permission to write whatever the file says; the program does without it
WITHOUT_PRIVILEGE = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); "  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
    "os.execv(sys.executable, [sys.executable, '-m', 'sentri_events', *sys.argv[1:]])"
)
PAGES = 200
SMALL_DISK = (
    f"import sys; from sentri_events import cli, database; database.PRAGMAS['max_page_count'] = {PAGES}; "
    "sys.exit(cli.main())"
)


@contextmanager
def serving(folder: Path, **more: Any) -> Iterator[ServerProcess]:
    server = ServerProcess(folder, "--heartbeat", "0.2", **more)
    try:
        yield server.start()
    finally:
        server.close()


def post(server: ServerProcess, run: str, body: Any, key: str | None = None) -> Answer:
    return ask(server.port, "POST", EVENTS.format(run), body, {"Idempotency-Key": key} if key else None)


def ready(server: ServerProcess) -> tuple[int, Any]:
    answer = ask(server.port, "GET", "/health/ready")
    return answer.status, answer.json.get("store")


def refuses_and_recovers(
    server: ServerProcess, run: str, reason: str, begin: Callable[[], object], end: Callable[[], object]
) -> None:
    """What every trouble with writing is like. `run` is there, and running."""
    sentence = f"The store is not available: {reason}."
    with Stream(server.port, run, "snapshot=0") as viewer:
        head = int(str(id_of(viewer.block())).partition(".")[2])
        begin()
        with ThreadPoolExecutor(6) as pool:
            refused = [
                pool.submit(post, server, run, BATCH, "key"),
                pool.submit(post, server, run, BATCH[0]),
                pool.submit(ask, server.port, "POST", f"/api/v1/runs/{run}/alive"),
                pool.submit(ask, server.port, "POST", "/api/v1/runs", {"projectId": "web", "id": "never"}),
                pool.submit(ask, server.port, "POST", f"/api/v1/runs/{run}/abort"),
            ]
            state = pool.submit(ready, server)
            for one in refused:
                answer = one.result()
                assert (answer.status, answer.error, answer.headers["retry-after"]) == (503, sentence, "1")
            assert state.result() == (503, sentence)
        # What can be read is read, and streams stay.
        assert server.document(run)["status"] == "running"
        assert server.request("GET", "/api/v1/runs/never")[0] == 404
        with Stream(server.port, run) as another:
            assert data(another.block())["run"]["id"] == run
        assert viewer.next() == HEARTBEAT
        end()
        wait_until(lambda: ready(server) == (200, None), "the server is ready")
        answer = post(server, run, BATCH, "key")
        assert (answer.status, answer.json["first"], answer.json["last"]) == (201, head + 1, head + 3)
        assert "idempotency-replayed" not in answer.headers, "what was refused was stored"
        assert [data(block) for block in viewer.blocks(3)] == BATCH
    log = server.log.read_text()
    assert log.count(f"The store cannot be written: {reason}.") == 1
    assert log.count("The store can be written again.") == 1
    assert "Traceback" not in log
    server.stop()
    status, said, _ = command("db", "check", "--database", f"sqlite:///{server.database}")
    assert (status, said) == (0, "The database is sound.\n")


def test_a_locked_database(tmp_path: Path) -> None:
    """Another process has the lock for longer than we wait. Caught: a line in the log for each; a 500."""
    with serving(tmp_path) as server, closing(sqlite3.connect(server.database, isolation_level=None)) as other:
        run = server.make_run()
        refuses_and_recovers(
            server,
            run,
            "database is locked",
            lambda: other.execute("BEGIN EXCLUSIVE"),
            lambda: other.execute("ROLLBACK"),
        )


def test_a_full_database(tmp_path: Path) -> None:
    """It can grow to some pages only, until an operator has removed old runs with our own command. Caught: the driver's
    own error, which peewee does not translate, taken for a fault of the program (500); a crumb that still finds room
    taken for the end of the trouble, again and again."""
    with serving(tmp_path, program=("-c", SMALL_DISK)) as server:
        old, run = server.make_run(), server.make_run()
        text = [{"type": "log", "message": "." * 1000}] * 100
        assert post(server, old, text).status == 201
        assert post(server, old, {"type": "done", "status": "completed", "_at": "2020-01-01"}).status == 201

        def fill() -> None:
            head = 0
            while (answer := post(server, run, text)).status == 201:
                head = answer.json["last"]
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert [event["seq"] for event in server.history(run)] == list(range(1, head + 1))

        def make_room() -> None:
            status, said, _ = command("db", "prune", "--older-than", "1d", "--database", f"sqlite:///{server.database}")
            assert (status, said) == (0, "1 run removed.\n")

        fill()
        refuses_and_recovers(server, run, "database or disk is full", lambda: None, make_room)


def test_a_disk_that_takes_nothing_more(tmp_path: Path) -> None:
    """A bound of the operating system on the size of its files, as a quota is. It is set on the running process."""
    with serving(tmp_path) as server:
        run = server.make_run()
        assert post(server, run, [{"type": "log", "message": "." * 1000}] * 200).status == 201
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        refuses_and_recovers(
            server,
            run,
            "disk I/O error",
            lambda: resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (64 << 10, hard)),
            lambda: resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (soft, hard)),
        )


def test_a_database_that_may_only_be_read(tmp_path: Path) -> None:
    """It serves what it has, and is not ready. Caught: a connection that was opened when the file could not be written
    and is kept for ever."""
    with serving(tmp_path) as server:
        run = server.make_run()
        server.stop()
    server.database.chmod(0o444)
    server = ServerProcess(tmp_path, "--heartbeat", "0.2", program=("-c", WITHOUT_PRIVILEGE))

    def permit() -> None:
        for ending in ("", "-wal", "-shm"):
            os.chmod(f"{server.database}{ending}", 0o644)

    try:
        server.start()
        refuses_and_recovers(
            server,
            run,
            "attempt to write a readonly database",
            lambda: None,
            permit,
        )
    finally:
        server.close()


def test_a_folder_that_may_not_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    server = ServerProcess(folder, program=("-c", WITHOUT_PRIVILEGE))
    server.log = tmp_path / "server.log"
    try:
        with pytest.raises(AssertionError, match="unable to open database file"):
            server.start()
    finally:
        server.close()
    assert os.listdir(folder) == []
    assert "Traceback" not in server.log.read_text()


def test_a_store_that_cannot_be_read_keeps_its_viewers_waiting(tmp_path: Path) -> None:
    """The events' table is away for a while. Caught: streams that end, or stay behind for ever, when a read fails; a
    readiness that tries to write only."""
    with serving(tmp_path) as server, closing(sqlite3.connect(server.database, isolation_level=None)) as other:
        run = server.make_run()
        assert post(server, run, BATCH).status == 201
        other.execute("ALTER TABLE event RENAME TO hidden")
        assert ask(server.port, "GET", EVENTS.format(run), headers={"Accept": "application/json"}).status == 503
        with Stream(server.port, run, "lastEventId=0") as viewer:
            assert viewer.next() == HEARTBEAT
            assert post(server, run, BATCH).status == 503
            assert ready(server) == (503, "The store is not available: no such table: event.")
            other.execute("ALTER TABLE hidden RENAME TO event")
            assert [data(block) for block in viewer.blocks(3)] == BATCH
            assert post(server, run, BATCH).status == 201
            assert [data(block) for block in viewer.blocks(3)] == BATCH


def test_a_run_that_is_pruned_under_a_viewer_is_never_seen_with_a_hole(tmp_path: Path) -> None:
    """It reads slowly while an operator prunes: what it gets is whole up to where it ends, and then the run is gone.

    Caught: a page of a run that is gone taken for an error, so that the viewer waits for ever.
    """
    with serving(tmp_path) as server:
        run = server.make_run()
        for _ in range(20):
            assert post(server, run, [{"type": "log", "message": "." * 5000}] * 200).status == 201
        assert post(server, run, {"type": "done", "status": "completed", "_at": "2020-01-01"}).status == 201
        with Stream(server.port, run, "lastEventId=0") as viewer:
            ids = [id_of(block) for block in viewer.blocks(10)]
            status, said, _ = command("db", "prune", "--older-than", "1d", "--database", f"sqlite:///{server.database}")
            assert (status, said) == (0, "1 run removed.\n")
            ids += map(id_of, viewer.rest())
        epoch = str(ids[0]).partition(".")[0]
        assert ids == [f"{epoch}.{n}" for n in range(1, len(ids) + 1)]
        assert 10 < len(ids) < 4000
        assert ask(server.port, "GET", EVENTS.format(run), headers={"Last-Event-ID": str(ids[-1])}).status == 404
        assert "Traceback" not in server.log.read_text()
