"""P15: a run whose producer vanished becomes interrupted, once; a producer that is slow, and an outage of ours, never
end a run. By a clock of the test's own, and with real processes. Where it says "caught", that mutant was tried."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sentri_events.backends.memory import MemoryBackend
from sentri_events.errors import Unavailable
from sentri_events.hub import Hub
from sentri_events.reaper import Reaper
from sentri_events.settings import Settings
from sentri_events.store import Store
from tests.bridge import follow, until
from tests.server_process import ServerProcess, wait_until
from tests.store_contract import WORKSPACE, Clock, document, make_run, stored

TIMEOUT = 10_000  # milliseconds


@asynccontextmanager
async def reaping(folder: Path, clock: Clock, number: int = 1, timeout: int = TIMEOUT) -> AsyncIterator[list[Reaper]]:
    """Reapers of so many hubs on one database. They look when they are told to."""
    url = f"sqlite:///{folder / 'events.db'}"
    hubs = [
        Hub(Store(url, clock), MemoryBackend(), Settings(database=url, run_timeout=timeout / 1000))
        for _ in range(number)
    ]
    try:
        for hub in hubs:
            await hub.start()
        yield [Reaper(hub) for hub in hubs]
    finally:
        for hub in hubs:
            await hub.stop()


async def look(reaper: Reaper, clock: Clock, milliseconds: int) -> None:
    """Let time pass as it does while all is well: with a look every second."""
    for _ in range(milliseconds // 1000):
        clock.now += 1000
        await reaper.look()


async def status(reaper: Reaper, run: str) -> Any:
    return (await document(reaper._hub.store, run))["status"]


async def test_a_silent_run_is_interrupted_once_by_whoever_notices(tmp_path: Path) -> None:
    """Its viewers see a `done` and the end. Caught: an end that asks neither for an earlier one nor for the silence."""
    clock = Clock()
    async with reaping(tmp_path, clock, 2) as (one, two):
        run = await make_run(one._hub.store)
        viewer = asyncio.ensure_future(follow(one._hub, run))
        await until(lambda: one._hub.viewers, "the viewer is there")
        await look(one, clock, TIMEOUT)
        assert await status(one, run) == "running", "not before its time"
        clock.now += 1
        await asyncio.gather(one.look(), two.look(), one.look(), two.look())
        await look(two, clock, 3 * TIMEOUT)
        (done,) = await stored(one._hub.store, run)
        assert done.json == (
            b'{"type":"done","status":"interrupted","error":"Nothing was heard from the producer for 10 s."}'
        )
        assert await status(two, run) == "interrupted"
        one._hub.missed()  # what the bell between instances would have said, if the other was first
        assert (await viewer)[-1].type == "done"


async def test_whatever_the_producer_sends_keeps_its_run_alive(tmp_path: Path) -> None:
    """Caught: volatile events that are not heard."""
    clock = Clock()
    async with reaping(tmp_path, clock, timeout=1000) as (reaper,):
        hub = reaper._hub
        runs = [await make_run(hub.store, name) for name in ("events", "volatile", "alive", "silent")]

        async def passes(milliseconds: int) -> None:
            for _ in range(milliseconds // 100):
                clock.now += 100
                await reaper.look()

        await passes(900)
        await hub.publish(WORKSPACE, "events", hub.drafts([{"type": "log", "message": ""}]))
        await hub.publish(WORKSPACE, "volatile", hub.drafts([{"type": "frame"}]))
        await hub.store.hear(WORKSPACE, "alive")
        await passes(900)
        assert [await status(reaper, run) for run in runs] == ["running", "running", "running", "interrupted"]
        await passes(200)
        assert [await status(reaper, run) for run in runs] == ["interrupted"] * 4


async def test_an_outage_of_ours_ends_no_run_and_does_not_count(tmp_path: Path) -> None:
    """Nobody looked for an hour: that hour is not the producer's. Caught: no credit."""
    clock = Clock()
    async with reaping(tmp_path, clock) as (reaper,):
        run = await make_run(reaper._hub.store)
        await look(reaper, clock, 6000)
        clock.now += 3_600_000
    async with reaping(tmp_path, clock, 2) as (reaper, other):
        await asyncio.gather(reaper.look(), other.look())
        assert await status(reaper, run) == "running"
        await look(reaper, clock, 4000)
        assert await status(reaper, run) == "running"
        await look(reaper, clock, 1000)
        assert await status(reaper, run) == "interrupted", "six seconds before, and more than four after"


async def test_a_store_that_was_away_for_long_ends_no_run(tmp_path: Path) -> None:
    clock = Clock()
    async with reaping(tmp_path, clock) as (reaper,):
        run = await make_run(reaper._hub.store)
        await look(reaper, clock, 6000)
        with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(Unavailable):
                await reaper.look()
            clock.now += 10 * TIMEOUT
        await look(reaper, clock, 4000)
        assert await status(reaper, run) == "running"


