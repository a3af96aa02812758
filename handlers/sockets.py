"""The sinks of streams: a socket that Tornado has let go of, with one small record and at most one unsent piece.

What Tornado did for the connection is done here: noticing that the client has gone, the end, the line in the log.
"""

import asyncio
import math
import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from selectors import EVENT_READ, EVENT_WRITE

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from sentri_events.caller import Caller
from sentri_events.dialect import chunk
from sentri_events.handlers.access_log import Client, log_stream
from sentri_events.handlers.readiness import Readiness
from sentri_events.meter import ENDS
from sentri_events.sse import comment
from sentri_events.terms import Terms
from sentri_events.viewer import Viewer

LAST_CHUNK = b"0\r\n\r\n"
LINGER = 2.0  # seconds that a client has to close its side after the end
IGNORED = 65536


class Streams:
    """The open streams of a server, and how long one may take nothing (seconds). `ended` counts the others by why.

    `terms` ends them with the tokens that opened them. One that is `lifetime` seconds old, or up to a quarter less,
    ends with what `farewell` says. `routes` sets all three.
    """

    terms: Terms | None = None
    lifetime = math.inf
    farewell: Callable[[], bytes] = bytes

    def __init__(self, stall_timeout: float) -> None:
        self.stall_timeout = stall_timeout
        self.open: set[Socket] = set()
        self.ended = dict.fromkeys(ENDS, 0)
        self.number = count(1).__next__  # of the next stream
        self._sent = 0
        self._emptied: asyncio.Event = asyncio.Event()
        self._readiness: Readiness | None = None

    @property
    def sent(self) -> int:
        """Bytes that were handed to the system, on all streams since the start."""
        return self._sent + sum(stream.sent for stream in self.open)

    def closed(self, stream: "Socket", why: str) -> None:
        """A stream has let go of its socket."""
        self.open.discard(stream)
        if self.terms is not None:
            self.terms.forget(stream)
        self.ended[why] += 1
        self._sent += stream.sent
        for place in stream.client.places:
            place.free()
        if not self.open:
            self._emptied.set()
            if self._readiness is not None:
                self._readiness.close()
                self._readiness = None

    @property
    def readiness(self) -> Readiness:
        """Of the sockets; it is there as long as there are streams."""
        if self._readiness is None:
            self._readiness = Readiness()
        return self._readiness

    def opened(self, stream: "Socket") -> None:
        """A stream begins."""
        self.open.add(stream)
        if self.terms is not None:
            self.terms.admit(stream)

    async def drained(self, grace: float) -> None:
        """Wait until all streams are closed; those that are not after `grace` seconds are cut."""
        if self.open:
            self._emptied.clear()
            try:
                await asyncio.wait_for(self._emptied.wait(), grace)
            except TimeoutError:
                for stream in list(self.open):
                    stream.close("cut")


