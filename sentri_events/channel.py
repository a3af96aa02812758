"""One run in this process. A viewer is a cursor: of durable events it is only ever given `cursor + 1` (law 2).

All live viewers are at the head and share the same bytes. Whoever is not (a joiner, a returner, a viewer whose socket
took no more) catches up from recent events or the store at its own pace, and steps in at the head: one path for all.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from sentri_events.dialect import Dialect, Piece, pieces
from sentri_events.errors import NotFound, Unavailable
from sentri_events.event import Event
from sentri_events.recent import Recent
from sentri_events.store import Store
from sentri_events.store_read import Head, Snapshot
from sentri_events.viewer import Lane, Sink, Viewer

SLICE = 24  # viewers that are written to before the loop may do something else
JOINED = 3  # events that must have piled up for a cycle to wait
LONGEST_WAIT = 0.012  # seconds that a cycle waits at most so that more events can be joined
LATE = 0.005  # seconds in which a message that is merely late usually arrives
UNDELIVERED_BYTES = 128 << 10
VOLATILE_TYPES = 64
EARLY = 1000
SNAPSHOTS = 8  # of different numbers of log lines
RETRY = (0.25, 2.0)
log = logging.getLogger(__name__)


class Channel:
    """The run's head in this process, its viewers, and its recent events. Made by the hub, begun once it is subscribed.

    `joining` counts those who are about to be viewers. `left` is told of each viewer that leaves; `gone`, that the run
    is no more, or another by now, and so the channel of no use.
    """

    def __init__(
        self, run: str, store: Store, left: Callable[[Viewer], None], gone: Callable[["Channel"], None]
    ) -> None:
        self.run = run
        self.place: Head | None = None
        self.head = 0
        self.ended = False
        self.volatile_seen = 0
        self.viewers = 0
        self.joining = 0
        self.begun: asyncio.Task[None] | None = None
        self.lanes: dict[Dialect, Lane] = {}
        self._store = store
        self._meter = store.meter
        self._left = left
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._known = 0
        self._early: dict[int, Event] = {}
        self._recent = Recent()
        self._reading: dict[int, list[Viewer]] = {}
        self._snapshots: dict[tuple[int, bool], asyncio.Task[Snapshot]] = {}
        self._latest: dict[str, tuple[int, Event]] = {}
        self._pending: list[Event] = []
        self._undelivered = 0
        self._cycle: Iterator[None] | None = None
        self._cycle_began = 0.0
        self._since = self._cycle_since = 0.0
        self._volatile_cycled = 0
        self._volatile_written = 0
        self._room: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._mending = False
        self._looking = False
        self._look_again = False

    def begin(self, place: Head) -> None:
        """Take the head that the store has now. What was delivered since the subscription is compared with it."""
        self.place = place
        self.head = place.head
        self.ended = place.ended
        self.note(place)

    def note(self, place: Head) -> None:
        """Somebody has just read where the run stands: that may be more than was delivered."""
        self._known = max(self._known, place.head)
        if place.floor > self.head:  # what did not come was trimmed away, and no event says so
            self.ended = place.ended and place.floor == place.head
            self._jump(place.floor)
        self._mend()

    def close(self) -> None:
        """Nobody follows any more."""
        for task in self._tasks:
            task.cancel()
        self._let_go()

    # What comes in

    def deliver(self, events: Sequence[Event], since: float = 0.0) -> None:
        """Events of this run: from this process's commits in order, from a backend as they come. `since` is when they
        were committed, by `time.monotonic`."""
        for event in events:
            if not event.seq:
                self._take_volatile(event)
            elif self.place is None:
                self._known = max(self._known, event.seq)
            elif event.epoch != self.place.epoch:
                self.look()
            elif event.seq == self.head + 1:
                self._take(event)
            elif event.seq > self.head:
                self._known = max(self._known, event.seq)
                if len(self._early) < EARLY:
                    self._early[event.seq] = event
        if self._early:
            self._take_early()
        self._mend()
        if self._pending:
            self._since = self._since or since or time.monotonic()
            if self._cycle is None:
                self._start_cycle()

    def hint(self, epoch: str, seq: int) -> None:
        """An event is stored that does not come by itself."""
        if self.place is not None and epoch != self.place.epoch:
            self.look()
        else:
            self._known = max(self._known, seq)
            self._mend()

    def compare(self, place: Head | None) -> None:
        """What the store says of the run now; None: that it is gone."""
        if place is None or (self.place is not None and place.epoch != self.place.epoch):
            self._end_all()
        elif self.place is not None:
            self.note(place)

    def look(self) -> None:
        """Anything may have passed by: ask the store where the run stands."""
        self._look_again = True
        if not self._looking:
            self._looking = True
            self._own(self._look())

    async def room(self) -> None:
        """Wait while more than a bound is undelivered: a publisher must not run ahead of the viewers for long."""
        while self._undelivered > UNDELIVERED_BYTES and self._cycle is not None:
            future: asyncio.Future[None] = self._loop.create_future()
            self._room.append(future)
            await future

    def _take(self, event: Event) -> None:
        self.head = event.seq
        self.ended = event.type == "done"
        self._known = max(self._known, event.seq)
        if not self.viewers:
            self._recent.begin_anew()
            return
        self._recent.take(event)
        self._pending.append(event)
        self._undelivered += len(event.json)

    def _take_volatile(self, event: Event) -> None:
        if not self.viewers or self.ended:  # nothing follows `done`
            return
        self.volatile_seen += 1
        self._latest.pop(event.type, None)
        self._latest[event.type] = (self.volatile_seen, event)
        if len(self._latest) > VOLATILE_TYPES:
            del self._latest[next(iter(self._latest))]
        self._pending.append(event)
        self._undelivered += len(event.json)

    def _take_early(self) -> None:
        while (event := self._early.pop(self.head + 1, None)) is not None:
            self._take(event)
        if self._early and min(self._early) <= self.head:
            self._early = {seq: event for seq, event in self._early.items() if seq > self.head}

    def _mend(self) -> None:
        if self.place is not None and self._known > self.head and not self._mending:
            self._mending = True
            self._own(self._fill())

    async def _fill(self) -> None:
        """Read what did not come: wait a moment for what is merely late, then ask the store."""
        assert self.place is not None
        try:
            await asyncio.sleep(LATE)
            self._meter.holes += self._known > self.head
            while self._known > self.head:
                events = await self._patiently(lambda: self._store.after(self.run, self._epoch, self.head))
                if not events:  # the bell rang for what is not stored
                    self._known = self.head
                    self.look()
                elif events[0].seq > self.head + 1:
                    self._jump(events[0].seq - 1)
                self.deliver(events)
                await self.room()
        finally:
            self._mending = False

    def _jump(self, seq: int) -> None:
        """Events that nobody here has seen were trimmed away: whoever was live finds out as a returner would."""
        viewers = [viewer for lane in self.lanes.values() for viewer in lane.live]
        for viewer in viewers:
            self.fall_behind(viewer, cause="trimmed")
        self.head = seq
        self._recent.begin_anew()
        for viewer in viewers:
            self.advance(viewer)

    async def _look(self) -> None:
        try:
            while self._look_again:
                self._look_again = False
                self.compare(await self._patiently(lambda: self._store.head(self.run)))
        except NotFound:
            self.compare(None)
        finally:
            self._looking = False

    # What goes out

    def _start_cycle(self) -> None:
        events, self._pending = self._pending, []
        self._cycle_since, self._since = self._since, 0.0
        self._cycle_began = self._loop.time()
        self._cycle = self._write_all(events)
        self._step()

    def _step(self) -> None:
        assert self._cycle is not None
        for _ in self._cycle:
            self._loop.call_soon(self._step)
            return
        self._meter.lag.observe(time.monotonic() - self._cycle_since)
        self._let_go()
        if not self._pending:
            self._cycle = None
        elif len(self._pending) < JOINED:
            self._loop.call_soon(self._start_cycle)
        else:
            took = self._loop.time() - self._cycle_began
            self._loop.call_later(min(LONGEST_WAIT, took), self._start_cycle)

    def _let_go(self) -> None:
        self._undelivered = sum(len(event.json) for event in self._pending)
        room, self._room = self._room, []
        for future in room:
            if not future.done():
                future.set_result(None)

    def _write_all(self, events: list[Event]) -> Iterator[None]:
        """One cycle: all that has piled up, to everyone who is live, a slice of them at a time."""
        heard = self._volatile_cycled
        self._volatile_cycled += sum(not event.seq for event in events)
        first = next((event.seq for event in events if event.seq), 0)
        work: list[tuple[list[Piece], list[Viewer]]] = []
        for lane in self.lanes.values():
            viewers = list(lane.live)
            level = [viewer for viewer in viewers if viewer.cursor < first] if first else viewers
            work.append((pieces(events, lane.dialect), level))
            if len(level) < len(viewers):  # some stepped in while these events were waiting
                for viewer in set(viewers).difference(level):
                    rest = [event for event in events if not event.seq or event.seq > viewer.cursor]
                    work.append((pieces(rest, lane.dialect), [viewer]))
        written = 0
        for cut, level in work:
            for begin in range(0, len(level), SLICE):
                if written >= SLICE:
                    written = 0
                    yield
                some = level[begin : begin + SLICE]
                self._write_each(some, cut, heard)
                written += len(some)
        self._volatile_written = self._volatile_cycled

    def _write_each(self, viewers: list[Viewer], cut: Sequence[Piece], heard: int) -> None:
        """The same pieces to each that is still live: the innermost loop of all, so it is bare."""
        for upto, volatile, count, data in cut:
            heard += volatile
            left_out = 0
            for viewer in viewers:
                if viewer.live and (viewer.cursor < upto or not upto):
                    try:
                        taken = data is None or viewer.sink.write(data)
                    except Exception:  # noqa: BLE001  of one sink, and logged: the others must not suffer
                        self._drop(viewer)
                        continue
                    if upto:
                        viewer.cursor = upto
                    if not taken:
                        self.fall_behind(viewer, heard)
                else:
                    left_out += 1
            self._meter.delivered += count * (len(viewers) - left_out)
        if self.ended:
            for viewer in viewers:
                if viewer.live and viewer.cursor == self.head:
                    self._finish(viewer)

    def _write(self, viewer: Viewer, cut: Sequence[Piece], heard: int) -> bool:
        for upto, volatile, _, data in cut:
            heard += volatile
            try:
                taken = data is None or viewer.sink.write(data)
            except Exception:  # noqa: BLE001  the same
                self._drop(viewer)
                return False
            if upto:
                viewer.cursor = upto
            if not taken:
                self.fall_behind(viewer, heard)
                return False
        return True

    def _drop(self, viewer: Viewer) -> None:
        log.exception("Run %s: a viewer is let go.", self.run)
        viewer.leave()

    # Who follows

    def join(self, sink: Sink, dialect: Dialect, cursor: int) -> Viewer:
        """A viewer that has everything up to `cursor`. It takes nothing before `advance`."""
        lane = self.lanes.get(dialect)
        if lane is None:
            lane = self.lanes[dialect] = Lane(dialect)
        lane.members += 1
        self.viewers += 1
        return Viewer(sink, self, lane, cursor)

    def leave(self, viewer: Viewer) -> None:
        """Forget the viewer."""
        lane = viewer.lane
        viewer.channel = None
        viewer.live = False
        lane.live.pop(viewer, None)
        lane.members -= 1
        self.viewers -= 1
        if not lane.members:
            del self.lanes[lane.dialect]
        self._left(viewer)

    def fall_behind(self, viewer: Viewer, heard: int | None = None, cause: str = "slow") -> None:
        """Its sink takes no more: it will catch up when it does. `heard` is the last volatile event that it has."""
        if viewer.live:
            viewer.live = False
            del viewer.lane.live[viewer]
            viewer.heard = self._volatile_written if heard is None else heard
            self._meter.catch_ups[cause] += 1

    def advance(self, viewer: Viewer) -> None:
        """Give the viewer what it lacks, as far as its sink takes it; at the head it becomes live."""
        while viewer.channel is self and viewer.cursor < self.head:
            events = self._recent.after(viewer.cursor)
            if events is None:
                self._read(viewer)
                return
            before = viewer.cursor
            taken = self._write(viewer, viewer.lane.pieces(events), viewer.heard)
            self._meter.delivered += viewer.cursor - before
            if not taken:
                return
        if viewer.channel is not self:
            return
        if self.ended:
            self._finish(viewer)
            return
        for number, event in list(self._latest.values()):
            if viewer.heard < number <= self._volatile_cycled and not self._write(
                viewer, pieces([event], viewer.lane.dialect), number - 1
            ):
                viewer.heard = number
                return
        viewer.live = True
        viewer.lane.live[viewer] = None

    @property
    def unused(self) -> bool:
        """Whether nobody follows or is about to."""
        return not self.viewers and not self.joining

    async def snapshot(self, logs: int, with_meta: bool) -> Snapshot:
        """The run document with its last `logs` lines: one read for all who ask while the head is the same.

        It may be of an older moment than the head: the events since then follow it.
        """
        which = (logs, with_meta)
        task = self._snapshots.get(which)
        if task is None or (task.done() and (task.exception() or task.result().head.head != self.head)):
            if len(self._snapshots) == SNAPSHOTS:
                del self._snapshots[next(iter(self._snapshots))]
            task = self._snapshots[which] = self._loop.create_task(self._store.snapshot(self.run, logs, with_meta))
        return await asyncio.shield(task)

    def tidy(self) -> None:
        """Let go of what only a storm of new or returning viewers needed."""
        self._snapshots = {which: task for which, task in self._snapshots.items() if not task.done()}
        if not self._reading:
            self._recent.drop_pages()
            for lane in self.lanes.values():
                lane.cut.clear()

    def _finish(self, viewer: Viewer) -> None:
        self.leave(viewer)
        viewer.sink.finish()

    def _end_all(self) -> None:
        """The run is no more, or is another: viewers come back and are told so."""
        self._gone(self)
        self.ended = True  # who is behind ends when its socket takes more
        waiting = [viewer for viewers in self._reading.values() for viewer in viewers]
        for viewer in [*waiting, *(viewer for lane in self.lanes.values() for viewer in lane.live)]:
            if viewer.channel is self:
                self._finish(viewer)

    def _read(self, viewer: Viewer) -> None:
        """Get the viewer's next page from the store: one read for all who wait for the same."""
        waiting = self._reading.get(viewer.cursor)
        if waiting is not None:
            waiting.append(viewer)
            return
        self._reading[viewer.cursor] = [viewer]
        self._own(self._read_page(viewer.cursor))

    async def _read_page(self, cursor: int) -> None:
        page = None
        try:
            page = await self._patiently(lambda: self._store.after(self.run, self._epoch, cursor))
        finally:
            viewers = [viewer for viewer in self._reading.pop(cursor) if viewer.channel is self]
            if page is None:  # they come back with their position
                for viewer in viewers:
                    self._finish(viewer)
        if page and page[0].seq == cursor + 1:
            self._meter.pages += 1
            self._recent.keep(page)
            for viewer in viewers:
                self.advance(viewer)
        else:  # trimmed away: whoever comes back with that position is told so
            assert self.place is not None
            self.place = self.place._replace(floor=page[0].seq - 1 if page else self.head)
            for viewer in viewers:
                self._finish(viewer)

    @property
    def _epoch(self) -> str:
        assert self.place is not None
        return self.place.epoch

    async def _patiently(self, read: Callable[[], Awaitable[Any]]) -> Any:
        """The store may be away for a while; viewers stay connected, and go on when it is back."""
        delay, longest = RETRY
        while True:
            try:
                return await read()
            except Unavailable as error:
                level = logging.WARNING if delay == RETRY[0] else logging.DEBUG
                log.log(level, "Run %s cannot be read, trying again: %s", self.run, error)
                await asyncio.sleep(delay)
                delay = min(2 * delay, longest)

    def _own(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._disown)

    def _disown(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Run %s: %s", self.run, error, exc_info=error)
