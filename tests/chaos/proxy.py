"""A TCP proxy on loopback that can be made bad: it cuts, delays, holds back and splits what passes.

With several targets it is a balancer: it takes the next one where one does not answer.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Self

PIECE = 1 << 16
LAST_WORDS = 400  # a cut comes within so many bytes: in the middle of an event as well
MOMENT = 0.3  # seconds, after which it comes anyway
NARROW = 32 << 10  # so that who sends into a link that is held back soon feels it


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.left: int | None = None  # bytes to the client until it is cut
        self._writers = (client, server)

    def close(self) -> None:
        """Both sides see an end."""
        for writer in self._writers:
            writer.transport.abort()

    def reset(self) -> None:
        """Both sides see a reset, and what they have not read yet is gone."""
        for writer in self._writers:
            with suppress(OSError):  # it is closed already
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class Proxy:
    """Listens while it is entered; `port` is its own. What is set on it holds for all links at once.

    `delay`: seconds that each piece waits. `longest`: the bytes of the longest piece, 0 for as they come.
    """

    def __init__(self, targets: Sequence[int], chance: Random) -> None:
        self.port = 0
        self.delay = 0.0
        self.longest = 0
        self.links: set[Link] = set()
        self._targets = list(targets)
        self._chance = chance
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for link in self.links:
            link.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, share: float) -> int:
        """Cut that share of the links, and one at least: half of them at once, half in the middle of what they carry
        in the next moment. Returns how many."""
        links = list(self.links)
        chosen = self._chance.sample(links, min(len(links), max(1, round(share * len(links)))))
        for link in chosen:
            if self._chance.random() < 0.5:
                link.reset()
            else:
                link.left = self._chance.randrange(LAST_WORDS)
                asyncio.get_running_loop().call_later(MOMENT, link.close)
        return len(chosen)

    def hold(self) -> None:
        """Become a black hole: connections stay, more are taken, and nothing passes, not even an end."""
        self._flowing.clear()

    def release(self) -> None:
        """Let pass what was held back, and all that follows."""
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, upstream[1])
        self.links.add(link)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(link, reader, upstream[1], to_client=False))
                pumps.create_task(self._pump(link, upstream[0], writer, to_client=True))
        except* OSError:
            pass  # one side has gone: so does the other
        finally:
            self.links.discard(link)
            link.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the first target, in turns, that takes the connection. Raises the last one's `OSError`."""
        self._targets.append(self._targets.pop(0))
        for number, port in enumerate(list(self._targets), 1):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
            sock.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            except OSError:
                sock.close()
                if number == len(self._targets):
                    raise
            else:
                return await asyncio.open_connection(sock=sock)
        raise AssertionError("a proxy has a target")

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_client: bool
    ) -> None:
        while True:
            data = await reader.read(PIECE)
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._flowing.wait()
            if not data:
                break
            for piece in self._pieces(data):
                if to_client and link.left is not None:
                    writer.write(piece[: link.left])
                    await writer.drain()
                    link.left -= len(piece)
                    if link.left <= 0:
                        raise ConnectionResetError("cut")
                else:
                    writer.write(piece)
                    await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while self.longest and len(data) > 1:
            size = self._chance.randint(1, self.longest)
            yield data[:size]
            data = data[size:]
        if data:
            yield data
