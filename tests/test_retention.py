"""What is old goes by itself, and whoever still wants it is told so (protocol, section 4). Where a test says "caught",
that mutant was tried."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sentri_events import store_write
from sentri_events.backends.memory import MemoryBackend
from sentri_events.errors import NotFound
from sentri_events.event import iso
from sentri_events.hub import Hub
from sentri_events.retention import Retention
from sentri_events.settings import Settings
from sentri_events.store import Store
from tests.raw import Stream, ask, data
from tests.server_process import ServerProcess, wait_until
from tests.store_contract import WORKSPACE, Clock, document, logs, make_run, seqs, some

DAY = 24 * 60 * 60 * 1000
DONE = some({"type": "done", "status": "completed"})


@asynccontextmanager
async def keeping(folder: Path, clock: Clock, number: int = 1, **settings: Any) -> AsyncIterator[list[Retention]]:
    """Retentions of so many instances on one database. They look when they are told to."""
    url = f"sqlite:///{folder / 'events.db'}"
    hubs = [Hub(Store(url, clock), MemoryBackend(), Settings(database=url, **settings)) for _ in range(number)]
    try:
        for hub in hubs:
            await hub.start()
        yield [Retention(hub) for hub in hubs]
    finally:
        for hub in hubs:
            await hub.stop()


async def test_runs_go_some_days_after_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whichever instance, or by both at once; one that is running stays however old it is, and so does all else.

    Caught: a day of hours; the time of the beginning."""
    monkeypatch.setattr(store_write, "STEP", 10)
    clock = Clock()
    async with keeping(tmp_path, clock, 2, retention_days=1.5) as (one, two):
        store = one._store
        for run in ("old", "running", "young"):
            await make_run(store, run)
            await store.append(WORKSPACE, run, logs(35))
        await store.append(WORKSPACE, "old", DONE)
        clock.now += DAY
        late = {"type": "done", "status": "completed", "_at": iso(clock.now)}
        await store.append(WORKSPACE, "young", some(late))
        clock.now += DAY // 2
        await one.look()
        assert await seqs(store, "old") == list(range(1, 37)), "not before its time"
        clock.now += 1
        await asyncio.gather(one.look(), two.look(), one.look())
        with pytest.raises(NotFound):
            await store.head("old")
        assert [len(await seqs(store, run)) for run in ("running", "young")] == [35, 36]
        assert await store.check() == []
        await two.look()


async def test_the_last_events_of_a_run_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a running one too; its results stay. Caught: a floor that is one too high."""
    monkeypatch.setattr(store_write, "STEP", 10)
    async with keeping(tmp_path, Clock(), 2, retention_events=20) as (one, two):
        store = one._store
        for run, number in (("short", 20), ("long", 55), ("ended", 40)):
            await make_run(store, run)
            results = some({"type": "result", "result": {"testId": "first", "status": "passed"}})
            await store.append(WORKSPACE, run, [*results, *logs(number - 1)])
        await store.append(WORKSPACE, "ended", DONE)
        await asyncio.gather(one.look(), two.look())
        assert await seqs(store, "short") == list(range(1, 21))
        assert await seqs(store, "long") == list(range(36, 56))
        assert await seqs(store, "ended") == list(range(22, 42))
        assert (await document(store, "long"))["passed"] == 1
        assert await store.check() == []
        await store.append(WORKSPACE, "long", logs(1))
        await two.look()
        assert await seqs(store, "long") == list(range(37, 57))


async def test_by_default_nothing_goes(tmp_path: Path) -> None:
    clock = Clock()
    async with keeping(tmp_path, clock) as (one,):
        await make_run(one._store, "old")
        await one._store.append(WORKSPACE, "old", [*logs(100), *DONE])
        clock.now += 10_000 * DAY
        one.start()
        await one.look()
        assert one._task is None
        assert len(await seqs(one._store, "old")) == 101
        await one.stop()


def test_who_comes_back_too_late_is_told(tmp_path: Path) -> None:
    """A server that begins to keep less: `trimmed`, and a run that is gone is 404. Caught: it never looks by itself."""
    server = ServerProcess(tmp_path)
    try:
        server.start()
        run, gone = server.make_run(), server.make_run()
        assert (
            ask(server.port, "POST", f"/api/v1/runs/{run}/events", [{"type": "log", "message": "x"}] * 50).status == 201
        )
        ask(server.port, "POST", f"/api/v1/runs/{gone}/events", {"type": "done", "status": "failed"})
        server.stop()
        options = ("--retention-events", "10", "--retention-days", "0.0000001")
        server = ServerProcess(tmp_path, *options).start()
        wait_until(lambda: ask(server.port, "GET", f"/api/v1/runs/{gone}").status == 404, "the old run has gone")
        wait_until(lambda: _first(server, run) == 41, "the long run is trimmed")
        for position in ("0", "39"):
            with Stream(server.port, run, f"lastEventId={position}") as viewer:
                assert data(viewer.block()) == {"type": "reset", "reason": "trimmed"}
                assert data(viewer.block())["run"]["logsTruncated"] is True
        with Stream(server.port, run, "lastEventId=40") as viewer:
            assert len(viewer.blocks(10)) == 10
        log = server.log.read_text()
        assert "Runs that ended more than 1e-07 days ago were removed: 1." in log
        assert "Runs of which only the last 10 events are kept were trimmed: 1." in log
    finally:
        server.close()


def _first(server: ServerProcess, run: str) -> int:
    """The seq of the first event that is still there."""
    answer = ask(server.port, "GET", f"/api/v1/runs/{run}/events", headers={"Accept": "application/json"})
    return int(answer.json["events"][0]["seq"])
