"""A run always ends: one whose producer has been silent for `run_timeout` becomes `interrupted`, with a `done`.

Whichever instance notices publishes it, and the store takes one. Time in which nobody could have been heard (the store
was away, or no instance lived) is credited to every run before any is judged.
"""

import asyncio
import logging
from collections.abc import Callable

from sentri_events.errors import Conflict, NotFound, Unavailable
from sentri_events.event import draft
from sentri_events.hub import Hub

MOST_SECONDS = 5.0
SHARE = 10  # of the timeout, between two looks
log = logging.getLogger(__name__)


class Reaper:
    """Looks every few seconds, from `start` to `stop`. `run_timeout` is in seconds, `clock` in milliseconds."""

    def __init__(self, hub: Hub, run_timeout: float, clock: Callable[[], int]) -> None:
        self._hub = hub
        self._timeout = int(run_timeout * 1000)
        self._pause = min(MOST_SECONDS, run_timeout / SHARE)
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def look(self) -> None:
        """Say that this instance lives, and end the runs that nobody feeds. Raises `Unavailable`."""
        credit = await self._hub.store.beat(int(3000 * self._pause))
        if credit:
            log.info("Nobody could be heard for %.1f s: running runs get that time.", credit / 1000)
        silent_since = self._clock() - self._timeout
        for workspace, run in await self._hub.store.overdue(silent_since):
            sentence = f"Nothing was heard from the producer for {self._timeout / 1000:g} s."
            done = draft({"type": "done", "status": "interrupted", "error": sentence}, self._hub.rules, self._clock())
            try:
                await self._hub.store.append(workspace, run, [done], silent_since=silent_since)
            except (Conflict, NotFound):
                continue  # it has ended, or was heard of, or another instance was first
            log.info("Run %s is interrupted: %s", run, sentence)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Unavailable:
                log.debug("The store is away: no run is judged.")
            await asyncio.sleep(self._pause)
