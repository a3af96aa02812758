"""What is read from the store: functions on a database, called in a reader's thread within one read transaction."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from peewee import SqliteDatabase

from sentri_events.database import execute, rows_within, taking_time
from sentri_events.errors import NotFound
from sentri_events.event import Event, encode, iso
from sentri_events.models import Tables

PAGE_EVENTS = 1000
PAGE_BYTES = 1 << 20
MAX_LOG_BYTES = 8 << 20


class Head(NamedTuple):
    """Where a run stands: `head` is its last seq, `floor` the last one that was trimmed away."""

    workspace: str
    epoch: str
    head: int
    floor: int
    status: str
    project: str

    @property
    def ended(self) -> bool:
        """Whether its `done` is stored: nothing can follow."""
        return self.status != "running"


class Snapshot(NamedTuple):
    """The run document as JSON, exactly as of seq `head`.

    `begun` holds what streams that begin with it are sent, by what they asked for: it is made once for all of them.
    """

    head: Head
    begun: dict[Any, bytes]
    document: bytes


class _Log(msgspec.Struct):
    message: Any = ""
    level: Any = "info"


_HEAD = ", ".join(Head._fields)
_decode_log = msgspec.json.Decoder(_Log).decode


def head(tables: Tables, run: str) -> Head:
    """Raises `NotFound`."""
    row = execute(tables.database, f"SELECT {_HEAD} FROM run WHERE id = ?", run).fetchone()  # nosec B608 # words of ours
    if row is None:
        raise NotFound
    return Head(*row)


def heads(tables: Tables, runs: Sequence[str]) -> dict[str, Head]:
    """Where those of `runs` stand that exist: one query."""
    if not runs:
        return {}
    marks = ", ".join("?" * len(runs))
    sql = f"SELECT id, {_HEAD} FROM run WHERE id IN ({marks})"  # nosec B608 # words of ours
    return {row[0]: Head(*row[1:]) for row in execute(tables.database, sql, *runs)}


def after(tables: Tables, run: str, epoch: str, seq: int, limit: int, max_bytes: int) -> list[Event]:
    """The events after `seq`, in order: at most `limit`, and `max_bytes`, unless the first alone is more.

    None of them if the run is gone, or is another by now, with another epoch.
    """
    rows = rows_within(
        tables.database,
        max_bytes,
        "SELECT event.seq, event.at, event.type, event.json FROM run JOIN event ON event.run = run.id "
        "WHERE run.id = ? AND run.epoch = ? AND event.seq > ?",
        "seq",
        *(run, epoch, seq, limit),
    )
    events: list[Event] = []
    size = 0
    for number, at, kind, json in rows:
        size += len(json)
        if events and size > max_bytes:
            break
        events.append(Event(run, epoch, number, at, kind, json.encode()))
    return events


def snapshot(tables: Tables, run: str, logs: int, with_meta: bool) -> Snapshot:
    """The whole run document with its last `logs` log lines. Raises `NotFound`."""
    row = tables.run.select().where(tables.run.id == run).dicts().first()
    if row is None:
        raise NotFound
    results = execute(tables.database, "SELECT json FROM result WHERE run = ? ORDER BY place", run)
    fields = execute(tables.database, "SELECT name, json FROM field WHERE run = ?", run)
    place = Head(*(row[name] for name in Head._fields))
    lines, truncated = _logs(tables, run, logs, with_meta)
    parts = {
        **{key: encode(value) for key, value in summary(row).items()},
        "tests": b"[]",
        "testQueue": b"[]",
        **{name: json.encode() for name, json in fields},
        "results": b"[" + b",".join(json.encode() for (json,) in results) + b"]",
        "logs": encode(lines),
    }
    if truncated or place.floor:
        parts["logsTruncated"] = b"true"
    return Snapshot(place, {}, b"{" + b",".join(encode(key) + b":" + json for key, json in parts.items()) + b"}")


def summary(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a run document that stand in the run's own row."""
    finished = row["finished_at"]
    counts = {name: row[name] if row[name] is not None else row[f"counted_{name}"] for name in _COUNTED}
    return {
        "id": row["id"],
        "projectId": row["project"],
        "workspaceId": row["workspace"],
        "type": row["type"],
        "name": row["name"],
        "status": row["status"],
        "startedAt": iso(row["started_at"]),
        "finishedAt": None if finished is None else iso(finished),
        "duration": row["duration"],
        "error": row["error"],
        **counts,
        "total": max(row["total"] or 0, row["counted_total"]),
    }


_COUNTED = ("passed", "failed", "skipped")


def _logs(tables: Tables, run: str, limit: int, with_meta: bool) -> tuple[list[Any], bool]:
    rows = rows_within(
        tables.database,
        MAX_LOG_BYTES,
        "SELECT seq, at, json FROM event WHERE run = ? AND type = 'log'",
        "seq DESC",
        *(run, limit + 1),
    )
    lines: list[Any] = []
    size = 0
    for seq, at, json in rows:
        size += len(json)
        if len(lines) == limit or size > MAX_LOG_BYTES:
            return lines[::-1], True
        line = _decode_log(json)
        message = line.message if isinstance(line.message, str) else encode(line.message).decode()
        lines.append({"seq": seq, "at": iso(at), "level": line.level, "message": message} if with_meta else message)
    return lines[::-1], False


