"""Two instances on Redis: one publishes, the other hears."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sentri_events.backends.redis import RedisBackend
from tests.backend_contract import Ear, event, started
from tests.bridge import until

PROBE = 0.5  # seconds: an outage that nothing else shows is noticed within two of them


class Pair:
    """`near` publishes, `far` hears; `near_ear` and `ear` are what they are told."""

    def __init__(self, near: RedisBackend, far: RedisBackend) -> None:
        self.near, self.far = near, far
        self.near_ear, self.ear = Ear(), Ear()
        self._seq = 0

    async def relay(self, run: str, *, or_missed: bool = False) -> None:
        """An event of that run gets to the other side; or else that is told that it may have missed something."""
        self._seq += 1
        seq, told = self._seq, self.ear.missed_times
        self.near.publish(event(run, seq))
        await until(
            lambda: self.ear.knows(run, seq) or (or_missed and self.ear.missed_times > told),
            f"event {seq} of {run} is known",
        )

    async def away(self) -> None:
        """Returns when both know of the trouble."""
        await until(lambda: self.near.trouble and self.far.trouble, "both know of the trouble")

    async def back(self) -> None:
        """Returns when both have none."""
        await until(lambda: not self.near.trouble and not self.far.trouble, "all is well again")


@asynccontextmanager
async def paired(near: RedisBackend, far: RedisBackend) -> AsyncIterator[Pair]:
    """Started, while inside."""
    both = Pair(near, far)
    async with started(near, far) as (both.near_ear, both.ear):
        yield both
