"""PostgreSQL may be restarted, lose its sessions, be locked by others or fall silent: what is answered is stored, the
numbers are whole, streams stay open, and all goes on after. Two real servers, a real PostgreSQL.

Where a test says "caught", that mutant was tried and failed it.
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sentri_events.errors import Unavailable
from sentri_events.store import Store
from sentri_events.store_write import Once
from tests.postgres_server import PostgresServer, fresh_database, running, say
from tests.raw import HEARTBEAT, Answer, Stream, ask, data
from tests.server_process import ServerProcess, wait_until
from tests.store_contract import WORKSPACE, logs, make_run, opened, outcome, seqs, span
from tests.test_crash import Producer, compare, producing

EVENTS = "/api/v1/runs/{}/events"
BATCH = [{"type": "log", "message": str(n)} for n in range(3)]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running() as server:
        yield server


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    with fresh_database(postgres.url()) as url:
        yield url


@contextmanager
def serving(folder: Path, url: str, number: int = 2) -> Iterator[list[ServerProcess]]:
    with ExitStack() as stack:
        servers = []
        for name in range(number):
            place = folder / str(name)
            place.mkdir()
            server = ServerProcess(place, "--heartbeat", "0.2", "--database", url)
            stack.callback(server.close)
            servers.append(server.start())
        yield servers
        for server in servers:
            assert "Traceback" not in server.log.read_text()


def post(server: ServerProcess, run: str, key: str | None = None) -> Answer:
    return ask(server.port, "POST", EVENTS.format(run), BATCH, {"Idempotency-Key": key} if key else None)


def stored(url: str, runs: list[str]) -> dict[str, list[tuple[int, str]]]:
    """Straight from the tables: number and id of every event."""
    found: dict[str, list[tuple[int, str]]] = {run: [] for run in runs}
    for run, seq, text in say(url, "SELECT run, seq, json FROM event ORDER BY run, seq"):
        found[run].append((seq, json.loads(text)["id"]))
    assert dict(say(url, "SELECT id, head FROM run")) == {run: len(events) for run, events in found.items()}
    return found


def sessions(url: str, what: str) -> list[tuple[Any, ...]]:
    """Something of every session that a server has on this database."""
    start, _, name = url.rpartition("/")
    sql = f"SELECT {what} FROM pg_stat_activity WHERE datname = %s AND application_name = %s"
    return say(f"{start}/postgres", sql, name, "sentri-events")


@pytest.mark.parametrize("trouble", ["restarts", "kills", "terminations"])
def test_what_is_answered_is_stored_through_all_that_happens_to_the_database(
    trouble: str, postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    """P1, P6, P7, over two processes. Caught: a group that fails as a whole for one lock."""
    seed = str(random.randrange(1 << 32))
    print("seed", seed)  # noqa: T201  pytest shows it where the test fails
    chance = random.Random(seed)
    with serving(tmp_path, url) as servers:
        runs = [servers[0].make_run() for _ in range(3)]
        producers = [Producer(f"p{n}", servers, runs, seed) for n in range(6)]

        def answered() -> int:
            return sum(len(producer.answered) for producer in producers)

        with producing(producers):
            for _ in range(3 if trouble != "terminations" else 15):
                goal = answered() + chance.randrange(1, 100)
                wait_until(lambda goal=goal: answered() >= goal, "the producers are answered")  # type: ignore[misc]
                if trouble == "terminations":
                    assert sessions(url, "pg_terminate_backend(pid)") != []
                elif trouble == "kills":
                    postgres.kill()
                    postgres.run()
                else:
                    postgres.restart()
            goal = answered() + 100
            wait_until(lambda: answered() >= goal, "all goes on")
        compare(producers, stored(url, runs))


def test_while_it_is_away_publishing_is_503_and_streams_stay(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    with serving(tmp_path, url, 1) as (server,):
        run = server.make_run()
        with Stream(server.port, run, "snapshot=0") as viewer:
            viewer.block()
            postgres.stop()
            refused = post(server, run, "key")
            assert refused.status == 503
            assert refused.json["error"].startswith("The store is not available: ")
            assert int(refused.headers["retry-after"]) >= 1
            assert ask(server.port, "GET", f"/api/v1/runs/{run}").status == 503
            wait_until(lambda: ask(server.port, "GET", "/health/ready").status == 503, "the store's trouble is told")
            for _ in range(3):
                assert viewer.next() == HEARTBEAT
            postgres.run()
            assert ask(server.port, "GET", f"/api/v1/runs/{run}").status == 200, "the first that asks is answered"
            assert post(server, run, "key").status == 201
            assert [data(block) for block in viewer.blocks(3)] == BATCH
        assert server.log.read_text().count("The store cannot be written") == 1


def test_a_run_that_another_session_keeps_locked_holds_up_no_other(url: str, tmp_path: Path) -> None:
    """Caught: a lock that is waited for without a bound; a group that fails as a whole."""
    with serving(tmp_path, url, 1) as (server,):
        runs = [server.make_run() for _ in range(4)]
        stuck = runs[1]
        with psycopg.connect(url) as other:
            other.execute("SELECT 1 FROM run WHERE id = %s FOR UPDATE", (stuck,))
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda n: (runs[n % 4], post(server, runs[n % 4], f"k{n}")), range(24)))
            assert {answer.status for run, answer in answers if run == stuck} == {503}
            assert {answer.status for run, answer in answers if run != stuck} == {201}
            refused = next(answer for run, answer in answers if run == stuck)
            assert refused.json == {"error": "The store is not available: another session keeps the run locked."}
            assert ask(server.port, "GET", f"/api/v1/runs/{stuck}").status == 200
            other.rollback()
        answers = [(stuck, post(server, stuck, f"k{n}")) for n in range(1, 24, 4)]
        assert {answer.status for _, answer in answers} == {201}
        assert dict(say(url, "SELECT id, head FROM run")) == dict.fromkeys(runs, 18)
        assert server.log.read_text().count(f"Another session keeps the run {stuck} locked") == 1


async def test_sessions_that_fall_silent_are_given_up(
    postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are connected and do nothing, and keep to no timeout of their own. Caught: a wait without a bound."""
    monkeypatch.setattr("sentri_events.postgres.ANSWER_TIMEOUT", 1.0)
    async with opened(url) as store:
        run = await make_run(store)
        await store.head(run)
        pids = [pid for (pid,) in sessions(url, "pid")]
        assert len(pids) >= 2
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert span(await store.append(WORKSPACE, run, logs(1))) == (1, 1)
            assert (await store.head(run)).head == 1
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert span(await store.append(WORKSPACE, run, logs(1))) == (2, 2)


