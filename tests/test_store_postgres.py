"""The store on PostgreSQL: the contract of every store, and what is PostgreSQL's own. Where a test says "caught", that
mutant was tried and failed it."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from sentri_events import database, postgres
from sentri_events.database import MIGRATIONS, location, migrate, open_database, reading
from sentri_events.errors import SettingsError, Unavailable
from sentri_events.event import Draft
from sentri_events.models import HISTORY, bind
from sentri_events.store import Store
from sentri_events.store_write import Once
from tests.bridge import until
from tests.machine import each_postgres
from tests.postgres_server import database_url, fresh_database, say, server_url
from tests.store_contract import (
    START,
    WORKSPACE,
    Clock,
    StoreContract,
    document,
    held,
    logs,
    make_run,
    opened,
    outcome,
    result,
    rows,
    seqs,
    some,
    span,
    told,
)

NAMES = sorted(path.stem for path in MIGRATIONS.glob("0*.py"))


@pytest.fixture(scope="module", params=each_postgres())
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    with server_url(request.param) as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    with fresh_database(server) as url:
        yield url


class TestPostgresStore(StoreContract):
    """The contract."""


# URLs


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
async def test_both_schemes_name_it(scheme: str, url: str) -> None:
    async with opened(f"{scheme}://{url.partition('://')[2]}") as store:
        assert await seqs(store, await make_run(store)) == []
        assert store.shared


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hush@db.example:5433/events?sslmode=require", "postgresql://db.example:5433/events"),
        ("postgres://me:hush@db.example/events", "postgresql://db.example/events"),
        ("postgresql://a:1,b:2/events?password=hush", "postgresql://a:1,b:2/events"),
        ("postgresql:///events?host=/run/postgresql", "postgresql:///events"),
    ],
)
def test_a_location_shows_no_user_and_no_password(url: str, shown: str) -> None:
    assert location(url) == shown


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://me:hu@sh@host/events", "In the database's URL write /, @, ? and # within a password as"),
        ("postgresql://me:hu/sh@host/events", "In the database's URL write /, @, ? and # within a password as"),
        ("postgresql://me:hu?sh@host/events", "In the database's URL write /, @, ? and # within a password as"),
        ("postgresql://me:hush@host/events?hush=1", "The database's URL cannot be read: write it as postgresql://USER"),
        ("postgresql://me:hush%zz@host/events", "The database's URL cannot be read: write it as postgresql://USER"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_database(url)
    assert str(refused.value).startswith(sentence)
    assert refused.value.__cause__ is None
    assert "hu" not in str(refused.value)


def test_a_password_is_in_no_word_that_a_failing_start_says(server: str) -> None:
    """Nobody listens there."""
    command = [sys.executable, "-m", "sentri_events", "serve", "--port", "0", "--log-level", "debug", "--database"]
    url = "postgresql://me:hush@127.0.0.1:1/events"
    ended = subprocess.run([*command, url], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "Error: The store is not available: connection failed: " in ended.stderr
    assert "hush" not in ended.stderr + ended.stdout


def test_a_missing_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "sentri_events.postgres")
    with pytest.raises(SettingsError, match=r"PostgreSQL takes an extra: pip install 'sentri-events\[postgres\]'\."):
        open_database("postgresql://host/events")


async def test_a_missing_database_and_a_missing_right_are_said(server: str, url: str) -> None:
    with pytest.raises(Unavailable, match='database "no_such" does not exist'):
        async with opened(database_url(server, "no_such")):
            pass
    say(url, "DROP SCHEMA public; CREATE SCHEMA public; REVOKE ALL ON SCHEMA public FROM public")
    user = database_url(url, "").rpartition("/")[0].rpartition("/")[2]
    say(url, "CREATE ROLE sentri_nobody LOGIN")
    try:
        for words in ("no schema has been selected to create in", "permission denied for schema public"):
            with pytest.raises(Unavailable, match=words):
                async with opened(url.replace(user, f"sentri_nobody@{user.rpartition('@')[2]}")):
                    pass
            say(url, "GRANT USAGE ON SCHEMA public TO sentri_nobody")
    finally:
        say(url, "DROP OWNED BY sentri_nobody")
        say(url, "DROP ROLE sentri_nobody")


# Migrations


def schema(url: str) -> set[tuple[Any, ...]]:
    """Every column and index, but those of the list of migrations."""
    columns = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
    indexes = "SELECT tablename, indexname, indexdef, '' FROM pg_indexes"
    found = rows(url, f"{columns} WHERE table_schema = 'public' UNION {indexes} WHERE schemaname = 'public'")
    return {row for row in found if row[0] != HISTORY}


def test_the_migrations_make_what_the_models_say(url: str, server: str) -> None:
    assert migrate(url) == NAMES
    assert migrate(url) == []
    with fresh_database(server) as models:
        fresh = open_database(models)
        fresh.create_tables([table for table in bind(fresh) if table is not fresh])
        fresh.close_all()
        assert schema(url) == schema(models)
    assert len(schema(url)) > 60


def test_processes_that_start_at_once_migrate_once(url: str) -> None:
    """Caught: a list of migrations that is read before the lock; no lock at all."""
    script = (
        "import sys; from sentri_events.database import migrate; print('ready', flush=True); sys.stdin.read(1); "
        f"print(*migrate({url!r}))"
    )
    pipe = subprocess.PIPE
    started = [subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
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


# Connections


async def test_every_connection_has_the_settings_that_promises_rest_on(url: str) -> None:
    expected = {
        "lock_timeout": "1s",
        "statement_timeout": "10s",
        "idle_in_transaction_session_timeout": "5s",
        "synchronous_commit": "on",
        "client_encoding": "UTF8",
        "tcp_keepalives_idle": "5",
    }
    async with opened(url) as store:

        def settings(*_: object) -> dict[str, Any]:
            level = store._database.execute_sql("SHOW transaction_isolation").fetchone()[0]
            shown = {name: store._database.execute_sql(f"SHOW {name}").fetchone()[0] for name in expected}
            return {**shown, "level": level}

        assert await store._write(settings) == {**expected, "level": "read committed"}
        assert await store._read(settings) == {**expected, "level": "repeatable read"}


async def test_an_answer_that_does_not_come_is_waited_for_in_bounds(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network has swallowed it: here, the answer is simply late. A commit may have happened; the next try is on
    another connection. Caught: a wait without an end; a connection that is used again."""
    monkeypatch.setattr(postgres, "ANSWER_TIMEOUT", 0.5)
    async with opened(url) as store:
        run = await make_run(store)

        def late(*_: object) -> None:
            store._database.execute_sql("SELECT pg_sleep(8)")

        for work in (store._write(late), store._read(late)):
            with pytest.raises(Unavailable, match="timeout"):
                await work
        assert span(await store.append(WORKSPACE, run, logs(1))) == (1, 1)
        assert (await store.head(run)).head == 1


