"""Events between instances over Redis pub/sub, on the original's channels (protocol, section 7): one server, directly
or as the primary that sentinels name."""

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from functools import partial

from sentri_events.backend import Receiver
from sentri_events.backends.message import (
    SIGNED,
    SPENT_CHANNEL,
    Bell,
    Hint,
    Spent,
    address,
    channel_of,
    from_message,
    read_spent,
    signature,
)
from sentri_events.backends.redis_line import Line
from sentri_events.backends.redis_servers import connect_to_primary
from sentri_events.backends.redis_url import Address
from sentri_events.errors import SentriEventsError
from sentri_events.event import Event, encode

PROBE = 2.0
log = logging.getLogger(__name__)


class RedisBackend:
    """Keeps the contract of `sentri_events.backend.Backend`, and owns the line to the server.

    `probe`: seconds between two messages to oneself, and until one must be back. `counts`: `published`, of which
    `dropped` were not sent as they are; `received` from others, of which `refused` were no events; `outages`.
    """

    shared = True

    def __init__(self, address: Address, probe: float = PROBE) -> None:
        self.origin = f"inst_{time.time_ns() // 1_000_000}_{secrets.token_hex(6)}"
        self.counts = dict.fromkeys(("published", "dropped", "received", "refused", "outages"), 0)
        self._address = address
        self._probe = probe
        self._signature = signature(self.origin)
        # What each channel is about: a run, a workspace, or how much callers have spent.
        self._topics: dict[bytes, str | Bell | Spent] = {SPENT_CHANNEL: Spent()}
        self._lines: dict[Line, asyncio.Task[None]] = {}
        self._line: Line | None = None

    async def start(self, receiver: Receiver) -> None:
        """Returns when Redis has answered, or when it is known that it does not."""
        self._receiver = receiver
        self._line = self._add(Line(self, partial(connect_to_primary, self._address), self._probe))
        await self._line.trouble.known.wait()

    async def close(self) -> None:
        """Sends what waits, for a moment at most."""
        await asyncio.gather(*(line.flush() for line in self._lines))
        await self._remove(list(self._lines))

    @property
    def trouble(self) -> str | None:
        """The first line's that has any."""
        return next((line.trouble.sentence for line in self._lines if line.trouble.sentence is not None), None)

    def publish(self, event: Event) -> None:
        """Puts the event into the outbox of the server that carries the run."""
        self.counts["published"] += 1
        line = self._line_of(channel_of(event.run))
        if line is None:
            self.counts["dropped"] += 1
        else:
            line.outbox.put(event)

    async def subscribe(self, run: str) -> None:
        """Waits for Redis to confirm it, but no longer than `redis_line.CONFIRM`."""
        await self._subscribe(channel_of(run), run)

    async def unsubscribe(self, run: str) -> None:
        """Does not wait for Redis."""
        self._unsubscribe(channel_of(run))

    def ring(self, workspace: str) -> None:
        """Puts a bell into the outbox of the server that carries the workspace's channel."""
        self._put(Bell(workspace))

    async def listen(self, workspace: str) -> None:
        """Waits as `subscribe` does."""
        bell = Bell(workspace)
        await self._subscribe(address(bell), bell)

    def ignore(self, workspace: str) -> None:
        """Does not wait for Redis."""
        self._unsubscribe(address(Bell(workspace)))

    def spend(self, requests: Mapping[str, int]) -> None:
        """Puts it into the outbox of the server that carries that channel."""
        self._put(Spent(encode(requests)))

    def _put(self, letter: Bell | Spent) -> None:
        line = self._line_of(address(letter))
        if line is not None:
            line.outbox.put(letter)

    async def _subscribe(self, channel: bytes, topic: str | Bell) -> None:
        self._topics[channel] = topic
        line = self._line_of(channel)
        if line is not None:
            await line.subscribe(channel)

    def _unsubscribe(self, channel: bytes) -> None:
        self._topics.pop(channel, None)
        line = self._line_of(channel)
        if line is not None:
            line.unsubscribe(channel)

    # What a line asks and tells

    def wanted(self, line: Line) -> Iterable[bytes]:
        """The channels of that line."""
        return self._topics

    def listens(self, channel: bytes) -> bool:
        """Whether it is one of them."""
        return channel in self._topics

    def heard(self, channel: bytes, message: bytes) -> None:
        """A message of another instance, or an echo of one's own."""
        topic = self._topics.get(channel)
        if topic is None or self._signature in message[-SIGNED:]:
            return
        if isinstance(topic, Bell):
            self._receiver.rang(topic.workspace)
            return
        self.counts["received"] += 1
        try:
            if isinstance(topic, Spent):
                for who, requests in read_spent(message).items():
                    self._receiver.spent(who, requests)
                return
            letter = from_message(topic, message)
        except SentriEventsError as error:
            self.counts["refused"] += 1
            log.debug("A message for %s was refused: %s", channel.decode(errors="replace"), error)
            return
        if isinstance(letter, Hint):
            self._receiver.hint(*letter)
        else:
            self._receiver.deliver(letter)

    def restored(self) -> None:
        """Messages come again; which ones did not is not known."""
        self._receiver.missed()

    def interrupted(self) -> None:
        """A line comes back by itself."""

    def _line_of(self, channel: bytes) -> Line | None:
        return self._line

    def _add(self, line: Line) -> Line:
        self._lines[line] = asyncio.create_task(line.run())
        return line

    async def _remove(self, lines: Iterable[Line]) -> None:
        tasks = [self._lines.pop(line) for line in lines]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
