"""Several runs on one connection: a viewer for each of them, and one sink at which they take turns.

What is the same for all who follow a run is made once; the ids are each connection's own, for they hold all positions.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from sentri_events.dialect import StreamDialect
from sentri_events.errors import NotFound, SentriEventsError
from sentri_events.event import Event, encode
from sentri_events.hub import Hub, Opening
from sentri_events.position import read_position, write_position
from sentri_events.sse import frame
from sentri_events.viewer import Lane, Sink, Viewer

BETWEEN = "~"  # two positions of an id; one of a run that was not begun is empty


class Block(NamedTuple):
    """An event as it is sent, but for its id. `position` is that of a durable one; `last` if nothing follows it."""

    position: str | None
    last: bool
    text: bytes


class MergedDialect(NamedTuple):
    """A stream's, with `_run` in each event."""

    stream: StreamDialect

    def shows(self, kind: str) -> bool:
        """As the stream's."""
        return self.stream.shows(kind)

    def join(self, events: Sequence[Event]) -> list[Block]:
        """Their blocks."""
        return [self._block(event) for event in events]

    def _block(self, event: Event) -> Block:
        text = self.stream.block(replace(event, json=_marked(event.json, event.run)))
        if not event.seq:
            return Block(None, False, text)
        return Block(write_position(event.epoch, event.seq), event.type == "done", text.partition(b"\n")[2])

    def beginning(self, run: str, opening: Opening) -> list[Block]:
        """What a run begins with. A snapshot is large: all who begin with the same one share its text."""
        if opening.snapshot is None:
            return []
        blocks = []
        if opening.reset is not None:
            json = encode({"type": "reset", "reason": opening.reset})
            blocks.append(Block(None, False, self._frame(run, "reset", json)))
        asked = ("_run", self.stream.named)
        text = opening.snapshot.begun.get(asked)
        if text is None:
            json = b'{"type":"snapshot","run":%b}' % self.stream.document(opening.snapshot.document)
            text = opening.snapshot.begun[asked] = self._frame(run, "snapshot", json)
        return [*blocks, Block(write_position(opening.place.epoch, opening.cursor), False, text)]

    def _frame(self, run: str, kind: str, json: bytes) -> bytes:
        return frame(_marked(json, run), None, kind if self.stream.named else None)


class Part:
    """One of the runs, and its viewer's sink. `wanted` is from where; `over`, that nothing of it follows.

    `position` is what stands for it in an id: empty while it is not begun, and so a new viewer's. `refused` says that
    the viewer waits for the sink, and not for the store: nobody else is to be told that it takes pieces again.
    """

    def __init__(self, merge: "Merge", run: str, position: str) -> None:
        self.run = run
        self.wanted = read_position(position)
        self.position = position if self.wanted is not None and self.wanted.seq >= 0 else ""
        self.viewer: Viewer | None = None
        self.over = False
        self.refused = False
        self._merge = merge
        self._ended = False

    def opened(self, opening: Opening) -> "Part":
        """The sink, with its beginning sent or waiting to be."""
        self._merge.open()
        position = write_position(opening.place.epoch, opening.cursor)
        blocks = self._merge.dialect.beginning(self.run, opening)
        if not blocks and self.wanted is None:
            blocks = [Block(position, False, b"\n")]
        self.write(blocks)
        self.position = position
        return self

    def start(self, viewer: Viewer) -> bool:
        """Whether there is room."""
        self.viewer = viewer
        if self._merge.closed:
            viewer.leave()
        return self._taken()

    def write(self, data: list[Block]) -> bool:
        """With the ids that are this connection's."""
        if self._merge.closed or not data:
            return self._taken()
        body = []
        for position, last, text in data:
            if position is not None:
                self.position = position
                self._ended = self._ended or last
                body.append(b"id: %b\n" % self._merge.id.encode())
            body.append(text)
        self._merge.send(b"".join(body))
        return self._taken()

    def finish(self, last: bytes = b"") -> None:
        """After its `done` the others go on; or else it is to come back, and so are they."""
        if self._ended:
            self.end()
        else:
            self._merge.end(last)

    def end(self) -> None:
        """Nothing of it follows. The connection ends with the last of its runs."""
        self.over = True
        if all(part.over for part in self._merge.parts):
            self._merge.end()

    def beat(self) -> bool:
        """The connection has one heart."""
        return True

    def go_on(self) -> None:
        """The sink takes pieces again."""
        if self.viewer is not None and self.refused:
            self.refused = False
            self.viewer.ready()

    def _taken(self) -> bool:
        self.refused = not self._merge.free.is_set()
        return not self.refused


