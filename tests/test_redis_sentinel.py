"""Sentinels say where the primary is, and when that changes everything goes on."""

from pathlib import Path

from sentri_events.backends.redis import RedisBackend
from sentri_events.backends.redis_url import read_url
from tests.backend_contract import started
from tests.chaos.parts import free_port
from tests.redis_pair import PROBE, paired
from tests.redis_server import SERVICE, replicated


async def test_a_failover(tmp_path: Path) -> None:
    """The primary dies, its replica takes over, the dead one comes back. Caught: the first address is kept."""
    async with replicated(tmp_path) as (primary, replica, sentinel):
        address = read_url(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/{SERVICE}")
        async with paired(RedisBackend(address, PROBE), RedisBackend(address, PROBE)) as both:
            assert both.near.trouble is None
            await both.far.subscribe("RUN-1")
            await both.relay("RUN-1")
            assert await replica.say("PUBSUB", "NUMSUB", "sentri:run:RUN-1") == [b"sentri:run:RUN-1", 0]
            told = both.ear.missed_times
            await primary.kill()
            await both.away()
            await both.back()
            assert both.ear.missed_times > told
            await both.relay("RUN-1")
            assert await replica.say("PUBSUB", "NUMSUB", "sentri:run:RUN-1") == [b"sentri:run:RUN-1", 1]
            await primary.start()
            await both.relay("RUN-1")


async def test_sentinels_that_know_nothing(tmp_path: Path) -> None:
    async with replicated(tmp_path) as (_, _, sentinel):
        backend = RedisBackend(read_url(f"redis+sentinel://127.0.0.1:{sentinel.port}/other"), PROBE)
        async with started(backend):
            assert f"127.0.0.1:{sentinel.port} does not know" in str(backend.trouble)
