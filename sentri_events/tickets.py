"""Tickets: what may stand in the URL of one stream, where a token must not (protocol, section 4).

A ticket is a JWT of its own kind, so every instance of the secret knows it, and it is of no use elsewhere. Only that it
was used in time is stored.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl, unquote, urlencode

import jwt

from sentri_events.caller import VIEWER, Caller
from sentri_events.errors import Conflict, Unauthorized
from sentri_events.store import Store
from sentri_events.tokens import ALGORITHM, MAX_TOKEN

AUDIENCE = "sentri-events/ticket"
FIRST_USE = 60.0  # seconds
LONGEST = 8 * 3600.0  # seconds, for a caller whose credentials do not end
REMEMBERED = 10_000
APART = ("ticket", "lastEventId")  # of a query: they say nothing about what is seen


class Tickets:
    """Makes and reads them, with the first of these secrets and with all. `clock` gives seconds since 1970."""

    def __init__(self, keys: Sequence[str], store: Store, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._store = store
        self._clock = clock
        self._used: dict[str, None] = {}

    def mint(self, caller: Caller, url: str) -> str:
        """For the stream at that path and query, as long as the caller's own credentials hold. Raises `Conflict`."""
        if not self._keys:
            raise Conflict("Tickets take a secret of this server's own: set JWT_SECRET.")
        now = self._clock()
        claims = {
            "aud": AUDIENCE,
            "jti": secrets.token_urlsafe(12),
            "exp": caller.expires or now + LONGEST,
            "use": now + FIRST_USE,
            "url": digest(url),
            "workspaceId": caller.workspace,
            "sub": caller.subject,
            "by": caller.jti,
        }
        return jwt.encode(claims, self._keys[0], ALGORITHM)

    async def read(self, ticket: str, url: str) -> Caller:
        """Who may follow that stream with it: it must be for that one, and was used in time or is now.

        Raises `Unauthorized`, `Unavailable`. Whether the token that it was made for is revoked is not looked at.
        """
        for key in self._keys if len(ticket) <= MAX_TOKEN else ():
            try:
                claims = jwt.decode(ticket, key, [ALGORITHM], {"require": ["exp", "aud", "jti"]}, audience=AUDIENCE)
            except (jwt.PyJWTError, ValueError, RecursionError):
                continue
            if claims["url"] != digest(url) or not await self._in_time(claims):
                break
            return Caller(claims["workspaceId"], VIEWER, claims["sub"], None, claims["exp"], claims["by"])
        raise Unauthorized

    async def _in_time(self, claims: dict[str, str]) -> bool:
        id = claims["jti"]
        if id in self._used:
            return True
        if self._clock() <= float(claims["use"]):
            await self._store.use(id, int(float(claims["exp"]) * 1000))
        elif not await self._store.is_used(id):
            return False
        self._used[id] = None
        if len(self._used) > REMEMBERED:
            del self._used[next(iter(self._used))]
        return True


def digest(url: str) -> str:
    """What stands for a path and query: the same in whatever order, and however its characters are written."""
    path, _, query = url.partition("?")
    pairs = sorted(pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in APART)
    return hashlib.sha256(f"{unquote(path)}?{urlencode(pairs)}".encode()).hexdigest()
