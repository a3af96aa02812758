"""What may happen in one loop turn, or under a viewer's feet: channels let go, runs pruned, sinks and stores that fail.

Followers here are sinks of the test's own, so that it decides when one takes something.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sentri_events.audience import BUCKETS
from sentri_events.channel import SLICE, SNAPSHOTS, UNDELIVERED_BYTES
from sentri_events.errors import Invalid, NotFound
from sentri_events.event import Event
from sentri_events.hub import LOGS, Hub, Opening
from sentri_events.position import Position
from sentri_events.queue_sink import EventsDialect
from sentri_events.store_write import Once
from sentri_events.viewer import Viewer
from tests.bridge import WORKSPACE, draft, hubs, logs, make_run, numbers, publish, until

SEVERAL_SLICES = SLICE + SLICE // 2  # viewers: a cycle lets the loop run before it has written to the last


class Ear:
    """A sink that keeps what it hears. `takes` is what it says to each piece."""

    def __init__(self, takes: Callable[[], bool] = lambda: True) -> None:
        self.takes = takes
        self.events: list[Event] = []
        self.finished = False
        self.opening: Opening | None = None

    def opened(self, opening: Opening) -> "Ear":
        self.opening = opening
        return self

    def start(self, viewer: Viewer) -> bool:
        return True

    def write(self, data: Sequence[Event]) -> bool:
        self.events += data
        return self.takes()

    def finish(self, last: bytes = b"") -> None:
        self.finished = True

    def beat(self) -> bool:
        return True


class CountingDialect(EventsDialect):
    """Counts the events that were encoded."""

    encoded = 0

    def join(self, events: Sequence[Event]) -> list[Event]:
        CountingDialect.encoded += len(events)
        return super().join(events)


async def listen(hub: Hub, run: str, ear: Ear, position: Position | None = None, lines: int = LOGS) -> Viewer:
    viewer = await hub.follow(WORKSPACE, run, position, ear.opened, EventsDialect(), logs=lines)
    assert viewer is not None
    return viewer


async def start_of(hub: Hub, run: str) -> Position:
    """The position before the run's first event."""
    return Position((await hub.head(WORKSPACE, run)).epoch, 0)


async def listen_all(hub: Hub, run: str, number: int) -> tuple[list[Ear], list[Viewer]]:
    start = await start_of(hub, run)
    ears = [Ear() for _ in range(number)]
    return ears, [await listen(hub, run, ear, start) for ear in ears]


def event(run: str, position: Position, seq: int, kind: str) -> Event:
    json = b'{"type":"done","status":"failed"}' if kind == "done" else b'{"type":"%b"}' % kind.encode()
    return Event(run, position.epoch or "", seq, 0, kind, json)


async def test_a_viewer_that_comes_as_its_channel_is_let_go_hears_everything(tmp_path: Path) -> None:
    """It comes in the loop turn of the beat that finds the channel unused. Mutant caught: `_tidy` leaves the channel
    where it is until it is closed: the viewer joins it, and nobody feeds it."""
    async with hubs(tmp_path, 1, heartbeat=3600) as (hub,):
        run = await make_run(hub)
        start = await start_of(hub, run)
        (await listen(hub, run, Ear(), start)).leave()
        hub.audience._share = BUCKETS - 1
        hub.audience._beat()
        ear = Ear()
        await listen(hub, run, ear, start)
        await until(lambda: not hub._tasks, "the unused channel is closed")
        await publish(hub, run, 1, 2)
        await until(lambda: numbers(ear.events) == [1, 2], "it hears both")


