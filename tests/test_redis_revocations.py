"""The original's revoked tokens on a Redis that it shares with us: heard of at once, and kept."""

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from sentri_events.backends import announce_revocation, open_revocations
from sentri_events.backends.redis_revocations import RedisRevocations
from sentri_events.backends.redis_url import read_url
from sentri_events.errors import Unavailable
from sentri_events.revocation import Revocations
from sentri_events.store import Store
from tests.bridge import until
from tests.chaos.parts import until as until_true
from tests.raw import Stream
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess
from tests.test_terms import ENV, SOON, following, make_run, serving
from tests.tokens import token

CHANNEL = "sentri:token:revoked"


class Ear:
    """Listens from `with` to its end."""

    def __init__(self, url: str) -> None:
        self.heard: dict[Any, Any] = {}
        opened = open_revocations(url, self.heard.__setitem__)
        assert opened is not None
        self.listener: RedisRevocations = opened

    async def __aenter__(self) -> "Ear":
        self.listener.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.listener.close()

    async def hears(self, jti: str) -> float:
        await until(lambda: jti in self.heard, f"{jti} is heard of")
        return float(self.heard[jti])


async def listening(redis: RedisServer) -> None:
    async def subscribed() -> bool:
        return bool((await redis.say("PUBSUB", "NUMSUB", CHANNEL))[1] == 1)

    await until_true(subscribed, "somebody listens")


async def test_what_was_said_before_and_what_is_said_now(redis: RedisServer) -> None:
    """Mutant: the keys were not looked at, so that a restart forgot whoever had logged out before."""
    await redis.say("MSET", *(word for number in range(2500) for word in (f"sentri:other:{number}", 1)))
    now = time.time()
    await redis.say("SET", "sentri:revoked:old", 1, "EX", 100)
    await redis.say("SET", "sentri:revoked:endless", 1)
    async with Ear(redis.url) as ear:
        assert 95 < await ear.hears("old") - now < 105
        assert await ear.hears("endless") > now + 86400
        await listening(redis)
        await redis.say("PUBLISH", CHANNEL, json.dumps({"jti": "new", "exp": int(now) + 50}))
        assert await ear.hears("new") == int(now) + 50


async def test_redis_may_die(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """What was said while it was away stands in its keys. SIGSTOP: mutant without the sign of life."""
    async with Ear(redis.url) as ear:
        await listening(redis)
        await redis.kill()
        await redis.start()
        await redis.say("SET", "sentri:revoked:meanwhile", 1, "EX", 100)
        await ear.hears("meanwhile")
        await listening(redis)
        caplog.set_level(logging.DEBUG, "sentri_events.backends.redis_revocations")
        redis.stop()
        await until(lambda: caplog.records, "its silence is noticed")
        redis.resume()
        await redis.say("SET", "sentri:revoked:frozen", 1, "EX", 100)
        await ear.hears("frozen")


async def test_it_ends_when_it_is_closed_in_the_moment_of_a_failure(redis: RedisServer) -> None:
    """Caught: asyncio.TaskGroup on Python 3.11 and 3.12, which raises the failure and forgets that it was cancelled."""
    closing: list[asyncio.Task[None]] = []

    def fail(_jti: object, _end: object) -> None:
        closing.append(asyncio.ensure_future(listener.close()))
        raise ConnectionError

    listener = RedisRevocations(read_url(redis.url), fail)
    listener.start()
    await listening(redis)
    await redis.say("PUBLISH", CHANNEL, '{"jti":"j","exp":4102444800}')
    await until(lambda: closing, "it has failed")
    await closing[0]


async def test_nonsense_is_not_believed(redis: RedisServer, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/events.db")
    await store.open()
    revocations = Revocations(store)
    now = time.time()
    for jti, end in (
        (None, now + 9), (7, now + 9), ("", now + 9), ("j" * 257, now + 9), ("j", None), ("j", "9"), ("j", True),
        ("j", now - 1), ("j", float("inf")), ("j", float("nan")),
    ):  # fmt: skip
        revocations.hear(jti, end)
    assert "j" not in revocations
    async with Ear(redis.url) as ear:
        await listening(redis)
        for message in ("no JSON", "[1]", "{}", "7"):
            await redis.say("PUBLISH", CHANNEL, message)
        await redis.say("PUBLISH", CHANNEL, '{"jti":"last","exp":4102444800}')
        await ear.hears("last")
    await store.close()


async def test_what_is_heard_is_kept(tmp_path: Path) -> None:
    """Redis may forget: the store does not, and an instance that Redis does not reach learns it there."""
    store = Store(f"sqlite:///{tmp_path}/events.db")
    await store.open()
    here, there = Revocations(store), Revocations(store)
    here.hear("j", time.time() + 60)
    assert "j" in here

    async def known() -> bool:
        await there.refresh()
        return "j" in there

    await until_true(known, "the other knows")
    await store.close()


async def test_the_original_is_told(redis: RedisServer) -> None:
    async with Ear(redis.url) as ear:
        await listening(redis)
        await announce_revocation(redis.url, "j", time.time() + 100)
        await ear.hears("j")
    assert await redis.say("GET", "sentri:revoked:j") == b"1"
    assert 90 < await redis.say("TTL", "sentri:revoked:j") <= 100
    await announce_revocation("", "j", time.time() + 100)
    await redis.kill()
    with pytest.raises(Unavailable, match="Redis was not told: "):
        await announce_revocation(redis.url, "j", time.time() + 100)


def test_a_cluster_has_no_such_keys() -> None:
    assert open_revocations("redis+cluster://h", lambda jti, end: None) is None
    assert open_revocations("", lambda jti, end: None) is None


async def test_a_logout_at_the_original_ends_our_streams(redis: RedisServer, tmp_path: Path) -> None:
    """And those of an instance that has no Redis, through the store."""
    near = ServerProcess(tmp_path, "--redis-url", redis.url, env=ENV)
    far = ServerProcess(tmp_path, env=ENV)

    def work() -> list[Stream]:
        run = make_run(near)
        return [following(server, run, token(jti="j")) for server in (near, far)]

    with serving(near, far):
        streams = await asyncio.to_thread(work)
        await listening(redis)
        began = time.monotonic()
        await redis.say("PUBLISH", CHANNEL, json.dumps({"jti": "j", "exp": int(time.time()) + 600}))
        for stream in streams:
            with stream:
                assert await asyncio.to_thread(stream.rest) == [b": token revoked\n\n"]
        assert time.monotonic() - began < SOON
