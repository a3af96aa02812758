"""Who may: credentials in, a caller out. Without a secret nobody is asked, so the server belongs on loopback."""

import hmac
import ipaddress
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from secrets import token_hex

from sentri_events.caller import DEV_WORKSPACE, DEVELOPER, SCRAPER, Caller
from sentri_events.errors import SettingsError, Unauthorized
from sentri_events.jwks import Keys
from sentri_events.links import Links
from sentri_events.revocation import Revocations
from sentri_events.settings import LEAST_SECRET, Settings
from sentri_events.store import Store
from sentri_events.terms import Terms
from sentri_events.tickets import Tickets
from sentri_events.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request brings along, unread: a token, or a ticket for the stream at `url` (path and query).

    An `ambient` one a browser sends whatever page makes it ask.
    """

    text: str = field(repr=False)
    ambient: bool = False
    url: str | None = field(default=None, repr=False)


class Access:
    """Judges credentials by the settings. `open`: nobody is asked, everyone is the developer on this machine.

    `local`: and so nobody can mean this server who calls it by a name of another machine's.
    `terms` holds whoever was let in for a while. `links` signs links to artifacts; None without a secret for that.
    """

    def __init__(self, settings: Settings, store: Store, local: bool = False) -> None:
        self.open = not settings.asks
        self.local = local and self.open
        self._keys = Keys(settings.jwks) if settings.jwks else None
        self._store = store
        self.revocations = Revocations(store)
        self.terms = Terms(self.revocations)
        secret = settings.artifact_secret
        self.links = Links(secret, settings.artifact_token_ttl_ms) if secret else None
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go by the secrets of `settings` from now on."""
        self._metrics_token = settings.metrics_token
        self._tokens = Tokens(settings)
        if self.links is not None:  # streams that are open have it too
            self.links.secret = settings.artifact_secret
        # Where nobody is asked a ticket opens nothing that is not open; pages need not know.
        self.tickets = Tickets(settings.jwt_secrets or ([token_hex(LEAST_SECRET)] if self.open else []), self._store)

    async def caller(self, credentials: Iterable[Credential]) -> Caller:
        """Whom the first credential names that verifies. Raises `Unauthorized`."""
        if self.open:
            return DEVELOPER
        for credential in credentials:
            try:
                return await self._read(credential)
            except Unauthorized:
                continue
        raise Unauthorized

    async def check(self, caller: Caller) -> None:
        """Raises `Unauthorized` if the caller's token has ended or is revoked by now."""
        if caller.expires is not None and caller.expires <= time.time():
            raise Unauthorized
        if caller.jti is not None:
            await self.revocations.refresh()
            if caller.jti in self.revocations:
                raise Unauthorized

    async def _read(self, credential: Credential) -> Caller:
        text = credential.text
        if credential.url is not None:
            caller = await self.tickets.read(text, credential.url)
            await self.check(caller)
            return caller
        if self._metrics_token and hmac.compare_digest(text.encode(), self._metrics_token.encode()):
            return Caller(DEV_WORKSPACE, SCRAPER)
        keys = await self._keys.find(text) if self._keys is not None else []
        caller = self._tokens.read(text, credential.ambient, keys)
        await self.check(caller)
        return caller


def check_exposure(settings: Settings) -> None:
    """Refuse, with a `SettingsError`, to be open to others by accident."""
    if not settings.insecure and not settings.asks and not is_loopback(settings.host):
        raise SettingsError(
            f"Nobody is asked who they are, so {settings.host} would let in everyone who reaches it: set a secret "
            "of at least 32 characters (JWT_SECRET or JWT_SECRET_FILE), listen on 127.0.0.1, or say --insecure "
            "(SENTRI_EVENTS_INSECURE)."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
