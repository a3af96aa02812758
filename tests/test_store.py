"""The store on SQLite: the contract of every store, and what is SQLite's own. Where a test says "caught", that mutant
was tried and failed it."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sentri_events import database, store_thread
from sentri_events.database import MIGRATIONS, migrate, open_database, reading
from sentri_events.errors import SettingsError, Unavailable
from sentri_events.models import HISTORY, bind
from sentri_events.store import Store
from sentri_events.store_list import Seen
from sentri_events.store_write import Once
from tests.server_process import wait_until
from tests.store_contract import START, WORKSPACE, StoreContract, logs, make_run, opened, result, rows, seqs, some

NAMES = sorted(path.stem for path in MIGRATIONS.glob("0*.py"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'events.db'}"


class TestSqliteStore(StoreContract):
    """The contract."""


# Migrations


def schema(url: str) -> set[tuple[str, str]]:
    """Every table and index, but the list of migrations."""
    sql = f"SELECT name, sql FROM sqlite_master WHERE tbl_name NOT IN ('{HISTORY}', 'sqlite_sequence') AND sql <> ''"
    return {(name, " ".join(text.split())) for name, text in rows(url, sql)}


def test_the_migrations_make_what_the_models_say(url: str, tmp_path: Path) -> None:
    """Caught: a column that only the models have; an index that only the migration has."""
    assert migrate(url) == NAMES
    assert migrate(url) == []
    models = f"sqlite:///{tmp_path / 'models.db'}"
    fresh = open_database(models)
    fresh.create_tables([table for table in bind(fresh) if table is not fresh])
    fresh.close_all()
    assert schema(url) == schema(models)
    assert len(schema(url)) > 12


def test_processes_that_start_at_once_migrate_once(url: str) -> None:
    """Real processes, that all begin at one moment. Caught: a list of migrations that is read before the
    lock, and a first connection that is not tried again."""
    script = (
        "import sys; from sentri_events.database import migrate; print('ready', flush=True); sys.stdin.read(1); "
        f"print(*migrate({url!r}))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0, 0]
    assert sorted(said) == ["", "", "", " ".join(NAMES)]
    assert rows(url, f"SELECT name FROM {HISTORY}") == [(name,) for name in NAMES]


def next_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **bodies: str) -> None:
    """The program as it may be one day: with more migrations."""
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    for number, (name, body) in enumerate(bodies.items(), 900):
        (folder / f"{number:04}_{name}.py").write_text(f"import peewee\ndef up(migrator, db):\n    {body}\n")
    monkeypatch.setattr(database, "MIGRATIONS", folder)


async def test_an_old_database_is_upgraded_when_a_newer_program_opens_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(url) as store:
        assert store.upgraded == NAMES
        run = await make_run(store)
        await store.append(WORKSPACE, run, logs(3))
    add = "migrator.migrate(migrator.add_column('fleet', 'name', peewee.TextField(default='')))"
    next_version(monkeypatch, tmp_path, more=add)
    async with opened(url) as store:
        assert store.upgraded == ["0900_more"]
        assert await seqs(store, run) == [1, 2, 3]
    assert rows(url, "SELECT name FROM pragma_table_info('fleet')") == [("id",), ("seen_at",), ("name",)]
    monkeypatch.undo()
    with pytest.raises(SettingsError, match=r"A newer version made this database \(it has 0900_more\): upgrade sentri"):
        async with opened(url):
            pass


async def test_a_migration_that_fails_leaves_the_old_schema(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them, or none. Caught: migrations that are not within one transaction."""
    migrate(url)
    before = schema(url)
    more, broken = "db.execute_sql('CREATE TABLE more (id)')", "db.execute_sql('DROP TABLE missing')"
    next_version(monkeypatch, tmp_path, more=more, broken=broken)
    with pytest.raises(Unavailable, match="no such table: missing"):
        async with opened(url):
            pass
    assert schema(url) == before
    monkeypatch.undo()
    async with opened(url) as store:
        assert store.upgraded == []


