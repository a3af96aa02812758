"""Redis Cluster with sharded pub/sub: each run is carried by the server that has its slot, wherever that is by now.

Where a test says "caught", that mutant was tried and failed it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path

import pytest
from redis.crc import key_slot

from sentri_events.backends.message import channel_of
from sentri_events.backends.redis_cluster import RedisClusterBackend
from sentri_events.backends.redis_url import read_url
from tests.backend_contract import Make, SharedBackendContract, event, new_run, started
from tests.bridge import until
from tests.chaos import parts
from tests.machine import each_program_of_redis
from tests.redis_pair import PROBE, Pair, paired
from tests.redis_server import ClusterNode, cluster


@pytest.fixture(scope="module", params=each_program_of_redis())
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ClusterNode]]:
    """Three primaries for all tests that leave them as they are."""
    loop = asyncio.new_event_loop()
    made = cluster(tmp_path_factory.mktemp("cluster"), program=request.param)
    with ExitStack() as stack:
        stack.callback(loop.close)
        yield loop.run_until_complete(made.__aenter__())
        loop.run_until_complete(made.__aexit__(None, None, None))


def backend_on(*nodes: ClusterNode) -> RedisClusterBackend:
    return RedisClusterBackend(
        read_url("redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)), PROBE
    )


class TestCluster(SharedBackendContract):
    @pytest.fixture
    def make(self, nodes: list[ClusterNode]) -> Make:
        return lambda: backend_on(nodes[0])


def run_of(slots: Sequence[int]) -> str:
    """An id whose channel is in one of these slots."""
    while key_slot(channel_of(run := new_run())) not in slots:
        pass
    return run


THIRDS = [range(0, 5461), range(5461, 10923), range(10923, 16384)]


def pair(*seeds: ClusterNode) -> AbstractAsyncContextManager[Pair]:
    """On the cluster that these are of."""
    return paired(backend_on(*seeds), backend_on(*seeds))


async def test_each_run_is_on_the_server_of_its_slot(nodes: list[ClusterNode]) -> None:
    """And on no other: that is what sharded means. Caught: SUBSCRIBE and PUBLISH, which every server repeats."""
    runs = [run_of(slots) for slots in THIRDS]
    async with pair(nodes[1]) as both:
        for run in runs:
            await both.far.subscribe(run)
            await both.relay(run)
        carried = [await node.say("PUBSUB", "SHARDCHANNELS", "sentri:run:*") for node in nodes]
        assert carried == [[channel_of(run)] for run in runs]


async def test_a_server_that_is_not_there_yet(nodes: list[ClusterNode], tmp_path: Path) -> None:
    """One of those that the URL names is enough; without any, it is tried again until there is one."""
    absent = ClusterNode(tmp_path, "absent")
    async with pair(absent, nodes[2]) as both:
        assert both.near.trouble is None
    backend = backend_on(absent)
    async with started(backend) as (ear,):
        assert "Connect" in str(backend.trouble)
        await backend.subscribe("RUN-1")
        backend.publish(event("RUN-1", 1))
        await absent.start()
        try:
            await until(lambda: "does not know" in str(backend.trouble), "it is there, and serves nothing")
            await absent.say("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            await until(lambda: backend.trouble is None, "it serves")
            assert ear.missed_times == 1
        finally:
            await absent.close()


async def test_a_slot_moves(tmp_path: Path) -> None:
    """Who listens is told by Redis, who publishes by its refusal. Caught: an unasked unsubscription is overlooked;
    lines are kept although the slots have changed; new lines do not subscribe."""
    async with cluster(tmp_path) as nodes, pair(nodes[0]) as both:
        runs = [run_of(slots) for slots in THIRDS]
        for run in runs:
            await both.far.subscribe(run)
            await both.relay(run)
        for source, target, run in [(nodes[0], nodes[1], runs[0]), (nodes[1], nodes[2], runs[0])]:
            told, slot = both.ear.missed_times, key_slot(channel_of(run))
            identity = await target.say("CLUSTER", "MYID")
            for node in (target, source):
                await node.say("CLUSTER", "SETSLOT", slot, "NODE", identity)
            await until(lambda told=told: both.ear.missed_times > told, "it is told")  # type: ignore[misc]
            await both.back()
            for each in runs:
                both.near.publish(event(each, 500))  # the publisher may still have to learn it
            await until(lambda: all(both.ear.knows(each, 500) for each in runs), "what was refused is made known")
            both.ear.events.clear()
            both.ear.hints.clear()
            assert channel_of(run) in await target.say("PUBSUB", "SHARDCHANNELS")


async def test_a_primary_dies(tmp_path: Path) -> None:
    """Its replica takes over. Caught: the cluster is not asked again."""
    async with cluster(tmp_path, replicas=1) as nodes, pair(nodes[1]) as both:
        run = run_of(THIRDS[0])
        await both.far.subscribe(run)
        await both.relay(run)
        await nodes[0].kill()
        await both.away()
        await nodes[3].say("CLUSTER", "FAILOVER", "TAKEOVER")  # an election would do it too, at its leisure
        await both.back()
        await both.relay(run)
        assert await nodes[3].say("PUBSUB", "SHARDCHANNELS", "sentri:run:*") == [channel_of(run)]


async def test_a_primary_is_away(tmp_path: Path) -> None:
    """The runs of the others go on meanwhile. Caught: one line's trouble ends the others."""
    async with cluster(tmp_path) as nodes, pair(nodes[0]) as both:
        runs = [run_of(slots) for slots in THIRDS]
        for run in runs:
            await both.far.subscribe(run)
        told = both.ear.missed_times

        async def asked() -> int:
            stats = [await node.say("INFO", "commandstats") for node in nodes[1:]]
            return sum(each.get("cmdstat_cluster|slots", {"calls": 0})["calls"] for each in stats)

        async def asked_again() -> bool:
            return await asked() >= before + 6

        await nodes[0].kill()
        await both.away()
        before = await asked()
        await parts.until(asked_again, "both have asked the others where the slots are, and more than once")
        for run in runs[1:]:
            await both.relay(run)
        both.near.publish(event(runs[0], 500))
        assert both.near.trouble is not None
        await nodes[0].start()
        await both.back()
        for run in runs:
            await both.relay(run)
        assert (both.far.counts["outages"], both.ear.missed_times) == (1, told + 1)
