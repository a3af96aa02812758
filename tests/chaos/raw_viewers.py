"""Viewers that are to a browser's EventSource what the wire needs: sockets, lines and ids. They share no code with our
client, take every event as it comes, and know nothing of repetitions: what is sent to them twice is seen twice.
"""

import asyncio
from collections.abc import AsyncIterator
from random import Random

from tests.chaos.producers import Producers, Run
from tests.chaos.records import Reading, Record, Sight
from tests.chaos.viewers import next_run

SILENCE = 15.0  # seconds; three heartbeats
BACK = (0.05, 1.0)  # seconds until it connects again
DONE = '{"type":"done"'
AWAY = (429, 502, 503, 504)


class Answer(Exception):
    """The server answered something that is no stream, with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"was answered with {status}")
        self.status = status


class RawViewer:
    """One of them, through `port`."""

    def __init__(
        self, name: str, port: int, producers: Producers, record: Record, chance: Random, steady: bool
    ) -> None:
        self._name = name
        self._port = port
        self._steady = steady
        self._producers = producers
        self._record = record
        self._chance = chance

    async def watch(self) -> None:
        """Follow runs until no more are begun."""
        while (run := await next_run(self._producers, self._chance)) is not None:
            reading = Reading(run.id, self._name, self._steady)
            self._record.readings.append(reading)
            try:
                await self._read(reading, run)
            except Answer as answer:
                self._record.complaints.append(f"{self._name} of {run.id} {answer}.")

    async def _read(self, reading: Reading, run: Run) -> None:
        """To the 204 that tells an EventSource to stop, after `done`."""
        last_id, query = self._chance.choice(
            (("0", ""), (str(self._chance.randint(0, run.head)), ""), ("", "?snapshot=0"))
        )
        if last_id:
            reading.start = int(last_id)
        while True:
            try:
                async with asyncio.timeout(None) as patience:
                    async for id, data in self._stream(run.id, last_id, query, patience):
                        last_id = id
                        self._take(reading, id, data)
                if not reading.sights or not reading.sights[-1].text.startswith(DONE):
                    raise ConnectionResetError("It ended before the run did.")
            except Answer as answer:
                if answer.status == 204:
                    reading.ended = True
                    return
                if answer.status not in AWAY:
                    raise
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                if self._steady:
                    self._record.breaks.append(asyncio.get_running_loop().time())
            await asyncio.sleep(self._chance.uniform(*BACK))

    def _take(self, reading: Reading, id: str, data: str | None) -> None:
        seq = int(id.rpartition(".")[2])
        now = asyncio.get_running_loop().time()
        reading.began_at = min(reading.began_at, now)
        if reading.start is None:
            reading.start = seq
        if data is not None:
            reading.sights.append(Sight(seq, self._record.shared(data), now))

    async def _stream(
        self, run: str, last_id: str, query: str, patience: asyncio.Timeout
    ) -> AsyncIterator[tuple[str, str | None]]:
        """The blocks of one connection: id, and data where it has any."""
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            patience.reschedule(loop.time() + SILENCE)
            position = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
            request = f"GET /api/v1/runs/{run}/events{query} HTTP/1.1\r\nHost: localhost\r\n"
            request += "Accept: text/event-stream\r\n"
            writer.write(f"{request}{position}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            status = int(head.split()[1])
            if status != 200:
                raise Answer(status)
            chunked = b"\r\ntransfer-encoding: chunked\r\n" in head
            rest = b""
            while body := await _body(reader, chunked):
                patience.reschedule(loop.time() + SILENCE)
                *blocks, rest = (rest + body).split(b"\n\n")
                for block in blocks:
                    fields = dict(line.decode("ascii").split(": ", 1) for line in block.split(b"\n"))
                    if "id" in fields:
                        yield fields["id"], fields.get("data")
                    elif "data" in fields:
                        self._record.complaints.append(f"{self._name} of {run} was sent {block!r:.200}.")
        finally:
            writer.transport.abort()


async def _body(reader: asyncio.StreamReader, chunked: bool) -> bytes:
    """The next bytes of an answer; none at its end."""
    if not chunked:
        return await reader.read(1 << 16)
    size = int(await reader.readuntil(b"\r\n"), 16)
    chunk = await reader.readexactly(size + 2)
    return chunk[:-2]