def runs(
    tables: Tables, workspace: str, project: str | None, status: str | None, limit: int, before: int | None, text: str
) -> tuple[list[dict[str, Any]], int | None]:
    """Summaries of runs, newest first, and the number to go on `before` (None at the end). A `text` is to be found in
    their id, name or project."""
    table = tables.run
    query = table.select().where(table.workspace == workspace).order_by(table.number.desc()).limit(limit + 1)
    if project is not None:
        query = query.where(table.project == project)
    if status is not None:
        query = query.where(table.status == status)
    if before is not None:
        query = query.where(table.number < before)
    if text:
        query = query.where(table.id.contains(text) | table.name.contains(text) | table.project.contains(text))
    rows = list(query.dicts())
    return [summary(row) for row in rows[:limit]], rows[limit - 1]["number"] if len(rows) > limit else None


def project(tables: Tables, workspace: str, id: str) -> dict[str, Any]:
    """Raises `NotFound`."""
    table = tables.project
    row = table.select().where((table.id == id) & (table.workspace == workspace)).dicts().first()
    if row is None:
        raise NotFound
    return project_document(row)


def projects(tables: Tables, workspace: str) -> list[dict[str, Any]]:
    """All projects of a workspace, oldest first."""
    table = tables.project
    rows = table.select().where(table.workspace == workspace).order_by(table.created_at, table.id).dicts()
    return [project_document(row) for row in rows]


def project_document(row: dict[str, Any]) -> dict[str, Any]:
    """A project as the API shows it."""
    return {
        "id": row["id"],
        "workspaceId": row["workspace"],
        "name": row["name"],
        "createdAt": iso(row["created_at"]),
    }


def answered(tables: Tables, scope: str, key: str) -> tuple[str, str] | None:
    """What was answered to the request with this Idempotency-Key: its digest and the answer, or None."""
    sql = "SELECT digest, answer FROM key WHERE scope = ? AND key = ?"
    row: tuple[str, str] | None = execute(tables.database, sql, scope, key).fetchone()
    return row


def revocations(tables: Tables, after: int) -> list[tuple[int, str, int]]:
    """Number, jti and end (milliseconds) of the tokens that were revoked after the one with that number."""
    sql = "SELECT number, jti, until FROM revocation WHERE number > ? ORDER BY number"
    return list(execute(tables.database, sql, after))


def is_used(tables: Tables, ticket: str) -> bool:
    """Whether that ticket was used in time."""
    return execute(tables.database, "SELECT 1 FROM ticket WHERE id = ?", ticket).fetchone() is not None


def overdue(tables: Tables, heard_before: int) -> list[tuple[str, str]]:
    """Workspace and id of running runs whose producer was last heard before that time, the longest silent first."""
    sql = "SELECT workspace, id FROM run WHERE status = 'running' AND heard_at < ? ORDER BY heard_at LIMIT 100"
    return list(execute(tables.database, sql, heard_before))


def statuses(tables: Tables) -> dict[str, int]:
    """How many runs there are in each status."""
    return dict(execute(tables.database, "SELECT status, COUNT(*) FROM run GROUP BY status"))


def longer_than(tables: Tables, events: int) -> list[tuple[str, int]]:
    """Id and head of the runs that have more events than that."""
    return list(execute(tables.database, "SELECT id, head FROM run WHERE head - floor > ? ORDER BY id", events))


def finished_before(tables: Tables, time: int) -> list[str]:
    """The ids of some runs that ended before `time` (milliseconds)."""
    sql = "SELECT id FROM run WHERE finished_at < ? AND status <> 'running' ORDER BY finished_at LIMIT 1000"
    return [id for (id,) in execute(tables.database, sql, time)]


def probe(tables: Tables) -> None:
    """Read something: what fails here would fail a viewer."""
    execute(tables.database, "SELECT json FROM event LIMIT 1").fetchone()


def problems(tables: Tables) -> list[str]:
    """What is wrong with the stored data, a sentence each; empty when all is sound."""
    with taking_time(tables.database):
        return _problems(tables)


def _problems(tables: Tables) -> list[str]:
    found = []
    if isinstance(tables.database, SqliteDatabase):
        rows = execute(tables.database, "PRAGMA integrity_check")
        found += [f"SQLite: {words}" for (words,) in rows if words != "ok"]
    for run, head, floor, number, first, last in execute(tables.database, _NUMBERS):
        if number != head - floor or (number and (first != floor + 1 or last != head)):
            there = f"{number} of {first} to {last} are" if number else "none is"
            found.append(f"Run {run}: its events should be {floor + 1} to {head}, and {there} there.")
    for run, status in execute(tables.database, _ENDS):
        found.append(f"Run {run} is {status}, and its last event does not say so.")
    for (run,) in execute(tables.database, _COUNTS):
        found.append(f"Run {run}: its counts are not those of its results.")
    for table in ("event", "result", "field", "key"):
        rows = execute(tables.database, f"SELECT DISTINCT run FROM {table} WHERE run NOT IN (SELECT id FROM run)")  # nosec B608 # words of ours
        found += [f"Run {run} is gone, and has rows in the table {table}." for (run,) in rows]
    return found


_NUMBERS = (
    "SELECT run.id, run.head, run.floor, COUNT(event.seq), MIN(event.seq), MAX(event.seq) "
    "FROM run LEFT JOIN event ON event.run = run.id GROUP BY run.id"
)
_ENDS = (
    "SELECT run.id, run.status FROM run JOIN event ON event.run = run.id AND event.seq = run.head "
    "WHERE (run.status = 'running') = (event.type = 'done')"
)
_COUNTS = (
    "SELECT run.id FROM run LEFT JOIN result ON result.run = run.id WHERE run.floor < run.head GROUP BY run.id "  # nosec B608 # words of ours
    "HAVING run.counted_total <> COUNT(result.test) OR "
    + " OR ".join(
        f"run.counted_{kind} <> COUNT(CASE WHEN result.counted_as = '{kind}' THEN 1 END)"
        for kind in ("passed", "failed", "skipped")
    )
)
