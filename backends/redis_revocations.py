"""Revoked tokens as the original has them in its Redis: a key for each, and a channel where new ones are told.

What is heard goes into the store's list, which is the truth; that Redis is away or forgets changes nothing there.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from sentri_events.backends.redis_servers import ask, command, connect_to_primary, disconnect, send
from sentri_events.backends.redis_url import CONNECT, Address
from sentri_events.backends.tasks import until_one_ends
from sentri_events.errors import SentriEventsError, Unavailable
from sentri_events.event import encode, read_json

CHANNEL = b"sentri:token:revoked"
KEY = b"sentri:revoked:"
PAUSE = 0.5  # seconds until Redis is tried again
PROBE = 1.0  # seconds between two signs of life of a connection that only listens
RESCAN = 60.0  # seconds between two looks at the keys: a message may be lost on healthy links
SCANNED = b"1000"  # keys that are looked at in one go
A_LIFE = 365 * 86400.0  # seconds, for a key that has no end
Heard = Callable[[Any, Any], None]
log = logging.getLogger(__name__)


class RedisRevocations:
    """Calls `heard` with the jti and the end (seconds since 1970) of each, from `start` to `close`."""

    def __init__(self, address: Address, heard: Heard) -> None:
        self._address = address
        self._heard = heard
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Does not wait for Redis."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self._session()
            except (RedisError, OSError) as error:
                log.debug("Revoked tokens are not heard of: %s.", error)
            except Exception:
                log.exception("Revoked tokens are not heard of.")
            await asyncio.sleep(PAUSE)

    async def _session(self) -> None:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(CONNECT):
                listener, asker = await self._open(stack), await self._open(stack)
                await ask(listener, b"SUBSCRIBE", CHANNEL)
            await until_one_ends(self._listen(listener), self._probe(listener), self._scan(asker))

    async def _open(self, stack: AsyncExitStack) -> AbstractConnection:
        connection = await connect_to_primary(self._address)
        stack.push_async_callback(disconnect, connection)
        return connection

    async def _listen(self, listener: AbstractConnection) -> None:
        while True:
            async with asyncio.timeout(2 * PROBE):
                answer = await listener.read_response()
            if answer[0] == b"message":
                self._take(answer[2])

    async def _probe(self, listener: AbstractConnection) -> None:
        while True:
            await send(listener, command(b"PING"))
            await asyncio.sleep(PROBE)

    def _take(self, message: bytes) -> None:
        try:
            told = read_json(message)
        except SentriEventsError:
            told = None
        told = told if isinstance(told, dict) else {}
        self._heard(told.get("jti"), told.get("exp"))

    async def _scan(self, asker: AbstractConnection) -> None:
        while True:
            cursor = b"0"
            while True:
                async with asyncio.timeout(CONNECT):
                    cursor, keys = await ask(asker, b"SCAN", cursor, b"MATCH", KEY + b"*", b"COUNT", SCANNED)
                    for key in keys:
                        self._found(key, await ask(asker, b"PTTL", key))
                if cursor == b"0":
                    break
            await asyncio.sleep(RESCAN)

    def _found(self, key: bytes, milliseconds: int) -> None:
        if milliseconds != -2:  # it is not gone meanwhile
            left = milliseconds / 1000 if milliseconds >= 0 else A_LIFE
            self._heard(key.removeprefix(KEY).decode(errors="replace"), time.time() + left)


async def announce(address: Address, jti: str, until: float) -> None:
    """Revoke a token for the original, and for who listens as it does. Raises `Unavailable`."""
    left = max(1, int(until - time.time()))
    message = encode({"jti": jti, "exp": int(until)})
    try:
        async with asyncio.timeout(CONNECT), AsyncExitStack() as stack:
            connection = await connect_to_primary(address)
            stack.push_async_callback(disconnect, connection)
            await ask(connection, b"SET", KEY + jti.encode(), b"1", b"EX", b"%d" % left)
            await ask(connection, b"PUBLISH", CHANNEL, message)
    except (RedisError, OSError) as error:
        why = str(error).rstrip(".") or "it does not answer"
        raise Unavailable(f"Redis was not told: {why}.") from error
