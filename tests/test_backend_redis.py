"""Redis carries events between processes, word for word as the original speaks (protocol, section 7).

Against a real server: SENTRI_TEST_REDIS_URL for the rules of every backend, one of the test's own for all else. With
scripts/test --all these rules are tried on Debian's Redis and on Valkey.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from redis.asyncio import Redis as Client
from tornado.platform.asyncio import AsyncIOLoop

from sentri_events.backends import open_backend
from sentri_events.backends.redis import RedisBackend
from sentri_events.backends.redis_url import read_url
from sentri_events.event import Event
from tests.backend_contract import AT, EPOCH, LARGE, Make, SharedBackendContract, event, started
from tests.bridge import until
from tests.chaos.parts import free_port, redis_programs
from tests.chaos.proxy import Proxy
from tests.machine import REDIS_URL, each_redis
from tests.redis_server import RedisServer
from tests.redis_server import started as servers_started

PAIR = Path(__file__).parent / "tls.pem"


class TestRedis(SharedBackendContract):
    @pytest.fixture(params=each_redis())
    def make(self, request: pytest.FixtureRequest, io_loop: AsyncIOLoop, tmp_path: Path) -> Iterator[Make]:
        where: str = request.param
        if where == REDIS_URL:
            yield lambda: open_backend(where)
            return
        server = RedisServer(tmp_path, program=where)
        try:
            io_loop.run_sync(server.start)
            yield lambda: open_backend(server.url)
        finally:
            io_loop.run_sync(server.close)


@pytest.mark.debian
def test_both_kinds_are_tried() -> None:
    """Without one of them scripts/test --all would try less than it says."""
    assert {Path(program).name for program in redis_programs()} == {"redis-server", "valkey-server"}


@asynccontextmanager
async def overheard(redis: RedisServer, run: str) -> AsyncIterator[list[bytes]]:
    """What is said about the run, as another program hears it."""
    said: list[bytes] = []

    async def listen() -> None:
        while True:
            said.append((await channel.parse_response())[2])

    async with Client(port=redis.port, protocol=2) as client, client.pubsub() as channel:
        await channel.subscribe(f"sentri:run:{run}")
        await channel.parse_response()
        task = asyncio.create_task(listen())
        try:
            yield said
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_the_words_on_the_wire(redis: RedisServer) -> None:
    """Byte for byte: the event's own JSON first, then ours, in the order of the protocol."""
    backend = open_backend(redis.url)
    assert isinstance(backend, RedisBackend)
    assert re.fullmatch(r"inst_\d{13}_[0-9a-f]{12}", backend.origin)
    origin = f'"_origin":"{backend.origin}"'.encode()
    async with overheard(redis, "RUN-1") as said, started(backend):
        backend.publish(event("RUN-1", 7, "words"))
        backend.publish(event("RUN-1", 8, LARGE))
        backend.publish(event("RUN-1", 0, "now", "frame"))
        backend.publish(event("RUN-1", 0, LARGE, "frame"))
        await until(lambda: len(said) == 4, "all are said")
    place = b'"_epoch":"e4o5p6","_seq":7,"_at":"2027-01-15T08:00:00.123Z"'
    assert said == [
        b'{"type":"log","message":"words",' + origin + b"," + place + b"}",
        b'{"type":"_hint",' + origin + b',"_epoch":"e4o5p6","_seq":8}',
        b'{"type":"frame","message":"now",' + origin + b"}",
        b'{"type":"frame","message":"' + LARGE.encode() + b'",' + origin + b"}",
    ]


async def test_two_instances_have_two_names(redis: RedisServer) -> None:
    names = {open_backend(redis.url).origin for _ in range(50)}  # type: ignore[attr-defined]
    assert len(names) == 50


