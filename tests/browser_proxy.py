"""Between a browser and a server: knows what was asked and answered, and can hold, refuse or cut.

A browser's shared worker asks for what its tabs see, and no tool of the browser tells; here it passes by.
"""

import asyncio
import re
import threading
from types import TracebackType
from typing import NamedTuple

ASKED = re.compile(rb"(GET|POST|HEAD) (\S+) HTTP/1\.1\r\n((?:[^\r\n]+\r\n)*)\r\n")
ANSWERED = re.compile(rb"HTTP/1\.1 (\d{3}) ")
REFUSAL = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Exchange(NamedTuple):
    """A request and, once it was answered, the status."""

    method: str
    path: str
    stream: bool
    status: int | None


class BrowserProxy:
    """Listens on a port of its own from `with` to its end.

    `streams` is what happens to event streams: "pass", "hold" (not a byte of the answer comes through) or "refuse".
    `paused`: nothing of any answer comes through, and nothing is read from the server.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.url = ""
        self.streams = "pass"
        self.exchanges: list[Exchange] = []
        self._flowing: asyncio.Event
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def asked(self, part: str, stream: bool | None = None) -> list[Exchange]:
        """The exchanges whose path holds `part`."""
        return [exchange for exchange in self.exchanges if part in exchange.path and stream in (None, exchange.stream)]

    def pause(self, paused: bool) -> None:
        """Hold everything back, or let it go."""
        self._loop.call_soon_threadsafe(self._flowing.clear if paused else self._flowing.set)

    def cut(self) -> None:
        """Break every connection."""
        self._loop.call_soon_threadsafe(self._cut)

    def __enter__(self) -> "BrowserProxy":
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._flowing.set()
        self._cut()

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        mine = {writer, up_writer}
        self._open |= mine
        places: list[int] = []  # of this connection's exchanges
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, writer, up_writer, places))
                group.create_task(self._answer(up_reader, writer, places))
        except* (OSError, EOFError):
            pass
        finally:
            self._open -= mine
            for one in mine:
                one.transport.abort()

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_writer: asyncio.StreamWriter,
        places: list[int],
    ) -> None:
        while data := await reader.read(1 << 16):
            for found in ASKED.finditer(data):
                stream = b"text/event-stream" in found[3]
                places.append(len(self.exchanges))
                self.exchanges.append(Exchange(found[1].decode(), found[2].decode(), stream, None))
                if stream and self.streams == "refuse":
                    writer.write(REFUSAL)
                    await writer.drain()
                    raise EOFError
            up_writer.write(data)
            await up_writer.drain()
        raise EOFError

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, places: list[int]) -> None:
        while data := await reader.read(1 << 16):
            found = ANSWERED.match(data)
            if found and places:
                self.exchanges[places[-1]] = self.exchanges[places[-1]]._replace(status=int(found[1]))
            await self._flowing.wait()
            if not (places and self.exchanges[places[-1]].stream and self.streams == "hold"):
                writer.write(data)
                await writer.drain()
        raise EOFError
