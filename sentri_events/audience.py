"""Everyone who follows in this process: their heartbeats, a share of them at a time, until they go or are sent away."""

import asyncio
import math
import random
from collections.abc import Callable

from tornado.ioloop import PeriodicCallback

from sentri_events.sse import retry
from sentri_events.viewer import Viewer

BUCKETS = 50  # a heartbeat's viewers are served in so many shares
NEIGHBOURS = 64  # who came one after another beat together: they lie together in memory, too
LEAVING = 1000  # viewers a second that are sent away: no more come back at once than another instance takes in
TICK = 0.05
# Milliseconds until they come back: to another instance, or to this one when it has been started again.
ELSEWHERE, HERE = (100, 1000), (1000, 3000)


class Audience:
    """Its sinks beat every `heartbeat` seconds, from `start` to `stop`; after each round `tidy` is called.

    `elsewhere` says whether there are other instances that one who is sent away can come back to.
    """

    def __init__(self, heartbeat: float, elsewhere: Callable[[], bool], tidy: Callable[[], None]) -> None:
        self._elsewhere = elsewhere
        self._tidy = tidy
        self._buckets: list[dict[Viewer, None]] = [{} for _ in range(BUCKETS)]
        self._turn = self._share = 0
        self._heart = PeriodicCallback(self._beat, heartbeat * 1000 / BUCKETS)

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def start(self) -> None:
        """Begin to beat."""
        self._heart.start()

    def stop(self) -> None:
        """Beat no more."""
        self._heart.stop()

    def add(self, viewer: Viewer) -> None:
        """Let the viewer's sink beat until it is removed."""
        self._turn += 1
        viewer.bucket = self._turn // NEIGHBOURS % BUCKETS
        self._buckets[viewer.bucket][viewer] = None

    def remove(self, viewer: Viewer) -> None:
        """The viewer is gone. Harmless if it never was here."""
        self._buckets[viewer.bucket].pop(viewer, None)

    def farewell(self) -> bytes:
        """The last block of a stream whose viewer is to come back: when, and each at another moment. It moves no id."""
        return retry(random.randint(*(ELSEWHERE if self._elsewhere() else HERE))) + b"\n"  # nosec B311 # a pause

    def send_away(self, viewer: Viewer) -> None:
        """End what it follows; it may come back with its position."""
        if viewer.channel is not None:
            viewer.leave()
            viewer.sink.finish(self.farewell())

    def send_all_away(self) -> None:
        """Everyone, at once."""
        for viewer in self._all():
            self.send_away(viewer)

    async def drain(self, longest: float) -> None:
        """Send everyone away: not all at once, but within `longest` seconds."""
        viewers = self._all()
        share = max(int(LEAVING * TICK), math.ceil(len(viewers) * TICK / max(longest, TICK)))
        for first in range(0, len(viewers), share):
            if first:
                await asyncio.sleep(TICK)
            for viewer in viewers[first : first + share]:
                self.send_away(viewer)

    def _all(self) -> list[Viewer]:
        return [viewer for bucket in self._buckets for viewer in bucket]

    def _beat(self) -> None:
        self._share = (self._share + 1) % BUCKETS
        for viewer in list(self._buckets[self._share]):
            if not viewer.sink.beat():
                viewer.fell_behind()
        if self._share == 0:
            self._tidy()
