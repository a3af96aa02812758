"""What both faces of the client share: where the server is, what an event looks like on its way there,
which answers are worth a second try and how long to wait for it. Standard library only, no I/O.
"""

import contextlib
import json
import os
import random
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sentri_events.errors import ClientError, Invalid

DEFAULT_URL = "http://127.0.0.1:8000"
NDJSON = "application/x-ndjson"
PASSING = frozenset({429, 502, 503, 504})  # the server, or a proxy before it, is busy or away: the same again, later

_LONGEST_PAUSE = 30.0
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=str)
_SURROGATE = re.compile(r"\\u(?:d[89ab]..\\ud[c-f]..|(d[89a-f]..))|\\.")


def server_url(url: str | None) -> str:
    """Where the server is: the argument, else `SENTRI_EVENTS_URL`, else `SENTRI_URL`, else this machine.

    Without a slash at its end. Raises `ClientError` for what is no http or https URL of a server.
    """
    named = url or os.environ.get("SENTRI_EVENTS_URL") or os.environ.get("SENTRI_URL") or DEFAULT_URL
    if "@" in named:
        raise ClientError("The server's URL must not hold a name or a password: give a token.")
    try:
        parts = urlsplit(named)
        (parts.hostname or "").encode("idna")
        usable = parts.port != 0 and bool(parts.hostname)
    except ValueError:  # a port that is no number, half an IPv6 address, a host that cannot be looked up
        usable = False
    if (
        not usable
        or parts.scheme not in ("http", "https")
        or not re.fullmatch(r"[!-~]+", named)
        or set(named) & set("?#")
    ):
        raise ClientError(f"The server's URL must look like {DEFAULT_URL}, not {named!r}.")
    return named.rstrip("/")


class Credentials:
    """Who asks: `token`, or what is in `file`, else `SENTRI_EVENTS_TOKEN`, else what the file of
    `SENTRI_EVENTS_TOKEN_FILE` holds, else nobody. A file may be written anew while we work.

    Raises `ClientError` for a file that cannot be read, and for what no header can hold.
    """

    def __init__(self, token: str | None = None, file: str | None = None) -> None:
        self._file = None
        if token is None:
            named = None if file else os.environ.get("SENTRI_EVENTS_TOKEN")
            self._file = None if named else file or os.environ.get("SENTRI_EVENTS_TOKEN_FILE") or None
            token = named or (_read_token(self._file) if self._file else None)
        self._header = _authorization(token)

    @property
    def header(self) -> dict[str, str]:
        """The header that says so; none for nobody."""
        return dict(self._header)

    def renew(self) -> bool:
        """After a 401: whether there is another token by now."""
        before = self._header
        if self._file is not None:
            with contextlib.suppress(ClientError):  # it is being written: what was there is as good
                self._header = _authorization(_read_token(self._file))
        return self._header != before


def _read_token(file: str) -> str:
    try:
        with open(file, encoding="ascii", errors="replace") as lines:
            return lines.read(1 << 16).strip()
    except OSError as error:
        raise ClientError(f"The token cannot be read from {file}: {error.strerror}.") from None


def _authorization(token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    if not re.fullmatch(r"[!-~]+", token):
        raise ClientError("The token must be visible ASCII characters without spaces.")
    return {"Authorization": f"Bearer {token}"}


def encode(event: Mapping[str, Any]) -> bytes:
    """One event as a line of JSON in ASCII, without its line end. What JSON does not know is sent as its `str()`.

    Half a surrogate pair, as undecodable bytes leave behind, becomes U+FFFD: the server takes Unicode only.
    Raises `Invalid` for what cannot be written: NaN, a circle, a key that is no text.
    """
    try:
        line = _JSON.encode(event)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"The event cannot be written as JSON: {error}.") from None
    if "\\ud" in line:
        line = _SURROGATE.sub(lambda match: r"\ufffd" if match[1] else match[0], line)
    return line.encode("ascii")


def sentence(status: int, body: bytes) -> str:
    """Why the server refused, in its own words where it said any."""
    try:
        words = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        words = None
    return words if isinstance(words, str) else f"The server answered {status}."


def retry_after(value: str | None) -> float:
    """The seconds of a `Retry-After` header; 0 without one. Its form with a date would need two clocks that agree."""
    return float(value) if value and re.fullmatch("[0-9]{1,9}", value) else 0.0


def pause(failures: int, first: float, least: float = 0.0) -> float:
    """Seconds until the next attempt, after so many failures in a row before the last one.

    It doubles from `first` up to 30 s and is never less than `least`; up to half of it is added by chance,
    so that those who lost a server together do not come back together.
    """
    grown: float = min(first * 2 ** min(failures, 16), max(first, _LONGEST_PAUSE))
    return max(grown, least) * random.uniform(1.0, 1.5)  # nosec B311 # a pause
