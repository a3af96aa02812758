"""Which backend a URL names."""

import re
from typing import TYPE_CHECKING

from sentri_events.backend import Backend
from sentri_events.backends.memory import MemoryBackend
from sentri_events.errors import SettingsError

if TYPE_CHECKING:
    from sentri_events.backends.redis_revocations import Heard, RedisRevocations

SCHEMES = (
    *("redis", "rediss", "unix"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)


def open_backend(url: str) -> Backend:
    """The backend of `url`; without one, that of a single process.

    Raises `SettingsError` for an unknown scheme and for a URL that cannot be read; its sentence holds no secret.
    """
    if not url:
        return MemoryBackend()
    clustered = _scheme(url).endswith("+cluster")
    from sentri_events.backends.redis_url import read_url

    address = read_url(url)
    if clustered:
        from sentri_events.backends.redis_cluster import RedisClusterBackend

        return RedisClusterBackend(address)
    from sentri_events.backends.redis import RedisBackend

    return RedisBackend(address)


def open_revocations(url: str, heard: "Heard") -> "RedisRevocations | None":
    """Who listens for the original's revoked tokens, not yet started. None without a Redis, and for a Cluster, which
    the original does not know."""
    if not url or _scheme(url).endswith("+cluster"):
        return None
    from sentri_events.backends.redis_revocations import RedisRevocations
    from sentri_events.backends.redis_url import read_url

    return RedisRevocations(read_url(url), heard)


async def announce_revocation(url: str, jti: str, until: float) -> None:
    """Tell the original that a token is revoked, where there is one to tell. Raises `Unavailable`, `SettingsError`."""
    if url and not _scheme(url).endswith("+cluster"):
        from sentri_events.backends.redis_revocations import announce
        from sentri_events.backends.redis_url import read_url

        await announce(read_url(url), jti, until)


def _scheme(url: str) -> str:
    scheme = re.match(r"([a-z+]{1,20})://", url)
    if scheme is None or scheme[1] not in SCHEMES:
        known = ", ".join(f"{known}://" for known in SCHEMES)
        shown = f", not with {scheme[0]}" if scheme else ""
        raise SettingsError(f"--redis-url (REDIS_URL) must begin with one of {known}{shown}.")
    return scheme[1]