def test_a_database_of_a_newer_version_is_refused_with_its_sentence(url: str) -> None:
    migrate(url)
    rows(url, f"INSERT INTO {HISTORY} (name, applied) VALUES ('0999_later', '2030-01-01')")
    command = [sys.executable, "-m", "sentri_events", "serve", "--port", "0", "--database", url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    sentence = "Error: A newer version made this database (it has 0999_later): upgrade sentri-events.\n"
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith(sentence)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:///", "The database must be a URL such as"),
        ("sqlite:///:memory:", "The database must be a URL such as"),
        ("sqlite:///a.db?mode=ro", "The database must be a URL such as"),
        ("mysql://host/name", "The database must be a URL such as"),
        ("sqlite:////no/such/folder/a.db", "The folder of the database does not exist: /no/such/folder."),
    ],
)
def test_a_url_of_no_file_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_database(url)
    assert str(refused.value).startswith(sentence)


async def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is a letter, and a long one " * 100)
    with pytest.raises(Unavailable, match="file is not a database"):
        async with opened(f"sqlite:///{tmp_path / 'a.db'}"):
            pass


# Settings of the connections


async def test_every_connection_has_the_settings_that_promises_rest_on(url: str) -> None:
    """A commit is on the disk when it returns, and nobody waits longer for a lock than we say. Caught: `timeout=`
    given to the pool, which keeps it for itself."""
    expected = {"journal_mode": "wal", "synchronous": 2, "busy_timeout": database.LOCK_TIMEOUT, "secure_delete": 0}
    async with opened(url) as store:

        def settings(*_: object) -> dict[str, Any]:
            return {name: store._database.execute_sql(f"PRAGMA {name}").fetchone()[0] for name in expected}

        assert await store._write(settings) == expected
        assert await store._read(settings) == expected


async def test_a_reader_does_not_wait_for_a_writer(url: str) -> None:
    async with opened(url) as store:
        run = await make_run(store)
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert (await store.head(run)).head == 0


# Cost (W10)


async def steps(store: Store, work: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[int, int]:
    """How many statements, and instructions of SQLite's machine, a verb takes: counts, not clocks."""
    counts = [0, 0]

    def count(which: int) -> None:
        counts[which] += 1

    def watch(on: bool) -> Callable[[object], None]:
        def set_up(_: object) -> None:
            connection = store._database.connection()
            connection.set_trace_callback((lambda sql: count(0)) if on else None)
            connection.set_progress_handler((lambda: count(1)) if on else None, 1)

        return set_up

    # All readers are of the same pool: one connection, if they come one by one.
    await store._write(watch(True))
    await store._read(watch(True))
    await work()
    await store._write(watch(False))
    await store._read(watch(False))
    return counts[0], counts[1]


async def test_the_cost_of_a_verb_does_not_grow_with_the_run_or_the_store(url: str) -> None:
    """Caught: a number that is found by a scan of the run's events."""
    async with opened(url) as store:
        await make_run(store, "r")
        epoch = (await store.head("r")).epoch

        async def costs(round: int) -> dict[str, tuple[int, int]]:
            newest = await store.head("r")
            verbs: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
                "append": lambda: store.append(WORKSPACE, "r", logs(1)),
                "with a key": lambda: store.append(WORKSPACE, "r", logs(1), Once(f"key{round}", "digest")),
                "the key again": lambda: store.append(WORKSPACE, "r", logs(1), Once(f"key{round}", "digest")),
                "result": lambda: store.append(WORKSPACE, "r", some(result("t1", "passed"))),
                "hear": lambda: store.hear(WORKSPACE, "r"),
                "create": lambda: make_run(store),
                "beat": lambda: store.beat(1000),
                "probe": lambda: store.trouble(),
                "head": lambda: store.head("r"),
                "after": lambda: store.after("r", epoch, newest.head - 5, 5),
                "runs": lambda: store.runs(WORKSPACE, None, None, 3, None),
                "runs by project": lambda: store.runs(WORKSPACE, "project-of-default", None, 3, None),
                "runs by status": lambda: store.runs(WORKSPACE, None, "running", 3, None),
                "logs": lambda: store.snapshot("many", 5),
            }
            idle = await steps(store, lambda: asyncio.sleep(0))
            taken = {name: await steps(store, verb) for name, verb in verbs.items()}
            return {name: (taken[name][0] - idle[0], taken[name][1] - idle[1]) for name in verbs}

        async def grow(number: int) -> None:
            for n in range(number):
                tests = some(*[result(f"t{n}.{t}", "failed") for t in range(20)])
                await store.append(WORKSPACE, "r", logs(80) + tests, Once(f"grow{number}.{n}", "digest"))
                await store.append(WORKSPACE, "many", logs(50) + some(*[{"type": "x"}] * 50))
                ended = await make_run(store)
                await store.append(WORKSPACE, ended, some({"type": "done", "status": "completed"}))

        await make_run(store, "many")
        await grow(2)
        small = await costs(1)
        await grow(60)
        large = await costs(2)
        assert small["append"][0] == 5, "BEGIN, read the run, the event, the head, COMMIT"
        for name, (statements, instructions) in small.items():
            assert statements > 1
            assert large[name][0] == statements, name
            assert large[name][1] <= 1.2 * instructions + 20, (name, instructions, large[name][1])


