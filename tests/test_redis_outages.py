"""Redis may die, in every way that it has (promise P8): it is noticed, survived, and what was missed is made known.

Where a test says "caught", that mutant was tried and failed it.
"""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random

import pytest

from sentri_events.backends.redis import RedisBackend
from sentri_events.backends.redis_line import CONFIRM
from sentri_events.backends.redis_url import read_url
from tests.backend_contract import LARGE, event, started
from tests.bridge import until
from tests.chaos.proxy import Proxy
from tests.redis_pair import PROBE, Pair, paired
from tests.redis_server import RedisServer
from tests.redis_server import started as servers_started

NEVER = 3600.0


def backend_on(port: int, probe: float = PROBE) -> RedisBackend:
    return RedisBackend(read_url(f"redis://127.0.0.1:{port}"), probe)


def pair(near: int, far: int | None = None, probe: float = PROBE) -> AbstractAsyncContextManager[Pair]:
    """On these ports."""
    return paired(backend_on(near, probe), backend_on(near if far is None else far, probe))


async def test_killed_and_restarted(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Caught: no new subscription; the subscriptions of then in place of those of now; `missed` not called; what was
    published meanwhile is kept and sent late; a log line for every attempt."""
    async with pair(redis.port) as both:
        for run in ("RUN-kept", "RUN-left"):
            await both.far.subscribe(run)
            await both.relay(run)
        told = both.ear.missed_times
        caplog.clear()
        await redis.kill()
        await both.away()
        for seq in range(100, 3100):
            both.near.publish(event("RUN-kept", seq))
            both.near.publish(event("RUN-kept", 0))
        async with asyncio.timeout(CONFIRM / 2):
            await both.far.subscribe("RUN-new")
            await both.far.unsubscribe("RUN-left")
        events = len(both.ear.events)
        await redis.start()
        await both.back()
        assert both.ear.missed_times > told
        for run in ("RUN-kept", "RUN-new"):
            await both.relay(run)
        channels = await redis.say("PUBSUB", "CHANNELS", "sentri:run:*")
        assert sorted(channels) == [b"sentri:run:RUN-kept", b"sentri:run:RUN-new"]
        assert [seen.seq for seen in both.ear.events[events:]] == [3, 4]
        assert both.near.counts["dropped"] == 6000
        assert both.near.counts["outages"] == both.far.counts["outages"] == 1
        said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert [text.split(":")[0] for text in said] == ["Redis is away"] * 2 + ["Redis is back."] * 2


async def test_not_there_yet(tmp_path: Path) -> None:
    """An instance may start before Redis does. Caught: a `start` that waits for it; one that gives up."""
    redis = RedisServer(tmp_path)
    async with pair(redis.port) as both:
        assert both.near.trouble is not None
        assert "Connect" in both.near.trouble
        await both.far.subscribe("RUN-1")
        async with servers_started(redis):
            await both.back()
            await both.relay("RUN-1")
            assert both.ear.missed_times == 1


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
async def test_connections_are_killed(redis: RedisServer, kind: str) -> None:
    """Either of the two. Caught: who publishes is not looked after."""
    async with pair(redis.port) as both:
        await both.far.subscribe("RUN-1")
        for _ in range(5):
            told = both.near_ear.missed_times, both.ear.missed_times
            await redis.say("CLIENT", "KILL", "TYPE", kind)
            await until(lambda: both.ear.missed_times > told[1] and both.near_ear.missed_times > told[0], "told of it")  # noqa: B023
            await both.back()
            await both.relay("RUN-1")


async def test_flushed(redis: RedisServer) -> None:
    """Nothing of ours is kept there."""
    async with pair(redis.port) as both:
        await both.far.subscribe("RUN-1")
        told = both.ear.missed_times
        await redis.say("FLUSHALL")
        await both.relay("RUN-1")
        assert (both.ear.missed_times, both.far.trouble, both.far.counts["outages"]) == (told, None, 0)


async def test_stopped(redis: RedisServer) -> None:
    """Connections stay open and nothing comes. Caught: no probe; a probe whose echo nobody waits for."""
    async with pair(redis.port) as both:
        await both.far.subscribe("RUN-1")
        told = both.ear.missed_times
        redis.stop()
        await both.away()
        await both.far.subscribe("RUN-2")
        redis.resume()
        await both.back()
        assert both.ear.missed_times > told
        await both.relay("RUN-2")


async def test_a_subscriber_does_not_wait_for_long(redis: RedisServer) -> None:
    """And is told when its subscription holds. Caught: a wait without end; `missed` not called."""
    async with pair(redis.port, probe=NEVER) as both:
        redis.stop()
        async with asyncio.timeout(10 * CONFIRM):
            await both.far.subscribe("RUN-1")
        told = both.ear.missed_times
        redis.resume()
        await until(lambda: both.ear.missed_times > told, "the late confirmation is made known")
        await both.relay("RUN-1")
        assert both.far.counts["outages"] == 0


async def test_a_subscriber_does_not_wait_for_a_dead_connection(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caught: a session that ends without a word to those who wait."""
    monkeypatch.setattr("sentri_events.backends.redis_line.CONFIRM", NEVER)
    async with pair(redis.port) as both:
        redis.stop()
        waiting = asyncio.create_task(both.far.subscribe("RUN-1"))
        await both.away()
        await waiting
        redis.resume()
        await both.back()
        await both.relay("RUN-1")


async def test_too_slow_for_all_that_is_published(redis: RedisServer) -> None:
    """What waits is bounded, whoever publishes is not held up, and the newest gets through. Caught: no bound; the
    newest is dropped and not made known."""
    async with pair(redis.port, probe=NEVER) as both:
        await both.far.subscribe("RUN-1")
        redis.stop()
        for seq in range(1, 120_001):
            both.near.publish(event("RUN-1", seq))
        for _ in range(1000):
            both.near.publish(event("RUN-1", 0, LARGE, "frame"))
        assert both.near.counts["dropped"] > 60_000 + 500
        redis.resume()
        await until(lambda: both.ear.knows("RUN-1", 120_000), "the newest is known")
        await until(lambda: any(not seen.seq for seen in both.ear.events), "a picture comes, and later")
        assert both.near.trouble is None


async def test_cut_off_for_reading_too_slowly(redis: RedisServer) -> None:
    """Redis ends the connection of a subscriber whose backlog is too long."""
    async with Proxy([redis.port], Random(0)) as proxy, pair(redis.port, proxy.port, NEVER) as both:
        await both.far.subscribe("RUN-1")
        await redis.say("CONFIG", "SET", "client-output-buffer-limit", "pubsub 100000 50000 1")
        told = both.ear.missed_times
        proxy.hold()
        for seq in range(2000):
            both.near.publish(event("RUN-1", seq, LARGE[:10_000]))
        await until(lambda: _sent(both.near), "all is sent")
        proxy.release()
        await until(lambda: both.ear.missed_times > told, "it is told")
        await both.back()
        await both.relay("RUN-1")


def _sent(backend: RedisBackend) -> bool:
    assert backend._line is not None
    return backend._line.outbox.idle.is_set()


async def test_a_replica(tmp_path: Path) -> None:
    """Others do not hear what is published there. Caught: the role is looked at once only; not at all."""
    primary = RedisServer(tmp_path, "primary")
    redis = RedisServer(tmp_path, "redis", "--replicaof", f"127.0.0.1 {primary.port}")
    async with servers_started(primary, redis), pair(redis.port) as both:
        await both.far.subscribe("RUN-1")
        assert "replica" in str(both.near.trouble)
        await redis.say("REPLICAOF", "NO", "ONE")
        await both.back()
        await both.relay("RUN-1")
        await redis.say("REPLICAOF", "127.0.0.1", primary.port)
        await until(lambda: "replica" in str(both.near.trouble), "the new role is noticed")
        await redis.say("REPLICAOF", "NO", "ONE")
        await both.back()
        await both.relay("RUN-1")


async def test_a_black_hole(redis: RedisServer) -> None:
    """Nothing passes, not even that a connection has ended."""
    async with Proxy([redis.port], Random(1)) as proxy, pair(proxy.port) as both:
        await both.far.subscribe("RUN-1")
        told = both.ear.missed_times
        proxy.hold()
        await both.away()
        proxy.release()
        await both.back()
        assert both.ear.missed_times > told
        await both.relay("RUN-1")


async def test_what_could_not_be_sent_is_made_known(redis: RedisServer) -> None:
    """The others were connected all the while and have no reason to look. Caught: an outbox that forgets; one that
    forgets what was on its way; one that makes known the oldest."""
    async with Proxy([redis.port], Random(0)) as proxy, pair(proxy.port, redis.port) as both:
        await both.far.subscribe("RUN-1")
        await both.far.subscribe("RUN-2")
        told = both.ear.missed_times
        proxy.hold()
        both.near.publish(event("RUN-1", 50))
        await until(lambda: both.near.trouble, "it knows of the trouble")
        for seq in range(60, 3000):
            both.near.publish(event("RUN-2", seq))
            both.near.publish(event("RUN-2", 0))
        proxy.cut(1.0)
        proxy.release()
        await until(lambda: both.ear.knows("RUN-1", 50) and both.ear.knows("RUN-2", 2999), "it is made known")
        assert both.ear.missed_times == told
        assert len(both.ear.events) + len(both.ear.hints) <= 3


async def test_cut_anywhere(redis: RedisServer) -> None:
    """In the middle of messages and of greetings."""
    async with Proxy([redis.port], Random(2)) as proxy, pair(proxy.port) as both:
        await both.far.subscribe("RUN-1")
        proxy.longest = 50
        for _ in range(4):
            proxy.cut(0.5)
            for _ in range(20):
                await both.relay("RUN-1", or_missed=True)
        await both.back()
        await both.relay("RUN-1")
        assert both.near.counts["outages"] + both.far.counts["outages"] > 1


async def test_one_address_for_two_servers(tmp_path: Path) -> None:
    """Both answer, and neither hears the other: only a message to oneself shows it. Caught: trouble is over once
    all is subscribed."""
    servers = [RedisServer(tmp_path, name) for name in ("one", "other")]
    async with servers_started(*servers), Proxy([server.port for server in servers], Random(3)) as proxy:
        backend = backend_on(proxy.port)
        async with started(backend):
            assert "does not answer" in str(backend.trouble)


@pytest.mark.parametrize("answer", [b"-ERR unknown command 'ROLE'", b"-NOPERM this user has no permissions"])
async def test_a_server_that_does_not_tell_its_role(redis: RedisServer, answer: bytes) -> None:
    """Some proxies do not know it, and some users may not ask: they are believed."""
    if b"NOPERM" in answer:
        await redis.say("ACL", "SETUSER", "default", "-role", "-pubsub|numsub")
    else:
        await redis.kill()
        redis._options = ("--rename-command", "ROLE", "")
        await redis.start()
    async with pair(redis.port) as both:
        assert both.near.trouble is None
        await both.far.subscribe("RUN-1")
        await both.relay("RUN-1")
        both.near.publish(event("RUN-1", 0, LARGE, "frame"))
        await until(lambda: both.ear.events[-1].seq == 0, "a picture is sent unasked")


async def test_a_user_who_may_not_listen(redis: RedisServer) -> None:
    """A lasting refusal is trouble with its reason, and is said once."""
    await redis.say("ACL", "SETUSER", "default", "resetchannels", "&sentri:probe:*")
    backend = backend_on(redis.port)
    async with started(backend):
        await backend.subscribe("RUN-1")
        await until(lambda: "channel" in str(backend.trouble), "the reason is known")


async def test_a_receiver_that_fails_is_not_deaf_afterwards(
    redis: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours is logged whole. Caught: the listening task dies in silence."""
    async with pair(redis.port) as both:
        await both.far.subscribe("RUN-1")
        with monkeypatch.context() as broken:
            broken.setattr(both.ear, "deliver", lambda event: 1 / 0)
            both.near.publish(event("RUN-1", 1))
            await until(lambda: both.far.counts["outages"], "it is noticed")
        await both.back()
        await both.relay("RUN-1")
        assert "ZeroDivisionError" in caplog.text
