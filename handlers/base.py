"""What every handler does the same way: who asks, a body within its bound, ids and parameters, one shape of error."""

import hashlib
import logging
import random
import re
import time
from collections.abc import Iterator
from functools import cached_property, lru_cache
from http import HTTPStatus
from types import TracebackType
from typing import Any, ClassVar

from tornado.httputil import HTTPHeaders, format_timestamp
from tornado.web import HTTPError, RequestHandler, stream_request_body

from sentri_events.access import Access, Credential
from sentri_events.caller import QA_LEAD, VIEWER, Caller, required
from sentri_events.errors import (
    BadRequest,
    Forbidden,
    HeadersTooLarge,
    Invalid,
    LimitReached,
    NotFound,
    SentriEventsError,
    TooLarge,
    TooMany,
    UrlTooLong,
)
from sentri_events.event import encode
from sentri_events.handlers.origins import API_POLICY, allowance, is_forged, is_own_name, preflight
from sentri_events.hub import Hub
from sentri_events.limits import neighbourhood
from sentri_events.logs import REQUEST
from sentri_events.settings import RUN_ID
from sentri_events.store_write import Once

JSON = "application/json"
COOKIE = "access_token"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_KEY = 128
RETRY_AFTER = "1"
log = logging.getLogger(__name__)


