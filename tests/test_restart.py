"""The instances behind nginx are restarted one after the other, under load (P13): nobody who watches loses or repeats
an event, and a browser's EventSource, which gives up at any answer but 200, never has a reason to."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from sentri_events.client import Client
from sentri_events.handlers.listener import raise_room
from sentri_events.sse import Parser
from tests.bridge import until
from tests.chaos.parts import Nginx
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess

pytestmark = pytest.mark.debian

VIEWERS = 500
BEFORE_AND_AFTER = 20  # events that everyone has seen before an instance is told to stop, and after it is back
PACE = 0.05  # seconds between two events


class Browser:
    """An EventSource in the words of the standard: it reconnects after the time that it was told, with the last id."""

    def __init__(self, port: int, run: str) -> None:
        self._port = port
        self._run = run
        self._parser = Parser()
        self._retry = 0
        self._id = ""
        self.seqs: list[int] = []
        self.answers: Counter[int] = Counter()
        self.cuts = 0
        self.waited = [0]  # of each time that nothing came, the milliseconds that it was told to wait

    async def watch(self) -> None:
        """Until it is told to stop (204)."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    if await self._read(reader, writer) == 204:
                        return
                finally:
                    writer.close()
            self.waited[-1] += self._retry
            await asyncio.sleep(self._retry / 1000)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        position = f"Last-Event-ID: {self._id}\r\n" if self._id else ""
        path = f"/api/v1/runs/{self._run}/events" + ("" if self._id else "?lastEventId=0")
        writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n{position}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split()[1])
        self.answers[status] += 1
        if status == 200:
            self._parser = Parser()
            while data := await reader.read(1 << 16):
                self._take(data)
            self.cuts += 1
        return status

    def _take(self, data: bytes) -> None:
        for message in self._parser.feed(data):
            if message.id is not None:
                self._id = message.id
                self.seqs.append(int(message.id.partition(".")[2]))
            if self.waited[-1]:
                self.waited.append(0)
        if self._parser.retry is not None:
            self._retry = self._parser.retry


class Balancer(Nginx):
    """As docs/production/nginx.conf has it: without `max_fails=0` an instance that was away once is left out for 10 s,
    and when the other one is restarted in that time nginx says 502."""

    def command(self) -> Sequence[str]:
        command = super().command()
        text = self._configuration.read_text()
        self._configuration.write_text(re.sub(r"(server 127[^;]+);", r"\1 max_fails=0;", text))
        return command


@asynccontextmanager
async def instances(folder: Path, redis: RedisServer) -> AsyncIterator[list[ServerProcess]]:
    """Two, on the same database."""
    servers = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        options = ("--redis-url", redis.url, "--database", f"sqlite:///{folder / 'events.db'}")
        servers.append(ServerProcess(folder / name, *options))
    try:
        for server in servers:
            await asyncio.to_thread(server.start)
        yield servers
    finally:
        for server in servers:
            server.close()


@asynccontextmanager
async def publishing(client: Client, run: str) -> AsyncIterator[list[int]]:
    """Inside, events are published one after the other. What is given grows by the number of each that is answered."""
    answered: list[int] = []

    async def publish() -> None:
        while True:
            answered.append((await client.publish(run, [{"type": "log", "message": "x"}]))["last"])
            await asyncio.sleep(PACE)

    task = asyncio.create_task(publish())
    try:
        yield answered
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_restarting_one_of_two_and_then_the_other_costs_nobody_an_event(
    tmp_path: Path, redis: RedisServer
) -> None:
    """Each of them once, one after the other, under load. Whoever was connected to it is told to wait for less than 2 s
    in all.

    Mutant caught: the goodbye asks for the `retry: 2000` of every stream."""
    raise_room()  # nginx takes two descriptors for each viewer, and as many in all as this process may
    async with instances(tmp_path, redis) as servers:
        nginx = Balancer("nginx", tmp_path, [server.port for server in servers])
        await nginx.start()
        try:
            async with Client(f"http://127.0.0.1:{nginx.port}", first_delay=0.05) as client:
                run = str((await client.create_run(project="web"))["id"])
                browsers = [Browser(nginx.port, run) for _ in range(VIEWERS)]
                watching = asyncio.gather(*(browser.watch() for browser in browsers))
                async with publishing(client, run) as answered:
                    for server in servers:
                        await seen(browsers, len(answered) + BEFORE_AND_AFTER)
                        assert await asyncio.to_thread(server.stop) == 0
                        await asyncio.to_thread(server.start)
                        await seen(browsers, len(answered) + BEFORE_AND_AFTER)
                last = (await client.publish(run, [{"type": "done", "status": "completed"}]))["last"]
                await watching
        finally:
            await nginx.close()
    assert last > 4 * BEFORE_AND_AFTER
    for browser in browsers:
        assert browser.seqs == list(range(1, last + 1))
        assert set(browser.answers) == {200, 204}
        assert max(browser.waited[:-1]) < 2000, "the last time is after the end"
    assert sum(browser.cuts for browser in browsers) >= 2 * VIEWERS, "each was cut by a stop, and ended"


async def seen(browsers: list[Browser], number: int) -> None:
    await until(lambda: all(browser.seqs and browser.seqs[-1] >= number for browser in browsers), "everyone is level")