async def test_a_process_that_was_stopped_in_the_middle_of_a_look_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop that sleeps, a SIGSTOP: just after the beat. Caught: judged by a time that is taken after it."""
    clock = Clock()
    async with reaping(tmp_path, clock) as (reaper,):
        store = reaper._hub.store
        run = await make_run(store)
        await reaper.look()
        beat = store.beat

        async def beat_and_sleep(tolerance: int) -> int:
            credit = await beat(tolerance)
            clock.now += 10 * TIMEOUT
            return credit

        monkeypatch.setattr(store, "beat", beat_and_sleep)
        await reaper.look()
        monkeypatch.undo()
        assert await status(reaper, run) == "running"
        await reaper.look()
        assert await status(reaper, run) == "running"


async def test_a_producer_that_is_heard_at_the_last_moment_keeps_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the end. Caught: an end that is not bound to the silence."""
    clock = Clock()
    async with reaping(tmp_path, clock) as (reaper,):
        store = reaper._hub.store
        run = await make_run(store)
        overdue = store.overdue

        async def heard_after(time: int) -> list[tuple[str, str]]:
            found = await overdue(time)
            for workspace, late in found:
                await store.hear(workspace, late)
            return found

        monkeypatch.setattr(store, "overdue", heard_after)
        await look(reaper, clock, TIMEOUT + 1000)
        assert await status(reaper, run) == "running"


async def test_a_fault_in_one_look_does_not_end_the_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Caught: a task that ends with the first error, in silence."""
    clock = Clock()
    async with reaping(tmp_path, clock, timeout=1000) as (reaper,):
        store = reaper._hub.store
        run = await make_run(store)
        overdue, faults = store.overdue, [RuntimeError("a fault of ours")]

        async def fail_once(time: int) -> list[tuple[str, str]]:
            if faults:
                raise faults.pop()
            clock.now += 200
            return await overdue(time)

        monkeypatch.setattr(store, "overdue", fail_once)
        reaper.start()
        viewer = await follow(reaper._hub, run)
        await reaper.stop()
        assert [event.type for event in viewer] == ["snapshot", "done"]
        assert caplog.text.count("a fault of ours") == 1


@contextmanager
def servers(folder: Path, number: int, *options: str) -> Iterator[list[ServerProcess]]:
    """Real servers on one database."""
    started = []
    try:
        for n in range(number):
            own = folder / str(n)
            own.mkdir()
            server = ServerProcess(own, "--run-timeout", "1", "--log-level", "debug", *options)
            server.database = folder / "events.db"
            started.append(server.start())
        yield started
    finally:
        for server in started:
            server.close()


@contextmanager
def producer(server: ServerProcess, run: str) -> Iterator[None]:
    """Says that it is alive, again and again; what the server answers it does not mind."""
    end = threading.Event()

    def say() -> None:
        while not end.wait(0.1):
            try:
                server.request("POST", f"/api/v1/runs/{run}/alive")
            except OSError:
                continue

    thread = threading.Thread(target=say)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def interrupted(server: ServerProcess, run: str) -> bool:
    return bool(server.document(run)["status"] == "interrupted")


def test_two_servers_interrupt_a_silent_run_once_and_leave_a_living_one(tmp_path: Path) -> None:
    with servers(tmp_path, 2) as (one, two):
        living = two.make_run()
        with producer(two, living):
            for server in (one, two):
                run = server.make_run()
                wait_until(lambda run=run: interrupted(one, run), "the silent run is interrupted")  # type: ignore[misc]
                events = [event["event"] for event in two.history(run)]
                assert [(event["type"], event["status"]) for event in events] == [("done", "interrupted")]
                assert one.request("POST", f"/api/v1/runs/{run}/alive")[0] == 409
            assert one.document(living)["status"] == "running"
        wait_until(lambda: interrupted(two, living), "it is interrupted when its producer is gone")


def test_an_instance_that_starts_touches_no_run_of_another(tmp_path: Path) -> None:
    """However often, and however it ended before: the original's, at its start, ended whatever was running."""
    with servers(tmp_path, 2) as (one, two):
        run = one.make_run()
        one.request("POST", f"/api/v1/runs/{run}/events", {"type": "log", "message": "before"})
        before = one.document(run), one.history(run)
        assert before[0]["status"] == "running"
        with producer(one, run):
            for end in (two.kill, two.stop, two.kill):
                end()
                two.start()
                assert (two.document(run), two.history(run)) == before
        assert one.request("POST", f"/api/v1/runs/{run}/events", {"type": "log", "message": "after"})[0] == 201


def test_a_server_that_was_down_for_long_ends_no_run(tmp_path: Path) -> None:
    """The hour is made by setting the stored times back while it is down. Caught: no credit at the start."""
    with servers(tmp_path, 1) as (server,):
        run = server.make_run()
        with producer(server, run):
            wait_until(lambda: "204" in server.log.read_text(), "the producer was heard")
            server.kill()
            with closing(sqlite3.connect(server.database)) as database, database:
                database.execute("UPDATE run SET heard_at = heard_at - 3600000")
                database.execute("UPDATE fleet SET seen_at = seen_at - 3600000")
            server.start()
            wait_until(lambda: "Nobody could be heard for 360" in server.log.read_text(), "the hour is credited")
            dead = server.make_run()
            wait_until(lambda: interrupted(server, dead), "a look or ten later")
            assert server.document(run)["status"] == "running"


def test_a_store_that_is_locked_for_long_ends_no_run(tmp_path: Path) -> None:
    with servers(tmp_path, 1) as (server,):
        run = server.make_run()
        with producer(server, run), closing(sqlite3.connect(server.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            wait_until(lambda: server.log.read_text().count("The store is away") == 1, "longer than the timeout")
            other.execute("ROLLBACK")
            wait_until(lambda: "Nobody could be heard for" in server.log.read_text(), "that time is credited")
            dead = server.make_run()
            wait_until(lambda: interrupted(server, dead), "a look or ten later")
            assert server.document(run)["status"] == "running"
