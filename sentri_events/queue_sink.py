"""A follower in Python: the same cursor as a socket's, with a bounded queue of events in place of its buffer."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from sentri_events.event import Event, encode
from sentri_events.position import Position
from sentri_events.viewer import Viewer

if TYPE_CHECKING:
    from sentri_events.hub import Opening

PIECES = 16


class EventsDialect(NamedTuple):
    """Events as they are."""

    def shows(self, kind: str) -> bool:
        """All are wanted."""
        return True

    def join(self, events: Sequence[Event]) -> list[Event]:
        """A list of them."""
        return list(events)


class QueueSink:
    """Holds a few pieces; asked for more than that, it says so and is ready again when they are taken."""

    def __init__(self, run: str) -> None:
        self.position: Position | None = None
        self._viewer: Viewer | None = None
        self._run = run
        self._pieces: deque[list[Event]] = deque()
        self._full = False
        self._finished = False
        self._waker: asyncio.Future[None] | None = None
        self._events: deque[Event] = deque()

    def opened(self, opening: "Opening") -> "QueueSink":
        """A reset and a snapshot become events without a number."""
        place, events = opening.place, []
        if opening.reset is not None:
            json = encode({"type": "reset", "reason": opening.reset})
            events.append(Event(self._run, place.epoch, 0, 0, "reset", json))
        if opening.snapshot is not None:
            json = b'{"type":"snapshot","run":%b}' % opening.snapshot.document
            events.append(Event(self._run, place.epoch, 0, 0, "snapshot", json))
        self.position = Position(place.epoch, opening.cursor)
        self.write(events)
        return self

    def start(self, viewer: Viewer) -> bool:
        """There is room."""
        self._viewer = viewer
        return True

    def write(self, data: list[Event]) -> bool:
        """Keep the piece."""
        self._pieces.append(data)
        self._full = len(self._pieces) >= PIECES
        self._wake()
        return not self._full

    def finish(self, last: bytes = b"") -> None:
        """The iteration ends after what was written. `last` is for who has a connection to lose."""
        self._finished = True
        self._wake()

    def beat(self) -> bool:
        """An iterator needs no heartbeat."""
        return not self._full

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    def __aiter__(self) -> "QueueSink":
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._pieces:
                self._events.extend(self._pieces.popleft())
                if self._full and len(self._pieces) < PIECES / 2 and self._viewer is not None:
                    self._full = False
                    self._viewer.ready()
            elif self._finished:
                raise StopAsyncIteration
            else:
                self._waker = asyncio.get_running_loop().create_future()
                await self._waker
        event = self._events.popleft()
        if event.seq:
            self.position = Position(event.epoch, event.seq)
        return event
