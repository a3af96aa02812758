"""Which runs a transaction may write: their rows are locked first, in the order of their ids, so that instances never
wait for each other in a circle.

A run that another session keeps locked leaves the group, and the others go on. SQLite has one lock for all, at BEGIN.
"""

import logging
from collections.abc import Collection
from typing import Any

from peewee import PostgresqlDatabase

from sentri_events.database import begin_writing, execute, is_lock_timeout, roll_back
from sentri_events.store_run import RunState, read_runs, run_states, select_runs

MAKING = ""  # stands for making runs and projects, beside the ids of runs: one instance at a time
# Milliseconds for all that others have, once more, one by one: who writes much has a run often, and never for long.
PATIENCE = 300
STUCK_PATIENCE = 100  # the same for what could not be had the last time
IN_ORDER = "ORDER BY id FOR UPDATE"
_MAKING_KEY = 0x73656E747269  # of PostgreSQL's advisory lock
log = logging.getLogger(__name__)


class Locks:
    """What was found locked is remembered, so that one stuck run does not hold up every group that it is asked in."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._stuck: set[str] = set()

    def begin(self, wanted: Collection[str]) -> tuple[dict[str, RunState | None], set[str]]:
        """Begin a transaction. Returns the runs as they are now, locked, and those that could not be had."""
        if not isinstance(self._database, PostgresqlDatabase):
            begin_writing(self._database)
            return {}, set()
        had: dict[str, RunState | None] = {}
        patience = STUCK_PATIENCE
        try:
            had = self._begin(set(wanted) - self._stuck)
        except Exception as error:
            if not is_lock_timeout(error):
                raise
            roll_back(self._database)
            begin_writing(self._database)
            patience = PATIENCE
        left = set(wanted) - had.keys()
        if left:
            had |= self._lock_free(left)
            left -= had.keys()
            for number, id in enumerate(sorted(left)):
                had |= self._wait_for(id, max(1, patience // len(left)), number)
            left -= had.keys()
        for id in left - self._stuck:
            log.warning("Another session keeps %s locked.", f"the run {id}" if id else "the making of runs")
        self._stuck = (self._stuck - had.keys()) | left
        return had, left

    def _begin(self, ids: Collection[str]) -> dict[str, RunState | None]:
        """A transaction that has all of them, or the error of a timeout."""
        if not ids or MAKING in ids:
            begin_writing(self._database)
            return self._lock(ids)
        cursor = begin_writing(self._database, *select_runs(sorted(ids), IN_ORDER))
        return {**dict.fromkeys(ids), **run_states(self._database, cursor)}

    def _lock(self, ids: Collection[str]) -> dict[str, RunState | None]:
        """All of them, or the error of a timeout."""
        had: dict[str, RunState | None] = {}
        if MAKING in ids:
            execute(self._database, "SELECT pg_advisory_xact_lock(?)", _MAKING_KEY)
        if set(ids) - {MAKING}:
            had = dict(read_runs(self._database, sorted(set(ids) - {MAKING}), IN_ORDER))
        return {**dict.fromkeys(ids), **had}

    def _lock_free(self, ids: Collection[str]) -> dict[str, RunState | None]:
        """Those that nobody has, at once; those that do not exist are free."""
        had: dict[str, RunState | None] = {}
        if MAKING in ids and execute(self._database, "SELECT pg_try_advisory_xact_lock(?)", _MAKING_KEY).fetchone()[0]:
            had[MAKING] = None
        runs = sorted(set(ids) - {MAKING})
        if runs:
            had |= read_runs(self._database, runs, "FOR UPDATE SKIP LOCKED")
            there = read_runs(self._database, runs, "")
            had |= dict.fromkeys(set(runs) - there.keys())
        return had

    def _wait_for(self, id: str, milliseconds: int, number: int) -> dict[str, RunState | None]:
        execute(self._database, f"SAVEPOINT lock_{number}")
        execute(self._database, f"SET LOCAL lock_timeout = {milliseconds}")
        try:
            had = self._lock([id])
        except Exception as error:
            if not is_lock_timeout(error):
                raise
            roll_back(self._database, f"lock_{number}")
            return {}
        execute(self._database, f"SET LOCAL lock_timeout = {self._database.session['lock_timeout']}")
        return had