@contextmanager
def statements(store: Store) -> Iterator[list[tuple[str, Any]]]:
    said: list[tuple[str, Any]] = []
    hook = store._database.query_hooks.append
    hook(lambda query: said.append((query.sql, query.params)))
    try:
        yield said
    finally:
        store._database.query_hooks.clear()


async def test_every_list_and_page_has_its_index(url: str) -> None:
    """By SQLite's own plan. Caught: `seq + 0 > ?`; an order by another column than the index has."""
    async with opened(url) as store:
        run = await make_run(store)
        epoch = (await store.head(run)).epoch
        reads: dict[str, tuple[Coroutine[Any, Any, Any], str]] = {
            "after": (
                store.after(run, epoch, 5),
                "SEARCH event USING INDEX sqlite_autoindex_event_1 (run=? AND seq>?)",
            ),
            "logs": (store.snapshot(run, 5), "SEARCH event USING INDEX event_log (run=?)"),
            "runs": (store.runs(WORKSPACE, None, None, 5, 9), "INDEX run_workspace_number (workspace=? AND number<?)"),
            "project": (
                store.runs(WORKSPACE, "p", None, 5, 9),
                "run_workspace_project_number (workspace=? AND project=?",
            ),
            "status": (store.runs(WORKSPACE, None, "x", 5, 9), "run_workspace_status_number (workspace=? AND status=?"),
            "overdue": (store.overdue(START), "USING INDEX run_running"),
            "key": (store.answered(run, Once("k", "d")), "SEARCH key USING PRIMARY KEY (scope=? AND key=?)"),
        }
        for name, (read, plan) in reads.items():
            with statements(store) as said:
                await read
            with reading(store._database):
                lines = [
                    line[3]
                    for sql, params in said
                    if sql.startswith("SELECT")
                    for line in store._database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params)
                ]
            assert any(plan in line for line in lines), (name, lines)
            assert not [line for line in lines if line.startswith("SCAN") and "run_running" not in line], (name, lines)
            assert name in ("overdue", "logs") or "USE TEMP B-TREE FOR ORDER BY" not in lines, (name, lines)


async def test_a_look_at_lists_costs_by_what_is_new_or_running(url: str) -> None:
    """By SQLite's own plan. Caught: `status <> 'x'`; one condition with OR in place of the UNION."""
    async with opened(url) as store:
        await make_run(store)
        with statements(store) as said:
            await store.changes({WORKSPACE: Seen(0, {}), "other": Seen(0, {})})
        with reading(store._database):
            plans = [
                [line[3] for line in store._database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params)]
                for sql, params in said
                if sql.startswith(("SELECT", "WITH"))
            ]
        lines = [line for plan in plans for line in plan if "run" in line]
        expected = [
            "SEARCH run USING INDEX run_workspace_status_number (workspace=? AND status=?)",
            "SEARCH run USING INDEX run_workspace_number (workspace=? AND number>?)",
            "SEARCH t1 USING INDEX sqlite_autoindex_run_1 (id=?)",
        ]
        assert lines == expected
        assert len(plans) == 3


