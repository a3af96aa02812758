"""What is written to the store: verbs on one open transaction, in which many requests may share.

A verb that refuses has changed nothing, so its neighbours in the transaction go on. Numbers come from the run's row as
this transaction reads it: no head outlives its transaction.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from peewee import PostgresqlDatabase

from sentri_events import store_read
from sentri_events.database import execute, execute_many, insert_many, together
from sentri_events.errors import Conflict, Invalid, NotFound
from sentri_events.event import Draft, Event, check_id, encode
from sentri_events.models import Tables
from sentri_events.store_run import RunState, read_runs

EPOCH_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
# Few values, so that the statement is always the same, and prepared; the texts have one line each, as SSE wants it.
_INSERT = (
    "INSERT INTO event (run, seq, at, type, json) SELECT * FROM unnest("
    "string_to_array(?, '\n'), ?::bigint[], ?::bigint[], string_to_array(?, '\n'), string_to_array(?, '\n'))"
)
STEP = 1000  # events that are taken away in one transaction; each may have a megabyte
_OF_A_RUN = (("result", "run, test"), ("field", "run, name"), ("key", "scope, key"))


class Once(NamedTuple):
    """An Idempotency-Key and the digest of the request that bears it."""

    key: str
    digest: str


class Answer(NamedTuple):
    """What a publisher is told: the JSON, whether anything was stored, and whether it was answered before."""

    json: bytes
    stored: bool = True
    replayed: bool = False


class Transaction:
    """The verbs. `events` are those that the transaction adds: they exist once it is committed. `touched` are the
    workspaces of which it changes or makes runs.

    `runs` are those that it has locked, as they are; None where there is no such run. With `new_keys` no key is looked
    for: if one of them was used before, that shows when it is stored.
    """

    def __init__(
        self, tables: Tables, now: int, runs: Mapping[str, RunState | None], *, new_keys: bool = False
    ) -> None:
        self.now = now
        self.events: list[Event] = []
        self.touched: set[str] = set()
        self._tables = tables
        self._database = tables.database
        self.runs = dict(runs)
        self._new_keys = new_keys
        self._rows: list[tuple[str, int, int, str, str]] = []
        self._keys: dict[tuple[str, str], tuple[str, str, str]] = {}

    def append(
        self,
        workspace: str,
        run: str,
        drafts: Sequence[Draft],
        once: Once | None,
        silent_since: int | None = None,
        project: str | None = None,
    ) -> Answer:
        """Number and store `drafts`, all or none. With `silent_since`: only if the producer was last heard before it.

        Raises `NotFound`, `Conflict` if the run has ended, `Invalid` if the key came with another request.
        """
        state = self._run(workspace, run, project)
        if once is not None:
            answer = self._answered(run, once)
            if answer is not None:
                return answer
        row = state.row
        if row["status"] != "running" or (silent_since is not None and row["heard_at"] >= silent_since):
            raise Conflict("The run has ended.")
        epoch, before = row["epoch"], row["head"]
        head = before
        for draft in drafts:
            kind, at, json = draft.type, draft.at, draft.json
            if draft.volatile:
                self.events.append(Event(run, epoch, 0, at, kind, json))
                continue
            head += 1
            self._rows.append((run, head, at, kind, json.decode()))
            self.events.append(Event(run, epoch, head, at, kind, json))
            if draft.effect is not None:
                state.affect(kind, draft.effect, at)
        state.put(head=head, heard_at=self.now)
        self.touched.add(workspace)
        if head == before:
            answer = Answer(_unnumbered(run), stored=False)
        else:
            answer = Answer(encode({"runId": run, "epoch": epoch, "first": before + 1, "last": head}))
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
        """Make a run and answer its document. `fields` are as `check_fields` gives them.

        Raises `Conflict` if the id is taken, `NotFound` for the project, `Invalid` if the key came with another request
        or a field cannot be written as JSON.
        """
        scope = f"runs/{workspace}"
        if once is not None:
            answer = self._answered(scope, once)
            if answer is not None:
                return answer
        encode(fields)
        if id is not None and self._is_taken("run", id):
            raise Conflict(f"The run {id} is there already.")
        self._project(workspace, project, make_project)
        number = self._count("run")
        while id is None:
            id = f"{prefix}{number}"
            if self._is_taken("run", id):
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
        self.touched.add(workspace)
        self.runs.pop(id, None)
        self._run(workspace, id).set_fields(fields)
        self.flush()
        answer = Answer(store_read.snapshot(self._tables, id, 0, False).document)
        if once is not None:
            self._remember(scope, once, id, answer)
        return answer

    def create_project(self, workspace: str, id: str | None, name: str | None) -> dict[str, Any]:
        """Make a project and return it. Raises `Conflict` if the id is taken."""
        if id is not None and self._is_taken("project", id):
            raise Conflict(f"The project {id} is there already.")
        while id is None:
            id = f"PRJ-{self._count('project')}"
            if self._is_taken("project", id):
                id = None
        self._tables.project.insert(id=id, workspace=workspace, name=name, created_at=self.now).execute()
        return store_read.project(self._tables, workspace, id)

    def hear(self, workspace: str, run: str, project: str | None = None) -> None:
        """Note that the run's producer is there. Raises `NotFound`, `Conflict` if the run has ended."""
        state = self._run(workspace, run, project)
        if state.row["status"] != "running":
            raise Conflict("The run has ended.")
        state.put(heard_at=self.now)

    def beat(self, tolerance: int) -> int:
        """Say that an instance lives. After a gap of more than `tolerance` milliseconds since anyone last said so,
        every running run is credited with it: in that time no producer could be heard. Returns the credit."""
        self._settle()
        row = execute(self._database, "SELECT seen_at FROM fleet WHERE id = 1").fetchone()
        gap = 0 if row is None else self.now - row[0]
        credit = gap if gap > tolerance else 0
        if credit:
            # A run that another instance has locked is being heard of; to wait for it could be a circle.
            some = "SELECT id FROM run WHERE status = 'running' FOR UPDATE SKIP LOCKED"
            which = f"id IN ({some})" if isinstance(self._database, PostgresqlDatabase) else "status = 'running'"
            execute(
                self._database,
                f"UPDATE run SET heard_at = CASE WHEN heard_at + ? > ? THEN ? ELSE heard_at + ? END WHERE {which}",  # nosec B608 # words of ours
                *(credit, self.now, self.now, credit),
            )
        execute(
            self._database,
            "INSERT INTO fleet (id, seen_at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
            self.now,
        )
        return credit

    def revoke(self, jti: str, until: int) -> None:
        """Note that a token is not to be believed; until that time (milliseconds), when it ends by itself."""
        execute(self._database, "DELETE FROM revocation WHERE until < ?", self.now)
        sql = "INSERT INTO revocation (jti, number, until) VALUES (?, ?, ?) ON CONFLICT (jti) DO NOTHING"
        execute(self._database, sql, jti, self._count("revocation"), until)

    def use(self, ticket: str, until: int) -> None:
        """Note that a ticket was used in time; until that time (milliseconds), when it ends."""
        execute(self._database, "DELETE FROM ticket WHERE until < ?", self.now)
        sql = "INSERT INTO ticket (id, until) VALUES (?, ?) ON CONFLICT (id) DO NOTHING"
        execute(self._database, sql, ticket, until)

    def prune(self, run: str, before: int) -> bool:
        """One small step towards having no such run, if it ended before that time. True when there is no more to do."""
        self._settle()
        sql = "SELECT head FROM run WHERE id = ? AND status <> 'running' AND finished_at < ?"
        row = execute(self._database, sql, run, before).fetchone()
        if row is None:
            return True
        if not self.trim(run, row[0]):
            return False
        for table, key in _OF_A_RUN:
            some = f"SELECT {key} FROM {table} WHERE run = ? LIMIT {STEP}"  # nosec B608 # words of ours
            if execute(self._database, f"DELETE FROM {table} WHERE ({key}) IN ({some})", run).rowcount == STEP:  # nosec B608 # words of ours
                return False
        execute(self._database, "DELETE FROM run WHERE id = ?", run)
        return True

    def trim(self, run: str, floor: int) -> bool:
        """One small step towards having none of the run's events up to seq `floor`. True when there are none."""
        self._settle()
        row = execute(self._database, "SELECT head, floor FROM run WHERE id = ?", run).fetchone()
        if row is None:
            return True
        wanted = min(floor, row[0])
        reached = min(wanted, row[1] + STEP)
        if row[1] < reached:
            execute(self._database, "DELETE FROM event WHERE run = ? AND seq <= ?", run, reached)
            execute(self._database, "UPDATE run SET floor = ? WHERE id = ?", reached, run)
        return bool(reached >= wanted)

    def probe(self) -> None:
        """Take room in the database and give it back: what fails here would fail an event."""
        name = f"probe {secrets.token_hex(8)} " + "." * 16384
        execute(self._database, "INSERT INTO counter (name, value) VALUES (?, 0)", name)
        execute(self._database, "DELETE FROM counter WHERE name = ?", name)

    def flush(self) -> None:
        """Send all that was collected to the database; the commit is the caller's."""
        with together(self._database):
            if self._rows:
                self._insert(self._rows)
                self._rows = []
            if self._keys:
                sql = "INSERT INTO key (scope, key, digest, run, answer) VALUES (?, ?, ?, ?, ?)"
                execute_many(self._database, sql, [(*key, *value) for key, value in self._keys.items()])
                self._keys = {}
            for state in self.runs.values():
                if state is not None:
                    state.flush()

    def _insert(self, rows: Sequence[tuple[str, int, int, str, str]]) -> None:
        if isinstance(self._database, PostgresqlDatabase):
            runs, seqs, ats, types, jsons = zip(*rows, strict=True)
            numbers = (f"{{{','.join(map(str, column))}}}" for column in (seqs, ats))
            execute(self._database, _INSERT, "\n".join(runs), *numbers, "\n".join(types), "\n".join(jsons))
        else:
            insert_many(self._database, "event (run, seq, at, type, json)", rows)

    def _settle(self) -> None:
        """What comes now changes rows behind the back of those that were read."""
        self.flush()
        self.runs.clear()

    def _answered(self, scope: str, once: Once) -> Answer | None:
        if (known := self._keys.get((scope, once.key))) is not None:
            digest, _, answer = known
            return replay(scope, (digest, answer), once)
        row = None if self._new_keys else store_read.answered(self._tables, scope, once.key)
        return None if row is None else replay(scope, row, once)

    def _remember(self, scope: str, once: Once, run: str, answer: Answer) -> None:
        self._keys[scope, once.key] = (once.digest, run, answer.json.decode())

    def _run(self, workspace: str, id: str, project: str | None = None) -> RunState:
        if id not in self.runs:
            self.runs[id] = read_runs(self._database, [id]).get(id)
        state = self.runs[id]
        if state is None or state.row["workspace"] != workspace or project not in (None, state.row["project"]):
            raise NotFound
        return state

    def _is_taken(self, table: str, id: str) -> bool:
        return execute(self._database, f"SELECT 1 FROM {table} WHERE id = ?", id).fetchone() is not None  # nosec B608 # words of ours

    def _project(self, workspace: str, id: str, make: bool) -> None:
        row = execute(self._database, "SELECT workspace FROM project WHERE id = ?", id).fetchone()
        if row is None and make:
            check_id(id, "projectId")
            self._tables.project.insert(id=id, workspace=workspace, name=None, created_at=self.now).execute()
        elif row is None or row[0] != workspace:
            raise NotFound

    def _count(self, name: str) -> int:
        sql = (
            "INSERT INTO counter (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = counter.value + 1"
        )
        execute(self._database, sql, name)
        sql = "SELECT value FROM counter WHERE name = ?"
        return int(execute(self._database, sql, name).fetchone()[0])


def replay(scope: str, row: tuple[str, str], once: Once) -> Answer:
    """The answer of a request that came before. Raises `Invalid` if it was not the same request."""
    digest, answer = row[0], row[1].encode()
    if digest != once.digest:
        raise Invalid("This Idempotency-Key was used with another request.")
    return Answer(answer, stored=answer != _unnumbered(scope), replayed=True)


def _unnumbered(run: str) -> bytes:
    """The answer where nothing was stored."""
    return encode({"runId": run})