PLACE = f'"_origin":"inst_1_abcdef","_epoch":"{EPOCH}","_seq":5,"_at":"2027-01-15T08:00:00.123Z"'
DEEP = "[" * 63 + "1" + "]" * 63  # with the object around them as deep as an event may be
TAKEN: dict[str, Any] = {
    # As the original says it: no number, its origin last.
    '{"type":"log","message":"a b","_origin":"inst_1_abcdef"}': ("log", "", 0, '{"type":"log","message":"a b"}'),
    '{"type":"frame","data":"\u2028\u20ac\U0001f600"}': (
        *("frame", "", 0),
        '{"type":"frame","data":"\\u2028\\u20ac\\ud83d\\ude00"}',
    ),
    '{ "message": "x", "_odd": {"_a": 1}, "type": "log", "in": {"_kept": 1} }': (
        *("log", "", 0),
        '{"type":"log","message":"x","in":{"_kept":1}}',
    ),
    '{"type":"log","_epoch":"e4o5p6","_at":"2027-01-15T08:00:00.123Z"}': ("log", "", 0, '{"type":"log"}'),
    '{"type":"log","a":' + DEEP + "}": ("log", "", 0, '{"type":"log","a":' + DEEP + "}"),
    '{"type":"done","status":"failed"}': ("done", "", 0, '{"type":"done","status":"failed"}'),
    '{"type":"log",' + PLACE + "}": ("log", EPOCH, 5, '{"type":"log"}'),
    "{" + PLACE + ',"type":"log"}': ("log", EPOCH, 5, '{"type":"log"}'),
}
REFUSED = [
    *("", "no JSON", "[]", "3", "null", '"text"', '[{"type":"log"}]', '{"type":"log"', "{}", '{"message":"no type"}'),
    *('{"type":5}', '{"type":""}', '{"type":"a\\nid: 1"}', '{"type":"' + "x" * 65 + '"}', '{"type":"log","a":NaN}'),
    *('{"type":"log","a":' + "[" * depth + "]" * depth + "}" for depth in (64, 5000)),
    *(
        '{"type":"log",' + PLACE.replace(*change) + "}"
        for change in [('"_seq":5', '"_seq":"5"'), (":5", ":0"), (":5", ":-5")]
    ),
    *(
        '{"type":"log",' + PLACE.replace(*change) + "}"
        for change in [
            *(('"_seq":5', '"_seq":"5"'), (":5", ":0"), (":5", ":-5"), (":5", ":true"), (":5", ":5.0")),
            *((EPOCH, "A b"), ("2027-01", "soon"), ('"_at"', '"_when"')),
        ]
    ),
    '{"type":"_hint","_seq":5}',
]


@pytest.mark.parametrize("message", TAKEN)
async def test_a_message_of_others_is_taken(redis: RedisServer, message: str) -> None:
    """Caught: keys with `_` passed on; non-ASCII passed on; a type that is not first."""
    backend = open_backend(redis.url)
    async with started(backend) as (ear,):
        await backend.subscribe("RUN-1")
        await redis.say("PUBLISH", "sentri:run:RUN-1", message)
        await until(lambda: ear.events, "it is delivered")
    (seen,) = ear.events
    kind, epoch, seq, json = TAKEN[message]
    assert seen == Event("RUN-1", epoch, seq, AT if seq else seen.at, kind, json.encode())
    assert seen.at >= AT if seq else seen.at > 0


async def test_what_is_no_event_is_counted_and_dropped(redis: RedisServer) -> None:
    """And nothing else comes of it. Caught: a type that would end a line of the stream."""
    backend = open_backend(redis.url)
    async with started(backend) as (ear,):
        await backend.subscribe("RUN-1")
        told = ear.missed_times
        for message in [*REFUSED, b'{"type":"log","a":"\xff"}']:
            await redis.say("PUBLISH", "sentri:run:RUN-1", message)
        await redis.say("PUBLISH", "sentri:run:RUN-1", '{"type":"log"}')
        await until(lambda: ear.events, "what is well is delivered")
        assert (len(ear.events), ear.hints, ear.missed_times, backend.trouble) == (1, [], told, None)
        assert backend.counts["refused"] == len(REFUSED) + 1
        assert backend.counts["received"] == len(REFUSED) + 2


NONSENSE = ("0", "-1", "1.5", "true", '"1"', "null", str(1 << 31), "9" * 400)


@pytest.mark.parametrize(
    "requests", ["", "{}", "[]", '{"requests":[1]}', *(f'{{"requests":{{"a":{number}}}}}' for number in NONSENSE)]
)
async def test_what_says_nothing_of_requests_is_counted_and_dropped(redis: RedisServer, requests: str) -> None:
    """Caught: it is taken as it is, which gives somebody more than there is, or ends the line."""
    backend = open_backend(redis.url)
    async with started(backend) as (ear,):
        for message in (requests, '{"requests":{"b":2}}'):
            await redis.say("PUBLISH", "sentri:events:spent", message)
        await until(lambda: ear.grants, "what is well is told")
        assert (ear.grants, backend.trouble) == ([("b", 2)], None)
        assert backend.counts["refused"] == 1


async def test_a_hint_of_others(redis: RedisServer) -> None:
    backend = open_backend(redis.url)
    async with started(backend) as (ear,):
        await backend.subscribe("RUN-1")
        await redis.say("PUBLISH", "sentri:run:RUN-1", '{"type":"_hint","_epoch":"e4o5p6","_origin":"x","_seq":12}')
        await until(lambda: ear.hints, "it is told")
    assert (ear.hints, ear.events) == ([("RUN-1", "e4o5p6", 12)], [])