async def test_nothing_follows_done(tmp_path: Path) -> None:
    """Not even what is delivered while the cycle with `done` waits for the one before. Mutant caught: `_take_volatile`
    takes what comes after the end."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        start = await start_of(hub, run)
        ears, _ = await listen_all(hub, run, SEVERAL_SLICES)
        channel = hub._channels[run]
        channel.deliver([event(run, start, 1, "log")])
        channel.deliver([event(run, start, 2, "done")])
        channel.deliver([event(run, start, 0, "frame")])
        await until(lambda: all(ear.finished for ear in ears), "all are told of the end")
        assert {tuple(heard.type for heard in ear.events) for ear in ears} == {("log", "done")}


async def test_a_viewer_that_is_behind_when_its_run_is_pruned_is_sent_away(tmp_path: Path) -> None:
    """It takes nothing at that moment. Mutant caught: `_end_all` ends only who is live or waits for a page: this one
    becomes live on a channel that nobody feeds."""
    async with hubs(tmp_path, 2, lambda event: []) as (near, far):
        run = await make_run(near)
        far._lookout.stop()
        ear = Ear(lambda: False)
        viewer = await listen(far, run, ear, await start_of(near, run))
        await publish(near, run, 1)
        far.missed()
        await until(lambda: numbers(ear.events) == [1], "it has the first event")
        assert not viewer.live
        await near.publish(WORKSPACE, run, draft("done", status="failed"))
        await near.store.prune(1 << 50)
        await far._watch()
        ear.takes = lambda: True
        viewer.ready()
        await until(lambda: ear.finished, "it is sent away")


async def test_a_run_made_anew_is_not_shown_as_the_one_before(tmp_path: Path) -> None:
    """Where nothing was heard of the end of that one. Mutants caught: `_judge` does not compare the snapshot's epoch;
    `follow` goes on with a channel that is gone."""
    async with hubs(tmp_path, 2, lambda event: []) as (near, far):
        run = await make_run(near)
        far._lookout.stop()
        first, second = Ear(), Ear()
        await listen(far, run, first, await start_of(near, run))
        await near.publish(WORKSPACE, run, [*logs(1, 2), *draft("done", status="failed")])
        await near.store.prune(1 << 50)
        await make_run(near)
        anew = await start_of(near, run)
        await listen(far, run, second)
        await until(lambda: first.finished, "who followed the first is sent away")
        await publish(near, run, 1)
        far.missed()
        await until(lambda: numbers(second.events) == [1], "the second is followed")
        assert second.opening is not None
        assert {second.opening.place.epoch, *(heard.epoch for heard in second.events)} == {anew.epoch}
        assert not second.finished


async def test_the_end_of_a_run_made_anew_is_not_that_of_the_one_before(tmp_path: Path) -> None:
    """The ended one's channel is still there. Mutant caught: `_joined` takes it without a look at the store: who has
    seen the end of the first is told that nothing follows."""
    async with hubs(tmp_path, 1, heartbeat=3600) as (hub,):
        run = await make_run(hub)
        hub._lookout.stop()
        first, second = Ear(), Ear()
        await listen(hub, run, first, await start_of(hub, run))
        await hub.publish(WORKSPACE, run, [*logs(1, 2), *draft("done", status="failed")])
        await until(lambda: first.finished, "the first run has ended")
        await hub.store.prune(1 << 50)
        await make_run(hub)
        await listen(hub, run, second, Position(None, 3))
        assert second.opening is not None
        assert second.opening.reset == "future"


async def test_what_is_trimmed_before_it_comes_is_told(tmp_path: Path) -> None:
    """All that was missed, up to the head. Mutant caught: `note` does not look at the floor: the store is asked for
    ever for events that it does not have, and the viewer hears nothing."""
    async with hubs(tmp_path, 2, lambda event: []) as (near, far):
        run = await make_run(near)
        ear = Ear()
        await listen(far, run, ear, await start_of(near, run))
        await publish(near, run, 1, 2, 3)
        await near.store.trim(run, 3)
        far.missed()
        await until(lambda: ear.finished, "it is sent away, to come back with its position")
        assert ear.events == []


async def test_snapshots_of_few_lengths_are_kept(tmp_path: Path) -> None:
    """Each may be large. Mutant caught: `snapshot` keeps one for every number of lines that was asked for."""
    async with hubs(tmp_path, 1, heartbeat=3600) as (hub,):
        run = await make_run(hub)
        await publish(hub, run, 1)
        for lines in range(1, SNAPSHOTS + 4):
            await listen(hub, run, Ear(), lines=lines)
        assert len(hub._channels[run]._snapshots) == SNAPSHOTS


async def test_reading_what_was_missed_does_not_run_ahead_of_the_viewers(tmp_path: Path) -> None:
    """10 MB that the bell lost, in pages. Mutant caught: `_fill` does not wait for room between two of them."""
    async with hubs(tmp_path, 2, lambda event: []) as (near, far):
        run = await make_run(near)
        ears, _ = await listen_all(far, run, SEVERAL_SLICES)
        for _ in range(20):
            await near.publish(WORKSPACE, run, draft("log", message="x" * 500_000))
        channel = far._channels[run]
        read, undelivered = far.store.after, []

        async def reading(*arguments: Any) -> list[Event]:
            undelivered.append(channel._undelivered if channel._cycle is not None else 0)
            return await read(*arguments)

        far.store.after = reading  # type: ignore[method-assign, assignment]
        far.missed()
        await until(lambda: all(len(ear.events) == 20 for ear in ears), "all have everything")
        assert len(undelivered) > 2
        assert max(undelivered) <= UNDELIVERED_BYTES


async def test_what_a_slow_viewer_catches_up_with_is_encoded_once(tmp_path: Path) -> None:
    """Whatever it takes at a time. Mutant caught: `Recent.after` gives all that it has: for every piece that is taken,
    all that follows is encoded again."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        for _ in range(10):
            await hub.publish(WORKSPACE, run, [draft("log", message="x" * 1000)[0] for _ in range(100)])
        ear = Ear(lambda: False)
        CountingDialect.encoded = 0
        viewer = await hub.follow(WORKSPACE, run, await start_of(hub, run), ear.opened, CountingDialect())
        assert viewer is not None

        def catch_up() -> bool:
            viewer.ready()
            return viewer.live

        await until(catch_up, "it is live")
        assert numbers(ear.events) == list(range(1, 1001))
        assert CountingDialect.encoded == 1000


