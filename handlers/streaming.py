"""What all streams have in common: their headers, their options, and how a connection becomes a socket of ours.

A stream is detached from Tornado and keeps one small record: no handler, coroutine, timer or future each.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tornado.web import Finish

from sentri_events.access import Access
from sentri_events.dialect import StreamDialect
from sentri_events.errors import BadRequest, TooMany
from sentri_events.handlers.access_log import Client
from sentri_events.handlers.base import BaseHandler
from sentri_events.handlers.sockets import Socket, Streams, open_socket
from sentri_events.hub import LOGS, Hub
from sentri_events.limits import Place
from sentri_events.settings import EVENT_TYPE
from sentri_events.sse import frame, retry

RETRY = 2000  # milliseconds until a viewer connects again
MOST_LOGS = 1_000_000
HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",
}
OVERLOADED = (5000, 15_000)  # until one does for whom there was no room


class StreamingHandler(BaseHandler):
    """A route that is answered with a stream."""

    _places: Sequence[Place] = ()

    def initialize(self, hub: Hub, access: Access, streams: Streams) -> None:  # type: ignore[override]
        """`streams` keeps the open sockets."""
        super().initialize(hub, access)
        self.streams = streams

    def dialect(self) -> StreamDialect:
        """By the options of the query. Raises `BadRequest`."""
        return StreamDialect(
            chunked=self.request.version != "HTTP/1.0",
            named=self.flag("named"),
            meta=self.flag("meta"),
            types=self._types(),
            links=self.access.links,
        )

    def logs(self) -> int:
        """How many of the last log lines are in a snapshot. Raises `BadRequest`."""
        return self.number("logs", LOGS, MOST_LOGS)

    def last_event_id(self) -> str:
        """Where the viewer stands. The header wins: a browser that reconnects repeats its old URL."""
        return self.header("Last-Event-ID") or self.get_query_argument("lastEventId", "")

    def stream_headers(self) -> None:
        """The headers of every stream."""
        self._headers.update(HEADERS)
        self.vary("Accept")

    async def only_headers(self) -> None:
        """What `HEAD` answers."""
        self.stream_headers()
        await self.flush()  # as they are: at the end Tornado would add the length of a body that is none

    def answer_nothing(self) -> None:
        """204: nothing will ever follow, which a browser's EventSource takes as the end."""
        self.clear_header("Content-Type")
        self.set_header("Cache-Control", "no-cache")
        self.vary("Accept")
        self.set_status(204)
        self.finish()

    def open_stream(self, dialect: StreamDialect, beginning: bytes) -> Socket:
        """Send the headers and what the stream begins with, and leave the connection to the socket."""
        self.stream_headers()
        if dialect.chunked:
            self.set_header("Transfer-Encoding", "chunked")
        head = "".join([f"{name}: {value}\r\n" for name, value in self._headers.get_all()]).encode()
        client = Client(self.request.path, self.request.remote_ip or "", self.caller, self.request_id, self._places)
        if self.request.connection.stream.closed():  # type: ignore[union-attr]
            raise Finish  # the client has left in the meantime
        stream = self.detach()
        self._places = ()  # they are the socket's now
        sink = open_socket(stream, self.streams, client, dialect.chunked, dialect.heartbeat())
        sink.begin(b"HTTP/1.1 200 OK\r\n%b\r\n" % head, beginning)
        return sink

    @contextmanager
    def admitted(self, *runs: str) -> Iterator[None]:
        """Inside, there is room for a stream, which keeps it if it is opened. Raises `TooMany`."""
        own = [f"{self.workspace}/{run}" for run in runs]  # how full a foreign run is, is nobody's business
        self._places = self.hub.limits.enter(own, self.account, self.request.remote_ip or "")
        try:
            yield
        finally:
            for place in self._places:
                place.free()
            self._places = ()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A browser's EventSource, for which any status but 200 is the end, is told on a stream that it is too many."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, TooMany) and self.request.method == "GET" and self._is_event_source():
            self._allow_origin()
            dialect = StreamDialect(chunked=self.request.version != "HTTP/1.0")
            self.why = str(error)
            self.open_stream(dialect, b"").finish(retry(random.randint(*OVERLOADED)) + frame(b'{"type":"overloaded"}'))  # nosec B311 # a pause
        else:
            super().write_error(status_code, **kwargs)

    def _is_event_source(self) -> bool:
        """Whether it is one, by its headers: other clients that ask for a stream are no browsers."""
        return self.header("Accept") == "text/event-stream" and self.header("User-Agent").startswith("Mozilla/")

    def send_away(self, dialect: StreamDialect) -> None:
        """What the server answers while it stops: any other answer would be the end of an EventSource."""
        self.open_stream(dialect, b"").finish(self.hub.audience.farewell())

    def _types(self) -> frozenset[str] | None:
        text = self.get_query_argument("types", None)
        if text is None:
            return None
        types = frozenset(name for name in text.split(",") if name)
        if not types or not all(EVENT_TYPE.fullmatch(name) for name in types):
            raise BadRequest("types must be event types, separated by commas.")
        return types
