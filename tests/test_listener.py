"""How the server takes requests in: sooner than Tornado does, and never more of them than there is room for."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body

from sentri_events.handlers import routes
from sentri_events.handlers.listener import AHEAD, Listener
from sentri_events.handlers.sockets import Streams
from sentri_events.server import open_hub
from sentri_events.settings import Settings
from tests.bridge import make_run, until

LONGEST = 1000
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@stream_request_body
class Noting(RequestHandler):
    """Notes what it is given, in order."""

    noted: ClassVar[list[str]] = []

    def prepare(self) -> None:
        self.noted.append("prepare")

    def data_received(self, chunk: bytes) -> None:
        self.noted.append(f"{len(chunk)} bytes")

    def post(self) -> None:
        self.noted.append("post")
        self.finish("answer")

    get = post

    def on_connection_close(self) -> None:
        self.noted.append("gone")


@asynccontextmanager
async def listening(application: Application, streams: Streams) -> AsyncIterator[tuple[Listener, int]]:
    """A server and its port."""
    server = Listener(application, streams=streams, refused=lambda limit: None, patience=15, longest=LONGEST)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield server, sockets[0].getsockname()[1]
    finally:
        server.stop()
        await server.close_all_connections()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Pair]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


@asynccontextmanager
async def noting() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, list[str]]]:
    """A connection, and what the handler of its requests noted."""
    Noting.noted = []
    async with (
        listening(Application([("/", Noting)]), Streams(60)) as (_, port),
        connected(port) as (reader, writer),
    ):
        yield reader, writer, Noting.noted


def post(body: bytes, more: str = "") -> bytes:
    return f"POST / HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def test_a_body_that_came_with_its_headers_is_there_before_the_handler_begins() -> None:
    """And so is the next request's. Caught: the body that waits is lost; it is given to the request after it."""
    async with noting() as (reader, writer, seen):
        for body in (b"abc", b"", b"12345"):
            writer.write(post(body))
            await reader.readuntil(b"answer")
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + post(b"ab"))
        await reader.readuntil(b"answer")
        await reader.readuntil(b"answer")
    handled = ["prepare", "post"]
    assert seen == ["3 bytes", *handled, *handled, "5 bytes", *handled, *handled, "2 bytes", *handled]


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (post(b"abcdef")[:-3], b"def"),
        (post(b"abc", "Expect: 100-continue\r\n"), b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b""),
        (post(bytes(LONGEST + 1)), b""),
    ],
    ids=["comes later", "is asked for", "has no length", "is too long"],
)
async def test_any_other_body_may_be_refused_before_it_is_read(first: bytes, rest: bytes) -> None:
    """Caught, one each: the handler begins when all is there; `Expect`; chunks; a bound that is not asked for."""
    async with noting() as (reader, writer, seen):
        writer.write(first)
        await until(lambda: seen, "it has begun")
        writer.write(rest)
        await reader.readuntil(b"answer")
    assert seen[0] == "prepare"
    assert seen[-1] == "post"


async def test_who_leaves_amid_a_body_is_noticed() -> None:
    """Caught: `on_connection_close` is not passed on."""
    async with noting() as (_, writer, seen):
        writer.write(post(b"abcdef")[:-3])
        await until(lambda: seen, "it has begun")
        writer.close()
        await until(lambda: "gone" in seen, "the handler was told")


async def test_nothing_that_is_sent_waits_for_what_was_sent_before(tmp_path: Path) -> None:
    """Neither answers nor events (Nagle's algorithm). Caught: the listening socket as it comes."""
    streams = Streams(60)
    async with open_hub(Settings(database=f"sqlite:///{tmp_path / 'events.db'}")) as hub:
        run = await make_run(hub)
        application = Application(routes(hub, streams=streams))
        async with listening(application, streams) as (server, port), connected(port) as (reader, writer):
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            (connection,) = server._connections
            sockets = [connection.stream.socket]
            writer.write(f"GET /api/v1/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await until(lambda: streams.open, "it follows")
            sockets += [stream._socket for stream in streams.open]
            assert [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in sockets] == [1, 1]


async def test_requests_that_wait_for_an_answer_are_bounded(tmp_path: Path) -> None:
    """Of who sends more and more of them, while one takes long. Caught: what comes is read however much waits."""
    streams = Streams(60)
    async with open_hub(Settings(database=f"sqlite:///{tmp_path / 'events.db'}")) as hub:
        run = await make_run(hub)
        application = Application(routes(hub, streams=streams))
        async with listening(application, streams) as (server, port), connected(port) as (_, writer):
            head = "Host: localhost\r\nAccept: application/json\r\n\r\n"
            writer.write(f"GET /api/v1/runs/{run}/events?wait=30 HTTP/1.1\r\n{head}".encode())
            await until(lambda: hub.viewers, "it waits for events")
            writer.write(b"GET /health HTTP/1.1\r\n" * (1 << 20))
            (connection,) = server._connections
            await until(lambda: connection.stream._state == IOLoop.ERROR, "no more is read")
            assert connection.stream._read_buffer_size < 8 * AHEAD
