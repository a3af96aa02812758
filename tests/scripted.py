"""A server that does exactly what a test tells it, on a real socket, and remembers what it was asked."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

SECONDS = 20  # more than any test needs


class Request(NamedTuple):
    """One request as it came; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Wire(NamedTuple):
    """The connection of one request, for a step that does more than answer."""

    request: Request
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def closed(self) -> None:
        """Returns when the other side has closed its end."""
        while await self.reader.read(1 << 16):
            pass


Step = bytes | Callable[[Wire], Awaitable[None]]


class Scripted:
    """Each request takes the next of `steps`; when there are none left, `otherwise` answers, or the request is cut."""

    def __init__(self, steps: list[Step], otherwise: Callable[[Request], bytes] | None) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self._steps = steps
        self._otherwise = otherwise
        self.open: set[asyncio.Task[None]] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        try:
            request = await _read(reader)
            self.requests.append(request)
            if self._steps:
                step = self._steps.pop(0)
            elif self._otherwise is not None:
                step = self._otherwise(request)
            else:
                return
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await step(Wire(request, writer, reader))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client may go at any time
        finally:
            writer.close()
            self.open.discard(task)


async def _read(reader: asyncio.StreamReader) -> Request:
    start = await reader.readexactly(1)
    if not start.isalpha():
        raise ConnectionError("not HTTP; TLS, for example")
    head = (start + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in pairs}
    return Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))


@asynccontextmanager
async def scripted(
    *steps: Step, otherwise: Callable[[Request], bytes] | None = None, port: int = 0
) -> AsyncIterator[Scripted]:
    """The server, listening. At its end it waits until every connection is closed: a client that leaks one fails."""
    script = Scripted(list(steps), otherwise)
    server = await asyncio.start_server(script._serve, "127.0.0.1", port, limit=1 << 24)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()
        connections = set(script.open)
        left: set[asyncio.Task[None]] = set()
        if connections:
            _, left = await asyncio.wait(connections, timeout=SECONDS)
        for task in left:
            task.cancel()
        await server.wait_closed()
    assert not left, "the client left connections open"


def answer(status: int, body: Any = None, **headers: str) -> bytes:
    """A whole response; `retry_after="1"` becomes the header Retry-After."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} It", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def stream(*blocks: bytes, content_type: str = "text/event-stream") -> bytes:
    """A stream that is closed after these bytes."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n"
    return head.encode() + b"".join(blocks)


def chunked(*blocks: bytes) -> bytes:
    """A chunked stream without its last chunk: whoever reads it sees that it was cut."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks)


def hold(*blocks: bytes) -> Callable[[Wire], Awaitable[None]]:
    """A stream that says these bytes and then nothing, until the client goes."""

    async def step(wire: Wire) -> None:
        await wire.send(stream(*blocks))
        await wire.closed()

    return step


def gated(data: bytes) -> tuple[Callable[[Wire], Awaitable[None]], asyncio.Event]:
    """A step that sends `data` when the event is set, and the event."""
    gate = asyncio.Event()

    async def step(wire: Wire) -> None:
        await gate.wait()
        await wire.send(data)

    return step, gate


async def until(condition: Callable[[], object]) -> None:
    """Returns when the condition holds; fails the test if it never does."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - it may be a thread's or another process's
            await asyncio.sleep(0.005)


def unused_url() -> str:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