@stream_request_body
class BaseHandler(RequestHandler):
    """A route's handler: it knows the hub and the caller, and answers errors as `{"error": "<a sentence>"}`.

    Before a method is called, its caller is known (`self.caller`) and has the role that the class asks for: `reads`
    for GET and HEAD, `writes` for all else; None asks nobody, and then there is no caller. What a handler reads or
    writes is of `self.workspace`; what is of another one is missing, with the same status and bytes.

    `policy` is what a browser lets the answer do: nothing, as it is no page. For one, it is `pages.POLICY`.

    Whatever the route, a body is counted as it comes, and refused as soon as it is too long.
    """

    reads: ClassVar[str | None] = VIEWER
    writes: ClassVar[str | None] = QA_LEAD
    policy: ClassVar[str] = API_POLICY
    received = 0  # bytes of the body
    why = ""  # the sentence that was answered to what was refused
    caller: Caller

    def initialize(self, hub: Hub, access: Access) -> None:
        """Called by Tornado with what the route table holds."""
        self.hub = hub
        self.access = access
        self._parts: list[bytes] = []
        REQUEST.set(self.request_id)

    @cached_property
    def request_id(self) -> str:
        """By which the log knows the request: the caller's own where it is harmless, or else a new one."""
        given = self.header("X-Request-Id")
        return given if REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"  # nosec B311 # a name

    def header(self, name: str) -> str:
        """That header of the request, or nothing."""
        headers = self.request.headers
        return headers[name] if name in headers else ""  # noqa: SIM401  `get` throws and catches what is missing

    @property
    def workspace(self) -> str:
        """The caller's workspace."""
        return self.caller.workspace

    def require(self, role: str) -> None:
        """Raises `Forbidden` if the caller has not that role, where it depends on more than the method."""
        if not self.caller.may(role):
            needed = required(role)
            raise Forbidden(f"This takes the role {needed}.", requiredRole=needed, currentRole=self.caller.role)

    def clear(self) -> None:
        """Begin the answer anew. Which program answers is nobody's business, nor what it answered once that is read.

        In place of Tornado's own, whose checks of each header and whose clock take a tenth of a request's time.
        """
        self._headers = HTTPHeaders(
            {
                "Content-Type": JSON,
                "Date": _http_date(int(time.time())),
                "Cache-Control": "no-store",
                "Content-Security-Policy": self.policy,
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Request-Id": self.request_id,
            }
        )
        self._write_buffer = []
        self.set_status(HTTPStatus.OK)

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """A part of the path that is not UTF-8 becomes one that nothing has; in the query it is a `BadRequest`."""
        try:
            return value.decode("utf-8", "strict" if name else "replace")
        except UnicodeDecodeError:
            raise BadRequest(f"{name} is not UTF-8.") from None

    def compute_etag(self) -> None:
        """Nothing here is worth a digest of every answer."""

    async def prepare(self) -> None:
        """Refuse before the body comes: who may not, and where its length or its coding says so."""
        if self.hub.stopping:  # a proxy must not send another request on this connection
            self.set_header("Connection", "close")
        self.request.remote_ip = self.hub.limits.address(self.request.remote_ip or "", self.header("X-Forwarded-For"))
        # Tornado's own bound answers without a sentence, so it is only the second one.
        self.request.connection.set_max_body_size(2 * self.hub.settings.max_body_bytes)  # type: ignore[union-attr]
        self._check_size()
        self._allow_origin()
        await self._admit()
        if self.header("Content-Encoding").lower() not in ("", "identity"):
            raise BadRequest("The body must not be compressed.")
        length, most = self.header("Content-Length"), self.hub.settings.max_body_bytes
        if length.isascii() and length.isdigit() and int(length[:18]) > most:
            raise self._too_large()

    def _check_size(self) -> None:
        """Of what has come; Tornado's own bound is twice as high, and has no sentence."""
        most = self.hub.settings.max_url_bytes
        if len(self.request.uri) > most:
            raise UrlTooLong(f"A path and its query may have {most} bytes.")
        most = self.hub.settings.max_header_bytes
        if sum(len(name) + len(value) + 4 for name, value in self.request.headers.get_all()) > most:
            raise HeadersTooLarge(f"Headers may have {most} bytes.")

    async def _admit(self) -> None:
        """Raises `Unauthorized` or `Forbidden` for who may not do this, `TooMany` for who does it too often."""
        reading = self.request.method in ("GET", "HEAD")
        role = self.reads if reading else self.writes
        if role is None or self.request.method == "OPTIONS":  # a browser asks for itself, without credentials
            return
        if self.access.local and not is_own_name(self.request.host):
            raise Forbidden(
                "Nobody is asked who they are, so this server is known as localhost or by an address only: set "
                "JWT_SECRET, or say --insecure (SENTRI_EVENTS_INSECURE)."
            )
        self.caller = await self.access.caller(self._credentials())
        asked = self.caller.ambient and not self.access.open
        if self.caller.ambient and not reading and is_forged(self.request, self._origins, asked):
            raise Forbidden("A page of another origin sent this; --cors-origin (CORS_ORIGIN) says which ones may.")
        self.require(role)
        if not reading and (counted := self.account or neighbourhood(self.request.remote_ip or "")):
            self.hub.limits.spend(counted)

    @property
    def account(self) -> str:
        """Against whom it counts what this caller does; nobody, where nobody is asked."""
        return "" if self.access.open else f"{self.caller.workspace}/{self.caller.subject or self.caller.role}"

    @property
    def _origins(self) -> frozenset[str]:
        return self.hub.settings.origins

    def _allow_origin(self) -> None:
        """Let the pages read the answer that may."""
        if self._origins:
            self.vary("Origin")
            for name, value in allowance(self.request.headers.get("Origin"), self._origins).items():
                self.set_header(name, value)

    def vary(self, name: str) -> None:
        """The answer depends on that header of the request."""
        before = self._headers.get("Vary")
        self.set_header("Vary", f"{before}, {name}" if before else name)

    def options(self, *_path: str) -> None:
        """What a browser asks before it lets a page of another origin send something."""
        if not self._origins:
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)
        self.clear_header("Content-Type")
        self.set_header("Allow", ", ".join(self._allowed()))
        if "Access-Control-Allow-Origin" in self._headers:
            for name, value in preflight(self._allowed()).items():
                self.set_header(name, value)
        self.set_status(HTTPStatus.NO_CONTENT)

    def _credentials(self) -> Iterator[Credential]:
        """In the order in which they are tried."""
        cookie = self.get_cookie(COOKIE)
        if cookie:
            yield Credential(cookie, ambient=True)
        scheme, _, token = self.header("Authorization").partition(" ")
        if scheme.lower() == "bearer" and token:
            yield Credential(token.strip())
        if not self.hub.settings.no_query_token:
            for token in self.get_query_arguments("token"):
                yield Credential(token)
        if self.request.method in ("GET", "HEAD"):
            for ticket in self.get_query_arguments("ticket"):
                yield Credential(ticket, url=self.request.uri)

    def data_received(self, chunk: bytes) -> None:
        """A part of the body; one of unknown length is cut off here."""
        self.received += len(chunk)
        if self.received <= self.hub.settings.max_body_bytes:
            self._parts.append(chunk)
        elif not self._finished:
            self._parts.clear()
            error = self._too_large()
            self.send_error(exc_info=(type(error), error, None))

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def once(self) -> Once | None:
        """The request's Idempotency-Key, with a digest of what it must be the same as. Raises `Invalid`."""
        if "Idempotency-Key" not in self.request.headers:
            return None
        key = self.header("Idempotency-Key")
        if not 1 <= len(key) <= MAX_KEY:
            raise Invalid(f"An Idempotency-Key is text of 1 to {MAX_KEY} characters.")
        digest = hashlib.sha256()
        for part in (self.content_type.encode(), self.request.query.encode(), self.body):
            digest.update(b"%d:" % len(part) + part)
        return Once(key, digest.hexdigest())

    @property
    def content_type(self) -> str:
        """As the caller says it."""
        return self.header("Content-Type")

    def check_run(self, run: str) -> str:
        """An id that no run can have is a run that is not there."""
        if not RUN_ID.fullmatch(run):
            raise NotFound
        return run

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number of the query, cut to `most`. Raises `BadRequest`."""
        text = self.get_query_argument(name, None)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit():
            raise BadRequest(f"{name} must be a whole number, not {text[:64]!r}.")
        return min(int(text.lstrip("0")[:18] or "0"), most)

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no of the query. Raises `BadRequest`."""
        text = self.get_query_argument(name, None)
        if text not in (None, "1", "true", "0", "false"):
            raise BadRequest(f"{name} must be true or false, not {str(text)[:64]!r}.")
        return default if text is None else text in ("1", "true")

    def answer_document(self, document: bytes, status: int = 200) -> None:
        """Finish with a run document; links in it are signed, if they are at all."""
        links = self.access.links
        self.answer(document if links is None else links.document(document), status)

    def answer(self, body: bytes | dict[str, Any] | list[Any], status: int = 200) -> None:
        """Finish with JSON."""
        self.set_status(status)
        self.finish(body if isinstance(body, bytes) else encode(body))

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Our errors bring their status along."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        status = error.status if isinstance(error, SentriEventsError) else status_code
        self.hub.meter.refuse(status, error.limit if isinstance(error, LimitReached) else "")
        super().send_error(status, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """`{"error": "<a sentence>"}`; of an unknown error nothing but that it happened."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        self._allow_origin()
        sentence = str(error) if isinstance(error, SentriEventsError) else ""
        if isinstance(error, HTTPError) and status_code == HTTPStatus.BAD_REQUEST:
            sentence = error.log_message or ""
        if status_code == HTTPStatus.NOT_FOUND:
            sentence = str(NotFound())
        if status_code == HTTPStatus.UNAUTHORIZED:
            self.set_header("WWW-Authenticate", "Bearer")
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(self._allowed()))
        if status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            self.set_header("Connection", "close")  # what is left of the body is not read
        if status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            self.set_header("Retry-After", RETRY_AFTER)
        if isinstance(error, TooMany):
            self.set_header("Retry-After", error.retry_after)
        details = error.details if isinstance(error, Forbidden) else {}
        self.why = sentence or HTTPStatus(status_code).phrase + "."
        self.finish(encode({"error": self.why, **details}))

    def _request_summary(self) -> str:
        """What the application's own log says of a request, where it is not ours that serves: no query, for tokens."""
        return f"{self.request.method} {self.request.path} ({self.request.remote_ip})"

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """A refusal is the caller's affair; anything else is ours, and is logged whole."""
        if not isinstance(value, SentriEventsError | HTTPError):
            log.error("%s %s failed.", self.request.method, self.request.path, exc_info=value)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A body may have {self.hub.settings.max_body_bytes} bytes.")

    def _allowed(self) -> list[str]:
        return [
            method
            for method in self.SUPPORTED_METHODS
            if getattr(type(self), method.lower()) is not getattr(RequestHandler, method.lower())
            and (method != "OPTIONS" or self._origins)
        ]


class MissingHandler(BaseHandler):
    """Whatever has no route."""

    reads = writes = None

    def get(self, *_path: str) -> None:
        """For every method."""
        raise NotFound

    head = post = delete = patch = put = options = get


class MovedHandler(BaseHandler):
    """The paths of the original, `/api/runs/…`."""

    reads = writes = None

    def get(self, *_path: str) -> None:
        """308 to `/api/v1/runs/…`, for every method, the query kept."""
        self.clear_header("Content-Type")
        self.set_status(308)
        self.set_header("Location", self.request.uri.replace("/api/runs/", "/api/v1/runs/", 1))

    head = post = delete = patch = put = options = get


@lru_cache(maxsize=2)
def _http_date(seconds: int) -> str:
    return format_timestamp(seconds)
