"""The store: the truth about every run (law 1). An event exists when its row is committed.

Coroutines in front of the one write thread (store_thread) and a few readers; SQL never runs on the event loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from sentri_events import store_list, store_read, store_write
from sentri_events.database import is_postgres, migrate, open_database, reading
from sentri_events.errors import Unavailable
from sentri_events.event import Draft, Event
from sentri_events.meter import Meter
from sentri_events.models import Tables, bind
from sentri_events.store_list import Change, Seen
from sentri_events.store_lock import MAKING
from sentri_events.store_read import Head, Snapshot
from sentri_events.store_thread import WriteThread
from sentri_events.store_write import Answer, Once, Transaction

P = ParamSpec("P")
T = TypeVar("T")
READERS = 4
log = logging.getLogger(__name__)


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Store:
    """All verbs may raise `Unavailable`; a write that raised it may have happened or not.

    Whoever listens sets three functions before `open`; they are called on the event loop. `committed` gets the events
    of each commit, in order, before any writer is answered. `touched` gets the workspaces of which a commit has changed
    or made runs. `doubted`: it is not known whether a commit happened.

    `clock` gives milliseconds since 1970. `meter` counts what is done.
    """

    def __init__(self, url: str, clock: Callable[[], int] = now) -> None:
        self.upgraded: list[str] = []
        self.meter = Meter()
        self.committed: Callable[[list[Event]], None] = lambda events: None
        self.touched: Callable[[set[str]], None] = lambda workspaces: None
        self.doubted: Callable[[], None] = lambda: None
        self._url = url
        self._database = open_database(url)
        self._tables = bind(self._database)
        self.shared = is_postgres(url)  # other instances may write to it, on other machines too
        self.clock = clock
        self._readers = ThreadPoolExecutor(READERS, "store-read")
        self._writer: WriteThread | None = None
        self._closed = False

    async def open(self) -> None:
        """Bring the schema to the newest version (`upgraded` names what that took) and start to write.

        Raises `SettingsError` if a newer version of the program made the database.
        """
        loop = asyncio.get_running_loop()
        self.upgraded = await loop.run_in_executor(self._readers, migrate, self._url)
        self._writer = WriteThread(
            self._tables, loop, self.committed, self.touched, self.doubted, self.clock, self.meter
        )

    async def close(self) -> None:
        """Commit what was accepted, then let go of the database. What is asked of the store later is `Unavailable`."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._let_go)

    def _let_go(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._readers.shutdown()
        self._database.close_all()

    async def append(
        self,
        workspace: str,
        run: str,
        drafts: Sequence[Draft],
        once: Once | None = None,
        silent_since: int | None = None,
        project: str | None = None,
    ) -> Answer:
        """Number and store `drafts`, all or none. With `silent_since` (milliseconds): only if the run's producer was
        last heard before it; with `project`: only if the run is of that one. Raises `NotFound`, `Conflict` (the run has
        ended), `Invalid` (the key is another's)."""
        weight = max(len(drafts), sum([len(draft.json) for draft in drafts]) >> 10)
        return await self._write(
            lambda tx: tx.append(workspace, run, drafts, once, silent_since, project),
            weight,
            [run],
            adds=silent_since is None and all(draft.effect is None for draft in drafts),
        )

    async def create_run(
        self,
        workspace: str,
        project: str,
        id: str | None,
        prefix: str,
        fields: dict[str, Any],
        once: Once | None = None,
        make_project: bool = False,
    ) -> Answer:
        """Make a run; without an `id` it is `prefix` and a number. Raises `Conflict`, `NotFound` (the project)."""
        return await self._write(
            lambda tx: tx.create_run(workspace, project, id, prefix, fields, once, make_project), runs=[MAKING]
        )

    async def create_project(self, workspace: str, id: str | None, name: str | None) -> dict[str, Any]:
        """Make a project and return it. Raises `Conflict`."""
        return await self._write(lambda tx: tx.create_project(workspace, id, name), runs=[MAKING])

    async def hear(self, workspace: str, run: str, project: str | None = None) -> None:
        """Note that the run's producer is there. Raises `NotFound`, `Conflict`."""
        await self._write(lambda tx: tx.hear(workspace, run, project), runs=[run])

    async def beat(self, tolerance: int) -> int:
        """Say that an instance lives; returns the silence (milliseconds) that was credited to all running runs."""
        return await self._write(lambda tx: tx.beat(tolerance), runs=[MAKING])

    async def trim(self, run: str, floor: int) -> None:
        """Take away the run's events up to seq `floor`, in small steps; its results and its numbering stay."""
        while not await self._write(lambda tx: tx.trim(run, floor), runs=[run]):
            continue

    async def prune(self, before: int) -> int:
        """Remove the runs that ended before that time (milliseconds), in small steps; returns how many."""
        count = 0
        while runs := await self._read(store_read.finished_before, before):
            for run in runs:
                while not await self._write(lambda tx, run=run: tx.prune(run, before), runs=[run]):  # type: ignore[misc]
                    continue
            count += len(runs)
        return count

    async def longer_than(self, events: int) -> list[tuple[str, int]]:
        """Id and head of the runs that have more events than that."""
        return await self._read(store_read.longer_than, events)

    async def head(self, run: str) -> Head:
        """Where the run stands. Raises `NotFound`."""
        return await self._read(store_read.head, run)

    async def heads(self, runs: Sequence[str]) -> dict[str, Head]:
        """Where those of `runs` stand that exist, in one query."""
        return await self._read(store_read.heads, runs)

    async def after(
        self,
        run: str,
        epoch: str,
        seq: int,
        limit: int = store_read.PAGE_EVENTS,
        max_bytes: int = store_read.PAGE_BYTES,
    ) -> list[Event]:
        """The next events after `seq`, at most `limit` and `max_bytes` of them. Empty at the head, and where the run is
        gone or has another epoch; the first is not `seq + 1` where events were trimmed away."""
        return await self._read(store_read.after, run, epoch, seq, limit, max_bytes)

    async def snapshot(self, run: str, logs: int, with_meta: bool = False) -> Snapshot:
        """The run document and its head, of one moment. Raises `NotFound`."""
        return await self._read(store_read.snapshot, run, logs, with_meta)

    async def runs(
        self, workspace: str, project: str | None, status: str | None, limit: int, before: int | None, text: str = ""
    ) -> tuple[list[dict[str, Any]], int | None]:
        """Summaries of runs, newest first, and where the next page begins. A `text` is to be found in their id, name
        or project, in capitals or not."""
        return await self._read(store_read.runs, workspace, project, status, limit, before, text)

    async def changes(self, seen: Mapping[str, Seen]) -> dict[str, tuple[Seen, list[Change]]]:
        """Of each workspace: what to ask with the next time, and the runs that changed since `seen`; in one read."""
        return await self._read(store_list.changes, seen)

    async def project(self, workspace: str, id: str) -> dict[str, Any]:
        """Raises `NotFound`."""
        return await self._read(store_read.project, workspace, id)

    async def projects(self, workspace: str) -> list[dict[str, Any]]:
        """All projects of a workspace, oldest first."""
        return await self._read(store_read.projects, workspace)

    async def answered(self, scope: str, once: Once) -> Answer | None:
        """What was answered to a request with this key. Raises `Invalid` if that was another request."""
        row = await self._read(store_read.answered, scope, once.key)
        return None if row is None else store_write.replay(scope, row, once)

    async def revoke(self, jti: str, until: int) -> None:
        """Note that a token is not to be believed; until that time (milliseconds), when it ends by itself."""
        await self._write(lambda tx: tx.revoke(jti, until), runs=[MAKING])

    async def revocations(self, after: int) -> list[tuple[int, str, int]]:
        """Number, jti and end (milliseconds) of the tokens that were revoked after the one with that number."""
        return await self._read(store_read.revocations, after)

    async def use(self, ticket: str, until: int) -> None:
        """Note that a ticket was used in time; until that time (milliseconds), when it ends."""
        await self._write(lambda tx: tx.use(ticket, until))

    async def is_used(self, ticket: str) -> bool:
        """Whether that ticket was used in time."""
        return await self._read(store_read.is_used, ticket)

    async def overdue(self, heard_before: int) -> list[tuple[str, str]]:
        """Workspace and id of running runs whose producer was last heard before that time (milliseconds)."""
        return await self._read(store_read.overdue, heard_before)

    async def check(self) -> list[str]:
        """What is wrong with the stored data, a sentence each; empty when all is sound."""
        return await self._read(store_read.problems)

    async def trouble(self) -> str | None:
        """Why nothing can be stored or read now, found by trying; None when all is well."""
        try:
            await self._write(Transaction.probe)
            await self._read(store_read.probe)
        except Unavailable as error:
            return str(error)
        return None

    async def statuses(self) -> dict[str, int]:
        """How many runs there are in each status, of all workspaces."""
        return await self._read(store_read.statuses)

    @property
    def down(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._writer is not None and self._writer.down

    async def _read(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def call() -> T:
            with reading(self._database):
                return function(self._tables, *args, **kwargs)

        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def _write(
        self, verb: Callable[[Transaction], T], weight: int = 1, runs: Collection[str] = (), *, adds: bool = False
    ) -> T:
        self._check_open()
        assert self._writer is not None, "the store is not open"
        return await self._writer.submit(verb, weight, runs, adds)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("The store is closed.")
