"""Publish and follow: no gap at the start, exactly once, whatever the bell does. Promises P1 to P5 in one process."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentri_events.backends.memory import MemoryBackend
from sentri_events.errors import BadRequest, Conflict, Invalid, NotFound
from sentri_events.event import Event
from sentri_events.hub import Hub
from sentri_events.position import Position
from sentri_events.settings import Settings
from sentri_events.store import Store
from sentri_events.store_write import Once
from tests.bridge import (
    WORKSPACE,
    BellBackend,
    badly,
    draft,
    follow,
    hubs,
    logs,
    make_run,
    numbers,
    publish,
    stored,
    until,
)
from tests.machine import each_postgres
from tests.postgres_server import fresh_database, server_url
from tests.redis_server import RedisServer

PAUSES = ("before subscribe", "after subscribe", "before head", "after head", "before snapshot", "after snapshot")


@pytest.mark.parametrize("position", [None, Position(None, 0), Position(None, 1), Position(None, 2)])
@pytest.mark.parametrize("backend", ["local", "remote"])
@pytest.mark.parametrize("pauses", [[pause] for pause in PAUSES] + [list(PAUSES)])
async def test_what_is_published_while_a_viewer_connects_is_seen_once(
    tmp_path: Path, pauses: list[str], backend: str, position: Position | None
) -> None:
    """P2. Mutants caught: `_begin` reads the head before it subscribes; `Channel.begin` forgets what was delivered
    before it; the snapshot's cursor is the channel's head in place of the snapshot's own. A position at the head, and
    nothing after, is what shows the first two: anything else is healed by the next read."""
    async with hubs(tmp_path, 2) as (near, far):
        await _connects(near, near if backend == "local" else far, pauses, position)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with server_url(each_postgres()[0].values[0]) as url:
        yield url


@pytest.mark.parametrize("position", [None, Position(None, 0), Position(None, 1), Position(None, 2)])
@pytest.mark.parametrize("writer", [0, 1])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_so_it_is_over_redis_and_on_both_databases(
    tmp_path: Path, redis: RedisServer, postgres: str, database: str, writer: int, position: Position | None
) -> None:
    """P2 with what a fleet stands on."""
    with fresh_database(postgres) as fresh:
        url = fresh if database == "postgresql" else ""
        async with hubs(tmp_path, 2, database=url, redis=redis.url) as made:
            await _connects(made[0], made[writer], list(PAUSES), position)


async def _connects(near: Hub, writer: Hub, pauses: list[str], position: Position | None) -> None:
    """A viewer comes to `near` while, at each of the pauses, something is published, and no later look mends it."""
    near._lookout.stop()
    run = await make_run(near)
    await publish(near, run, 1)
    published = [1]

    async def overtake(pause: str) -> None:
        if pause in pauses and len(published) < 40:
            published.append(len(published) + 1)
            await publish(writer, run, published[-1])

    _pause_at(near, overtake)
    seen = [] if position is None else list(range(1, position.seq + 1))

    async def viewer() -> None:
        async for event in near.events(WORKSPACE, run, position):
            if event.type == "snapshot":
                seen[:] = range(1, event.json.count(b'""') + 1)
            elif event.seq:
                seen.append(event.seq)

    task = asyncio.create_task(viewer())
    await until(lambda: near.viewers, "the viewer is there")
    # Before anything newer comes, which would show a hole and so mend it.
    await until(lambda: len(seen) >= len(published), "it has all that was published while it came")
    await near.publish(WORKSPACE, run, draft("done", status="completed"))
    await task
    assert seen == list(range(1, len(published) + 2))
    assert len(published) > 1 or position is not None


def _pause_at(hub: Hub, overtake: Callable[[str], Awaitable[None]]) -> None:
    subscribe = hub.backend.subscribe

    async def subscribing(run: str) -> None:
        await overtake("before subscribe")
        await subscribe(run)
        await overtake("after subscribe")

    hub.backend.subscribe = subscribing  # type: ignore[method-assign]

    def around(name: str, read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def reading(*arguments: Any) -> Any:
            await overtake(f"before {name}")
            value = await read(*arguments)
            await overtake(f"after {name}")
            return value

        return reading

    hub.store.head = around("head", hub.store.head)  # type: ignore[method-assign, assignment]
    hub.store.snapshot = around("snapshot", hub.store.snapshot)  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("seed", range(6))
async def test_a_bell_that_loses_repeats_and_reorders_changes_nothing(tmp_path: Path, seed: int) -> None:
    """Law 1. Mutants caught: `deliver` takes what is newer than head + 1; `_mend` never reads."""
    async with hubs(tmp_path, 3, badly(seed)) as made:
        run = await make_run(made[0])
        viewers = [asyncio.create_task(follow(hub, run, Position(None, 0))) for hub in made for _ in range(3)]
        await until(lambda: all(hub.viewers == 3 for hub in made), "all follow")
        for n in range(60):
            await publish(made[n % 3], run, n, n)
        await made[seed % 3].publish(WORKSPACE, run, draft("done", status="completed"))
        for viewer in viewers:  # the last message may be one that was lost: then the look at the heads finds it
            assert numbers(await viewer) == list(range(1, 122))


async def test_a_lost_message_is_found_without_another(tmp_path: Path) -> None:
    """P8: on healthy links, within the look at the heads. Mutant caught: `_watch` does nothing."""
    async with hubs(tmp_path, 2, lambda event: []) as (near, far):
        run = await make_run(near)
        seen: list[int] = []

        async def viewer() -> None:
            seen.extend([event.seq async for event in far.events(WORKSPACE, run, Position(None, 0))])

        task = asyncio.create_task(viewer())
        await until(lambda: far.viewers, "it follows")
        await publish(near, run, 1)
        await near.publish(WORKSPACE, run, draft("done", status="completed"))
        await task
        assert seen == [1, 2]


async def test_a_hint_is_read_from_the_store_at_once(tmp_path: Path) -> None:
    async with hubs(tmp_path, 2, lambda event: []) as (near, far):
        run = await make_run(near)
        task = asyncio.create_task(follow(far, run, Position(None, 0)))
        await until(lambda: far.viewers, "it follows")
        far._lookout.stop()
        await near.publish(WORKSPACE, run, draft("done", status="completed"))
        far.hint(run, (await near.store.head(run)).epoch, 1)
        assert numbers(await task) == [1]


async def test_a_done_without_a_number_is_stored_once(tmp_path: Path) -> None:
    """Protocol, section 7: the original ends a run of ours on every instance at once."""
    async with hubs(tmp_path, 3) as made:
        run = await make_run(made[0])
        viewers = [asyncio.create_task(follow(hub, run, Position(None, 0))) for hub in made]
        await until(lambda: all(hub.viewers for hub in made), "all follow")
        for hub in made:
            hub.deliver(Event(run, "", 0, 0, "log", b'{"type":"log","message":"from afar"}'))
            hub.deliver(Event(run, "", 0, 0, "done", b'{"type":"done","status":"no status"}'))
        for hub in made:
            hub.deliver(Event(run, "", 0, 0, "done", b'{"type":"done","status":"completed","passed":3}'))
        for viewer in viewers:
            assert [(event.type, event.seq) for event in await viewer] == [("log", 0), ("done", 1)]
        assert len(await stored(made[0], run)) == 1


@pytest.mark.parametrize("anew", [False, True])
async def test_a_run_that_is_pruned_under_its_viewers_is_not_followed_in_vain(tmp_path: Path, anew: bool) -> None:
    """Its streams end; who comes back finds it missing, or, where one of that id was made anew, is told so (P4)."""
    async with hubs(tmp_path, 2, lambda event: []) as (near, far):
        run = await make_run(near)
        await publish(near, run, 1)
        seen: list[Event] = []

        async def viewer() -> None:
            async for event in far.events(WORKSPACE, run, Position(None, 1)):
                seen.append(event)  # noqa: PERF401  one by one: the test looks at them in between

        task = asyncio.create_task(viewer())
        await until(lambda: far.viewers, "it follows")
        far._lookout.stop()
        await near.publish(WORKSPACE, run, draft("done", status="completed"))
        await near.store.prune(1 << 50)
        if anew:
            await make_run(near)
        far.missed()
        if not anew:
            with pytest.raises(NotFound):
                await task
            assert seen == []
            return
        await until(lambda: len(seen) == 2, "it is told")
        assert [event.type for event in seen] == ["reset", "snapshot"]
        await near.publish(WORKSPACE, run, draft("done", status="failed"))
        far.missed()
        await task
        assert [(event.type, event.seq) for event in seen[2:]] == [("done", 1)]


async def test_many_writers_get_one_numbering(tmp_path: Path) -> None:
    """P1: every viewer of every hub sees 1..n, and so does the store."""
    async with hubs(tmp_path, 2) as made:
        run = await make_run(made[0])
        viewers = [asyncio.create_task(follow(hub, run, Position(None, 0))) for hub in made]
        await until(lambda: all(hub.viewers for hub in made), "all follow")

        async def writer(hub: Hub, number: int) -> None:
            for n in range(25):
                await publish(hub, run, n)
                if n % 5 == number % 5:
                    with pytest.raises(NotFound):
                        await publish(hub, "RUN-MISSING", n)

        await asyncio.gather(*(writer(made[number % 2], number) for number in range(8)))
        await made[0].publish(WORKSPACE, run, draft("done", status="failed"))
        for viewer in viewers:
            assert numbers(await viewer) == list(range(1, 202))
        assert [event.seq for event in await stored(made[1], run)] == list(range(1, 202))


async def test_every_position_gives_exactly_the_rest(tmp_path: Path) -> None:
    """P3, in Python: with and without the epoch, of a running and of an ended run."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        await publish(hub, run, *range(5))
        epoch = (await hub.store.head(run)).epoch
        running = [asyncio.create_task(follow(hub, run, Position(epoch, k))) for k in range(6)]
        await until(lambda: hub.viewers == 6, "all follow")
        await hub.publish(WORKSPACE, run, draft("done", status="completed"))
        for k, task in enumerate(running):
            assert numbers(await task) == list(range(k + 1, 7))
        for k in range(7):
            for position in (Position(epoch, k), Position(None, k)):
                assert numbers(await follow(hub, run, position)) == list(range(k + 1, 7))


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        (Position(None, -1), b"malformed"),
        (Position("other123", 1), b"epoch"),
        (Position(None, 7), b"future"),
        (Position(None, 1), b"trimmed"),
    ],
)
async def test_a_position_of_no_use_is_told_and_gets_a_snapshot(
    tmp_path: Path, position: Position, reason: bytes
) -> None:
    """P4."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        await publish(hub, run, 1, 2, 3)
        await hub.store.trim(run, 2)
        task = asyncio.create_task(follow(hub, run, position))
        await until(lambda: hub.viewers, "it follows")
        await hub.publish(WORKSPACE, run, draft("done", status="completed"))
        reset, snapshot, *rest = await task
        assert reset.type == "reset"
        assert reason in reset.json
        assert snapshot.type == "snapshot"
        assert numbers(rest) == [4]


async def test_events_trimmed_under_a_viewer_that_is_behind_are_not_lost_in_silence(tmp_path: Path) -> None:
    """P4: it is sent away, comes back with its position, and is told."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        for n in range(30):
            await publish(hub, run, n)
        seen: list[Event] = []

        async def slow() -> None:
            async for event in hub.events(WORKSPACE, run, Position(None, 0)):
                seen.append(event)
                await held.wait()

        held = asyncio.Event()
        task = asyncio.create_task(slow())
        await until(lambda: seen, "the first event is there")
        big = [draft("log", message="x" * 100_000)[0] for _ in range(40)]
        for one in big:  # more than the queue takes, and more than is kept at hand
            await hub.publish(WORKSPACE, run, [one])
        await hub.store.trim(run, 69)
        held.set()
        await until(lambda: any(event.type == "snapshot" for event in seen), "it was told")
        await hub.publish(WORKSPACE, run, draft("done", status="completed"))
        await task
        kinds = [event.type for event in seen if not event.seq]
        assert kinds == ["reset", "snapshot"]
        before = numbers(seen[: [event.type for event in seen].index("reset")])
        assert before == list(range(1, len(before) + 1))
        assert seen[-1].type == "done"


