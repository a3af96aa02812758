"""What goes wrong on purpose, each kind a function that returns when it is over, and a schedule that a seed fixes."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from random import Random
from signal import Signals
from typing import NamedTuple

from psycopg import AsyncConnection
from redis.asyncio import Redis

from tests.chaos.fleet import Fleet, Shape, postgres_url
from tests.chaos.parts import Part, PartError
from tests.chaos.proxy import Proxy

LEAD_IN = 3.0  # seconds before the first one
DOWN = 1.0  # seconds that what was killed stays away
STOPPED = 5.0
HELD = 3.0
SMALL_BUFFER = "pubsub 65536 0 0"
USUAL_BUFFER = "pubsub 33554432 8388608 60"
FLOOD, NOISE = 100, b"no event" * 500


class Kind(NamedTuple):
    """A kind of fault: the part that suffers it, about how long (seconds, with the way back of those who are cut off),
    and how. It is told a number that picks one of several, and returns how many processes or connections it hit."""

    name: str
    part: str
    lasts: float
    strike: Callable[[Fleet, int], Awaitable[int]]


class Planned(NamedTuple):
    """A fault to come, `moment` seconds after the beginning."""

    moment: float
    kind: Kind
    which: int


def kinds(shape: Shape) -> list[Kind]:
    """The faults that a fleet of this shape can have."""
    parts = {"server", "viewers", "publishers", "nothing"}
    parts |= {"postgres" if shape.postgres else "sqlite"} | ({"redis"} if shape.redis else set())
    return [kind for kind in KINDS if kind.part in parts]


def plan(kinds: Sequence[Kind], seed: int, seconds: float, times: int) -> list[Planned]:
    """Each kind so many times, in any order, at random moments; as far as the time allows, one after the other."""
    chance = Random(seed)
    shuffled = [kind for kind in kinds for _ in range(times)]
    chance.shuffle(shuffled)
    lasting = sum(kind.lasts for kind in shuffled)
    pace = min(1.0, (seconds - LEAD_IN) / max(1.0, lasting))
    pause = max(0.0, seconds - LEAD_IN - lasting) / max(1, len(shuffled))
    planned, moment = [], LEAD_IN
    for kind in shuffled:
        planned.append(Planned(moment + chance.random() * pause / 2, kind, chance.randrange(1 << 16)))
        moment += pace * kind.lasts + pause
    return planned


async def _nothing(fleet: Fleet, which: int) -> int:
    await asyncio.sleep(DOWN)
    return 1


async def _restart_server(fleet: Fleet, which: int, number: Signals) -> int:
    server = fleet.servers[which % len(fleet.servers)]
    status = await server.end(number)
    if number is Signals.SIGTERM and status:
        raise PartError(f"{server.name} ended with {status} when it was told to.")
    await asyncio.sleep(DOWN)
    await server.start()
    return 1


async def _kill_server(fleet: Fleet, which: int) -> int:
    return await _restart_server(fleet, which, Signals.SIGKILL)


async def _terminate_server(fleet: Fleet, which: int) -> int:
    return await _restart_server(fleet, which, Signals.SIGTERM)


async def _stop_server(fleet: Fleet, which: int) -> int:
    return await _stop(fleet.servers[which % len(fleet.servers)])


async def _stop(part: Part) -> int:
    part.send(Signals.SIGSTOP)
    await asyncio.sleep(STOPPED)
    part.send(Signals.SIGCONT)
    return 1


async def _kill_redis(fleet: Fleet, which: int) -> int:
    assert fleet.redis is not None
    await fleet.redis.end(Signals.SIGKILL)
    await asyncio.sleep(DOWN)
    await fleet.redis.start()
    return 1


async def _stop_redis(fleet: Fleet, which: int) -> int:
    assert fleet.redis is not None
    return await _stop(fleet.redis)


async def _kill_subscribers(fleet: Fleet, which: int) -> int:
    async with _admin(fleet) as redis:
        return int(await redis.client_kill_filter(_type="pubsub"))


async def _kill_a_subscriber(fleet: Fleet, which: int) -> int:
    async with _admin(fleet) as redis:
        subscribers = sorted(await _subscribers(redis))
        return int(await redis.client_kill_filter(_id=subscribers[which % len(subscribers)])) if subscribers else 0


async def _flush(fleet: Fleet, which: int) -> int:
    async with _admin(fleet) as redis:
        return int(await redis.flushall())


async def _overflow_subscribers(fleet: Fleet, which: int) -> int:
    """More at once than a subscriber's output buffer may hold, so that Redis cuts it off."""
    async with _admin(fleet) as redis:
        before = await _subscribers(redis)
        await redis.config_set("client-output-buffer-limit", SMALL_BUFFER)
        async with redis.pipeline(transaction=True) as at_once:
            for channel in await redis.pubsub_channels():
                for _ in range(FLOOD):  # many small ones: Valkey does not count a large one that it only refers to
                    at_once.publish(channel, NOISE)
            await at_once.execute()
        await redis.config_set("client-output-buffer-limit", USUAL_BUFFER)
        return len(before - await _subscribers(redis))


async def _subscribers(redis: Redis) -> set[str]:
    return {client["id"] for client in await redis.client_list(_type="pubsub")}


def _admin(fleet: Fleet) -> Redis:
    assert fleet.redis is not None
    return Redis(port=fleet.redis.port)


async def _cut_redis(fleet: Fleet, which: int) -> int:
    assert fleet.to_redis is not None
    return fleet.to_redis.cut(1.0)


async def _hold_redis(fleet: Fleet, which: int) -> int:
    assert fleet.to_redis is not None
    fleet.to_redis.hold()
    await asyncio.sleep(STOPPED)
    fleet.to_redis.release()
    return len(fleet.to_redis.links)


