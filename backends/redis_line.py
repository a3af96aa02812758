"""One Redis server: a connection that listens and one that publishes, opened together and given up together.

Whatever goes wrong with either ends both; new ones are opened, what is wanted by then is subscribed, and the owner is
told that something may have been missed. There is no other way to recover.
"""

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from sentri_events.backends.outbox import Outbox
from sentri_events.backends.redis_servers import command, disconnect, send
from sentri_events.backends.redis_speaker import Speaker
from sentri_events.backends.redis_url import CONNECT
from sentri_events.backends.tasks import until_one_ends
from sentri_events.backends.trouble import Trouble

PAUSES = (0.05, 0.5)  # seconds before the first and before a late attempt to connect again
CONFIRM = 1.0  # seconds that a subscriber waits for Redis
FLUSH = 0.5  # seconds for what still waits when all ends
log = logging.getLogger(__name__)


class Owner(Protocol):
    """Whom a line serves. All is called on the event loop. `counts` is for `Outbox` and `Trouble`."""

    origin: str
    counts: dict[str, int]

    def wanted(self, line: "Line") -> Iterable[bytes]:
        """The channels that are to be heard on that line now."""

    def listens(self, channel: bytes) -> bool:
        """Whether that is one of them."""

    def heard(self, channel: bytes, message: bytes) -> None:
        """A message came."""

    def restored(self) -> None:
        """All that is wanted is heard from now on; before, anything may have passed by."""

    def interrupted(self) -> None:
        """The line was cut, or could not be opened."""


class Line:
    """One server, as long as `run` runs. `find` opens a connection to it. `trouble` is why it is of no use now.

    Every `probe` seconds it is tried whether a message comes back. `shard` is b"S" for a cluster's sharded pub/sub.
    """

    def __init__(
        self, owner: Owner, find: Callable[[], Awaitable[AbstractConnection]], probe: float, shard: bytes = b""
    ) -> None:
        self.trouble = Trouble(owner.counts)
        self.outbox = Outbox(owner.counts)
        self._owner = owner
        self._find = find
        self._interval = probe
        self._shard = shard
        self._probe = b"sentri:probe:" + secrets.token_hex(8).encode()
        self._speaker = Speaker(self.outbox, owner.origin, owner.listens, self._probe, shard)
        self._echo = asyncio.Event()
        self._orders: list[bytes] | None = None
        self._ordered = asyncio.Event()
        self._unconfirmed: deque[tuple[bytes, bytes, asyncio.Future[None]]] = deque()

    async def run(self) -> None:
        """Until it is cancelled, whatever happens."""
        clock = asyncio.get_running_loop().time
        pause = PAUSES[0]
        while True:
            began = clock()
            try:
                await self._session()
            except Exception as error:  # noqa: BLE001  Trouble logs it
                self.trouble.began(error)
                self._owner.interrupted()
            if clock() - began > 2 * PAUSES[1]:
                pause = PAUSES[0]
            await asyncio.sleep(random.uniform(0.5, 1) * pause)  # nosec B311 # a pause
            pause = min(2 * pause, PAUSES[1])

    async def flush(self) -> None:
        """Wait a little until what was put into the outbox is sent."""
        if self.trouble.sentence is None:
            try:
                async with asyncio.timeout(FLUSH):
                    await self.outbox.idle.wait()
            except TimeoutError:
                log.debug("Some events were not published at the end.")

    async def subscribe(self, channel: bytes) -> None:
        """Returns when that is confirmed; or when the line is cut, or after `CONFIRM` seconds: then its owner is told
        once it is `restored`."""
        if self._orders is None:
            return
        confirmed = self._order(self._orders, self._shard + b"SUBSCRIBE", channel)
        try:
            async with asyncio.timeout(CONFIRM):
                await confirmed
        except TimeoutError:
            log.debug("Redis has not confirmed a subscription within %g s.", CONFIRM)

    def unsubscribe(self, channel: bytes) -> None:
        """Does not wait."""
        if self._orders is not None:
            self._order(self._orders, self._shard + b"UNSUBSCRIBE", channel)

    def _order(self, orders: list[bytes], verb: bytes, channel: bytes) -> "asyncio.Future[None]":
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unconfirmed.append((verb.lower(), channel, confirmed))
        orders.append(command(verb, channel))
        self._ordered.set()
        return confirmed

    # A session: as long as both connections hold

    async def _session(self) -> None:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(CONNECT):
                listener = await self._open(stack)
                speaker = await self._open(stack)
            orders = self._orders = []
            for channel in self._owner.wanted(self):
                self._order(orders, self._shard + b"SUBSCRIBE", channel)
            ready = self._order(orders, b"SUBSCRIBE", self._probe)  # confirmed last: then all are
            try:
                await until_one_ends(
                    self._listen(listener),
                    self._give_orders(listener, orders),
                    self._speaker.run(speaker),
                    self._watch(ready),
                )
            finally:
                self._orders = None
                self.outbox.close()
                for _, _, confirmed in self._unconfirmed:
                    if not confirmed.done():
                        confirmed.set_result(None)
                self._unconfirmed.clear()

    async def _open(self, stack: AsyncExitStack) -> AbstractConnection:
        connection = await self._find()
        stack.push_async_callback(disconnect, connection)
        return connection

    async def _listen(self, listener: AbstractConnection) -> None:
        read, heard, probe = listener.read_response, self._owner.heard, self._probe
        while True:
            kind, channel, message = await read()
            if kind in (b"message", b"smessage"):
                if channel == probe:
                    self._echo.set()
                else:
                    heard(channel, message)
            else:
                self._confirmed(kind, channel)

    def _confirmed(self, kind: bytes, channel: bytes) -> None:
        """Redis confirms in the order in which it was asked; what it says unasked is that a slot has moved away."""
        if not self._unconfirmed or self._unconfirmed[0][:2] != (kind, channel):
            raise RedisError("another server has taken over")
        confirmed = self._unconfirmed.popleft()[2]
        if not confirmed.done():
            confirmed.set_result(None)
        else:  # whoever waited for it has gone on without
            self._owner.restored()

    async def _give_orders(self, listener: AbstractConnection, orders: list[bytes]) -> None:
        while True:
            await self._ordered.wait()
            self._ordered.clear()
            text = b"".join(orders)
            orders.clear()
            await send(listener, text)

    async def _watch(self, ready: "asyncio.Future[None]") -> None:
        """A connection may be open and dead, or lead to another server than it did: only an echo shows that it is not.

        It must be back before the next is due: if it comes later, all else comes too late as well.
        """
        async with asyncio.timeout(CONNECT):
            await ready
        while True:
            self._echo.clear()
            self._speaker.probe()
            async with asyncio.timeout(self._interval):
                await self._echo.wait()
            if self.trouble.sentence is not None:
                self.trouble.over()
                self.outbox.open()
                self._owner.restored()
            await asyncio.sleep(self._interval)
