"""Which backend a URL names."""

from sentri_events.backend import Backend
from sentri_events.backends.memory import MemoryBackend
from sentri_events.errors import SettingsError


def open_backend(url: str) -> Backend:
    """The backend of `url`; without one, that of a single process. Raises `SettingsError` for an unknown scheme."""
    if not url:
        return MemoryBackend()
    raise SettingsError(f"No backend is known for {url.partition(':')[0]!r}: leave --redis-url (REDIS_URL) unset.")
