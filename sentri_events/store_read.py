"""What is read from the store: functions on a database, called in a reader's thread within one read transaction."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from peewee import fn
from playhouse.pool import PooledDatabase

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

    @property
    def ended(self) -> bool:
        """Whether its `done` is stored: nothing can follow."""
        return self.status != "running"


class Snapshot(NamedTuple):
    """The run document as JSON, exactly as of seq `head`."""

    head: Head
    document: bytes


class _Log(msgspec.Struct):
    message: Any = ""
    level: Any = "info"


_decode_log = msgspec.json.Decoder(_Log).decode
_decode = msgspec.json.Decoder().decode


def head(tables: Tables, run: str) -> Head:
    """Raises `NotFound`."""
    table = tables.run
    row = (
        table.select(table.workspace, table.epoch, table.head, table.floor, table.status)
        .where(table.id == run)
        .tuples()
        .first()
    )
    if row is None:
        raise NotFound
    return Head(*row)


def heads(tables: Tables, runs: Sequence[str]) -> dict[str, Head]:
    """The heads of all those `runs` that exist, in one query."""
    table = tables.run
    query = table.select(table.id, table.workspace, table.epoch, table.head, table.floor, table.status)
    return {row[0]: Head(*row[1:]) for row in query.where(table.id.in_(runs)).tuples()}


def after(tables: Tables, run: str, epoch: str, seq: int, limit: int, max_bytes: int) -> list[Event]:
    """The events after `seq`, in order: at most `limit`, and `max_bytes`, unless the first alone is more."""
    table = tables.event
    rows = (
        table.select(table.seq, table.at, table.type, table.json)
        .where((table.run == run) & (table.seq > seq))
        .order_by(table.seq)
        .limit(limit)
        .tuples()
        .iterator()
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
    place = Head(row["workspace"], row["epoch"], row["head"], row["floor"], row["status"])
    results = tables.result.select(tables.result.json).where(tables.result.run == run).order_by(tables.result.seq)
    lines, truncated = _logs(tables, run, logs, with_meta)
    parts = {
        **{key: encode(value) for key, value in summary(row).items()},
        "tests": b"[]",
        "testQueue": b"[]",
        **{name: json.encode() for name, json in _fields(tables, run)},
        "results": b"[" + b",".join(json.encode() for (json,) in results.tuples()) + b"]",
        "logs": encode(lines),
    }
    if truncated:
        parts["logsTruncated"] = b"true"
    return Snapshot(place, b"{" + b",".join(encode(key) + b":" + json for key, json in parts.items()) + b"}")


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


def _fields(tables: Tables, run: str) -> Iterable[tuple[str, str]]:
    table = tables.field
    rows: Iterable[tuple[str, str]] = table.select(table.name, table.json).where(table.run == run).tuples()
    return rows


def _logs(tables: Tables, run: str, limit: int, with_meta: bool) -> tuple[list[Any], bool]:
    table = tables.event
    # The type stands in the statement itself: only then does the partial index of log events serve it.
    rows = table.raw(
        f"SELECT seq, at, json FROM event WHERE run = {table._meta.database.param} AND type = 'log' "
        f"ORDER BY seq DESC LIMIT {int(limit) + 1}",
        run,
    ).tuples()
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
    tables: Tables, workspace: str, project: str | None, status: str | None, limit: int, before: int | None
) -> tuple[list[dict[str, Any]], int | None]:
    """Summaries of runs, newest first, and the number to go on `before` (None at the end)."""
    table = tables.run
    query = table.select().where(table.workspace == workspace).order_by(table.number.desc()).limit(limit + 1)
    if project is not None:
        query = query.where(table.project == project)
    if status is not None:
        query = query.where(table.status == status)
    if before is not None:
        query = query.where(table.number < before)
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
    table = tables.key
    row: tuple[str, str] | None = (
        table.select(table.digest, table.answer).where((table.scope == scope) & (table.key == key)).tuples().first()
    )
    return row


def overdue(tables: Tables, heard_before: int) -> list[tuple[str, str]]:
    """Workspace and id of the running runs whose producer was last heard before that time (milliseconds)."""
    table = tables.run
    rows = table.raw(
        "SELECT workspace, id FROM run WHERE status = 'running' "
        f"AND heard_at < {table._meta.database.param} ORDER BY heard_at LIMIT 100",
        heard_before,
    )
    return list(rows.tuples())


def finished_before(tables: Tables, time: int) -> str | None:
    """The id of some run that ended before `time` (milliseconds), or None."""
    table = tables.run
    row = table.select(table.id).where((table.status != "running") & (table.finished_at < time)).tuples().first()
    return None if row is None else str(row[0])


def problems(database: PooledDatabase, tables: Tables) -> list[str]:
    """What is wrong with the stored data, a sentence each; empty when all is sound."""
    found = []
    if hasattr(database, "pragma"):
        found += [f"SQLite: {row[0]}" for row in database.execute_sql("PRAGMA integrity_check") if row[0] != "ok"]
    run, event = tables.run, tables.event
    count, last = fn.COUNT(event.seq), fn.MAX(event.seq)
    query = (
        run.select(run.id, run.head, run.floor, count, last)
        .left_outer_join(event, on=(event.run == run.id))
        .group_by(run.id, run.head, run.floor)
    )
    for id, top, floor, number, newest in query.tuples():
        if number != top - floor or (number and newest != top):
            found.append(f"Run {id}: its events {floor + 1} to {top} should be {top - floor}, and {number} are there.")
    orphans = event.select(event.run).distinct().where(event.run.not_in(run.select(run.id)))
    found += [f"Run {id} is gone, and has events." for (id,) in orphans.tuples()]
    return found
