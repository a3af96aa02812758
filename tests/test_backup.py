"""`sentri-events db backup`: whole, of one moment, whatever happens meanwhile."""

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from sentri_events import backup
from sentri_events.errors import SettingsError, Unavailable
from tests.commands import run
from tests.raw import ask
from tests.server_process import ServerProcess


def back_up(server: ServerProcess, copy: Path) -> tuple[int, str, str]:
    return run("db", "backup", str(copy), "--database", f"sqlite:///{server.database}")


def sound(database: Path) -> list[int]:
    """The seqs of its events, if nothing is wrong with it."""
    assert run("db", "check", "--database", f"sqlite:///{database}")[:2] == (0, "The database is sound.\n")
    with closing(sqlite3.connect(database)) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM event ORDER BY seq")]


def test_while_the_server_writes(server: ServerProcess, tmp_path: Path) -> None:
    """Each copy has all that was answered before it began, and publishing is never held up.

    Caught: the file alone is copied, without its -wal."""
    name = server.make_run()
    answered, stop = [0], threading.Event()

    def publish() -> None:
        while not stop.is_set():
            answer = ask(
                server.port, "POST", f"/api/v1/runs/{name}/events", [{"type": "log", "message": "x" * 500}] * 20
            )
            assert answer.status == 201
            answered[0] = answer.json["last"]

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        for number in range(5):
            before, copy = answered[0], tmp_path / f"copy-{number}.db"
            status, out, error = back_up(server, copy)
            assert (status, error) == (0, "")
            assert out == f"{copy} has {copy.stat().st_size} bytes.\n"
            seqs = sound(copy)
            assert seqs == list(range(1, len(seqs) + 1))
            assert len(seqs) >= before
            assert len(seqs) % 20 == 0
    finally:
        stop.set()
        publisher.join()


def test_the_copy_is_one_file_of_its_owner_and_can_be_served(server: ServerProcess, tmp_path: Path) -> None:
    """An older copy is replaced. Caught: a copy that anyone may read; a -wal beside it."""
    folder = tmp_path / "copies"
    folder.mkdir()
    copy = folder / "copy.db"
    name = server.make_run()
    for number in (1, 2):
        ask(server.port, "POST", f"/api/v1/runs/{name}/events", {"type": "log", "message": "x"})
        assert back_up(server, copy)[0] == 0
        assert [path.name for path in folder.iterdir()] == ["copy.db"]
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert len(sound(copy)) == number
    server.stop()
    os.replace(copy, server.database)
    for rest in ("-wal", "-shm"):
        Path(f"{server.database}{rest}").unlink(missing_ok=True)
    server.start()
    assert [event["seq"] for event in server.history(name)] == [1, 2]


def test_a_copy_that_fails_leaves_the_older_one(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caught: the older one is written over."""
    folder = server.database.parent / "copies"
    folder.mkdir()
    copy = folder / "copy.db"
    copy.write_text("older")

    def fail(source: str, target: str) -> None:
        Path(target).write_text("half")
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(backup, "_copy", fail)
    with pytest.raises(Unavailable, match="disk full"):
        backup.back_up(f"sqlite:///{server.database}", copy)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("copy.db", "older")]


def test_what_cannot_be_backed_up_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    url = "postgresql://me:hush@127.0.0.1:1/events"
    status, out, error = run("db", "backup", str(tmp_path / "copy"), "--database", url)
    assert (status, out) == (2, "")
    assert "pg_dump" in error
    assert "hush" not in error
    with pytest.raises(SettingsError, match="the database itself"):
        backup.back_up(f"sqlite:///{server.database}", server.database)
    status, _, error = run("db", "backup", str(tmp_path / "copy"), "--database", f"sqlite:///{tmp_path / 'none.db'}")
    assert (status, error) == (2, f"Error: There is no database at {tmp_path / 'none.db'}.\n")
    assert back_up(server, tmp_path / "nowhere" / "copy.db")[0] == 1
