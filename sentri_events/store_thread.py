"""The one thread that writes. Whatever waits when it is free goes into one transaction: group commit.

A future is settled only after the commit, and before any future of the group the committed events are told, so that
no cancelled publisher can keep an event from its viewers.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from peewee import DatabaseError, InterfaceError
from playhouse.pool import PooledDatabase

from sentri_events.database import reason
from sentri_events.errors import SentriEventsError, Unavailable
from sentri_events.event import Event
from sentri_events.models import Tables
from sentri_events.store_write import Transaction

T = TypeVar("T")
MAX_GROUP = 1000
log = logging.getLogger(__name__)


class _Work(NamedTuple):
    verb: Callable[[Transaction], Any]
    future: "asyncio.Future[Any]"


class _Outcome(NamedTuple):
    future: "asyncio.Future[Any]"
    value: Any
    error: BaseException | None


class WriteThread:
    """Runs verbs in transactions and settles their futures on `loop`.

    `committed` is called there with the events of each commit, in order. `clock` gives milliseconds since 1970.
    `trouble` says why the last commit failed, and is None once one succeeds.
    """

    def __init__(
        self,
        database: PooledDatabase,
        tables: Tables,
        loop: asyncio.AbstractEventLoop,
        committed: Callable[[list[Event]], None],
        clock: Callable[[], int],
    ) -> None:
        self.trouble: str | None = None
        self._database = database
        self._tables = tables
        self._loop = loop
        self._committed = committed
        self._clock = clock
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-write", daemon=True)
        self._thread.start()

    def submit(self, verb: Callable[[Transaction], T]) -> "asyncio.Future[T]":
        """The verb's result after its commit. The future fails with the verb's own error, or with `Unavailable`."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put(_Work(verb, future))
        return future

    def close(self) -> None:
        """Commit what waits, and end the thread. Blocks until then."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            group: list[_Work] = []
            item = self._waiting.get()
            while item is not None:
                group.append(item)
                if len(group) == MAX_GROUP or self._waiting.empty():
                    break
                item = self._waiting.get()
            going = item is not None
            if group:
                outcomes, events = self._write(group)
                self._loop.call_soon_threadsafe(self._settle, outcomes, events)
        self._disconnect()

    def _write(self, group: list[_Work]) -> tuple[list[_Outcome], list[Event]]:
        try:
            result = self._commit(group)
        except (DatabaseError, InterfaceError) as error:
            self._disconnect()
            self._say(reason(error))
            refusal = Unavailable(f"The store is not available: {self.trouble}.")
            return [_Outcome(work.future, None, refusal) for work in group], []
        except Exception as error:
            self._disconnect()
            if len(group) > 1:  # one of them is to blame: the others must not suffer
                parts = [self._write([work]) for work in group]
                return [outcome for part in parts for outcome in part[0]], [
                    event for part in parts for event in part[1]
                ]
            log.exception("A write failed.")
            return [_Outcome(group[0].future, None, error)], []
        self._say(None)
        return result

    def _commit(self, group: list[_Work]) -> tuple[list[_Outcome], list[Event]]:
        self._database.connect(reuse_if_open=True)
        outcomes = []
        with self._database.atomic():
            transaction = Transaction(self._database, self._tables, self._clock())
            for verb, future in group:
                try:
                    outcomes.append(_Outcome(future, verb(transaction), None))
                except SentriEventsError as error:
                    outcomes.append(_Outcome(future, None, error))
            transaction.flush()
        return outcomes, transaction.events

    def _settle(self, outcomes: list[_Outcome], events: list[Event]) -> None:
        if events:
            self._committed(events)
        for future, value, error in outcomes:
            if future.done():  # its waiter has gone
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def _say(self, trouble: str | None) -> None:
        if trouble is not None and self.trouble is None:
            log.error("The store cannot be written: %s.", trouble)
        elif trouble is None and self.trouble is not None:
            log.info("The store can be written again.")
        self.trouble = trouble

    def _disconnect(self) -> None:
        try:
            if not self._database.is_closed():
                self._database.manual_close()
        except (DatabaseError, InterfaceError) as error:
            log.warning("A connection to the store did not close: %s.", reason(error))
