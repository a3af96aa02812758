"""The proxy of the chaos program, byte by byte: the faults stand on what it does to a connection."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest

from tests.bridge import until
from tests.chaos.parts import free_port
from tests.chaos.proxy import LAST_WORDS, Proxy

DATA = bytes(range(256)) * 1000
SHORT = 0.2  # seconds in which nothing may come
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes, and an end for an end."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """The port of a server whose connections are handled so, and closed after that."""
    tasks: list[asyncio.Task[None] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        with suppress(ConnectionError):
            await handler(reader, writer)
        await closed(writer)

    async with await asyncio.start_server(handle, "127.0.0.1") as server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*filter(None, tasks))


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[Proxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to an echo through a proxy, which has carried a word already."""
    async with listening(echo) as port, Proxy([port], Random(1)) as proxy, connected(proxy.port) as (reader, writer):
        writer.write(b"word")
        assert await reader.readexactly(4) == b"word"
        yield proxy, reader, writer


async def silent(reader: asyncio.StreamReader) -> bool:
    """Whether nothing comes for a while, not even an end."""
    reading = asyncio.ensure_future(reader.read(1))
    await asyncio.wait([reading], timeout=SHORT)
    came = reading.done()
    reading.cancel()
    await asyncio.wait([reading])
    return not came


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What still comes before the end, or before the reset."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("longest", [0, 1, 700])
async def test_bytes_pass_both_ways_in_pieces_of_any_size(longest: int) -> None:
    async with echoing() as (proxy, reader, writer):
        proxy.longest = longest
        data = DATA[: 5000 if longest == 1 else None]
        writer.write(data)
        assert await reader.readexactly(len(data)) == data


async def test_an_end_passes() -> None:
    async with echoing() as (proxy, reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        assert await reader.read() == b"last words"
        await until(lambda: not proxy.links, "the link is gone")


async def test_what_is_delayed_comes_later() -> None:
    async with echoing() as (proxy, reader, writer):
        proxy.delay = 2 * SHORT
        writer.write(b"late")
        assert await silent(reader)
        assert await reader.readexactly(4) == b"late"


async def test_a_black_hole_takes_everything_and_gives_it_back_when_it_is_none_any_more() -> None:
    async with echoing() as (proxy, reader, writer):
        proxy.hold()
        writer.write(b"held")
        writer.write_eof()
        async with connected(proxy.port) as (another, another_writer):
            another_writer.write(b"another")
            assert await silent(reader)
            assert await silent(another)
            proxy.release()
            assert await reader.read() == b"held"
            assert await another.readexactly(7) == b"another"


async def test_a_cut_ends_both_sides() -> None:
    ends: asyncio.Queue[bytes] = asyncio.Queue()

    async def wait_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ends.put(await ended(reader))

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(wait_for_the_end))
        proxy = await stack.enter_async_context(Proxy([port], Random(1)))
        streams = [await stack.enter_async_context(connected(proxy.port)) for _ in range(8)]
        await until(lambda: len(proxy.links) == 8, "there are 8 links")
        assert proxy.cut(0.5) == 4
        assert [await ends.get() for _ in range(4)] == [b""] * 4
        await until(lambda: len(proxy.links) == 4, "there are 4 links")
        assert proxy.cut(1.0) == 4
        assert [await ended(reader) for reader, _ in streams] == [b""] * 8
        await until(lambda: not proxy.links, "there are no links")
        assert proxy.cut(1.0) == 0


async def test_half_of_the_cuts_come_in_the_middle_of_what_is_carried() -> None:
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(echo))
        proxy = await stack.enter_async_context(Proxy([port], Random(1)))
        streams = [await stack.enter_async_context(connected(proxy.port)) for _ in range(20)]
        await until(lambda: len(proxy.links) == 20, "there are 20 links")
        assert proxy.cut(1.0) == 20
        for _, writer in streams:
            writer.write(DATA)
        got = [await ended(reader) for reader, _ in streams]
    assert all(DATA.startswith(part) and len(part) < LAST_WORDS for part in got)
    assert 4 <= sum(map(bool, got)) <= 16


async def test_the_next_target_is_taken_where_one_does_not_answer() -> None:
    def saying(word: bytes) -> Handler:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(word)
            writer.write_eof()

        return say

    words = []
    async with (
        listening(saying(b"one")) as one,
        listening(saying(b"two")) as two,
        Proxy([one, free_port(), two], Random(1)) as proxy,
    ):
        for _ in range(6):
            async with connected(proxy.port) as (reader, _):
                words.append(await reader.read())
    assert set(words) == {b"one", b"two"}
    assert len(words) == 6


async def test_a_connection_ends_where_no_target_answers() -> None:
    async with Proxy([free_port(), free_port()], Random(1)) as proxy, connected(proxy.port) as (reader, _):
        assert await ended(reader) == b""
