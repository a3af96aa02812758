"""What a live list asks the store: which runs of some workspaces are new, changed or ended since it last asked.

A look costs by the runs that are running and those that are new, however many have ended.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sentri_events.database import execute
from sentri_events.models import Tables
from sentri_events.store_read import summary


class Seen(NamedTuple):
    """What is known of a workspace: the last number that a run can have had, and the heads of those that are running.

    A number is given out under a lock that is held until the commit, so that none appears below one that was seen.
    """

    number: int
    running: Mapping[str, int]


NOTHING = Seen(1 << 62, {})  # of a workspace that is looked at for the first time: its runs are not new


class Change(NamedTuple):
    """A run as it is now. `kind` is what that is to a list: `started`, `progress` or `done`."""

    kind: str
    summary: dict[str, Any]


def changes(tables: Tables, seen: Mapping[str, Seen]) -> dict[str, tuple[Seen, list[Change]]]:
    """For each workspace what is to be known of it from now on, and its runs that are other than they were known."""
    row = execute(tables.database, "SELECT value FROM counter WHERE name = 'run'").fetchone()
    number = row[0] if row is not None else 0
    running: dict[str, dict[str, int]] = {workspace: {} for workspace in seen}
    changed: list[str] = []
    values = [value for workspace, known in seen.items() for value in (workspace, known.number)]
    sql = _RUNNING_OR_NEW.format(", ".join(["(?, ?)"] * len(seen)))
    for id, workspace, head, status in execute(tables.database, sql, *values):
        if status == "running":
            running[workspace][id] = head
        if status != "running" or seen[workspace].running.get(id) != head:
            changed.append(id)
    for workspace, known in seen.items():
        changed += known.running.keys() - running[workspace].keys()
    table = tables.run
    rows = list(table.select().where(table.id.in_(changed)).order_by(table.number).dicts()) if changed else []
    found: dict[str, tuple[Seen, list[Change]]] = {
        workspace: (Seen(number, running[workspace]), []) for workspace in seen
    }
    for row in rows:
        kind = "progress" if row["number"] <= seen[row["workspace"]].number else "started"
        kind = kind if row["status"] == "running" else "done"
        found[row["workspace"]][1].append(Change(kind, summary(row)))
    return found


_RUNNING_OR_NEW = (
    "WITH seen (workspace, number) AS (VALUES {}) "
    "SELECT run.id, run.workspace, run.head, run.status FROM seen JOIN run "
    "ON run.workspace = seen.workspace AND run.status = 'running' "
    "UNION "
    "SELECT run.id, run.workspace, run.head, run.status FROM seen JOIN run "
    "ON run.workspace = seen.workspace AND run.number > seen.number"
)