# The write-ahead log


def size(path: Path) -> int:
    return path.stat().st_size


async def test_readers_without_a_pause_do_not_make_the_log_grow_for_ever(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is always one who reads, so SQLite by itself never finds the moment to begin its log anew. Caught:
    `bound_wal` that does nothing."""
    bound = 1 << 20
    for module in (database, store_thread):
        monkeypatch.setattr(module, "WAL_BYTES", bound)
    async with opened(url) as store:
        run, wal, large = (
            await make_run(store),
            Path(url.removeprefix("sqlite:///") + "-wal"),
            [{"type": "x", "t": "." * 10_000}] * 10,
        )
        epoch = (await store.head(run)).epoch
        writing = True

        async def read() -> None:
            while writing:
                await store.after(run, epoch, 0, 20)

        readers = [asyncio.ensure_future(read()) for _ in range(8)]
        most = 0
        for _ in range(100):
            await store.append(WORKSPACE, run, some(*large))
            most = max(most, size(wal))
        writing = False
        await asyncio.gather(*readers)
        assert most < 3 * bound
        assert await store.check() == []


async def test_a_long_reader_holds_no_writer_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log cannot be emptied while it reads: that is tried a few times, not at every commit."""
    for module in (database, store_thread):
        monkeypatch.setattr(module, "WAL_BYTES", 1 << 18)
    async with opened(url) as store:
        run = await make_run(store)
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM run").fetchall()
            with statements(store) as said:
                for _ in range(100):
                    await store.append(WORKSPACE, run, some({"type": "x", "t": "." * 30_000}))
            tries = [sql for sql, _ in said if "wal_checkpoint" in sql]
            assert 1 <= len(tries) <= 6
            other.execute("COMMIT")
        await store.append(WORKSPACE, run, some({"type": "x", "t": "." * 30_000}))
        assert len(await seqs(store, run)) == 101


# No room


async def test_a_full_database_refuses_whole_groups_and_says_so_once(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite's own bound of pages in place of a small disk. Caught: the driver's error from `executemany` taken for a
    fault of ours; a ROLLBACK after SQLite's own that hides the reason."""
    monkeypatch.setitem(database.PRAGMAS, "max_page_count", 150)
    async with opened(url) as store:
        run = await make_run(store)

        async def fill() -> None:
            while True:
                await store.append(WORKSPACE, run, logs(100, text="." * 100))

        with pytest.raises(Unavailable, match=r"^The store is not available: database or disk is full\.$"):
            await fill()
        head = (await store.head(run)).head
        assert head % 100 == 0 < head
        assert await store.trouble() == "The store is not available: database or disk is full."
        assert await seqs(store, run) == list(range(1, head + 1))
        assert await store.check() == []
        assert caplog.text.count("The store cannot be written: database or disk is full.") == 1
        await store.trim(run, head)
        assert await store.trouble() is None
        await store.append(WORKSPACE, run, logs(100, text="." * 100))
        assert (await store.head(run)).head == head + 100


# Many threads


async def test_reads_and_writes_from_all_sides_leave_no_connection_behind(url: str) -> None:
    """The pool hands connections from thread to thread. Caught: a reader that does not give its own back."""
    async with opened(url) as store:
        runs = [await make_run(store) for _ in range(5)]

        async def work(run: str) -> None:
            for _ in range(20):
                await store.append(WORKSPACE, run, logs(2))
                with pytest.raises(Exception, match="not found"):
                    await store.head("missing")
                await store.snapshot(run, 10)

        await asyncio.gather(*[work(run) for run in runs for _ in range(3)])
        wait_until(lambda: len(store._database._in_use) == 1, "only the writer has a connection")
        assert len(store._database._connections) <= 4
        assert [(await store.head(run)).head for run in runs] == [120] * 5
    assert (store._database._in_use, store._database._connections) == ({}, [])
    assert not list(Path(url.removeprefix("sqlite:///")).parent.glob("*-wal")), "the last connection tidies up"
