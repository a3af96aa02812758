"""Viewers that follow through `sentri_events.client`, one run after another: from its start, from its middle, from a
snapshot; they leave and come back, and are cut by the proxies."""

import asyncio
import json
from contextlib import aclosing
from random import Random
from typing import Any

from sentri_events.client import Client, Received
from sentri_events.errors import ClientError
from tests.chaos.producers import Producers, Run
from tests.chaos.records import Reading, Record, Sight

PATIENCE = 600.0  # seconds; a fleet that is away for long is what this is about
LEAVES = 0.02  # the chance of leaving at an event, for those who do
AWAY = (0.0, 2.0)  # seconds
IDLE = 0.05


class Viewer:
    """One of them. A `steady` one does not leave."""

    def __init__(
        self, name: str, client: Client, producers: Producers, record: Record, chance: Random, steady: bool
    ) -> None:
        self._name = name
        self._client = client
        self._producers = producers
        self._record = record
        self._chance = chance
        self._steady = steady

    async def watch(self) -> None:
        """Follow runs until no more are begun."""
        while (run := await next_run(self._producers, self._chance)) is not None:
            reading = Reading(run.id, self._name, self._steady)
            self._record.readings.append(reading)
            try:
                await self._read(reading, run)
            except ClientError as error:
                self._record.complaints.append(f"{self._name} of {run.id}: {error}")

    async def _read(self, reading: Reading, run: Run) -> None:
        position: str | int | None = self._chance.choice((0, self._chance.randint(0, run.head), None))
        if isinstance(position, int):
            reading.start = position
        while not reading.ended:
            leaving = False
            async with aclosing(self._client.follow(run.id, position)) as events:
                async for received in events:
                    self._take(reading, received)
                    position = received.position
                    if not self._steady and position and self._chance.random() < LEAVES:
                        leaving = True
                        break
            if leaving:
                await asyncio.sleep(self._chance.uniform(*AWAY))
            else:
                reading.ended = True

    def _take(self, reading: Reading, received: Received) -> None:
        now = asyncio.get_running_loop().time()
        reading.began_at = min(reading.began_at, now)
        if received.seq is not None:
            text = json.dumps(received.event, separators=(",", ":"))
            reading.sights.append(Sight(received.seq, self._record.shared(text), now))
        elif received.type == "snapshot" and reading.start is None and received.position is not None:
            reading.start = int(received.position.rpartition(".")[2])
            reading.lines = [(line["seq"], line["message"]) for line in _lines(received)]
        else:
            self._record.complaints.append(f"{reading.viewer} of {reading.run} was sent {received.event!r:.200}.")


def _lines(received: Received) -> list[dict[str, Any]]:
    return list(received.event["run"]["logs"])


async def next_run(producers: Producers, chance: Random) -> Run | None:
    """One of the runs that go on; None when there will be no more."""
    while not producers.over:
        if producers.current:
            return chance.choice(producers.current)
        await asyncio.sleep(IDLE)
    return None
