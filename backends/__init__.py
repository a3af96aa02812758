"""Which backend a URL names."""

import re

from sentri_events.backend import Backend
from sentri_events.backends.memory import MemoryBackend
from sentri_events.errors import SettingsError

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
    scheme = re.match(r"([a-z+]{1,20})://", url)
    if scheme is None or scheme[1] not in SCHEMES:
        known = ", ".join(f"{known}://" for known in SCHEMES)
        shown = f", not with {scheme[0]}" if scheme else ""
        raise SettingsError(f"--redis-url (REDIS_URL) must begin with one of {known}{shown}.")
    from sentri_events.backends.redis_url import read_url

    address = read_url(url)
    if scheme[1].endswith("+cluster"):
        from sentri_events.backends.redis_cluster import RedisClusterBackend

        return RedisClusterBackend(address)
    from sentri_events.backends.redis import RedisBackend

    return RedisBackend(address)
