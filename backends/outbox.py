"""What waits to be published to one server: bounded, and words before pictures (promise P11).

A durable event that cannot be sent is not lost for the others: it is owed as a hint, and the newest of a run says all.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from sentri_events.backends.message import Bell, Hint, Letter, Spent
from sentri_events.event import Event

MAX_EVENTS = 50_000
MAX_BYTES = 32 << 20
MAX_OWED = 10_000
BATCH_EVENTS = 1000
BATCH_BYTES = 256 << 10


class Outbox:
    """Open while there is somebody to publish to; or else nothing waits. `filled` is set when there is something to
    take, `idle` by whoever has sent all that there was.

    `counts["dropped"]` are the events that were not sent as they are.
    """

    def __init__(self, counts: dict[str, int]) -> None:
        self.filled = asyncio.Event()
        self.idle = asyncio.Event()
        self._counts = counts
        self._open = False
        self._durable = _Queue()
        self._volatile = _Queue()
        self.owed: dict[str, Hint] = {}

    def open(self) -> None:
        """Keep what is put."""
        self._open = True
        self.filled.set()

    def close(self) -> None:
        """Keep nothing."""
        self._open = False
        for queue in (self._durable, self._volatile):
            self.lose(queue.events)
            queue.clear()

    def put(self, event: Event | Bell | Spent) -> None:
        """Let the event wait. If there is too much, the oldest of its kind goes: the newest says more."""
        if not self._open:
            self.lose([event])
            return
        queue = self._durable if event.seq else self._volatile
        queue.put(event)
        while queue.too_long:
            self.lose([queue.take()])
        self.filled.set()
        self.idle.clear()

    def take(self) -> list[Letter]:
        """What is to be sent next, as much as is well sent at once; empty if nothing waits, or it is not open."""
        batch: list[Letter] = []
        room = BATCH_BYTES
        while self._open and len(batch) < BATCH_EVENTS and room > 0:
            if self._durable.events:
                batch.append(self._durable.take())
            elif self.owed:
                batch.append(self.owed.pop(next(iter(self.owed))))
            elif self._volatile.events:
                batch.append(self._volatile.take())
            else:
                break
            room -= len(getattr(batch[-1], "json", b""))
        return batch

    def lose(self, letters: Iterable[Letter]) -> None:
        """These were taken and could not be sent, or never will be."""
        for letter in letters:
            if isinstance(letter, Event):
                self._counts["dropped"] += 1
            if isinstance(letter, Bell | Spent) or not letter.seq:
                continue
            owed = self.owed.get(letter.run)
            if owed is None and len(self.owed) >= MAX_OWED:
                continue
            if owed is None or owed.epoch != letter.epoch or owed.seq < letter.seq:
                self.owed[letter.run] = Hint(letter.run, letter.epoch, letter.seq)
                self.filled.set()


class _Queue:
    def __init__(self) -> None:
        self.events: deque[Event | Bell | Spent] = deque()
        self._bytes = 0

    def put(self, event: Event | Bell | Spent) -> None:
        self.events.append(event)
        self._bytes += len(event.json)

    def take(self) -> Event | Bell | Spent:
        event = self.events.popleft()
        self._bytes -= len(event.json)
        return event

    def clear(self) -> None:
        self.events.clear()
        self._bytes = 0

    @property
    def too_long(self) -> bool:
        return len(self.events) > MAX_EVENTS or self._bytes > MAX_BYTES