@pytest.mark.parametrize("before", [0, 2])
async def test_a_lost_answer_of_a_commit_is_a_doubt(
    before: int, postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session falls silent in its COMMIT, and has done it all the same; its run had been read, or was known.
    Caught: a doubt that nobody is told of; a repetition that is a second event."""
    monkeypatch.setattr("sentri_events.postgres.ANSWER_TIMEOUT", 1.0)
    store, doubts = Store(url), []
    store.doubted = lambda: doubts.append(True)
    await store.open()
    try:
        run = await make_run(store)
        for _ in range(before):
            await store.append(WORKSPACE, run, logs(1))
        # a trigger that is run by the commit itself
        say(
            url,
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END'",
        )
        trigger = "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON event DEFERRABLE INITIALLY DEFERRED"
        say(url, f"{trigger} FOR EACH ROW EXECUTE FUNCTION wait()")
        with pytest.raises(Unavailable, match="timeout"):
            await store.append(WORKSPACE, run, logs(1), Once("key", "digest"))
        await asyncio.sleep(0)
        assert doubts == [True]
        answer: Any = Unavailable
        while answer is Unavailable:  # the first one's session still has the run
            answer = await outcome(store.append(WORKSPACE, run, logs(1), Once("key", "digest")))
        assert (span(answer), answer.replayed) == ((before + 1, before + 1), True)
        assert await seqs(store, run) == list(range(1, before + 2))
    finally:
        await store.close()


def test_a_making_lock_that_another_session_keeps_holds_up_no_publisher(url: str, tmp_path: Path) -> None:
    with serving(tmp_path, url, 1) as (server,):
        run = server.make_run()
        with psycopg.connect(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (0x73656E747269,))
            assert ask(server.port, "POST", "/api/v1/runs", {"projectId": "web"}).status == 503
            assert post(server, run).status == 201
        assert ask(server.port, "POST", "/api/v1/runs", {"projectId": "web"}).status == 201