class Merge:
    """What the connection's own viewer follows. `open_sink` begins the stream and gives its sink; it is called once.

    `free` is set while the sink takes pieces, and once it never will again (`closed`). A piece that comes while it does
    not is kept: one at most of each run, and then its viewer is behind.
    """

    volatile_seen = 0

    def __init__(
        self,
        hub: Hub,
        runs: Sequence[str],
        positions: str,
        open_sink: Callable[[], Sink],
        dialect: StreamDialect,
    ) -> None:
        texts = positions.split(BETWEEN) if positions else [""] * len(runs)
        if len(texts) != len(runs):
            texts = ["malformed"] * len(runs)
        self.parts = [Part(self, run, text) for run, text in zip(runs, texts, strict=True)]
        self.dialect = MergedDialect(dialect)
        self.free = asyncio.Event()
        self.free.set()
        self.closed = False
        self._hub = hub
        self._open_sink = open_sink
        self._viewer: Viewer | None = None
        self._kept: deque[bytes] = deque()
        self._farewell: bytes | None = None
        self._turn = 0

    @property
    def begun(self) -> bool:
        """Whether the stream has a sink."""
        return self._viewer is not None

    @property
    def over(self) -> bool:
        """Whether no run is to be begun any more."""
        return self.closed or self._farewell is not None

    @property
    def id(self) -> str:
        """All positions, in the order of the runs."""
        return BETWEEN.join([part.position for part in self.parts])

    def open(self) -> None:
        """Begin the stream, unless it is begun."""
        if self._viewer is None:
            sink = self._open_sink()
            self._viewer = Viewer(sink, self, Lane(self.dialect), 0)
            self._hub.audience.add(self._viewer)
            if not sink.start(self._viewer) and not self.closed:
                self.free.clear()

    def send(self, body: bytes) -> None:
        """Whole blocks, now or when the sink takes them."""
        self._kept.append(self.dialect.stream.wrap(body))
        self._send_kept()

    def end(self, farewell: bytes = b"") -> None:
        """End the stream when all is sent that was kept; `farewell` is its last block. Harmless if it is ending."""
        if self._farewell is None:
            self._farewell = farewell
            self._leave_parts()
            self._end_if_sent()

    def advance(self, viewer: Viewer) -> None:
        """The sink takes pieces again: what was kept, then all runs in turn."""
        self.free.set()
        self._send_kept()
        self._turn = (self._turn + 1) % len(self.parts)
        for part in [*self.parts[self._turn :], *self.parts[: self._turn]]:
            if self.free.is_set():
                part.go_on()
        self._end_if_sent()

    def fall_behind(self, viewer: Viewer) -> None:
        """The sink is busy."""
        self.free.clear()

    def leave(self, viewer: Viewer) -> None:
        """The connection is gone."""
        viewer.channel = None
        self.closed = True
        self._kept.clear()
        self._leave_parts()
        self.free.set()
        self._hub.audience.remove(viewer)

    def _send_kept(self) -> None:
        assert self._viewer is not None
        while self._kept and self.free.is_set():
            if not self._viewer.sink.write(self._kept.popleft()) and not self.closed:
                self.free.clear()

    def _leave_parts(self) -> None:
        for part in self.parts:
            if part.viewer is not None:
                part.viewer.leave()

    def _end_if_sent(self) -> None:
        if self._farewell is not None and self._viewer is not None and self.free.is_set() and not self._kept:
            self._viewer.leave()
            self._viewer.sink.finish(self._farewell)


async def check_runs(hub: Hub, workspace: str, runs: Sequence[str]) -> None:
    """Raises `NotFound` if one of them is missing, or is another workspace's."""
    places = await hub.store.heads(runs)
    if any(run not in places or places[run].workspace != workspace for run in runs):
        raise NotFound


async def follow_all(
    hub: Hub,
    workspace: str,
    runs: Sequence[str],
    positions: str,
    open_sink: Callable[[], Sink],
    dialect: StreamDialect,
    *,
    logs: int,
    snapshot: bool,
) -> bool:
    """Give the sink that `open_sink` makes every event of `runs` after `positions`, of each run once and in order.

    Returns once all are begun; one after another, so that no more than one snapshot waits to be sent. False, and
    nothing is opened, if all stand at the heads of ended runs. Raises `NotFound` if one of them is missing, or
    `Unavailable`, before anything is opened.
    """
    await check_runs(hub, workspace, runs)
    merge = Merge(hub, runs, positions, open_sink, dialect)
    try:
        for part in merge.parts:
            await merge.free.wait()
            if merge.over:
                break
            viewer = await hub.follow(
                workspace,
                part.run,
                part.wanted,
                part.opened,
                merge.dialect,
                logs=logs,
                meta=dialect.meta,
                snapshot=snapshot,
                grouped=True,
            )
            if viewer is None:
                part.end()
    except Exception as error:
        merge.end()
        if not merge.begun or not isinstance(error, SentriEventsError):
            raise
    return merge.begun


def _marked(json: bytes, run: str) -> bytes:
    return b'%b,"_run":"%b"}' % (json[:-1], run.encode())