async def _delay_redis(fleet: Fleet, which: int) -> int:
    assert fleet.to_redis is not None
    return await _delay(fleet.to_redis, 0.3)


async def _delay(proxy: Proxy, seconds: float) -> int:
    proxy.delay = seconds
    await asyncio.sleep(HELD)
    proxy.delay = 0.0
    return len(proxy.links)


async def _restart_postgres(fleet: Fleet, which: int, number: Signals = Signals.SIGINT) -> int:
    assert fleet.postgres is not None
    await fleet.postgres.end(number)
    await fleet.postgres.start()
    return 1


async def _kill_postgres(fleet: Fleet, which: int) -> int:
    return await _restart_postgres(fleet, which, Signals.SIGKILL)


async def _lock_a_run(fleet: Fleet, which: int) -> int:
    assert fleet.postgres is not None
    sql = "SELECT id FROM run WHERE status = 'running' ORDER BY md5(id || %s) LIMIT 1 FOR UPDATE"
    async with await AsyncConnection.connect(postgres_url(fleet.postgres.port)) as connection:
        locked = (await connection.execute(sql, [str(which)])).rowcount
        await asyncio.sleep(HELD)
    return locked


async def _terminate_backends(fleet: Fleet, which: int) -> int:
    assert fleet.postgres is not None
    async with await AsyncConnection.connect(postgres_url(fleet.postgres.port)) as connection:
        cursor = await connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        row = await cursor.fetchone()
    return int(row[0]) if row is not None else 0


async def _cut_postgres(fleet: Fleet, which: int) -> int:
    assert fleet.to_postgres is not None
    return fleet.to_postgres.cut(1.0)


async def _delay_postgres(fleet: Fleet, which: int) -> int:
    assert fleet.to_postgres is not None
    return await _delay(fleet.to_postgres, 0.05)


async def _hold_postgres(fleet: Fleet, which: int) -> int:
    assert fleet.to_postgres is not None
    fleet.to_postgres.hold()
    await asyncio.sleep(HELD)
    fleet.to_postgres.release()
    return len(fleet.to_postgres.links)


async def _lock_sqlite(fleet: Fleet, which: int) -> int:
    with closing(sqlite3.connect(fleet.file, timeout=0.0, isolation_level=None)) as database:
        while True:
            try:
                database.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError:  # a server writes at this moment
                await asyncio.sleep(0.001)
        await asyncio.sleep(HELD)
        database.execute("ROLLBACK")
    return 1


async def _cut_viewers(fleet: Fleet, which: int) -> int:
    return fleet.steady.cut(0.5) + fleet.rough.cut(0.5)


async def _hold_viewers(fleet: Fleet, which: int) -> int:
    for proxy in (fleet.steady, fleet.rough):
        proxy.hold()
    await asyncio.sleep(HELD)
    for proxy in (fleet.steady, fleet.rough):
        proxy.release()
    return len(fleet.steady.links) + len(fleet.rough.links)


async def _cut_publishers(fleet: Fleet, which: int) -> int:
    return sum(proxy.cut(1.0) for proxy in fleet.publishing)


KILL_SERVER = Kind("server: kill -9", "server", 4.0, _kill_server)
CUT_VIEWERS = Kind("viewers: half of them cut", "viewers", 4.0, _cut_viewers)
HOLD_VIEWERS = Kind("viewers: black hole for 3 s", "viewers", HELD, _hold_viewers)
CUT_PUBLISHERS = Kind("publishers: connections cut", "publishers", 0.0, _cut_publishers)
KILL_A_SUBSCRIBER = Kind("Redis: CLIENT KILL of one subscriber", "redis", 0.0, _kill_a_subscriber)
KINDS = (
    KILL_SERVER,
    Kind("server: SIGTERM, and start", "server", 4.0, _terminate_server),
    Kind("server: SIGSTOP for 5 s", "server", STOPPED, _stop_server),
    Kind("Redis: kill -9", "redis", DOWN, _kill_redis),
    Kind("Redis: SIGSTOP for 5 s", "redis", STOPPED, _stop_redis),
    Kind("Redis: CLIENT KILL TYPE pubsub", "redis", 0.0, _kill_subscribers),
    Kind("Redis: FLUSHALL", "redis", 0.0, _flush),
    Kind("Redis: output buffer limit", "redis", 0.0, _overflow_subscribers),
    Kind("Redis: connections cut", "redis", 0.0, _cut_redis),
    Kind("Redis: black hole for 5 s", "redis", STOPPED, _hold_redis),
    Kind("Redis: 300 ms late for 3 s", "redis", HELD, _delay_redis),
    Kind("PostgreSQL: restart", "postgres", 1.0, _restart_postgres),
    Kind("PostgreSQL: kill -9", "postgres", 1.0, _kill_postgres),
    Kind("PostgreSQL: pg_terminate_backend", "postgres", 0.0, _terminate_backends),
    Kind("PostgreSQL: a run locked for 3 s", "postgres", HELD, _lock_a_run),
    Kind("PostgreSQL: connections cut", "postgres", 0.0, _cut_postgres),
    Kind("PostgreSQL: black hole for 3 s", "postgres", HELD, _hold_postgres),
    Kind("PostgreSQL: 50 ms late for 3 s", "postgres", HELD, _delay_postgres),
    Kind("SQLite: locked for 3 s", "sqlite", HELD, _lock_sqlite),
    CUT_VIEWERS,
    HOLD_VIEWERS,
    CUT_PUBLISHERS,
    Kind("nothing, to compare with", "nothing", DOWN, _nothing),
)
