"""Links to artifacts (screenshots, videos, traces), signed as the original does on the way out; they are stored bare.

JSON of ours is ASCII without spaces and its strings have no bare quotes, so that a link is found in its bytes, whatever
stands around.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from json import loads

ROOT = "/artifacts/"
# Types whose events hold such links where the original signs them; `update` replaces fields of the run document.
SIGNED = frozenset({"result", "screenshot", "snapshot", "update"})
_PATH = rb'(/artifacts/(?:[^"?\\]|\\u[0-9a-f]{4})*+)(?=")'  # letters of other alphabets are escaped
_ONE = re.compile(rb'("(?:screenshotPath|videoPath|tracePath|baselinePath|diffPath)":")' + _PATH)
_LIST = re.compile(rb'"videoSegments":\[(?:(?:"(?:[^"\\]|\\.)*+"|null),?)*+\]')
_OF_A_LIST = re.compile(rb'(")' + _PATH)


class Links:
    """Signs and judges links with one `secret`. `lifetime` is in milliseconds, and `clock` gives those since 1970."""

    def __init__(
        self, secret: str, lifetime: int, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self.secret = secret
        self._lifetime = lifetime
        self._clock = clock

    def sign(self, path: str) -> str:
        """The path, with what lets everyone see it for a while."""
        end = self._clock() + self._lifetime
        return f"{path}?token={self._token(path, end)}&exp={end}"

    def opens(self, path: str, token: str, end: str) -> bool:
        """Whether a link with these parameters is good, and still."""
        if not (end.isascii() and end.isdigit() and len(end) <= 16) or int(end) < self._clock():
            return False
        return hmac.compare_digest(token.encode(), self._token(path, int(end)).encode())

    def event(self, kind: str, json: bytes) -> bytes:
        """An event as it is shown."""
        return self.document(json) if kind in SIGNED else json

    def document(self, json: bytes) -> bytes:
        """A run document as it is shown."""
        if ROOT.encode() not in json:
            return json
        json = _ONE.sub(self._put, json)
        return _LIST.sub(lambda found: _OF_A_LIST.sub(self._put, found[0]), json)

    def _put(self, found: re.Match[bytes]) -> bytes:
        path: str = loads(b'"%b"' % found[2])
        return found[0] + self.sign(path).removeprefix(path).encode()

    def _token(self, path: str, end: int) -> str:
        digest = hmac.digest(self.secret.encode(), f"{path}:{end}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
