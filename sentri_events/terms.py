"""How long what was allowed goes on: a guest is dismissed when its token ends, or is revoked.

One PeriodicCallback for all of them, which runs while there is anyone whose token can end.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from tornado.ioloop import PeriodicCallback

from sentri_events.caller import Caller
from sentri_events.errors import Unavailable
from sentri_events.revocation import Revocations

TICK = 0.5  # seconds
EXPIRED, REVOKED = "token expired", "token revoked"
log = logging.getLogger(__name__)


class Guest(Protocol):
    """Whoever was let in for a while: a stream."""

    @property
    def caller(self) -> Caller:
        """With which credentials."""

    def dismiss(self, why: str) -> None:
        """End it, and say why. Harmless if it is ending."""


class Terms:
    """Who is in, by the second in which it ends and by the token. `clock` gives seconds since 1970."""

    def __init__(self, revocations: Revocations, clock: Callable[[], float] = time.time) -> None:
        self._revocations = revocations
        self._clock = clock
        self._ending: dict[int, set[Guest]] = {}
        self._holding: dict[str, set[Guest]] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._watch = PeriodicCallback(self._look, TICK * 1000)
        revocations.revoked = self._revoked

    def admit(self, guest: Guest) -> None:
        """It is in from now on."""
        expires, jti = guest.caller.expires, guest.caller.jti
        if expires is not None:
            self._ending.setdefault(math.ceil(expires), set()).add(guest)
        if jti is not None:
            self._holding.setdefault(jti, set()).add(guest)
            if jti in self._revocations:  # since it was asked; it may not be ready to be told
                asyncio.get_running_loop().call_soon(self._revoked, jti)
        if (self._ending or self._holding) and not self._watch.is_running():
            self._watch.start()

    def forget(self, guest: Guest) -> None:
        """It has left."""
        expires, jti = guest.caller.expires, guest.caller.jti
        if expires is not None:
            _drop(self._ending, math.ceil(expires), guest)
        if jti is not None:
            _drop(self._holding, jti, guest)
        if not self._ending and not self._holding:
            self._watch.stop()

    def _look(self) -> None:
        now = self._clock()
        for second in [second for second in self._ending if second <= now]:
            for guest in self._ending.pop(second):
                guest.dismiss(EXPIRED)
        if self._holding and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            await self._revocations.refresh()
        except Unavailable:
            log.debug("The store is away: whose token is revoked meanwhile stays until it is back.")

    def _revoked(self, jti: str) -> None:
        for guest in list(self._holding.get(jti, ())):
            guest.dismiss(REVOKED)


def _drop(by: dict[Any, set[Guest]], key: Any, guest: Guest) -> None:
    guests = by.get(key)
    if guests is not None:
        guests.discard(guest)
        if not guests:
            del by[key]
