"""Who may. Nobody is asked (dev mode), so the server belongs on loopback, and there is one workspace."""

import ipaddress

from sentri_events.errors import SettingsError
from sentri_events.settings import Settings

DEV_WORKSPACE = "default"


def check_exposure(settings: Settings) -> None:
    """Refuse, with a `SettingsError`, to be open to others by accident."""
    if not settings.insecure and not is_loopback(settings.host):
        raise SettingsError(
            f"Nobody is asked who they are, so {settings.host} would let in everyone who reaches it: "
            "listen on 127.0.0.1, or say --insecure (SENTRI_EVENTS_INSECURE)."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
