"""What is answered to Prometheus: the numbers of all processes of this server, added up.

Each process copies its numbers into a row of memory that they all share, and whoever is asked adds the rows up: nobody
has to be reached, so nobody can fail to answer. Who takes a dead one's place goes on from the counters in its row, so
that no sum falls while the server runs; at a restart all begin at 0, and Prometheus knows what that means.
"""

import asyncio
import mmap
import os
import time
from array import array
from collections.abc import Iterable, Iterator
from functools import partial
from operator import add

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from tornado.ioloop import PeriodicCallback

from sentri_events import __version__
from sentri_events.errors import Unavailable
from sentri_events.event import FINAL_STATUSES
from sentri_events.hub import Hub
from sentri_events.metric_table import FAMILIES, PREFIX, Source, Streams

PAUSE = 1.0  # seconds between two copies
FRESH = 5.0  # seconds for which the runs are not counted again
SIZE = 1 + sum(family.size for family in FAMILIES)  # of a row: the process's id, and its numbers


class Board:
    """A row of numbers for each of `processes`. It is made before they fork."""

    def __init__(self, processes: int = 1) -> None:
        numbers = memoryview(mmap.mmap(-1, processes * SIZE * 8)).cast("d")
        self.rows = [numbers[place * SIZE : (place + 1) * SIZE] for place in range(processes)]


class Metrics(Collector):
    """The metrics of a server, whose process has row number `place` of the `board`."""

    def __init__(self, hub: Hub, streams: Streams, board: Board | None = None, place: int = 0) -> None:
        self._hub = hub
        self._source = Source(hub, streams)
        self._rows = (board or Board()).rows
        self._row = self._rows[place]
        self._row[0] = os.getpid()
        kinds = [family.kind for family in FAMILIES for _ in range(family.size)]
        self._begun = [0.0 if kind == "gauge" else had for kind, had in zip(kinds, self._row[1:], strict=True)]
        self._statuses: dict[str, int] | None = None
        self._counted = -FRESH
        self._counting = asyncio.Lock()
        self._copier = PeriodicCallback(self.copy, PAUSE * 1000)
        if len(self._rows) > 1:
            self.copy()
            self._copier.start()

    def stop(self) -> None:
        """Copy no more."""
        self._copier.stop()

    def copy(self) -> None:
        """Let the others know where this process stands."""
        own = (number for family in FAMILIES for number in family.numbers(self._source))
        self._row[1:] = array("d", map(add, self._begun, own))

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text, and its Content-Type: what suits the header `accept`."""
        await self._count_runs()
        self.copy()
        encode, content_type = choose_encoder(accept)
        return encode(self), content_type

    def collect(self) -> Iterator[Metric]:
        """What Prometheus' client library asks for."""
        build = GaugeMetricFamily(f"{PREFIX}build_info", "The version that runs.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        place = 1
        for family in FAMILIES:
            numbers = [sum(row[cell] for row in self._rows) for cell in range(place, place + family.size)]
            yield family.metric(numbers)
            place += family.size
        runs = GaugeMetricFamily(f"{PREFIX}runs", "Runs in the store, all workspaces together.", labels=["status"])
        if self._statuses is not None:
            for status in ("running", *FINAL_STATUSES):
                runs.add_metric([status], self._statuses.get(status, 0))
            yield runs
        yield from self._processes()

    def _processes(self) -> Iterable[Metric]:
        """What the system says of each process. A dead one's numbers go with it: they are not added up."""
        families: dict[str, Metric] = {}
        for place, row in enumerate(self._rows):
            for metric in ProcessCollector(pid=partial(int, row[0]), registry=None).collect():
                family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    family.add_sample(sample.name, {"process": str(place)}, sample.value)
        return families.values()

    async def _count_runs(self) -> None:
        """One query for all who ask within a few seconds."""
        async with self._counting:
            if time.monotonic() - self._counted < FRESH:
                return
            try:
                self._statuses = await self._hub.store.statuses()
            except Unavailable:
                self._statuses = None  # not known is not none
            self._counted = time.monotonic()
