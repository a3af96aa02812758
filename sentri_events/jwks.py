"""Public keys of another issuer (JWKS), from a file or a URL.

They are read again when a token names one that is not known, but not at a stranger's pace; and those that are known
hold while nothing newer can be read.
"""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt

from sentri_events.errors import SettingsError

ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
PAUSE = 10.0  # seconds between two readings, whatever tokens come
MAX_AGE = 600.0  # seconds after which they are read again
TIMEOUT = 5.0
MAX_BYTES = 1 << 20
MAX_KEYS = 64
UNNAMED = 8  # keys that are tried for a token that names none
NAME = "--jwks (SENTRI_EVENTS_JWKS)"
log = logging.getLogger(__name__)


class Keys:
    """The keys at `source`. Raises `SettingsError` if they could never be used.

    `pause` and `max_age`: seconds between two readings at least, and at most while tokens come.
    """

    def __init__(self, source: str, pause: float = PAUSE, max_age: float = MAX_AGE) -> None:
        if not jwt.algorithms.has_crypto:
            raise SettingsError(f"{NAME} takes an extra: pip install 'sentri-events[jwks]'.")
        self._source = source
        self._pause = pause
        self._max_age = max_age
        self._keys: list[jwt.PyJWK] = []
        self._began: float | None = None
        self._reading: asyncio.Task[None] | None = None
        if not _is_url(source):
            self._keys = read_keys(_read_file(source))
        elif not source.startswith("https://") and urlsplit(source).hostname not in ("localhost", "127.0.0.1", "::1"):
            raise SettingsError(f"{NAME} must be a file or an https:// URL: whoever can change it makes the tokens.")

    async def find(self, token: str) -> list[jwt.PyJWK]:
        """Those that the token may be signed by; none if its key is not known, also not anew."""
        try:
            head = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError):
            return []
        algorithm, kid = head.get("alg"), head.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS.values():
            return []
        found = self._known(algorithm, kid)
        age = float("inf") if self._began is None else asyncio.get_running_loop().time() - self._began
        if age > (self._max_age if found else self._pause) and self._reading is None:
            self._began = asyncio.get_running_loop().time()
            self._reading = asyncio.create_task(self._read())
        if not found and self._reading is not None:
            await asyncio.shield(self._reading)
            found = self._known(algorithm, kid)
        return found

    def _known(self, algorithm: str, kid: Any) -> list[jwt.PyJWK]:
        keys = [key for key in self._keys if key.algorithm_name == algorithm]
        return keys[:UNNAMED] if kid is None else [key for key in keys if key.key_id == kid]

    async def _read(self) -> None:
        try:
            if _is_url(self._source):
                self._keys = read_keys(await _fetch(self._source))
            else:
                self._keys = read_keys(await asyncio.to_thread(_read_file, self._source))
        except Exception as error:  # noqa: BLE001  whatever it was, the keys that are known hold
            log.warning("The keys of tokens cannot be read anew: %s", str(error) or type(error).__name__)
        finally:
            self._reading = None


def read_keys(text: bytes) -> list[jwt.PyJWK]:
    """The keys of a set that sign by RS256 or ES256; others are passed over. Raises `SettingsError`."""
    try:
        rows = [row for row in json.loads(text)["keys"] if _signs(row)]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise SettingsError(f'{NAME} holds no set of keys: {{"keys":[…]}}.') from None
    keys = []
    for row in rows[:MAX_KEYS]:
        try:
            key = jwt.PyJWK(row, ALGORITHMS[row["kty"]])
            trouble = key.Algorithm.check_key_length(key.key)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            trouble = str(error) or type(error).__name__
        if trouble is None:
            keys.append(key)
        else:
            log.warning("A key of tokens is passed over: %s", trouble)
    return keys


def _signs(row: dict[str, Any]) -> bool:
    algorithm = ALGORITHMS.get(row["kty"])
    curve = row.get("crv") if algorithm == "ES256" else "P-256"
    use = row.get("use", "sig") == "sig" and "verify" in row.get("key_ops", ["verify"])
    return algorithm is not None and row.get("alg", algorithm) == algorithm and curve == "P-256" and use


def _is_url(source: str) -> bool:
    return "://" in source


def _read_file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise SettingsError(f"{NAME} cannot be read: {error.strerror}.") from None


async def _fetch(url: str) -> bytes:
    import httpx2

    text = b""
    async with (
        asyncio.timeout(TIMEOUT),
        httpx2.AsyncClient(timeout=TIMEOUT) as client,
        client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
    ):
        answer.raise_for_status()
        async for part in answer.aiter_bytes():
            text += part
            if len(text) > MAX_BYTES:
                raise SettingsError(f"{NAME} has more than {MAX_BYTES} bytes.")
    return text
