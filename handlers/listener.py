"""Tornado's HTTP server, with a bound on its connections, and on the time of a request and of an answer.

They are as many as the system grants descriptors. Whoever comes when none is left is hung up on: accepting could only
fail, again and again. To a browser's EventSource that is a cut, after which it comes back, while any answer but 200
would be its end.
"""

import asyncio
import resource
import socket
import struct
from collections.abc import Awaitable, Callable
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
    """

    def initialize(  # type: ignore[override]
        self, *args: Any, streams: Streams, refused: Callable[[str], None], patience: float, **options: Any
    ) -> None:
        """As `HTTPServer`."""
        super().initialize(*args, **options)
        self.conn_params.header_timeout = None  # which `HTTPServer` cannot be told
        self._patience = patience
        self._waiting: dict[HTTP1ServerConnection, _Watched] = {}
        self._stuck: dict[HTTP1ServerConnection, tuple[int, float]] = {}  # bytes taken in all, and since when not more
        self._clock = asyncio.get_running_loop().time
        self._sweeper = PeriodicCallback(self._sweep, SWEEP * 1000)
        self._sweeper.start()
        self._room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED
        self._streams = streams
        self._refused = refused
        self._requests = 0

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
        watched = self._waiting[server_conn] = _Watched(delegate, server_conn, request_conn, self._waiting, self._clock)
        return watched

    async def close_all_connections(self) -> None:
        """As `HTTPServer`."""
        self._sweeper.stop()
        await super().close_all_connections()

    def _sweep(self) -> None:
        now = self._clock()
        late = now - self._patience
        for connection, watched in [item for item in self._waiting.items() if item[1].since < late]:
            del self._waiting[connection]
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
        self._waiting.pop(server_conn, None)
        self._stuck.pop(server_conn, None)
        super().on_close(server_conn)


class _Watched(HTTPMessageDelegate):
    """Notes `since` when a connection is waited for, and passes everything on."""

    __slots__ = ("_clock", "_connection", "_delegate", "_has_head", "_request", "_waiting", "since")

    def __init__(
        self,
        delegate: HTTPMessageDelegate,
        connection: HTTP1ServerConnection,
        request: HTTP1Connection,
        waiting: dict[HTTP1ServerConnection, "_Watched"],
        clock: Callable[[], float],
    ) -> None:
        self._delegate = delegate
        self._connection = connection
        self._request = request
        self._waiting = waiting
        self._clock = clock
        self._has_head = False
        self.since = clock()

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
        self.since = self._clock()
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._waiting.pop(self._connection, None)
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()


def raise_room() -> None:
    """Ask the system for as many descriptors as it grants: a stream takes one."""
    granted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if most == resource.RLIM_INFINITY else min(most, MOST)
    if granted < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
