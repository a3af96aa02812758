"""One POST to the server, with the standard library: its answer, or what kept it away.

Each takes a connection of its own: there are a few a second at most, and none is ever found stale or shared by a fork.
The connection classes are bound at import: tests that record or fake HTTP replace them in `http.client` while they run.
"""

import contextlib
import ssl
from functools import cached_property
from http.client import HTTPConnection, HTTPSConnection, InvalidURL
from typing import NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit

from sentri_events.wire import Credentials, retry_after

NO_ANSWER = Exception  # a test suite that forbids sockets while its tests run does so by errors of any kind

_CONNECT_TIMEOUT = 5.0
_ANSWER_TIMEOUT = 30.0  # an answer may wait while the run's viewers are held up
_MOST_MOVES = 5


class Answer(NamedTuple):
    """`retry_after` is in seconds, 0 if the server named none."""

    status: int
    body: bytes
    retry_after: float


class Server:
    """Where the POSTs go, and who asks: see `wire.Credentials`, whose `ClientError` it raises."""

    def __init__(self, url: str, token: str | None = None, token_file: str | None = None) -> None:
        self.url = url
        self._credentials = Credentials(token, token_file)

    def post(self, path: str, body: bytes, content_type: str, key: str) -> Answer:
        """The answer to one POST below `/api/v1`. It follows 307 and 308, which keep the body.

        Raises a `NO_ANSWER` when there was none: the outcome is unknown then.
        """
        about = {"Content-Type": content_type, "Idempotency-Key": key}
        answer = self._follow(path, body, {**about, **self._credentials.header})
        if answer.status == 401 and self._credentials.renew():
            answer = self._follow(path, body, {**about, **self._credentials.header})
        return answer

    def _follow(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        here = urlsplit(f"{self.url}/api/v1{path}")
        for _ in range(_MOST_MOVES):
            answer, location = self._post(here, body, headers)
            if answer.status not in (307, 308) or location is None:
                break
            there = urlsplit(urljoin(here.geturl(), location))
            if (there.scheme, there.netloc) != (here.scheme, here.netloc):
                headers.pop("Authorization", None)  # meant for one server only
            here = there
        return answer

    def _post(self, url: SplitResult, body: bytes, headers: dict[str, str]) -> tuple[Answer, str | None]:
        if url.scheme not in ("http", "https") or not url.hostname:
            raise InvalidURL(f"it has moved to {url.geturl()!r}")
        connection = (
            HTTPSConnection(url.hostname, url.port, timeout=_CONNECT_TIMEOUT, context=self._tls)
            if url.scheme == "https"
            else HTTPConnection(url.hostname, url.port, timeout=_CONNECT_TIMEOUT)
        )
        with contextlib.closing(connection):
            connection.connect()
            connection.sock.settimeout(_ANSWER_TIMEOUT)
            connection.request("POST", f"{url.path}?{url.query}" if url.query else url.path, body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.read(), retry_after(response.getheader("Retry-After")))
            return answer, response.getheader("Location")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()
