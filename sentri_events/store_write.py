"""What is written to the store: verbs on one open transaction, in which many requests may share.

A verb that refuses has changed nothing, so its neighbours in the transaction go on. Numbers come from the run's row as
this transaction reads it: no head outlives its transaction.
"""

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from playhouse.pool import PooledDatabase

from sentri_events import store_read
from sentri_events.errors import Conflict, Invalid, NotFound
from sentri_events.event import COUNTED_AS, Draft, Event, check_id, encode
from sentri_events.models import Tables

EPOCH_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
PRUNE_STEP = 5000
_SMALLEST_CHANGE = ("head", "counted_passed", "counted_failed", "counted_skipped", "counted_total", "heard_at")
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


class Once(NamedTuple):
    """An Idempotency-Key and the digest of the request that bears it."""

    key: str
    digest: str


class Answer(NamedTuple):
    """What a publisher is told: the JSON, whether anything was stored, and whether it was answered before."""

    json: bytes
    stored: bool = True
    replayed: bool = False


class _Run:
    """A run as this transaction has it: its row, and what is still to be written of its results and fields."""

    __slots__ = ("changed", "fields", "results", "row", "whole")

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.changed = False
        self.whole = False
        self.results: dict[str, tuple[int, str | None, bytes]] = {}
        self.fields: dict[str, bytes] = {}


