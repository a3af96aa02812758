"""The original and ours on one Redis: what one publishes reaches the viewers of the other (protocol, section 7).

`tests/original` is a small program that speaks as the original does, with its own libraries: express and ioredis.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sentri_events.backends import open_backend
from sentri_events.backends.redis import RedisBackend
from sentri_events.client import Client
from sentri_events.sse import Parser
from tests.backend_contract import EPOCH, started
from tests.backend_contract import event as an_event
from tests.bridge import until
from tests.chaos import parts
from tests.npm import install
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess

pytestmark = pytest.mark.node
HERE = Path(__file__).parent / "original"


@pytest.fixture
def original(request: pytest.FixtureRequest) -> Path:
    """The program with its libraries."""
    folder = install(request.config, HERE)
    shutil.copy(HERE / "server.js", folder)
    return folder


class Original:
    """A running one. `seen` has what its viewer of RUN-1 gets."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self.seen: list[Any] = []
        self.ended = False
        self.subscribed = False
        self._url = url
        self._http = http

    async def emit(self, type: str, **payload: object) -> None:
        (await self._http.post(f"{self._url}/emit/RUN-1/{type}", json=payload)).raise_for_status()

    async def view(self) -> None:
        parser = Parser()
        async with self._http.stream("GET", f"{self._url}/api/v1/runs/RUN-1/events") as response:
            async for data in response.aiter_bytes():
                self.subscribed = True
                self.seen += [json.loads(message.data) for message in parser.feed(data)]
        self.ended = True


@asynccontextmanager
async def running(folder: Path, redis: RedisServer) -> AsyncIterator[Original]:
    process = await asyncio.create_subprocess_exec(
        *("node", "server.js"), cwd=folder, env={**os.environ, "REDIS_URL": redis.url}, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        async with httpx2.AsyncClient(timeout=30) as http, asyncio.TaskGroup() as tasks:
            original = Original(f"http://127.0.0.1:{port}", http)
            view = tasks.create_task(original.view())
            await until(lambda: original.subscribed, "its viewer is there")
            await parts.until(lambda: _listens(redis), "it listens, which it does not wait for")
            yield original
            view.cancel()
    finally:
        process.kill()
        await process.wait()


async def test_both_ways(redis: RedisServer, original: Path) -> None:
    """Caught: another channel; `_` keys passed on to our viewers."""
    backend = open_backend(redis.url)
    assert isinstance(backend, RedisBackend)
    async with running(original, redis) as theirs, started(backend) as (ear,):
        await backend.subscribe("RUN-1")
        await theirs.emit("log", message="\u2705 it's theirs", nested={"_kept": 1})
        await theirs.emit("frame", data="x" * 200_000)
        await theirs.emit("result", result={"testId": "t", "status": "passed"})
        await until(lambda: len(ear.events) == 3, "ours get what theirs say")
        assert [event.json for event in ear.events] == [
            b'{"type":"log","message":"\\u2705 it\'s theirs","nested":{"_kept":1}}',
            b'{"type":"frame","data":"' + b"x" * 200_000 + b'"}',
            b'{"type":"result","result":{"testId":"t","status":"passed"}}',
        ]
        assert {(event.run, event.epoch, event.seq) for event in ear.events} == {("RUN-1", "", 0)}

        await until(lambda: len(theirs.seen) == 3, "and so do theirs")
        theirs.seen.clear()
        backend.publish(an_event("RUN-1", 7, "ours"))
        backend.publish(an_event("RUN-1", 8, "x" * 100_000))
        await until(lambda: len(theirs.seen) == 2, "theirs get what ours say")
        backend.publish(an_event("RUN-1", 0, "x" * 200_000, "frame"))
        await until(lambda: len(theirs.seen) == 3, "pictures too")
        place = {"_epoch": EPOCH, "_at": "2027-01-15T08:00:00.123Z"}
        assert theirs.seen == [
            {"type": "log", "message": "ours", **place, "_seq": 7},
            {"type": "_hint", "_epoch": EPOCH, "_seq": 8},
            {"type": "frame", "message": "x" * 200_000},
        ]
        assert len(ear.events) == 3


async def test_the_end(redis: RedisServer, original: Path) -> None:
    """Theirs comes to ours as an event without a number; ours ends their streams."""
    backend = open_backend(redis.url)
    async with running(original, redis) as theirs, started(backend) as (ear,):
        await backend.subscribe("RUN-1")
        backend.publish(an_event("RUN-1", 9, "", "done"))
        await until(lambda: theirs.ended, "their streams end")
        await theirs.emit("done", status="failed", passed=1)
        await until(lambda: ear.events, "theirs comes")
        (done,) = ear.events
        assert (done.type, done.seq, done.json) == ("done", 0, b'{"type":"done","status":"failed","passed":1}')


async def test_viewers_of_a_server_and_of_the_original(redis: RedisServer, original: Path, tmp_path: Path) -> None:
    """From end to end: theirs comes live and without an id, and their end is stored as ours. Caught: an event without
    a number that is dropped."""
    server = ServerProcess(tmp_path, "--redis-url", redis.url)
    try:
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.make_run, id="RUN-1")
        async with running(original, redis) as theirs, Client(server.url) as client:
            stream = client.follow("RUN-1", 0)
            await client.publish("RUN-1", [{"type": "log", "message": "ours"}])
            seen = [await anext(stream)]
            await theirs.emit("log", message="theirs")
            seen.append(await anext(stream))
            await theirs.emit("done", status="completed", passed=1)
            seen += [received async for received in stream]
            await until(lambda: theirs.ended, "their streams end")
        assert [(received.seq, received.event) for received in seen] == [
            (1, {"type": "log", "message": "ours"}),
            (None, {"type": "log", "message": "theirs"}),
            (2, {"type": "done", "status": "completed", "passed": 1}),
        ]
        assert [event["message"] for event in theirs.seen if event["type"] == "log"] == ["ours", "theirs"]
        assert [event["seq"] for event in await asyncio.to_thread(server.history, "RUN-1")] == [1, 2]
    finally:
        server.close()


async def _listens(redis: RedisServer) -> bool:
    return bool(await redis.say("PUBSUB", "CHANNELS", "sentri:run:RUN-1"))
