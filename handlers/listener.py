"""Tornado's HTTP server, with a bound on its connections, and on the time of a request and of an answer.

They are as many as the system grants descriptors. Whoever comes when none is left is hung up on: accepting could only
fail, again and again. To a browser's EventSource that is a cut, after which it comes back, while any answer but 200
would be its end.
"""

import asyncio
import math
import resource
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream

from sentri_events.event import encode
from sentri_events.handlers.sockets import Streams

MOST = 1 << 20
RESERVED = 128  # descriptors for everything else: the store, the backend, the log
AHEAD = 65536  # bytes of requests that may wait in a connection
SWEEP = 0.5  # seconds between two looks at who takes too long
TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\n\r\n%b"
)


class Listener(HTTPServer):
    """Takes as many connections as there is room for, with those that have become `streams`. A connection that does not
    bring a request's headers, or then its body, within `patience` seconds is closed, and so is one that takes nothing
    of its answer for as long as a stream may. `refused` is called with the bound that was met.

    One look at all of them now and then: Tornado's own two timers a request take a fifth of its time.

    `waiting` are those that have not brought what they have to, by `clock`.
    """

    def initialize(  # type: ignore[override]
        self,
        *args: Any,
        streams: Streams,
        refused: Callable[[str], None],
        patience: float,
        longest: int,
        **options: Any,
    ) -> None:
        """As `HTTPServer`. A body of more than `longest` bytes is refused by who handles it."""
        super().initialize(*args, **options)
        self.longest = longest
        self.conn_params.header_timeout = None  # which `HTTPServer` cannot be told
        self._patience = patience
        self.waiting: dict[HTTP1ServerConnection, _Watched] = {}
        self._stuck: dict[HTTP1ServerConnection, tuple[int, float]] = {}  # bytes taken in all, and since when not more
        self.clock = asyncio.get_running_loop().time
        self._sweeper = PeriodicCallback(self._sweep, SWEEP * 1000)
        self._sweeper.start()
        self._room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED
        self._streams = streams
        self._refused = refused
        self._requests = 0

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """As `HTTPServer`."""
        sockets = list(sockets)
        for one in sockets:
            if one.family != socket.AF_UNIX:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # all that it accepts have that from it
        super().add_sockets(sockets)

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        self.handle_stream(Connection(connection, self.max_buffer_size, read_chunk_size=self.read_chunk_size), address)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """A connection was accepted."""
        if self._requests + len(self._streams.open) >= self._room:
            stream.close()
            self._refused("connections")
            return
        self._requests += 1
        super().handle_stream(stream, address)

    def start_request(self, server_conn: Any, request_conn: Any) -> HTTPMessageDelegate:
        """The next request of a connection is waited for."""
        delegate = super().start_request(server_conn, request_conn)
        watched = self.waiting[server_conn] = _Watched(self, delegate, server_conn, request_conn)
        return watched

    async def close_all_connections(self) -> None:
        """As `HTTPServer`."""
        self._sweeper.stop()
        await super().close_all_connections()

    def _sweep(self) -> None:
        now = self.clock()
        late = now - self._patience
        for connection, watched in [item for item in self.waiting.items() if item[1].since < late]:
            del self.waiting[connection]
            if watched.begun:
                self._refused("request_timeout")
            if watched.answerable:
                body = encode({"error": f"A request must come within {self._patience:g} seconds."})
                connection.stream.write(TOO_SLOW % (len(body), body))
            connection.stream.close()
        late = now - self._streams.stall_timeout
        for connection in list(self._connections):
            stream = connection.stream
            if not stream.writing():
                self._stuck.pop(connection, None)
                continue
            taken, since = self._stuck.get(connection, (-1, now))
            if taken != stream._total_write_done_index:
                self._stuck[connection] = stream._total_write_done_index, now
            elif since < late:
                self._refused("stall_timeout")
                # Or else the kernel would keep what it holds for it.
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stream.close()

    def on_close(self, server_conn: Any) -> None:
        """A connection is closed, or has become a stream."""
        self._requests -= 1
        self.waiting.pop(server_conn, None)
        self._stuck.pop(server_conn, None)
        super().on_close(server_conn)


class Connection(IOStream):
    """Tornado's, without what it has the system do for each request and undo again."""

    def set_nodelay(self, value: bool) -> None:
        """Nothing is delayed, ever."""

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """As `IOStream`. That it is closed is looked for in the next turn of the loop: most who ask need it no more."""
        if callback is not None and self._state is None:
            self._close_callback = callback
            asyncio.get_running_loop().call_soon(self._maybe_add_error_listener)
        else:
            super().set_close_callback(callback)

    def reading(self) -> bool:
        """Also while a request is answered, unless much of the next ones has come: the system goes on listening."""
        return super().reading() or self._read_buffer_size < AHEAD


class _Watched(HTTPMessageDelegate):
    """Notes `since` when a connection is waited for, and passes everything on: at once where the body is there already,
    so that the handler is not woken for each part. Any other body may be refused before it comes."""

    __slots__ = ("_body", "_connection", "_delegate", "_has_head", "_head", "_listener", "_request", "since")

    def __init__(
        self,
        listener: Listener,
        delegate: HTTPMessageDelegate,
        connection: HTTP1ServerConnection,
        request: HTTP1Connection,
    ) -> None:
        self._listener = listener
        self._delegate = delegate
        self._connection = connection
        self._request = request
        self._has_head = False
        self._head: tuple[RequestStartLine | ResponseStartLine, HTTPHeaders] | None = None  # if it is kept
        self._body: list[bytes] = []
        self.since = listener.clock()

    @property
    def begun(self) -> bool:
        """Whether something of the request has come: a connection may well be idle."""
        return self._has_head or self._connection.stream._read_buffer_size > 0

    @property
    def answerable(self) -> bool:
        """Whether that is so, and nothing was answered yet."""
        idle = not self._connection.stream.writing() and self._request._response_start_line is None
        return self.begun and idle and not self._connection.stream.closed()

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._has_head = True
        self.since = self._listener.clock()
        if _length(headers) <= min(self._connection.stream._read_buffer_size, self._listener.longest):
            self._head = start_line, headers
            return None
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._head is None:
            return self._delegate.data_received(chunk)
        self._body.append(chunk)
        return None

    def finish(self) -> None:
        self._listener.waiting.pop(self._connection, None)
        if self._head is not None:
            self._delegate.headers_received(*self._head)
            for chunk in self._body:
                self._delegate.data_received(chunk)
        self._delegate.finish()

    def on_connection_close(self) -> None:
        if self._head is None:
            self._delegate.on_connection_close()


def _length(headers: HTTPHeaders) -> float:
    """Of the body, in bytes; infinite where the headers do not say it, or where the client waits for our word."""
    if "Transfer-Encoding" in headers or "Expect" in headers:
        return math.inf
    length = headers.get("Content-Length", "0")
    return float(length) if length.isascii() and length.isdigit() else math.inf


def raise_room() -> None:
    """Ask the system for as many descriptors as it grants: a stream takes one."""
    granted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if most == resource.RLIM_INFINITY else min(most, MOST)
    if granted < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
