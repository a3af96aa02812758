"""What is old goes by itself: runs that ended long ago, and by another setting all but the last events of a run.

Small steps through the one write thread, so that publishing goes on between them. Several instances may do the same at
once: what one has removed, the other does not find.
"""

import asyncio
import logging

from sentri_events.errors import Unavailable
from sentri_events.hub import Hub

PAUSE = 60.0  # seconds between two looks
DAY = 86_400_000  # milliseconds
log = logging.getLogger(__name__)


class Retention:
    """Looks every minute, from `start` to `stop`, by the clock of the hub's store; never where nothing is to go."""

    def __init__(self, hub: Hub) -> None:
        self._store = hub.store
        self._days = hub.settings.retention_days
        self._events = hub.settings.retention_events
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        if self._days or self._events:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more; what is not removed yet goes another time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def look(self) -> None:
        """Remove what is to go. Raises `Unavailable`."""
        if self._days:
            count = await self._store.prune(int(self._store.clock() - self._days * DAY))
            if count:
                log.info("Runs that ended more than %g days ago were removed: %d.", self._days, count)
        if self._events:
            long = await self._store.longer_than(self._events)
            for run, head in long:
                await self._store.trim(run, head - self._events)
            if long:
                log.info("Runs of which only the last %d events are kept were trimmed: %d.", self._events, len(long))

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Unavailable:
                log.debug("The store is away: nothing is removed.")
            except Exception:
                log.exception("Nothing could be removed.")
            await asyncio.sleep(PAUSE)