async def test_looks_at_the_store_do_not_pile_up(tmp_path: Path) -> None:
    """Mutant caught: every event of another epoch is a look of its own."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        await listen(hub, run, Ear(), await start_of(hub, run))
        channel = hub._channels[run]
        channel.deliver([event(run, Position("another1", 0), seq, "log") for seq in range(1, 5000)])
        assert len(channel._tasks) == 1
        await until(lambda: not channel._tasks, "it has looked")


async def test_a_viewer_whose_page_cannot_be_read_is_sent_away(tmp_path: Path) -> None:
    """For a reason that no patience mends; it comes back with its position. Mutant caught: `_read_page` forgets who
    waits for the page: they hear nothing any more."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        start = await start_of(hub, run)
        await publish(hub, run, 1, 2)
        read = hub.store.after

        async def broken(*arguments: Any) -> list[Event]:
            raise UnicodeEncodeError("utf-8", "", 0, 0, "a bad row")

        hub.store.after = broken  # type: ignore[method-assign, assignment]
        ear, again = Ear(), Ear()
        await listen(hub, run, ear, start)
        await until(lambda: ear.finished, "it is sent away")
        hub.store.after = read  # type: ignore[method-assign]
        await listen(hub, run, again, start)
        await until(lambda: numbers(again.events) == [1, 2], "it is served")


async def test_a_sink_that_fails_harms_nobody_else(tmp_path: Path) -> None:
    """Mutant caught: `_write` lets its error through: the cycle is never over, and publishers wait for room."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        start = await start_of(hub, run)

        def fail() -> bool:
            raise RuntimeError("a sink")

        ear = Ear()
        bad = await listen(hub, run, Ear(fail), start)
        await listen(hub, run, ear, start)
        for _ in range(3):
            await hub.publish(WORKSPACE, run, draft("log", message="x" * UNDELIVERED_BYTES))
        await until(lambda: numbers(ear.events) == [1, 2, 3], "the other hears everything")
        assert bad.channel is None
        assert hub.viewers == 1


async def test_a_key_tells_another_workspace_nothing(tmp_path: Path) -> None:
    """Neither that it was used nor what was answered. Mutant caught: `refuse` looks the key up before the run."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        await hub.publish(WORKSPACE, run, logs(1), Once("k", "digest"))
        for digest in ("digest", "another digest"):
            with pytest.raises(NotFound):
                await hub.refuse("other", run, Once("k", digest), Invalid("no"))


async def test_a_viewer_that_falls_behind_within_a_cycle_gets_the_newest_frame(tmp_path: Path) -> None:
    """By a heartbeat that is not taken, before the cycle has come to it. Mutant caught: `fall_behind` takes for heard
    what is only on its way."""
    async with hubs(tmp_path, 1) as (hub,):
        run = await make_run(hub)
        ears, viewers = await listen_all(hub, run, SEVERAL_SLICES)
        channel = hub._channels[run]
        channel.deliver([event(run, await start_of(hub, run), 0, "frame")])
        assert ears[-1].events == []
        viewers[-1].fell_behind()
        await until(lambda: channel._cycle is None, "the others have it")
        viewers[-1].ready()
        assert [heard.type for heard in ears[-1].events] == ["frame"]


def _count_reads(hub: Hub) -> list[str]:
    """The names of the store's reads, as they happen."""
    reads: list[str] = []
    read = hub.store._read

    async def counted(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        reads.append(function.__name__)
        return await read(function, *given, **named)

    hub.store._read = counted  # type: ignore[method-assign]
    return reads


@pytest.mark.parametrize("ended", [False, True])
async def test_a_storm_of_returning_viewers_reads_the_store_three_times(tmp_path: Path, ended: bool) -> None:
    """Caught: each viewer that came before the channel had begun, or after the end, asked where the run stands."""
    async with hubs(tmp_path, 1) as (hub,):
        hub._lookout.stop()
        run = await make_run(hub)
        await publish(hub, run, *range(500))
        await hub.publish(WORKSPACE, run, draft("done", status="completed") if ended else draft("log", message=""))
        start = Position((await hub.store.head(run)).epoch, 0)
        reads = _count_reads(hub)
        ears = [Ear() for _ in range(300)]
        viewers = await asyncio.gather(*[listen(hub, run, ear, start) for ear in ears])
        await until(lambda: all(viewer.cursor == 501 for viewer in viewers), "all are level")
        assert len(reads) <= 3, reads


async def test_who_is_told_of_no_run_looks_for_itself(tmp_path: Path) -> None:
    """Caught: a viewer that came after its run was made shared the read of one that came before, and got 404."""
    async with hubs(tmp_path, 1) as (hub,):
        read, begun, go_on = hub.store._read, asyncio.Event(), asyncio.Event()

        async def slow(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
            found = await read(function, *given, **named)
            if function.__name__ == "heads" and not begun.is_set():
                begun.set()
                await go_on.wait()
            return found

        hub.store._read = slow  # type: ignore[method-assign]
        early = asyncio.create_task(listen(hub, "RUN-A", Ear()))
        await begun.wait()
        await make_run(hub)
        late = asyncio.create_task(listen(hub, "RUN-A", Ear()))
        await asyncio.sleep(0)
        go_on.set()
        assert (await late).channel is not None
        with pytest.raises(NotFound):
            await early