class Transaction:
    """The verbs. `events` are those that the transaction adds: they exist once it is committed."""

    def __init__(self, database: PooledDatabase, tables: Tables, now: int) -> None:
        self.now = now
        self.events: list[Event] = []
        self._database = database
        self._tables = tables
        self._runs: dict[str, _Run | None] = {}
        self._rows: list[tuple[str, int, int, str, str]] = []

    def append(
        self, workspace: str, run: str, drafts: Sequence[Draft], once: Once | None, silent_since: int | None = None
    ) -> Answer:
        """Number and store `drafts`, all or none. With `silent_since`: only if the producer was last heard before it.

        Raises `NotFound`, `Conflict` if the run has ended, `Invalid` if the key came with another request.
        """
        state = self._run(run)
        if state is None or state.row["workspace"] != workspace:
            raise NotFound
        if once is not None:
            answer = self.answered(run, once)
            if answer is not None:
                return answer
        row = state.row
        if row["status"] != "running" or (silent_since is not None and row["heard_at"] >= silent_since):
            raise Conflict("The run has ended.")
        epoch, first = row["epoch"], row["head"] + 1
        for kind, json, at, volatile, effect in drafts:
            if volatile:
                self.events.append(Event(run, epoch, 0, at, kind, json))
                continue
            row["head"] = seq = row["head"] + 1
            self._rows.append((run, seq, at, kind, json.decode()))
            self.events.append(Event(run, epoch, seq, at, kind, json))
            if effect is not None:
                self._affect(state, kind, effect, seq, at)
        row["heard_at"] = self.now
        state.changed = True
        if row["head"] < first:
            answer = Answer(encode({"runId": run}), stored=False)
        else:
            answer = Answer(encode({"runId": run, "epoch": epoch, "first": first, "last": row["head"]}))
        if once is not None:
            self._remember(run, once, run, answer)
        return answer

    def create_run(
        self,
        workspace: str,
        project: str,
        id: str | None,
        prefix: str,
        fields: dict[str, Any],
        once: Once | None,
        make_project: bool,
    ) -> Answer:
        """Make a run and answer its document. Raises `Conflict` if the id is taken, `NotFound` for the project."""
        scope = f"runs/{workspace}"
        if once is not None:
            answer = self.answered(scope, once)
            if answer is not None:
                return answer
        self.flush()
        if id is not None and self._run(id) is not None:
            raise Conflict(f"The run {id} is there already.")
        self._project(workspace, project, make_project)
        number = self._count("run")
        while id is None:
            id = f"{prefix}{number}"
            if self._run(id) is not None:
                id, number = None, self._count("run")
        self._tables.run.insert(
            id=id,
            number=number,
            workspace=workspace,
            project=project,
            epoch="".join(secrets.choice(EPOCH_LETTERS) for _ in range(8)),
            type="test_run",
            started_at=self.now,
            heard_at=self.now,
        ).execute()
        del self._runs[id]
        state = self._run(id)
        assert state is not None
        self._set_fields(state, fields, 0)
        self.flush()
        document = store_read.snapshot(self._tables, id, 0, False).document
        answer = Answer(document)
        if once is not None:
            self._remember(scope, once, id, answer)
        return answer

    def create_project(self, workspace: str, id: str | None, name: str | None) -> dict[str, Any]:
        """Make a project and return it. Raises `Conflict` if the id is taken."""
        self.flush()
        table = self._tables.project
        if id is not None and table.get_or_none(table.id == id) is not None:
            raise Conflict(f"The project {id} is there already.")
        while id is None:
            id = f"PRJ-{self._count('project')}"
            if table.get_or_none(table.id == id) is not None:
                id = None
        table.insert(id=id, workspace=workspace, name=name, created_at=self.now).execute()
        return store_read.project(self._tables, workspace, id)

    def hear(self, workspace: str, run: str) -> None:
        """Note that the run's producer is there. Raises `NotFound`, `Conflict` if the run has ended."""
        state = self._run(run)
        if state is None or state.row["workspace"] != workspace:
            raise NotFound
        if state.row["status"] != "running":
            raise Conflict("The run has ended.")
        state.row["heard_at"] = self.now
        state.changed = True

    def beat(self, tolerance: int) -> int:
        """Say that an instance lives. After a gap of more than `tolerance` milliseconds since anyone last said so,
        every running run is credited with it: in that time no producer could be heard. Returns the credit."""
        self.flush()
        self._runs.clear()
        fleet, run = self._tables.fleet, self._tables.run
        seen_at = fleet.select(fleet.seen_at).where(fleet.id == 1).scalar()
        if seen_at is None:
            fleet.insert(id=1, seen_at=self.now).execute()
            return 0
        gap = self.now - int(seen_at)
        credit = gap if gap > tolerance else 0
        if credit:
            credited = run.heard_at + credit
            running = run.status == "running"
            run.update(heard_at=self.now).where(running & (credited > self.now)).execute()
            run.update(heard_at=credited).where(running & (credited <= self.now)).execute()
        fleet.update(seen_at=self.now).where(fleet.id == 1).execute()
        return credit

    def prune(self, run: str) -> bool:
        """One small step towards having no such run: some of its events, at last the run. True when it is gone."""
        self.flush()
        self._runs.clear()
        tables = self._tables
        row = tables.run.select(tables.run.head, tables.run.floor).where(tables.run.id == run).tuples().first()
        if row is None:
            return True
        head, floor = row
        if floor < head:
            self.trim(run, min(floor + PRUNE_STEP, head))
            return False
        for table in (tables.event, tables.result, tables.field, tables.key):
            table.delete().where(table.run == run).execute()
        tables.run.delete().where(tables.run.id == run).execute()
        return True

    def trim(self, run: str, floor: int) -> None:
        """Take away the run's events up to seq `floor`; its results and its numbering stay."""
        self.flush()
        self._runs.clear()
        tables = self._tables
        tables.event.delete().where((tables.event.run == run) & (tables.event.seq <= floor)).execute()
        tables.run.update(floor=floor).where((tables.run.id == run) & (tables.run.floor < floor)).execute()

    def probe(self) -> None:
        """Take room in the database and give it back: what fails here would fail an event."""
        self.flush()
        table = self._tables.counter
        table.insert(name="probe " + "." * 16384, value=0).execute()
        table.delete().where(table.name.startswith("probe ")).execute()

    def flush(self) -> None:
        """Send all that was collected to the database; the commit is the caller's."""
        database, mark = self._database, self._database.param
        if self._rows:
            rows, self._rows = self._rows, []
            self._many(f"INSERT INTO event (run, seq, at, type, json) VALUES ({_marks(mark, 5)})", rows)
        for id, state in self._runs.items():
            if state is None or not state.changed:
                continue
            columns = tuple(state.row) if state.whole else _SMALLEST_CHANGE
            assignments = ", ".join(f'"{name}" = {mark}' for name in columns)
            values = [state.row[name] for name in columns]
            database.execute_sql(f"UPDATE run SET {assignments} WHERE id = {mark}", [*values, id])
            if state.results:
                self._many(
                    f"INSERT INTO result (run, test, seq, counted_as, json) VALUES ({_marks(mark, 5)}) ON CONFLICT "
                    "(run, test) DO UPDATE SET counted_as = excluded.counted_as, json = excluded.json",
                    [(id, test, seq, kind, json.decode()) for test, (seq, kind, json) in state.results.items()],
                )
            if state.fields:
                self._many(
                    f"INSERT INTO field (run, name, json) VALUES ({_marks(mark, 3)}) ON CONFLICT "
                    "(run, name) DO UPDATE SET json = excluded.json",
                    [(id, name, json.decode()) for name, json in state.fields.items()],
                )
            state.changed = state.whole = False
            state.results, state.fields = {}, {}

    def answered(self, scope: str, once: Once) -> Answer | None:
        """What was answered to a request with this key. Raises `Invalid` if that was another request."""
        row = store_read.answered(self._tables, scope, once.key)
        return None if row is None else replay(row, once)

    def _remember(self, scope: str, once: Once, run: str, answer: Answer) -> None:
        self._tables.key.insert(
            scope=scope, key=once.key, digest=once.digest, run=run, answer=answer.json.decode()
        ).execute()

    def _run(self, id: str) -> _Run | None:
        if id not in self._runs:
            row = self._tables.run.select().where(self._tables.run.id == id).dicts().first()
            self._runs[id] = None if row is None else _Run(row)
        return self._runs[id]

    def _project(self, workspace: str, id: str, make: bool) -> None:
        table = self._tables.project
        row = table.select(table.workspace).where(table.id == id).tuples().first()
        if row is None and make:
            check_id(id, "projectId")
            table.insert(id=id, workspace=workspace, name=None, created_at=self.now).execute()
        elif row is None or row[0] != workspace:
            raise NotFound

    def _count(self, name: str) -> int:
        table = self._tables.counter
        table.insert(name=name, value=1).on_conflict(
            conflict_target=[table.name], update={table.value: table.value + 1}
        ).execute()
        return int(table.select(table.value).where(table.name == name).scalar())

    def _affect(self, state: _Run, kind: str, effect: dict[str, Any], seq: int, at: int) -> None:
        if kind == "result":
            self._set_result(state, effect, seq)
        elif kind == "update":
            self._set_fields(state, effect, seq)
        else:
            row = state.row
            row["status"] = effect["status"]
            row["finished_at"] = at
            row["duration"] = max(0, at - row["started_at"])
            state.whole = True
            given = {key: effect[key] for key in _OF_DONE if effect.get(key) is not None}
            self._set_fields(state, given, seq)

    def _set_fields(self, state: _Run, fields: dict[str, Any], seq: int) -> None:
        for key, value in fields.items():
            if key == "results":
                self._tables.result.delete().where(self._tables.result.run == state.row["id"]).execute()
                state.results = {}
                for column in _SMALLEST_CHANGE[1:5]:
                    state.row[column] = 0
                for result in value:
                    self._set_result(state, result, seq)
            elif key in _COLUMN_OF:
                state.row[_COLUMN_OF[key]] = value
                state.whole = True
            else:
                state.fields[key] = encode(value)
        state.changed = True

    def _set_result(self, state: _Run, result: dict[str, Any], seq: int) -> None:
        table, row, test = self._tables.result, state.row, result["testId"]
        known: tuple[Any, ...] | None = state.results.get(test)
        if known is None:
            known = (
                table.select(table.seq, table.counted_as)
                .where((table.run == row["id"]) & (table.test == test))
                .tuples()
                .first()
            )
        status = result.get("status")
        counted_as = COUNTED_AS.get(status) if isinstance(status, str) else None
        if known is None:
            row["counted_total"] += 1
        else:
            seq = known[0]
            if known[1] is not None:
                row[f"counted_{known[1]}"] -= 1
        if counted_as is not None:
            row[f"counted_{counted_as}"] += 1
        state.results[test] = (seq, counted_as, encode(result))

    def _many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        cursor = self._database.cursor()
        try:
            cursor.executemany(sql, rows)
        finally:
            cursor.close()


_OF_DONE = ("passed", "failed", "skipped", "total", "error", "testsGenerated")


def replay(row: tuple[str, str], once: Once) -> Answer:
    """The answer of a request that came before. Raises `Invalid` if it was not the same request."""
    digest, answer = row
    if digest != once.digest:
        raise Invalid("This Idempotency-Key was used with another request.")
    return Answer(answer.encode(), stored='"first":' in answer, replayed=True)


def _marks(mark: str, number: int) -> str:
    return ", ".join([mark] * number)
