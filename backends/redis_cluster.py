"""Redis Cluster with sharded pub/sub: a line to each primary, and each run on the line that has its channel's slot.

Whenever a line is cut the cluster is asked who has which slot. A new answer means new lines, all of them.
"""

import asyncio
import random
from collections.abc import Iterable
from functools import partial

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import RedisError

from sentri_events.backend import Receiver
from sentri_events.backends.message import channel_of
from sentri_events.backends.redis import PROBE, RedisBackend
from sentri_events.backends.redis_line import Line
from sentri_events.backends.redis_servers import connect, first_answer
from sentri_events.backends.redis_url import CONNECT, Address, Node
from sentri_events.backends.trouble import Trouble

PAUSE = 0.5  # seconds between two questions, half of it at least
ASKED = 5  # servers that are asked at once
Slots = list[tuple[int, int, Node]]


class RedisClusterBackend(RedisBackend):
    """Keeps the contract of `sentri_events.backend.Backend`, and owns the lines to all primaries."""

    def __init__(self, address: Address, probe: float = PROBE) -> None:
        super().__init__(address, probe)
        self._slots: Slots = []
        self._line_of_slot: list[Line | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._unknown = Trouble(self.counts)
        self._doubtful = asyncio.Event()
        self._explorer: asyncio.Task[None] | None = None

    async def start(self, receiver: Receiver) -> None:
        """Returns when the primaries have answered, or when it is known that they do not."""
        self._receiver = receiver
        self._explorer = asyncio.create_task(self._explore())
        await self._unknown.known.wait()
        await asyncio.gather(*(line.trouble.known.wait() for line in self._lines))

    async def close(self) -> None:
        """Sends what waits, for a moment at most."""
        if self._explorer is not None:
            self._explorer.cancel()
            await asyncio.gather(self._explorer, return_exceptions=True)
        await super().close()

    @property
    def trouble(self) -> str | None:
        """Why the servers are not known, or the first line's that has any."""
        return self._unknown.sentence or super().trouble

    def wanted(self, line: Line) -> Iterable[bytes]:
        """The channels of that line."""
        return [channel for channel in self._topics if self._line_of_slot[key_slot(channel)] is line]

    def interrupted(self) -> None:
        """Another server may have taken over."""
        self._doubtful.set()

    def _line_of(self, channel: bytes) -> Line | None:
        return self._line_of_slot[key_slot(channel)]

    async def _explore(self) -> None:
        while True:
            self._doubtful.clear()
            try:
                async with asyncio.timeout(CONNECT):
                    slots = await self._ask()
                if slots != self._slots:
                    await self._take(slots)
                if sum(last - first + 1 for first, last, _ in slots) < REDIS_CLUSTER_HASH_SLOTS:
                    raise RedisError("some slots of the cluster have no server")
            except Exception as error:  # noqa: BLE001  Trouble logs it
                self._unknown.began(error)
                self._doubtful.set()
            else:
                self._unknown.over()
            await asyncio.sleep(random.uniform(0.5, 1) * PAUSE)  # nosec B311 # a pause
            await self._doubtful.wait()

    async def _ask(self) -> Slots:
        known = {*self._address.nodes, *(node for _, _, node in self._slots)}
        chosen = random.sample(sorted(known), min(len(known), ASKED))  # nosec B311 # whom to ask
        asked, ranges = await first_answer(self._address, chosen, b"CLUSTER", b"SLOTS")
        return sorted(
            (first, last, Node(host.decode() if host else asked.host, port))
            for first, last, (host, port, *_), *_ in ranges
        )

    async def _take(self, slots: Slots) -> None:
        former = list(self._lines)
        lines = {
            node: self._add(Line(self, partial(connect, self._address, node), self._probe, b"S"))
            for node in {node for _, _, node in slots}
        }
        self._slots = slots
        self._line_of_slot = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, node in slots:
            self._line_of_slot[first : last + 1] = [lines[node]] * (last - first + 1)
        await self._remove(former)
        for hint in [hint for line in former for hint in line.outbox.owed.values()]:
            heir = self._line_of(channel_of(hint.run))
            if heir is not None:
                heir.outbox.lose([hint])
