"""The runs as this process left them: who only adds to them need not lock and read them first.

PostgreSQL is told to do it only if they still are so, in one go with the events and the commit. A run to which others
write is not kept: it must have been found once as it was left.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from peewee import PostgresqlDatabase

from sentri_events.database import BEGIN_WRITING, error_kinds, execute
from sentri_events.store_run import Place, RunState

MOST = 1000
# Divides by zero, and so fails the transaction, if the run has changed. Who has it locked changes it: no wait for that.
_INSIST = (
    "SELECT 1 / count(*) FROM (SELECT 1 FROM run WHERE id = ? AND epoch = ? AND head = ? AND status = 'running' "
    "FOR UPDATE SKIP LOCKED) AS as_it_was_left"
)


class _Left(NamedTuple):
    state: RunState
    alone: bool  # it had been found as it was left before


class Kept:
    """On SQLite it keeps none: there a row is read in less time than it would save."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._left: dict[str, _Left] = {}

    def states(self, runs: Collection[str]) -> dict[str, RunState] | None:
        """All of `runs` as they were left; None if they must be read."""
        left = [self._left.get(id) for id in runs]
        if not all(one is not None and one.alone for one in left) or not self._database.is_quiet():
            return None
        return {one.state.row["id"]: one.state.copy() for one in left if one is not None}

    def begin(self, places: Mapping[str, Place]) -> None:
        """Within `together`: begin a transaction that fails if one of the runs is not at its place, or has ended."""
        execute(self._database, BEGIN_WRITING)
        for id, place in places.items():
            execute(self._database, _INSIST, id, *place)

    def leave(self, found: Mapping[str, Place], runs: Mapping[str, RunState | None]) -> None:
        """A transaction was committed that `found` runs there and leaves them as `runs` has them."""
        if not isinstance(self._database, PostgresqlDatabase):
            return
        for id, state in runs.items():
            last = self._left.pop(id, None)
            if state is not None and state.row["status"] == "running":
                self._left[id] = _Left(state, last is not None and last.state.place == found.get(id))
        while len(self._left) > MOST:
            del self._left[next(iter(self._left))]


def is_not_as_left(error: Exception) -> bool:
    """Whether a transaction that `begin` began failed because a run has changed, or because a key was used before."""
    return not error_kinds(error).isdisjoint(("DivisionByZero", "UniqueViolation"))
