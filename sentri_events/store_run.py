"""One run within a transaction: its row as the transaction read it, and what is still to be written of its document.

What an event does to the document is section 3 of the protocol.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from peewee import SqliteDatabase

from sentri_events.database import execute, execute_many
from sentri_events.event import COUNTED_AS, MAX_INDEXED, encode
from sentri_events.models import bind

_COUNTED = ("counted_passed", "counted_failed", "counted_skipped", "counted_total")
Place = tuple[str, int]  # epoch and head
_COLUMN_OF = {
    "type": "type",
    "name": "name",
    "startedAt": "started_at",
    "finishedAt": "finished_at",
    "duration": "duration",
    "error": "error",
    "passed": "passed",
    "failed": "failed",
    "skipped": "skipped",
    "total": "total",
}
# Named, so that nobody need ask a cursor, whose answer takes psycopg longer than the row.
_COLUMNS = tuple(bind(SqliteDatabase(None)).run._meta.columns)
_OF_DONE = ("passed", "failed", "skipped", "total", "error", "testsGenerated")


class RunState:
    """What was changed is in the database after `flush`; until then only here."""

    __slots__ = ("_changed", "_database", "_fields", "_results", "row")

    def __init__(self, database: Any, row: dict[str, Any]) -> None:
        self.row = row
        self._database = database
        self._changed: dict[str, Any] = {}
        self._fields: dict[str, bytes] = {}
        self._results: dict[str, tuple[int, str | None, bytes]] = {}

    @property
    def place(self) -> Place:
        """Where the run's numbering stands."""
        return self.row["epoch"], self.row["head"]

    def copy(self) -> "RunState":
        """One of its own, of which nothing was changed."""
        return RunState(self._database, dict(self.row))

    def put(self, **columns: Any) -> None:
        """Change columns of the row."""
        self.row.update(columns)
        self._changed.update(columns)

    def affect(self, kind: str, effect: Mapping[str, Any], at: int) -> None:
        """What a `result`, an `update` or a `done` does. `effect` is its draft's; `at` is in milliseconds."""
        if kind == "result":
            self._set_result(effect)
        elif kind == "update":
            self.set_fields(effect)
        else:
            duration = max(0, at - self.row["started_at"])
            self.put(status=effect["status"], finished_at=at, duration=duration)
            self.set_fields({key: effect[key] for key in _OF_DONE if effect.get(key) is not None})

    def set_fields(self, fields: Mapping[str, Any]) -> None:
        """Replace fields of the document; they are as `check_fields` gives them."""
        for key, value in fields.items():
            if key == "results":
                self._set_results(value)
            elif key in _COLUMN_OF:
                self.put(**{_COLUMN_OF[key]: value})
            else:
                self._fields[key] = encode(value)

    def flush(self) -> None:
        """Send what was changed to the database."""
        run = self.row["id"]
        if self._changed:
            assignments = ", ".join(f"{column} = ?" for column in self._changed)
            execute(self._database, f"UPDATE run SET {assignments} WHERE id = ?", *self._changed.values(), run)  # nosec B608 # words of ours
            self._changed = {}
        if self._results:
            execute_many(
                self._database,
                "INSERT INTO result (run, test, place, counted_as, json) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (run, test) DO UPDATE SET counted_as = excluded.counted_as, json = excluded.json",
                [(run, test, place, kind, json.decode()) for test, (place, kind, json) in self._results.items()],
            )
            self._results = {}
        if self._fields:
            execute_many(
                self._database,
                "INSERT INTO field (run, name, json) VALUES (?, ?, ?) ON CONFLICT (run, name) "
                "DO UPDATE SET json = excluded.json",
                [(run, name, json.decode()) for name, json in self._fields.items()],
            )
            self._fields = {}

    def _set_results(self, results: list[Mapping[str, Any]]) -> None:
        execute(self._database, "DELETE FROM result WHERE run = ?", self.row["id"])
        self._results = {}
        self.put(**dict.fromkeys(_COUNTED, 0))
        for result in results:
            self._set_result(result)

    def _set_result(self, result: Mapping[str, Any]) -> None:
        test, status = _index_of(result["testId"]), result.get("status")
        counted_as = COUNTED_AS.get(status) if isinstance(status, str) else None
        known = self._results.get(test) or self._stored_result(test)
        counts = {name: self.row[name] for name in _COUNTED}
        if known is None:
            place = counts["counted_total"] = counts["counted_total"] + 1
        else:
            place = known[0]
            if known[1] is not None:
                counts[f"counted_{known[1]}"] -= 1
        if counted_as is not None:
            counts[f"counted_{counted_as}"] += 1
        self.put(**counts)
        self._results[test] = (place, counted_as, encode(result))

    def _stored_result(self, test: str) -> Any:
        sql = "SELECT place, counted_as FROM result WHERE run = ? AND test = ?"
        return execute(self._database, sql, self.row["id"], test).fetchone()


def _index_of(test: str) -> str:
    """What stands for a test in an index, where a database has room for about 2 KB."""
    return test if len(test) <= MAX_INDEXED else sha256(test.encode()).hexdigest()


def read_runs(database: Any, ids: Sequence[str], how: str = "") -> dict[str, RunState]:
    """Those of `ids` that exist, as the database has them now. `how` is what follows in the statement: order, lock."""
    return run_states(database, execute(database, *select_runs(ids, how)))


def select_runs(ids: Sequence[str], how: str = "") -> tuple[str, *tuple[str, ...]]:
    """The same as a statement, with its values."""
    return f"SELECT {', '.join(_COLUMNS)} FROM run WHERE id IN ({', '.join('?' * len(ids))}) {how}", *ids  # nosec B608 # words of ours


def run_states(database: Any, cursor: Any) -> dict[str, RunState]:
    """The same as that statement's rows have them."""
    states = (RunState(database, dict(zip(_COLUMNS, row, strict=True))) for row in cursor.fetchall())
    return {state.row["id"]: state for state in states}
