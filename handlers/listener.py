"""Tornado's HTTP server, with a bound on its connections, and on the time that each may take for a request.

They are as many as the system grants descriptors. Whoever comes when none is left is hung up on: accepting could only
fail, again and again. To a browser's EventSource that is a cut, after which it comes back, while any answer but 200
would be its end.
"""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream

from sentri_events.handlers.sockets import Streams

MOST = 1 << 20
RESERVED = 128  # descriptors for everything else: the store, the backend, the log
SWEEP = 0.5  # seconds between two looks at who takes too long


class Listener(HTTPServer):
    """Takes as many connections as there is room for, with those that have become `streams`. `refused` is called for
    each of the others. A connection that does not bring a request's headers, or then its body, within `patience`
    seconds is closed.

    One look at all of them now and then: Tornado's own two timers a request take a fifth of its time.
    """

    def initialize(  # type: ignore[override]
        self, *args: Any, streams: Streams, refused: Callable[[], None], patience: float, **options: Any
    ) -> None:
        """As `HTTPServer`."""
        super().initialize(*args, **options)
        self.conn_params.header_timeout = None  # which `HTTPServer` cannot be told
        self._patience = patience
        self._waiting: dict[HTTP1ServerConnection, float] = {}
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
            self._refused()
            return
        self._requests += 1
        super().handle_stream(stream, address)

    def start_request(self, server_conn: Any, request_conn: Any) -> HTTPMessageDelegate:
        """The next request of a connection is waited for."""
        return _Watched(super().start_request(server_conn, request_conn), server_conn, self._waiting, self._clock)

    async def close_all_connections(self) -> None:
        """As `HTTPServer`."""
        self._sweeper.stop()
        await super().close_all_connections()

    def _sweep(self) -> None:
        late = self._clock() - self._patience
        for connection in [connection for connection, since in self._waiting.items() if since < late]:
            del self._waiting[connection]
            connection.stream.close()

    def on_close(self, server_conn: Any) -> None:
        """A connection is closed, or has become a stream."""
        self._requests -= 1
        self._waiting.pop(server_conn, None)
        super().on_close(server_conn)


class _Watched(HTTPMessageDelegate):
    """Notes since when a connection is waited for, and passes everything on."""

    __slots__ = ("_clock", "_connection", "_delegate", "_waiting")

    def __init__(
        self,
        delegate: HTTPMessageDelegate,
        connection: HTTP1ServerConnection,
        waiting: dict[HTTP1ServerConnection, float],
        clock: Callable[[], float],
    ) -> None:
        self._delegate = delegate
        self._connection = connection
        self._waiting = waiting
        self._clock = clock
        waiting[connection] = clock()

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._waiting[self._connection] = self._clock()
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
