"""The live lists of this process. The store is asked, in one query for all workspaces that are watched, what changed.

Whatever rings (a commit here, another process, a clock) only says that it is time to look: no list is right or wrong by
what a bell says. After a look that found something the next one waits for a second, and so does every run's progress.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sentri_events.backend import Backend
from sentri_events.errors import Unavailable
from sentri_events.event import Event, encode
from sentri_events.listing import PAGES, Listing, Page
from sentri_events.store import Store
from sentri_events.store_list import NOTHING, Change, Seen
from sentri_events.viewer import Viewer

REST = 1.0  # seconds from one look that found something to the next
log = logging.getLogger(__name__)


class Watched:
    """A workspace that is watched: what was seen of it, and its lists, by project; None is the whole workspace's."""

    def __init__(self) -> None:
        self.listening = False
        self.seen: Seen | None = None
        self.listings: dict[str | None, Listing] = {}


class Lists:
    """Made by the hub. `left` is told of each viewer that leaves."""

    def __init__(self, store: Store, backend: Backend, left: Callable[[Viewer], None]) -> None:
        self._store = store
        self._backend = backend
        self._left = left
        self._watched: dict[str, Watched] = {}
        self._due: set[str] = set()
        self._looking: asyncio.Task[None] | None = None
        # A page and a look are never read at once: what is told after a page is newer than the page.
        self._reading = asyncio.Lock()

    def close(self) -> None:
        """Look no more."""
        self._watched.clear()
        if self._looking is not None:
            self._looking.cancel()

    def ring(self, workspaces: Iterable[str]) -> None:
        """Something may have changed there."""
        self._due.update(self._watched.keys() & workspaces)
        if self._due and self._looking is None:
            self._looking = asyncio.create_task(self._look_while_due())

    def ring_all(self) -> None:
        """Something may have changed anywhere."""
        self.ring(self._watched)

    def tidy(self) -> None:
        """Let go of the lists that nobody follows."""
        for workspace, watched in list(self._watched.items()):
            watched.listings = {key: one for key, one in watched.listings.items() if not one.unused}
            if not watched.listings:
                del self._watched[workspace]
                self._backend.ignore(workspace)

    @asynccontextmanager
    async def joined(self, workspace: str, project: str | None) -> AsyncIterator[Listing]:
        """The list, with what was there at its beginning seen, and kept while inside. Raises `Unavailable`."""
        watched = self._watched.setdefault(workspace, Watched())
        listing = watched.listings.get(project)
        if listing is None:
            listing = watched.listings[project] = Listing(workspace, project, self._left)
        listing.joining += 1
        try:
            if not watched.listening:
                watched.listening = True
                await self._backend.listen(workspace)
            if watched.seen is None:
                async with self._reading:
                    if watched.seen is None:
                        watched.seen = (await self._store.changes({workspace: NOTHING}))[workspace][0]
            yield listing
        finally:
            listing.joining -= 1

    async def page(self, listing: Listing, limit: int) -> Page:
        """The newest runs: one read for all who ask for as many before the next change. Raises `Unavailable`."""
        while True:
            task = listing.pages.get(limit)
            if task is None or (task.done() and task.exception()):
                if len(listing.pages) == PAGES:
                    del listing.pages[next(iter(listing.pages))]
                task = listing.pages[limit] = asyncio.create_task(self._read_page(listing, limit))
            page = await asyncio.shield(task)
            if page.heard == listing.volatile_seen:  # or else something was told meanwhile
                return page

    async def _read_page(self, listing: Listing, limit: int) -> Page:
        async with self._reading:
            data, following = await self._store.runs(listing.workspace, listing.project, None, limit, None)
            return Page(listing.volatile_seen, encode({"type": "runs", **page_document(data, following)}), {})

    async def _look_while_due(self) -> None:
        try:
            while self._due:
                async with self._reading:
                    rest = await self._look()
                if rest:
                    await asyncio.sleep(REST)
        finally:
            self._looking = None

    async def _look(self) -> bool:
        """Ask the store, and tell what it says. True: that was enough for a while."""
        due = {key: one.seen for key, one in self._watched.items() if key in self._due and one.seen is not None}
        self._due.clear()  # what is watched and was not yet seen is about to be
        try:
            answers = await self._store.changes(due) if due else {}
        except Unavailable:  # the store says so itself
            self._due.update(due)
            return True
        except Exception:
            log.exception("The lists could not be looked at.")
            self._due.update(due)
            return True
        told = False
        for workspace, (seen, changes) in answers.items():
            watched = self._watched.get(workspace)
            if watched is not None and watched.seen is due[workspace]:
                watched.seen = seen
                told = told or bool(changes)
                await self._tell(watched, changes)
        return told

    async def _tell(self, watched: Watched, changes: Sequence[Change]) -> None:
        events: dict[str | None, list[Event]] = {key: [] for key in watched.listings}
        now = self._store.clock()
        for kind, run in changes:
            event = Event(run["id"], "", 0, now, f"run.{kind}", encode({"type": f"run.{kind}", "run": run}))
            for key in (None, run["projectId"]):
                if key in events:
                    events[key].append(event)
        for key, own in events.items():
            if own and key in watched.listings:
                await watched.listings[key].tell(own)


def page_document(data: list[dict[str, Any]], following: int | None) -> dict[str, Any]:
    """A page of runs as the API shows it."""
    return {"data": data, "next": None if following is None else str(following)}