async def test_a_picture_is_not_sent_to_nobody(redis: RedisServer) -> None:
    """Caught: the count is not asked for; one's own ear is counted."""
    near, far = open_backend(redis.url), open_backend(redis.url)

    async def taken() -> int:
        return int((await redis.say("INFO", "stats"))["total_net_input_bytes"])

    async with started(near, far) as (_, ear):
        await near.subscribe("RUN-1")
        await far.subscribe("RUN-2")
        before = await taken()
        for _ in range(50):
            near.publish(event("RUN-1", 0, LARGE, "frame"))
        near.publish(event("RUN-2", 0))
        await until(lambda: ear.events, "all is sent that was to be sent")
        assert await taken() - before < len(LARGE)
        await far.subscribe("RUN-1")
        near.publish(event("RUN-1", 0, LARGE, "frame"))
        await until(lambda: len(ear.events) == 2, "now there is somebody who listens")


async def test_a_subscription_is_confirmed(redis: RedisServer) -> None:
    """However long the way to Redis. Caught: a `subscribe` that does not wait."""
    async with Proxy([redis.port], Random(0)) as proxy:
        near, far = open_backend(redis.url), open_backend(f"redis://127.0.0.1:{proxy.port}")
        async with started(near, far) as (_, ear):
            proxy.delay = 0.05
            for number in range(5):
                await far.subscribe(f"RUN-{number}")
                near.publish(event(f"RUN-{number}", 1))
                await until(lambda number=number: ear.knows(f"RUN-{number}", 1), "it is heard")  # type: ignore[misc]


async def test_what_is_left_is_left_at_redis(redis: RedisServer) -> None:
    """Or else it would go on sending. Caught: an `unsubscribe` that does nothing there."""
    backend = open_backend(redis.url)
    async with started(backend):
        for run in ("RUN-1", "RUN-2", "RUN-3"):
            await backend.subscribe(run)
        await backend.unsubscribe("RUN-2")
        await backend.subscribe("RUN-4")  # so that what was asked before is done
        channels = await redis.say("PUBSUB", "CHANNELS", "sentri:run:*")
        assert sorted(channels) == [b"sentri:run:RUN-1", b"sentri:run:RUN-3", b"sentri:run:RUN-4"]


# Ways to Redis


async def relays(url: str) -> None:
    near, far = open_backend(url), open_backend(url)
    async with started(near, far) as (_, ear):
        assert near.trouble is None
        await far.subscribe("RUN-1")
        near.publish(event("RUN-1", 1, LARGE[:60_000]))
        await until(lambda: ear.events, "it arrives")


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = RedisServer(tmp_path, "redis", "--unixsocket", str(path))
    async with servers_started(server):
        await relays(f"unix://{path}")


@asynccontextmanager
async def encrypted(redis: RedisServer) -> AsyncIterator[int]:
    """A port that takes TLS and passes on to the server, for one that was built without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PAIR)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection("127.0.0.1", redis.port)
        await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer), return_exceptions=True)

    server = await asyncio.start_server(take, "127.0.0.1", ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.debian
async def test_a_redis_that_takes_tls_itself(tmp_path: Path) -> None:
    """Debian's does; the Valkey of the wheel was built without."""
    port = free_port()
    pair = ("--tls-cert-file", str(PAIR), "--tls-key-file", str(PAIR), "--tls-ca-cert-file", str(PAIR))
    options = ("--tls-port", str(port), "--tls-auth-clients", "no", *pair)
    async with servers_started(RedisServer(tmp_path, "redis", *options, program="redis-server")):
        await relays(f"rediss://127.0.0.1:{port}?ssl_ca_certs={PAIR}")


async def test_tls(redis: RedisServer) -> None:
    """With the certificate's authority it works; without, it is not trusted, and that is said."""
    async with encrypted(redis) as port:
        await relays(f"rediss://127.0.0.1:{port}?ssl_ca_certs={PAIR}")
        backend = open_backend(f"rediss://127.0.0.1:{port}")
        async with started(backend):
            assert "CERTIFICATE_VERIFY_FAILED" in str(backend.trouble)


async def test_a_password_is_used_and_never_said(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Not where it is right and not where it is wrong: no repr, sentence or log line has it."""
    caplog.set_level(logging.DEBUG)
    await redis.say("ACL", "SETUSER", "bob", "on", ">pass/w@rd", "~*", "&*", "+@all")
    await redis.say("ACL", "SETUSER", "default", "off")
    address = f"127.0.0.1:{redis.port}"
    await relays(f"redis://bob:pass%2Fw%40rd@{address}")
    for secret, url in [("wrong-w0rd", f"redis://bob:wrong-w0rd@{address}"), ("w0rd", "redis://:w0rd@127.0.0.1:1")]:
        backend = open_backend(url)
        async with started(backend):
            assert backend.trouble is not None
            shown = [repr(backend), str(vars(backend)), repr(read_url(url)), backend.trouble, caplog.text]
            assert [text for text in shown if secret in text] == []
    assert "pass/w@rd" not in caplog.text
    assert "pass%2Fw%40rd" not in caplog.text
