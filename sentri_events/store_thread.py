"""The one thread that writes. Whatever waits when it is free goes into one transaction: group commit. So does whatever
comes while the runs are being locked for it.

A future is settled only after the commit, and before any future of the group the committed events are told, so that
no cancelled publisher can keep an event from its viewers.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypeVar

from peewee import PostgresqlDatabase

from sentri_events.database import WAL_BYTES, bound_wal, disconnect, execute, roll_back, together, trouble
from sentri_events.errors import SentriEventsError, Unavailable
from sentri_events.event import Event
from sentri_events.meter import Meter
from sentri_events.models import Tables
from sentri_events.store_kept import Kept, is_not_as_left
from sentri_events.store_lock import Locks
from sentri_events.store_run import Place, RunState
from sentri_events.store_write import Transaction

T = TypeVar("T")
MAX_GROUP = 1000
CROWD = 16  # fewer are done sooner in one transaction
MAX_WEIGHT = 10_000  # of a transaction, about: others, in this process or another, wait for its end
log = logging.getLogger(__name__)


class _Work(NamedTuple):
    verb: Callable[[Transaction], Any]
    weight: int
    runs: Collection[str]
    adds: bool
    future: "asyncio.Future[Any]"


class _Outcome(NamedTuple):
    future: "asyncio.Future[Any]"
    value: Any
    error: BaseException | None


class _Done(NamedTuple):
    outcomes: list[_Outcome]
    events: list[Event]
    touched: set[str]


class WriteThread:
    """Runs verbs in transactions and settles their futures on `loop`, where it also calls `committed` with the events
    of each commit, in order, `touched` with the workspaces whose runs it made or changed, and `doubted` when a commit
    failed and may have happened all the same.

    `clock` gives milliseconds since 1970.
    """

    def __init__(
        self,
        tables: Tables,
        loop: asyncio.AbstractEventLoop,
        committed: Callable[[list[Event]], None],
        touched: Callable[[set[str]], None],
        doubted: Callable[[], None],
        clock: Callable[[], int],
        meter: Meter,
    ) -> None:
        self._tables = tables
        self._database = tables.database
        self._loop = loop
        self._committed = committed
        self._touched = touched
        self._doubted = doubted
        self._clock = clock
        self._meter = meter
        self._locks = Locks(self._database)
        self._kept = Kept(self._database)
        self._trouble: str | None = None
        self._committing = False
        self._wal_bound = WAL_BYTES
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._first: _Work | None = None  # of the next group, if that was taken from the queue already
        self._thread = threading.Thread(target=self._run, name="store-write", daemon=True)
        self._thread.start()

    def submit(
        self, verb: Callable[[Transaction], T], weight: int, runs: Collection[str] = (), adds: bool = False
    ) -> "asyncio.Future[T]":
        """The verb's result after its commit. The future fails with the verb's own error, or with `Unavailable`.

        `weight` is about how many rows or kilobytes the verb writes, `runs` are the ids of those that it changes (or
        `store_lock.MAKING`); with `adds` it does no more than add events and a key to one. It may be run again in
        another transaction.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put(_Work(verb, weight, runs, adds, future))
        return future

    @property
    def down(self) -> bool:
        """Whether the last attempt failed because the database cannot do its work."""
        return self._trouble is not None

    def close(self) -> None:
        """Commit what waits, and end the thread. Blocks until then; nothing may be submitted any more."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            idle = self._first is None and self._waiting.empty()
            first = self._first or self._waiting.get()
            if first is None:
                break
            self._first = None
            group = [first]
            self._join(group, self._share() if idle else MAX_GROUP)
            done = self._write(group)
            self._loop.call_soon_threadsafe(self._settle, done, time.monotonic())
        disconnect(self._database)

    def _share(self) -> int:
        """How many may be in a group whose first has just come after an idle time.

        Who was answered together asks together again. Half of such a crowd goes first, and the others come while
        PostgreSQL, on a core of its own, commits: else each side would wait for the other.
        """
        crowd = self._waiting.qsize()
        halve = crowd >= CROWD and isinstance(self._database, PostgresqlDatabase)
        return min(MAX_GROUP, 1 + crowd // 2) if halve else MAX_GROUP

    def _join(self, group: list[_Work], most: int, runs: Collection[str] | None = None) -> None:
        """Let those who wait join the group, in order: up to `most`, and as far as they change none but `runs`."""
        weight = sum(work.weight for work in group)
        while self._first is None and len(group) < most and weight < MAX_WEIGHT and not self._waiting.empty():
            work = self._waiting.get()
            if work is None:
                self._waiting.put(None)  # for `_run`: nothing comes after it
                return
            if runs is None or all(run in runs for run in work.runs):
                group.append(work)
                weight += work.weight
            else:
                self._first = work

    def _write(self, group: list[_Work], *, joinable: bool = True) -> _Done:
        try:
            result = self._commit(group, joinable)
        except Exception as error:
            disconnect(self._database)
            self._meter.failures += 1
            why = trouble(error)
            if why is not None:
                self._say(why)
                if self._committing:
                    self._loop.call_soon_threadsafe(self._doubted)
                return _Done([_Outcome(work.future, None, _unavailable(why)) for work in group], [], set())
            if len(group) == 1:
                log.exception("A write failed.")
                return _Done([_Outcome(group[0].future, None, error)], [], set())
            middle = len(group) // 2  # one of them is to blame: the others must not suffer
            first, second = (self._write(part, joinable=False) for part in (group[:middle], group[middle:]))
            return _Done(first[0] + second[0], first[1] + second[1], first[2] | second[2])
        self._say(None)
        return result

    def _commit(self, group: list[_Work], joinable: bool) -> _Done:
        """`joinable`: others may join; not those who are tried again in parts, or they would lose their place."""
        began = time.monotonic()
        self._committing = False
        self._database.connect(reuse_if_open=True)
        self._wal_bound = bound_wal(self._database, self._wal_bound)
        runs = {run for work in group for run in work.runs}
        done = self._as_left(group, runs) if joinable and all(work.adds for work in group) else None
        if done is None:
            done = self._locked(group, runs, joinable)
        self._meter.transactions.observe(time.monotonic() - began)
        if done.events:
            self._meter.batches.observe(len(done.events))
        return done

    def _as_left(self, group: list[_Work], runs: Collection[str]) -> _Done | None:
        """None, and nothing is done, if the runs are not as this process left them, or that is not known."""
        states = None if self._trouble is not None else self._kept.states(runs)
        if states is None:
            return None
        found = _places(states)
        transaction = Transaction(self._tables, self._clock(), states, new_keys=True)
        outcomes = _outcomes(group, transaction)
        self._committing = True
        try:
            with together(self._database):
                self._kept.begin(found)
                transaction.flush()
                execute(self._database, "COMMIT")
        except Exception as error:
            if not is_not_as_left(error):
                raise
            roll_back(self._database)
            return None
        self._kept.leave(found, transaction.runs)
        return _Done(outcomes, transaction.events, transaction.touched)

    def _locked(self, group: list[_Work], runs: Collection[str], joinable: bool) -> _Done:
        self._committing = False
        states, locked = self._locks.begin(runs)
        if joinable:
            self._join(group, MAX_GROUP, states)  # what they need is locked, and that took its time
        found = _places(states)
        transaction = Transaction(self._tables, self._clock(), states)
        outcomes = _outcomes(group, transaction, locked)
        self._committing = True
        with together(self._database):
            transaction.flush()
            if self._trouble is not None:  # what is full may have room for a crumb: it is well when there is more
                transaction.probe()
            execute(self._database, "COMMIT")
        self._kept.leave(found, transaction.runs)
        return _Done(outcomes, transaction.events, transaction.touched)

    def _settle(self, done: _Done, committed_at: float) -> None:
        try:
            if done.events:
                self._meter.committed_at = committed_at
                self._committed(done.events)
            if done.touched:
                self._touched(done.touched)
        finally:
            for future, value, error in done.outcomes:
                if future.done():  # its waiter has gone
                    continue
                if error is None:
                    future.set_result(value)
                else:
                    future.set_exception(error)

    def _say(self, why: str | None) -> None:
        if why is not None and self._trouble is None:
            log.error("The store cannot be written: %s.", why)
        elif why is None and self._trouble is not None:
            log.info("The store can be written again.")
        self._trouble = why


def _outcomes(group: list[_Work], transaction: Transaction, locked: AbstractSet[str] = frozenset()) -> list[_Outcome]:
    """What the verbs return. Those of runs that are `locked` by others are not run."""
    outcomes = []
    for verb, _, runs, _, future in group:
        try:
            if locked and not locked.isdisjoint(runs):
                raise Unavailable("The store is not available: another session keeps the run locked.")
            outcomes.append(_Outcome(future, verb(transaction), None))
        except SentriEventsError as refusal:
            outcomes.append(_Outcome(future, None, refusal))
    return outcomes


def _places(states: Mapping[str, RunState | None]) -> dict[str, Place]:
    return {id: state.place for id, state in states.items() if state is not None}


def _unavailable(why: str) -> Unavailable:
    return Unavailable(f"The store is not available: {why}.")