async def test_a_session_that_dies_idle_is_replaced_without_an_error(url: str) -> None:
    """Caught: a pool that hands out dead connections."""
    async with opened(url) as store:
        run = await make_run(store)
        for n in range(1, 4):
            await asyncio.gather(*[store.head(run) for _ in range(8)])
            name = url.rpartition("/")[2]
            sql = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
            )
            assert len(say(url, sql, name)) >= 2
            heads = await asyncio.gather(*[store.head(run) for _ in range(8)])
            assert {head.head for head in heads} == {n - 1}
            assert span(await store.append(WORKSPACE, run, logs(1))) == (n, n)
        assert len(store._database._connections) + len(store._database._in_use) <= 5


async def test_a_peer_that_falls_silent_in_a_transaction_loses_its_locks(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caught: no `idle_in_transaction_session_timeout`."""
    monkeypatch.setitem(postgres._SESSION, "idle_in_transaction_session_timeout", 3000)
    async with opened(url) as store:
        run = await make_run(store)
        silent = open_database(url)
        database.begin_writing(silent)
        silent.execute_sql("SELECT 1 FROM run FOR UPDATE")
        try:
            with pytest.raises(Unavailable, match="another session keeps the run locked"):
                await store.append(WORKSPACE, run, logs(1))
            while isinstance(await outcome(store.append(WORKSPACE, run, logs(1))), type):
                pass
            assert await seqs(store, run) == [1]
        finally:
            database.disconnect(silent)


# Locks


async def test_runs_that_are_asked_in_any_order_by_many_stores_are_no_circle(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for anybody who waits for him: no group is refused or repeated."""
    async with opened(url) as one, opened(url) as two, opened(url) as three:
        runs = [await make_run(one) for _ in range(10)]
        for round in range(10):
            work: list[Any] = []
            for number, store in enumerate((one, two, three)):
                order = runs[:: 1 if number % 2 else -1]
                work += [store.append(WORKSPACE, run, logs(1)) for run in order]
                work.append(store.beat(0))
                work.append(make_run(store, f"made-{round}-{number}"))
            await asyncio.gather(*work)
        assert {len(await seqs(one, run)) for run in runs} == {30}
        assert await one.check() == []
    assert "locked" not in caplog.text


async def test_who_comes_while_a_run_is_locked_for_others_joins_them(url: str) -> None:
    """As far as he writes no other run. Caught: nobody joins; a run is written that is not locked; who did not fit is
    forgotten, or comes after those that were asked later."""
    store = Store(url, Clock())
    commits = told(store)
    await store.open()
    try:
        run, other = await make_run(store), await make_run(store)
        with psycopg.connect(url, autocommit=True) as watcher, psycopg.connect(url) as keeper:
            keeper.execute("SELECT 1 FROM run WHERE id = %s FOR UPDATE", (run,))
            work = [asyncio.ensure_future(store.append(WORKSPACE, run, logs(1)))]
            sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            await until(lambda: watcher.execute(sql).fetchone(), "the writer waits")
            more = (run, run, other, run, other)
            work += [asyncio.ensure_future(store.append(WORKSPACE, one, logs(1))) for one in more]
            await until(lambda: store._writer and store._writer._waiting.qsize() == len(more), "they have come")
            keeper.rollback()
        await asyncio.gather(*work)
        assert [[(event.run, event.seq) for event in commit] for commit in commits] == [
            [(run, 1), (run, 2), (run, 3)],
            [(other, 1), (run, 4), (other, 2)],
        ]
    finally:
        await store.close()


async def test_a_group_that_is_tried_again_in_parts_keeps_its_place(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caught: who comes later joins the first part."""
    monkeypatch.setattr("sentri_events.store_thread.MAX_GROUP", 3)
    async with opened(url) as store:
        run = await make_run(store)
        broken = [Draft("log", b'{"type":"log"}', 1 << 70, False, None)]  # no database has such a number
        with held(store):
            work = [outcome(store.append(WORKSPACE, run, one)) for one in (logs(1), broken, logs(1), logs(1))]
            tasks = [asyncio.ensure_future(one) for one in work]
        first, _, second, later = await asyncio.gather(*tasks)
        assert [span(answer) for answer in (first, second, later)] == [(1, 1), (2, 2), (3, 3)]


async def test_stuck_runs_cost_a_group_one_wait_and_then_hardly_any(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(url) as store:
        runs = [await make_run(store) for _ in range(30)]
        with psycopg.connect(url) as other:
            other.execute("SELECT 1 FROM run WHERE number > 10 FOR UPDATE")
            for round in range(3):
                with held(store):
                    work = [asyncio.ensure_future(outcome(store.append(WORKSPACE, run, logs(1)))) for run in runs]
                answers = await asyncio.gather(*work)
                assert [span(answer) for answer in answers[:10]] == [(round + 1, round + 1)] * 10
                assert answers[10:] == [Unavailable] * 20
        assert caplog.text.count("Another session keeps the run") == 20
        answers = await asyncio.gather(*[store.append(WORKSPACE, run, logs(1)) for run in runs])
        assert [span(answer)[0] for answer in answers] == [4] * 10 + [1] * 20
        assert (await store.check(), store._writer and store._writer._locks._stuck) == ([], set())


async def test_runs_that_are_made_at_once_by_two_stores_have_their_own_numbers(url: str) -> None:
    """And a key makes one. Caught: no lock for making."""
    async with opened(url) as one, opened(url) as two:
        stores = (one, two) * 10
        ids = await asyncio.gather(*[make_run(store) for store in stores])
        assert sorted(ids, key=lambda id: int(id[4:])) == [f"RUN-{n}" for n in range(1, 21)]
        for n in range(20):
            once = Once(f"k{n}", "d")
            create = [store.create_run(WORKSPACE, f"p{n}", None, "RUN-", {}, once, True) for store in (one, two)]
            answers = await asyncio.gather(*create)
            assert len({answer.json for answer in answers}) == 1
            assert sum(not answer.replayed for answer in answers) == 1
        taken = await asyncio.gather(*[outcome(make_run(store, "same")) for store in stores])
        assert taken.count("same") == 1


async def test_an_outage_is_credited_once_by_many_that_come_back_at_once(url: str) -> None:
    clock = Clock()
    async with opened(url, clock) as one, opened(url, clock) as two:
        await make_run(one)
        await one.beat(50)
        clock.now += 1000
        assert sorted(await asyncio.gather(one.beat(50), two.beat(50), one.beat(50))) == [0, 0, 1000]
        assert await one.overdue(START + 1000) == []


async def test_a_credit_waits_for_no_run_that_is_locked(url: str) -> None:
    """Caught: one that locks all running runs, in any order, and fails its group for one that is stuck."""
    clock = Clock()
    async with opened(url, clock) as store:
        stuck, run = await make_run(store), await make_run(store)
        await store.beat(50)
        clock.now += 1000
        with psycopg.connect(url) as other:
            other.execute("SELECT 1 FROM run WHERE id = %s FOR UPDATE", (stuck,))
            assert await store.beat(50) == 1000
        assert await store.overdue(START + 1000) == [(WORKSPACE, stuck)]
        assert (await store.head(run)).status == "running"


# Texts


async def test_texts_that_postgresql_does_not_take_do_no_harm(url: str) -> None:
    """NUL, and more than an index has room for. Caught: the driver's error, which fails the whole request."""
    long, nul, emoji = secrets.token_hex(50_000), "a\0b", "\U0001f600" * 500
    async with opened(url) as store:
        run = await make_run(store, name=nul, **{nul: nul})
        tests = [result(test, "passed") for test in (long, nul, emoji, long + "2", long, nul)]
        assert span(await store.append(WORKSPACE, run, some(*tests))) == (1, 6)
        shown = await document(store, run)
        assert [one["testId"] for one in shown["results"]] == [long, nul, emoji, long + "2"]
        assert (shown["name"], shown["a\ufffdb"]) == ("a\ufffdb", nul)
        assert await outcome(store.head(nul)) is not Exception
        assert (await outcome(store.head(nul))).__name__ == "NotFound"
        assert await store.answered(run, Once(nul, "d")) is None
        assert await store.check() == []


# Cost


@contextmanager
def watched(store: Store) -> Iterator[list[Any]]:
    """The cursor of each statement."""
    cursors: list[Any] = []
    execute = store._database.execute_sql

    def watch(sql: str, params: Any = None) -> Any:
        cursors.append(execute(sql, params))
        return cursors[-1]

    store._database.execute_sql = watch
    try:
        yield cursors
    finally:
        del store._database.execute_sql


async def test_a_page_takes_no_more_from_the_database_than_its_bytes(url: str) -> None:
    """psycopg has all rows of an answer in memory. Caught: a page that is cut on our side only."""
    async with opened(url) as store:
        run = await make_run(store)
        large = {"type": "log", "message": "." * 100_000}
        for _ in range(3):
            await store.append(WORKSPACE, run, some(*[large] * 50))
        epoch = (await store.head(run)).epoch
        for read in (store.after(run, epoch, 3, 1000, 1 << 20), store.snapshot(run, 10_000)):
            with watched(store) as cursors:
                await read
            assert max(cursor.rowcount for cursor in cursors) <= 90
        assert [event.seq for event in await store.after(run, epoch, 3, 1000, 1 << 20)] == list(range(4, 14))


@pytest.mark.parametrize("read", ["after", "logs", "runs", "key"])
async def test_every_page_has_its_index(url: str, read: str) -> None:
    async with opened(url) as store:
        run = await make_run(store)
        epoch = (await store.head(run)).epoch
        reads: dict[str, tuple[Callable[[], Coroutine[Any, Any, Any]], str]] = {
            "after": (lambda: store.after(run, epoch, 5), "Index Scan using event_pkey"),
            "logs": (lambda: store.snapshot(run, 5), "Index Scan Backward using event_log"),
            "runs": (
                lambda: store.runs(WORKSPACE, None, None, 5, 9),
                "Index Scan Backward using run_workspace_number",
            ),
            "key": (lambda: store.answered(run, Once("k", "d")), "using key_pkey"),
        }
        work, plan = reads[read]
        said: list[tuple[str, Any]] = []
        store._database.query_hooks.append(lambda query: said.append((query.sql, query.params)))
        await work()
        store._database.query_hooks.clear()
        lines = []
        with reading(store._database):
            store._database.execute_sql("SET LOCAL enable_seqscan = off")
            store._database.execute_sql("SET LOCAL enable_bitmapscan = off")
            for sql, params in said:
                if sql.startswith("SELECT"):
                    lines += [line for (line,) in store._database.execute_sql(f"EXPLAIN {sql}", params)]
        assert any(plan in line for line in lines), lines
