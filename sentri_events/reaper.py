"""A run always ends: one whose producer has been silent for `run_timeout` becomes `interrupted`, with a `done`.

Whichever instance notices publishes it, and the store takes one. Time in which nobody could have been heard (the store
was away, or no instance lived) is credited to every run before any is judged.
"""

import asyncio
import logging

from sentri_events.errors import Conflict, NotFound, Unavailable
from sentri_events.hub import Hub

MOST_SECONDS = 5.0
SHARE = 10  # of the timeout, between two looks
GAP = 3  # so many looks that were missed are an outage
log = logging.getLogger(__name__)


class Reaper:
    """Looks every few seconds, from `start` to `stop`, by the clock of the hub's store."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._timeout = int(hub.settings.run_timeout * 1000)
        self._pause = min(MOST_SECONDS, hub.settings.run_timeout / SHARE)
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
        store = self._hub.store
        # Judged by the time before the beat, which is credited: this process may be stopped at any later moment.
        silent_since = store.clock() - self._timeout
        credit = await store.beat(int(self._pause * GAP * 1000))
        if credit:
            log.info("Nobody could be heard for %.1f s: running runs get that time.", credit / 1000)
        for workspace, run in await store.overdue(silent_since):
            sentence = f"Nothing was heard from the producer for {self._timeout / 1000:g} s."
            done = self._hub.drafts([{"type": "done", "status": "interrupted", "error": sentence}])
            try:
                await store.append(workspace, run, done, silent_since=silent_since)
            except (Conflict, NotFound):
                continue  # it has ended, or was heard of, or another instance was first
            log.info("Run %s is interrupted: %s", run, sentence)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Unavailable:
                log.debug("The store is away: no run is judged.")
            except Exception:
                log.exception("The runs could not be looked at.")
            await asyncio.sleep(self._pause)
