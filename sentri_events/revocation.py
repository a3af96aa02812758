"""Revoked tokens: the store has them, so that every instance knows, without a Redis and after a restart.

The list is looked at before anyone with a token is believed, and while such a one watches, but not all the time.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from sentri_events.caller import LATEST
from sentri_events.errors import Unavailable
from sentri_events.store import Store

FRESH = 0.4  # seconds for which a look holds
MAX_JTI = 256
log = logging.getLogger(__name__)


class Revocations:
    """What is revoked, as far as this process knows. `revoked` is called with each jti that it learns of.

    Times are in seconds since 1970: `until` is the `exp` of the token, when it is of no use anyway.
    """

    def __init__(self, store: Store) -> None:
        self.revoked: Callable[[str], None] = lambda jti: None
        self._store = store
        self._until: dict[str, float] = {}
        self._last = 0
        self._looked = -FRESH
        self._look: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __contains__(self, jti: str) -> bool:
        return jti in self._until

    async def refresh(self) -> None:
        """Know what every instance had stored a moment ago: one look for all who ask. Raises `Unavailable`."""
        if asyncio.get_running_loop().time() - self._looked < FRESH:
            return
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._read())
        await asyncio.shield(self._look)

    async def revoke(self, jti: str, until: float) -> None:
        """Store it. Raises `Unavailable`."""
        await self._store.revoke(jti, int(until * 1000))
        self._learn(jti, until)

    def hear(self, jti: Any, until: Any) -> None:
        """Somebody says so, on Redis: it holds here at once, and is stored for the others and for later."""
        if not isinstance(jti, str) or not 1 <= len(jti) <= MAX_JTI or type(until) not in (int, float):
            log.warning("A token is said to be revoked in words that cannot be read.")
            return
        if jti not in self._until and time.time() < until < LATEST:
            self._learn(jti, until)
            task = asyncio.create_task(self._keep(jti, until))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _keep(self, jti: str, until: float) -> None:
        try:
            await self._store.revoke(jti, int(until * 1000))
        except Unavailable:
            log.warning("A revoked token is known here, and not stored: the store is away.")

    async def _read(self) -> None:
        began = asyncio.get_running_loop().time()
        rows = await self._store.revocations(self._last)
        self._looked = began
        for number, jti, until in rows:
            self._last = number
            self._learn(jti, until / 1000)

    def _learn(self, jti: str, until: float) -> None:
        if jti in self._until:
            return
        now = time.time()
        if self._until and min(next(iter(self._until.values())), until) < now:  # the oldest are over
            self._until = {known: end for known, end in self._until.items() if end > now}
        self._until[jti] = until
        self.revoked(jti)
