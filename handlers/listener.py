"""Tornado's HTTP server, with a bound on its connections: the descriptors that the system grants.

Whoever comes when none is left is hung up on: accepting could only fail, again and again. To a browser's EventSource
that is a cut, after which it comes back, while any answer but 200 would be its end.
"""

import resource
from collections.abc import Callable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from sentri_events.handlers.sockets import Streams

MOST = 1 << 20
RESERVED = 128  # descriptors for everything else: the store, the backend, the log


class Listener(HTTPServer):
    """Takes as many connections as there is room for, with those that have become `streams`. `refused` is called for
    each of the others."""

    def initialize(  # type: ignore[override]
        self, *args: Any, streams: Streams, refused: Callable[[], None], **options: Any
    ) -> None:
        """As `HTTPServer`."""
        super().initialize(*args, **options)
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

    def on_close(self, server_conn: object) -> None:
        """A connection is closed, or has become a stream."""
        self._requests -= 1
        super().on_close(server_conn)


def raise_room() -> None:
    """Ask the system for as many descriptors as it grants: a stream takes one."""
    granted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if most == resource.RLIM_INFINITY else min(most, MOST)
    if granted < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