async def test_a_channel_is_subscribed_once_and_let_go(tmp_path: Path) -> None:
    """Viewers share one subscription; the last one's going ends it, and the next one's coming makes a new one."""
    async with hubs(tmp_path, 1, heartbeat=0.1) as (hub,):
        run = await make_run(hub)
        backend = hub.backend
        assert isinstance(backend, BellBackend)
        tasks = [asyncio.create_task(follow(hub, run)) for _ in range(5)]
        await until(lambda: hub.viewers == 5, "five follow")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: not backend.subscribed, "the subscription ends")
        assert hub.viewers == 0
        assert backend.subscriptions == [("subscribe", run), ("unsubscribe", run)]
        task = asyncio.create_task(follow(hub, run))
        await until(lambda: hub.viewers, "it follows")
        assert backend.subscribed == {run}
        await hub.publish(WORKSPACE, run, draft("done", status="completed"))
        await task


async def test_a_missing_or_foreign_run_is_not_subscribed(tmp_path: Path) -> None:
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        backend = hub.backend
        assert isinstance(backend, BellBackend)
        for workspace, name in ((WORKSPACE, "RUN-MISSING"), ("other", run)):
            with pytest.raises(NotFound):
                await anext(hub.events(workspace, name))
            with pytest.raises(NotFound):
                await hub.publish(workspace, name, logs(1))
            with pytest.raises(NotFound):
                await hub.publish(workspace, name, draft("frame", data=""))
        assert backend.subscriptions == []
        viewer = asyncio.create_task(follow(hub, run))
        await until(lambda: hub.viewers, "it follows")
        with pytest.raises(NotFound):
            await anext(hub.events("other", run))
        viewer.cancel()


