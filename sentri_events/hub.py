"""The two verbs: `publish` and `follow`. Everyone writes and reads through them: HTTP, CLI and Python.

A follower's run is subscribed, and the subscription confirmed, before anything of it is read: what is published
meanwhile is either in what is read or delivered after it, never between.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from tornado.ioloop import PeriodicCallback

from sentri_events.audience import Audience
from sentri_events.backend import Backend
from sentri_events.channel import Channel
from sentri_events.dialect import Dialect
from sentri_events.errors import BadRequest, Conflict, NotFound, SentriEventsError, Unavailable
from sentri_events.event import Draft, Event, Rules, check_fields, drafts, read_json
from sentri_events.limits import Limits
from sentri_events.listing import Page
from sentri_events.lists import Lists
from sentri_events.position import Position
from sentri_events.queue_sink import EventsDialect, QueueSink
from sentri_events.settings import Settings
from sentri_events.store import Store
from sentri_events.store_read import Head, Snapshot
from sentri_events.store_write import Answer, Once
from sentri_events.viewer import Followed, Sink, Viewer

LOGS = 10_000  # lines of the log in a snapshot
HEARD_RUNS = 10_000
WATCH = 1.0  # seconds between two looks at the heads, where there may be other processes
log = logging.getLogger(__name__)


class Opening(NamedTuple):
    """What a follower begins with. `reset` is why its position is of no use; `snapshot` is what it gets instead.

    `cursor` is where it stands after that; `place` is where the run stood when it was judged.
    """

    place: Head
    cursor: int
    reset: str | None
    snapshot: Snapshot | None


class Hub:
    """One process's hub. Use `server.open_hub` to build one.

    `audience` are all who follow, `stopping` says that they are being sent away. `channel_kind` and `traced` are for
    `tracing`.
    """

    channel_kind: type[Channel] = Channel
    traced = False

    def __init__(self, store: Store, backend: Backend, settings: Settings) -> None:
        self.store = store
        self.backend = backend
        self.settings = settings
        self.meter = store.meter
        self.limits = Limits(settings)
        self._rules = Rules(settings.volatile, settings.max_event_bytes)
        self._channels: dict[str, Channel] = {}
        self.audience = Audience(settings.heartbeat, lambda: backend.shared or store.shared, self._tidy)
        self._lists = Lists(store, backend, self.audience.remove)
        self._rung: set[str] = set()
        self._subscribed: set[str] = set()
        self._gates: dict[str, asyncio.Lock] = {}
        self._comparing: dict[str, asyncio.Task[Head | None]] = {}
        self._heard: OrderedDict[str, float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopping = False
        self._lookout = PeriodicCallback(self._watch, WATCH * 1000)

    async def start(self) -> None:
        """Open the store and the backend and begin to beat."""
        self.store.committed = self._committed
        self.store.touched = self._touched
        self.store.doubted = self.missed
        await self.store.open()
        await self.backend.start(self)
        if self.backend.shared:
            self.limits.share(self.backend.spend)
        self.audience.start()
        if self.backend.shared or self.store.shared:
            self._lookout.start()

    async def stop(self) -> None:
        """End every follower, store what was accepted, let go of everything."""
        self.stopping = True
        self.audience.stop()
        self._lookout.stop()
        self.audience.send_all_away()
        for task in self._tasks:
            task.cancel()
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
        self._lists.close()
        await self.store.close()  # what it commits last is still to be told to the others
        await self.backend.close()

    @property
    def viewers(self) -> int:
        """How many follow here."""
        return len(self.audience)

    async def drain(self, longest: float) -> None:
        """Send every follower away within `longest` seconds, and from now on whoever comes."""
        self.stopping = True
        await self.audience.drain(longest)

    # Publish

    async def create_run(
        self,
        workspace: str,
        project: str,
        fields: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        once: Once | None = None,
        make_project: bool = False,
    ) -> Answer:
        """Make a run and answer its document; without an `id` it gets a number. `fields` are those of `check_fields`.

        Raises `Conflict` if the id is taken, `NotFound` for a missing project unless `make_project`, `Unavailable`.
        """
        checked = check_fields(fields or {})
        prefix = self.settings.run_id_prefix
        return await self.store.create_run(workspace, project, id, prefix, checked, once, make_project)

    def drafts(self, payloads: list[dict[str, Any]], volatile: bool = False) -> list[Draft]:
        """Judge events, `{"type": …, …}` each, by this hub's settings. Raises `Invalid`, `TooLarge`."""
        return drafts(payloads, self._rules, self.store.clock(), volatile)

    async def publish(
        self, workspace: str, run: str, drafts: Sequence[Draft], once: Once | None = None, project: str | None = None
    ) -> Answer:
        """Store and number `drafts`, all or none, and hand them to everyone who follows.

        Returns after the commit. With `once`, a repetition gives the first answer again and no second event. With
        `project`, a run of another project is missing.
        Raises `NotFound`, `Conflict` (the run has ended), `Invalid` (the key is another request's), `Unavailable`.
        """
        if once is None and all(draft.volatile for draft in drafts):
            return await self._publish_volatile(workspace, run, drafts, project)
        answer = await self.store.append(workspace, run, drafts, once, project=project)
        channel = self._channels.get(run)
        if channel is not None:
            await channel.room()
        return answer

    async def refuse(
        self, workspace: str, run: str, once: Once | None, refusal: SentriEventsError, project: str | None = None
    ) -> Answer:
        """What a request gets whose body was refused: its first answer, if it was answered before; else an error.

        Raises the first that holds (protocol, section 3): the key is another request's, the body cannot be read, the
        run is missing, the run has ended, `refusal`.
        """
        try:
            place = await self.head(workspace, run, project)
        except NotFound:
            raise refusal if isinstance(refusal, BadRequest) else NotFound from None
        if once is not None:
            answer = await self.store.answered(run, once)
            if answer is not None:
                return answer
        if place.ended and not isinstance(refusal, BadRequest):
            raise Conflict("The run has ended.")
        raise refusal

    async def head(self, workspace: str, run: str, project: str | None = None) -> Head:
        """Where the run stands in the store. Raises `NotFound`, for a run of another workspace or `project` too."""
        place = await self.store.head(run)
        if place.workspace != workspace or project not in (None, place.project):
            raise NotFound
        return place

    async def _publish_volatile(self, workspace: str, run: str, drafts: Sequence[Draft], project: str | None) -> Answer:
        place = await self.head(workspace, run, project)
        if place.ended:
            raise Conflict("The run has ended.")
        now = asyncio.get_running_loop().time()
        if now - self._heard.get(run, -math.inf) > self.settings.run_timeout / 10:
            await self.store.hear(workspace, run)
            self._heard[run] = now
            self._heard.move_to_end(run)
            if len(self._heard) > HEARD_RUNS:
                self._heard.popitem(last=False)
        self._tell([Event(run, place.epoch, 0, draft.at, draft.type, draft.json) for draft in drafts], time.monotonic())
        channel = self._channels.get(run)
        if channel is not None:
            await channel.room()
        return Answer(b'{"runId":"%b"}' % run.encode(), stored=False)

    def _committed(self, events: list[Event]) -> None:
        self._tell(events, self.meter.committed_at)

    def _tell(self, events: list[Event], since: float) -> None:
        """Tell this process first, then ring the bell for the others. They are events `since` that time."""
        stored = sum([event.seq > 0 for event in events])
        self.meter.stored += stored
        self.meter.volatile += len(events) - stored
        self.meter.published_bytes += sum([len(event.json) for event in events])
        for run, own in _by_run(events).items():
            channel = self._channels.get(run)
            if channel is not None:
                channel.deliver(own, since)
        if self.backend.shared:
            for event in events:
                self.backend.publish(event)

    def _touched(self, workspaces: set[str]) -> None:
        """Runs of theirs were made or changed. The others are told once a second: more often they would not look."""
        self._lists.ring(workspaces)
        if self.backend.shared:
            for workspace in workspaces - self._rung:
                self.backend.ring(workspace)
            self._rung |= workspaces

    # Follow

    async def follow(
        self,
        workspace: str,
        run: str,
        position: Position | None,
        opened: Callable[[Opening], Sink],
        dialect: Dialect,
        *,
        logs: int = LOGS,
        meta: bool = False,
        snapshot: bool = True,
        grouped: bool = False,
    ) -> Viewer | None:
        """Give the sink that `opened` makes of the opening every event after it, each once and in order.

        Returns None, and opens nothing, if the position is the head of an ended run: nothing will ever follow.
        The sink is finished after `done`. One that is `grouped` shares a connection, and is not asked to beat.
        Raises `NotFound` or `Unavailable` before anything is opened.
        """
        while True:
            async with self._joined(workspace, run) as channel:
                opening = await self._judge(channel, position, logs, meta, snapshot)
                if self._channels.get(run) is not channel:
                    continue  # the run was made anew meanwhile
                if opening is None:
                    return None
                sink = opened(opening)
                viewer = channel.join(sink, dialect, opening.cursor)
                if opening.reset is not None:
                    self.meter.resets[opening.reset] += 1
                if viewer.cursor < channel.head:
                    self.meter.catch_ups["new" if position is None else "returned"] += 1
                self._start(viewer, channel, grouped)
                return viewer

    async def follow_runs(
        self, workspace: str, project: str | None, limit: int, opened: Callable[[Page], Sink], dialect: Dialect
    ) -> Viewer:
        """Give the sink that `opened` makes of the newest `limit` runs every change of a run after that, as an event
        without a number; one who is behind is given the newest of each run. `project` None: of the whole workspace.

        Raises `Unavailable` before anything is opened.
        """
        async with self._lists.joined(workspace, project) as listing:
            page = await self._lists.page(listing, limit)
            viewer = listing.join(opened(page), dialect)
            self._start(viewer, listing)
            return viewer

    def _start(self, viewer: Viewer, followed: Followed, grouped: bool = False) -> None:
        if not grouped:
            self.audience.add(viewer)
        if viewer.sink.start(viewer):
            followed.advance(viewer)
        if self.stopping:  # it came over a connection that was open: it is sent away like the others
            self.audience.send_away(viewer)

    async def events(self, workspace: str, run: str, position: Position | None = None) -> AsyncGenerator[Event, None]:
        """Every event after `position` (without one: from a snapshot on), until `done`, or until the hub stops.

        A snapshot and a reset come as events of those types, without a number. Raises `NotFound`.
        """
        while not self.stopping:
            sink = QueueSink(run)
            viewer = await self.follow(workspace, run, position, sink.opened, EventsDialect())
            if viewer is None:
                return
            try:
                async for event in sink:
                    yield event
                    if event.type == "done" and event.seq:
                        return
            finally:
                viewer.leave()
            position = sink.position

    async def _judge(
        self, channel: Channel, position: Position | None, logs: int, meta: bool, snapshot: bool
    ) -> Opening | None:
        assert channel.place is not None
        place = channel.place._replace(head=channel.head, status="completed" if channel.ended else "running")
        reason = None if position is None else position.objection(place)
        if reason is not None:  # the store may be ahead of this process, or have trimmed
            place = await self.store.head(channel.run)
            channel.compare(place)
            reason = position.objection(place) if position is not None else None
        if position is not None and reason is None:
            ended_there = place.ended and position.seq == place.head
            return None if ended_there else Opening(place, position.seq, None, None)
        if position is None and not snapshot:
            return Opening(place, place.head - place.ended, None, None)
        taken = await channel.snapshot(logs, meta)
        channel.compare(taken.head)
        place = taken.head
        return Opening(place, max(place.head - place.ended, place.floor), reason, taken)

    @asynccontextmanager
    async def _joined(self, workspace: str, run: str) -> AsyncIterator[Channel]:
        """The run's channel, begun, and kept while inside. Raises `NotFound` before anything is subscribed."""
        channel = self._channels.get(run)
        foreign = channel is not None and channel.place is not None and channel.place.workspace != workspace
        if channel is None or channel.ended or foreign:  # a foreign run takes as long as a missing one, watched or not
            channel = await self._compared(workspace, run)
        if channel is None:
            channel = self._channels[run] = self.channel_kind(run, self.store, self.audience.remove, self._gone)
            channel.begun = asyncio.create_task(self._begin(channel))
        channel.joining += 1
        try:
            assert channel.begun is not None
            await asyncio.shield(channel.begun)
            if channel.place is None or channel.place.workspace != workspace:
                raise NotFound
            yield channel
        finally:
            channel.joining -= 1

    async def _compared(self, workspace: str, run: str) -> Channel | None:
        """The run's channel, if there is one and the store still has that very run: an ended one may be pruned.

        One read for all who ask at once. But who is told of no run looks for itself: it may have been made meanwhile.
        """
        reading = self._comparing.get(run)
        place = None if reading is None else await asyncio.shield(reading)
        if place is None:
            reading = self._comparing[run] = asyncio.create_task(self._compare(run))
            reading.add_done_callback(partial(self._was_compared, run))
            place = await asyncio.shield(reading)
        if place is None or place.workspace != workspace:
            raise NotFound
        return self._channels.get(run)

    async def _compare(self, run: str) -> Head | None:
        place = (await self.store.heads([run])).get(run)
        channel = self._channels.get(run)
        if channel is not None:
            channel.compare(place)
        return place

    def _was_compared(self, run: str, task: "asyncio.Task[Head | None]") -> None:
        if self._comparing.get(run) is task:
            del self._comparing[run]
        if not task.cancelled():
            task.exception()  # whoever asked is told, if there is still anybody

    async def _begin(self, channel: Channel) -> None:
        """Subscribe, and only then read where the run stands: the whole secret of losing nothing."""
        try:
            async with self._gate(channel.run):
                if channel.run not in self._subscribed:
                    await self.backend.subscribe(channel.run)
                    self._subscribed.add(channel.run)
            channel.begin(await self.store.head(channel.run))
        except BaseException:
            await self._close(channel)
            raise

    async def _close(self, channel: Channel) -> None:
        """Forget the channel, then the subscription, unless somebody came for the run meanwhile."""
        channel.close()
        if self._channels.get(channel.run) is channel:
            del self._channels[channel.run]
        async with self._gate(channel.run):
            if channel.run not in self._channels and channel.run in self._subscribed:
                self._subscribed.discard(channel.run)
                await self.backend.unsubscribe(channel.run)

    def _gate(self, run: str) -> asyncio.Lock:
        """Subscribing to a run and unsubscribing from it take turns."""
        return self._gates.setdefault(run, asyncio.Lock())

    def _gone(self, channel: Channel) -> None:
        if self._channels.get(channel.run) is channel:
            del self._channels[channel.run]
            self._own(self._close(channel))

    # What a backend tells

    def deliver(self, event: Event) -> None:
        """An event of another process: its number decides what is done with it."""
        channel = self._channels.get(event.run)
        if channel is None:
            return
        if event.type == "done" and not event.seq:
            self._own(self._end_foreign(channel, event))
        else:
            channel.deliver([event])

    def hint(self, run: str, epoch: str, seq: int) -> None:
        """An event of another process that is to be read from the store."""
        channel = self._channels.get(run)
        if channel is not None:
            channel.hint(epoch, seq)

    def rang(self, workspace: str) -> None:
        """Another process has made or changed runs of that workspace."""
        self._lists.ring([workspace])

    def spent(self, who: str, requests: int) -> None:
        """Another process has granted that caller so many requests."""
        self.limits.spent(who, requests)

    def missed(self) -> None:
        """Anything may have passed by: every channel and every list looks at the store."""
        for channel in self._channels.values():
            channel.look()
        self._lists.ring_all()

    async def _end_foreign(self, channel: Channel, event: Event) -> None:
        """The original has ended a run of ours: its `done` becomes a stored one, once, whoever is first."""
        try:
            place = await self.store.head(event.run)
            await self.publish(place.workspace, event.run, self.drafts([read_json(event.json)]))
        except (Conflict, NotFound):
            channel.look()
        except SentriEventsError as error:
            log.warning("Run %s: a done that came without a number is not taken: %s", event.run, error)

    async def _watch(self) -> None:
        """Compare every followed run with the store, in one query, and every list in another: a bell may fall silent on
        healthy links."""
        self._rung.clear()
        self._lists.ring_all()
        channels = dict(self._channels)
        if not channels:
            return
        try:
            places = await self.store.heads(list(channels))
        except Unavailable:
            return  # the store says so itself; when it is back, the next look sees what was missed
        for run, channel in channels.items():
            channel.compare(places.get(run))

    def _tidy(self) -> None:
        """Let go of what nobody uses any more."""
        for channel in list(self._channels.values()):
            channel.tidy()
            if channel.unused:
                self._gone(channel)  # at once: whoever comes before it is closed gets another one
        self._lists.tidy()
        self._gates = {run: gate for run, gate in self._gates.items() if run in self._channels or gate.locked()}

    def _own(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _by_run(events: list[Event]) -> dict[str, list[Event]]:
    if events[0].run == events[-1].run and all(event.run == events[0].run for event in events):
        return {events[0].run: events}
    runs: dict[str, list[Event]] = {}
    for event in events:
        runs.setdefault(event.run, []).append(event)
    return runs