class Socket:
    """Writes straight to a socket; what the socket does not take is the only thing that is kept.

    `since` is when it was opened (seconds since 1970).
    """

    __slots__ = (
        "_began", "_finishing", "_heartbeat", "_last", "_loop", "_moved", "_sent", "_socket", "_streams",
        "_unsent", "_until", "_viewer", "client", "number", "since",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, streams: Streams, client: Client, chunked: bool, heartbeat: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._streams = streams
        self.client = client
        self._last = LAST_CHUNK if chunked else b""
        self._heartbeat = heartbeat
        self._viewer: Viewer | None = None
        self._unsent: memoryview | None = None
        self._finishing = ""
        self.since = time.time()
        self._began = self._moved = self._loop.time()
        self._until = self._began + streams.lifetime * random.uniform(0.75, 1)  # nosec B311 # an end
        self._sent = 0
        self.number = streams.number()
        streams.opened(self)
        self._listen()

    @property
    def caller(self) -> Caller:
        """Who opened it."""
        return self.client.who

    def start(self, viewer: Viewer) -> bool:
        """Whether the stream's beginning is sent whole."""
        self._viewer = viewer
        if self._closed:
            viewer.leave()
            return False
        return self._unsent is None

    @property
    def viewer(self) -> Viewer | None:
        """Who follows by it, once it has begun."""
        return self._viewer

    @property
    def sent(self) -> int:
        """Bytes that were handed to the system."""
        return self._sent

    def begin(self, head: bytes, beginning: bytes) -> None:
        """Send the first bytes. `beginning` may be large, and shared: it is not copied for who cannot take it now."""
        try:
            sent = self._socket.sendmsg([head, beginning])
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.close("left", error)
            return
        self._sent += sent
        if sent < len(head):
            self._keep(head + beginning, sent)
        else:
            self._keep(beginning, sent - len(head))

    def write(self, data: bytes) -> bool:
        """Send; keep what the socket does not take now, and say False."""
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.close("left", error)
            return False
        self._sent += sent
        return sent == len(data) or self._keep(data, sent)

    def _keep(self, data: bytes, sent: int) -> bool:
        if sent == len(data):
            return True
        self._unsent = memoryview(data)[sent:]
        self._moved = self._loop.time()
        self._streams.readiness.change(self._socket.fileno(), self, True)
        return False

    def beat(self) -> bool:
        """A heartbeat where there is room; the end for who has taken nothing, or has been here, for too long."""
        now = self._loop.time()
        if now > self._until:
            self._part(self._streams.farewell(), "away")
            return False
        if self._unsent is None:
            return self.write(self._heartbeat)
        if now - self._moved > self._streams.stall_timeout:
            self._give_up()
        return False

    def finish(self, last: bytes = b"") -> None:
        """The last chunk, then wait a little for the client to close, so that it can read all that was sent."""
        if not self._closed and not self._finishing:
            self._finishing = "away" if last else "ended"
            if last:
                self._last = chunk(last) + self._last if self._last else last
            self._moved = self._loop.time()
            if self._unsent is None:
                self._end()
            self._expire()

    def dismiss(self, why: str) -> None:
        """End it with a comment that says why; who comes back with other credentials goes on where this ends."""
        self._part(comment(why), "dismissed")

    def _part(self, last: bytes, why: str) -> None:
        if self._viewer is not None:
            self._viewer.leave()
        if not self._finishing:
            self.finish(last)
            self._finishing = why

    def close(self, why: str, error: OSError | None = None) -> None:
        """Let go of the socket at once. `why` is one of `ENDS`. Harmless if it is closed."""
        if self._closed:
            return
        self._hush()
        self._socket.close()
        self._streams.closed(self, why)
        took = self._loop.time() - self._began
        log_stream(self.client, took, self._sent, why, error)
        if self._viewer is not None:
            self._viewer.leave()

    def _give_up(self) -> None:
        """Cut a client that takes nothing, and let the kernel forget what it holds for it."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close("stalled")

    @property
    def _closed(self) -> bool:
        return self not in self._streams.open

    def _drain(self) -> None:
        assert self._unsent is not None
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close("left", error)
            return
        self._sent += sent
        self._moved = self._loop.time()
        if sent < len(self._unsent):
            self._unsent = self._unsent[sent:]
            return
        self._unsent = None
        self._streams.readiness.change(self._socket.fileno(), self, False)
        self._go_on()

    def _go_on(self) -> None:
        """All is sent that was kept."""
        if self._finishing:
            self._end()
        elif self._viewer is not None:
            self._viewer.ready()

    def _end(self) -> None:
        if self._last:
            last, self._last = self._last, b""  # it is sent once
            if not self.write(last):
                return
        self._hang_up()

    def _expire(self) -> None:
        """Nobody beats for a stream that is finishing: it watches itself."""
        if self._closed or self._unsent is None:
            return
        left = self._moved + self._streams.stall_timeout - self._loop.time()
        if left <= 0:
            self._give_up()
        else:
            self._loop.call_later(left, self._expire)

    def _hang_up(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.close("left", error)
        else:
            self._loop.call_later(LINGER, lambda: self.close(self._finishing))

    def _listen(self) -> None:
        self._streams.readiness.add(self._socket.fileno(), self)

    def _hush(self) -> None:
        self._streams.readiness.remove(self._socket.fileno())

    def ready(self, events: int) -> None:
        """For `Readiness`."""
        if events & EVENT_WRITE and self._unsent is not None:
            self._drain()
        if events & EVENT_READ:
            self._hear()

    def _hear(self) -> None:
        """A client has nothing to say on a stream; what matters is that it goes."""
        try:
            if self._socket.recv(IGNORED):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close("left", error)
            return
        self.close(self._finishing or "left")


class TlsSocket(Socket):
    """The same where Tornado terminates TLS: its IOStream reads and writes, and keeps what the socket does not take."""

    __slots__ = ("_stream",)

    def __init__(self, stream: SSLIOStream, streams: Streams, client: Client, chunked: bool, heartbeat: bytes) -> None:
        self._stream = stream
        super().__init__(stream.socket, streams, client, chunked, heartbeat)

    def begin(self, head: bytes, beginning: bytes) -> None:
        """The first bytes, encrypted for this client alone."""
        self.write(head + beginning)

    def write(self, data: bytes) -> bool:
        """Hand it to the IOStream."""
        if not self._stream.closed():
            future = self._stream.write(data)
        if self._stream.closed():
            self.close("left")
            return False
        self._sent += len(data)
        if future.done():
            return True
        self._unsent = memoryview(data)
        self._moved = self._loop.time()
        future.add_done_callback(self._drained)
        return False

    def _drained(self, future: "asyncio.Future[None]") -> None:
        if future.exception() is None and not self._closed:
            self._unsent = None
            self._go_on()

    def _hang_up(self) -> None:
        """Take leave in TLS first: without that, an end looks like a cut."""
        if not self._stream.closed():
            with suppress(OSError):  # it would wait for the client to do the same; we do not
                self._stream.socket.unwrap()
        super()._hang_up()

    def _listen(self) -> None:
        try:
            asyncio.ensure_future(self._stream.read_bytes(IGNORED, partial=True)).add_done_callback(self._heard)
        except StreamClosedError:
            self.close("left")

    def _heard(self, future: "asyncio.Future[bytes]") -> None:
        if future.exception() is None:
            self._listen()
        else:
            self.close(self._finishing or "left")

    def _hush(self) -> None:
        self._stream.close()


def open_socket(stream: IOStream, streams: Streams, client: Client, chunked: bool, heartbeat: bytes) -> Socket:
    """The sink for a stream that a handler has detached from Tornado."""
    stream.set_nodelay(True)  # or an event would wait until the client's system has acknowledged the one before
    if isinstance(stream, SSLIOStream):
        return TlsSocket(stream, streams, client, chunked, heartbeat)
    stream.io_loop.remove_handler(stream.fileno())
    return Socket(stream.socket, streams, client, chunked, heartbeat)