async def test_a_publisher_that_goes_away_takes_nothing_from_the_viewers(tmp_path: Path) -> None:
    """An event reaches its viewers by its commit, not by its publisher. Mutant caught: told after the append."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        task = asyncio.create_task(follow(hub, run, Position(None, 0)))
        await until(lambda: hub.viewers, "it follows")
        publisher = asyncio.create_task(publish(hub, run, 1))
        await asyncio.sleep(0)
        publisher.cancel()
        await hub.publish(WORKSPACE, run, draft("done", status="completed"))
        assert numbers(await task) == [1, 2]


async def test_volatile_events_reach_who_is_live_and_are_not_stored(tmp_path: Path) -> None:
    async with hubs(tmp_path, 2) as (near, far):
        run = await make_run(near)
        tasks = [asyncio.create_task(follow(hub, run, Position(None, 0))) for hub in (near, far)]
        await until(lambda: near.viewers and far.viewers, "both follow")
        answer = await near.publish(WORKSPACE, run, draft("frame", data="a"))
        assert not answer.stored
        mixed = [*logs(1), *draft("frame", data="b"), *logs(2)]
        await near.publish(WORKSPACE, run, mixed)
        await near.publish(WORKSPACE, run, draft("done", status="completed"))
        with pytest.raises(Conflict):
            await near.publish(WORKSPACE, run, draft("frame", data="c"))
        for task in tasks:
            events = await task
            assert [event.type for event in events] == ["frame", "log", "frame", "log", "done"]
            assert numbers(events) == [1, 2, 3]
        assert [event.type for event in await stored(near, run)] == ["log", "log", "done"]


async def test_a_refusal_comes_after_the_key_and_the_run(tmp_path: Path) -> None:
    """Protocol, section 3: a key is looked up before anything else is refused, then 400, 404, 409, and the rest."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        first = await hub.publish(WORKSPACE, run, logs(1), Once("k", "digest"))
        again = await hub.refuse(WORKSPACE, run, Once("k", "digest"), Invalid("no"))
        assert (again.json, again.replayed) == (first.json, True)
        with pytest.raises(Invalid, match="another request"):
            await hub.refuse(WORKSPACE, run, Once("k", "other"), BadRequest("no"))
        with pytest.raises(BadRequest):
            await hub.refuse(WORKSPACE, "RUN-MISSING", None, BadRequest("no"))
        with pytest.raises(NotFound):
            await hub.refuse(WORKSPACE, "RUN-MISSING", None, Invalid("no"))
        with pytest.raises(Invalid, match="no"):
            await hub.refuse(WORKSPACE, run, None, Invalid("no"))
        await hub.publish(WORKSPACE, run, draft("done", status="completed"))
        with pytest.raises(Conflict):
            await hub.refuse(WORKSPACE, run, None, Invalid("no"))


async def test_the_memory_backend_keeps_the_contract_of_one_process(tmp_path: Path) -> None:
    hub = Hub(Store(f"sqlite:///{tmp_path / 'events.db'}"), MemoryBackend(), Settings())
    await hub.start()
    try:
        run = await make_run(hub)
        task = asyncio.create_task(follow(hub, run, Position(None, 0)))
        await until(lambda: hub.viewers, "it follows")
        await publish(hub, run, 1, 2, 3)
        await hub.publish(WORKSPACE, run, draft("done", status="completed"))
        assert numbers(await task) == [1, 2, 3, 4]
        assert hub.backend.trouble is None
    finally:
        await hub.stop()


async def test_a_hub_that_stops_ends_its_followers(tmp_path: Path) -> None:
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        task = asyncio.create_task(follow(hub, run, Position(None, 0)))
        await until(lambda: hub.viewers, "it follows")
        await publish(hub, run, 1)
    assert numbers(await task) == [1]
