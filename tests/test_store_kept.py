"""Runs that are written without being read first, on a real PostgreSQL: whoever else changes them meanwhile, it is as
if they had been read. Where a test says "caught", that mutant was tried and failed it."""

import asyncio
import json
import queue
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import peewee
import psycopg
import pytest

from sentri_events import store_kept
from sentri_events.errors import Conflict, Invalid, NotFound, Unavailable
from sentri_events.event import Draft
from sentri_events.postgres_pipe import Pipe
from sentri_events.store import Store
from sentri_events.store_write import Once
from tests.bridge import until
from tests.machine import each_postgres
from tests.postgres_server import fresh_database, say, server_url
from tests.store_contract import (
    START,
    WORKSPACE,
    Clock,
    held,
    logs,
    make_run,
    opened,
    outcome,
    result,
    seqs,
    some,
    span,
    stored,
    told,
)

DONE = some({"type": "done", "status": "completed"})


@pytest.fixture(scope="module", params=each_postgres())
def postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    with server_url(request.param) as url:
        yield url


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


@contextmanager
def messages(store: Store) -> Iterator[list[str]]:
    """What the writer sends meanwhile, and waits for: the first word of each statement, a text for each message."""
    sent: list[str] = []
    execute, send = store._database.execute_sql, Pipe._send

    def watch(sql: str, params: Any = None) -> Any:
        if not store._database.connection().pipe.is_open:
            sent.append(sql.partition(" ")[0])
        return execute(sql, params)

    def watch_pipe(pipe: Pipe, statements: Any) -> None:
        sent.append(" ".join(sql.partition(" ")[0] for sql, _ in statements))
        send(pipe, statements)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store._database, "execute_sql", watch)
        patch.setattr(Pipe, "_send", watch_pipe)
        yield sent


AT_ONCE = "BEGIN SELECT INSERT UPDATE COMMIT"
LOCKED = ["BEGIN", "SELECT", "INSERT UPDATE COMMIT"]


async def kept(store: Store, number: int = 1) -> list[str]:
    """New runs that were found as they were left; each has two events."""
    runs = [await make_run(store) for _ in range(number)]
    for _ in range(2):
        await asyncio.gather(*[store.append(WORKSPACE, run, logs(1)) for run in runs])
    return runs


# What it is for


async def test_who_alone_writes_a_run_sends_one_message_for_a_group(url: str) -> None:
    """Also for several runs, for volatile events and with keys. Caught: nothing is kept; it is forgotten after a commit
    of its own; another key that is looked for."""
    async with opened(url) as store:
        one, two = await kept(store, 2)
        with messages(store) as sent:
            for number in (3, 4):
                assert span(await store.append(WORKSPACE, one, logs(1))) == (number, number)
            assert sent == [AT_ONCE] * 2
            del sent[:]
            with held(store):
                tasks = [asyncio.ensure_future(store.append(WORKSPACE, run, logs(2))) for run in (one, two, one)]
            assert [span(answer) for answer in await asyncio.gather(*tasks)] == [(5, 6), (3, 4), (7, 8)]
            assert sent[2:] == ["BEGIN SELECT SELECT INSERT UPDATE UPDATE COMMIT"]
            del sent[:]
            assert not (await store.append(WORKSPACE, one, some({"type": "frame"}))).stored
            await store.append(WORKSPACE, one, logs(1), Once("key", "digest"))
            assert sent == ["BEGIN SELECT UPDATE COMMIT", "BEGIN SELECT INSERT INSERT UPDATE COMMIT"]
        assert await seqs(store, one) == list(range(1, 10))
        assert await store.check() == []


async def test_what_must_be_read_is_read(url: str) -> None:
    """Caught: a result, or an end for silence, that is taken for a mere addition."""
    clock = Clock()
    async with opened(url, clock) as store:
        (run,) = await kept(store)
        with messages(store) as sent:
            await store.append(WORKSPACE, run, some(result("test", "passed")))
            assert sent[:2] == ["BEGIN", "SELECT"]
            assert say(url, "SELECT counted_as FROM result") == [("passed",)]
        clock.now += 1000
        async with opened(url, clock) as other:
            await other.hear(WORKSPACE, run)
        assert await outcome(store.append(WORKSPACE, run, logs(1), silent_since=START + 500)) is Conflict


async def test_while_there_is_trouble_room_is_looked_for(url: str) -> None:
    async with opened(url) as store:
        (run,) = await kept(store)
        assert store._writer is not None
        store._writer._trouble = "it was full"
        with messages(store) as sent:
            await store.append(WORKSPACE, run, logs(1))
        assert sent == ["BEGIN", "SELECT", "INSERT UPDATE INSERT DELETE COMMIT"]


async def test_a_run_to_which_others_write_is_no_longer_tried(url: str) -> None:
    """One attempt fails, and then all is as it was without one. Caught: an attempt each time; none ever again."""
    async with opened(url) as one, opened(url) as two:
        (run,) = await kept(one)
        await two.append(WORKSPACE, run, logs(1))
        with messages(one) as sent:
            assert span(await one.append(WORKSPACE, run, logs(1))) == (4, 4)
            assert sent == [AT_ONCE, "ROLLBACK", *LOCKED]
            for number in (5, 7, 9):
                await two.append(WORKSPACE, run, logs(1))
                del sent[:]
                assert span(await one.append(WORKSPACE, run, logs(1))) == (number + 1, number + 1)
                assert sent == LOCKED
            await one.append(WORKSPACE, run, logs(1))
            del sent[:]
            assert span(await one.append(WORKSPACE, run, logs(1))) == (12, 12)
            assert sent == [AT_ONCE]
        assert await seqs(one, run) == list(range(1, 13))


async def test_of_a_crowd_that_comes_at_once_a_half_goes_first(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the others. Caught: all of them; a half of a few, or of those that are left; more than a group may have."""
    idle, go_on = threading.Event(), threading.Event()
    go_on.set()

    class Gate(queue.SimpleQueue[Any]):
        def get(self) -> Any:  # type: ignore[override]
            idle.set()
            got = super().get()
            idle.clear()
            assert go_on.wait(20)
            return got

    monkeypatch.setattr("sentri_events.store_thread.queue", SimpleNamespace(SimpleQueue=Gate))
    store = Store(url, Clock())
    commits = told(store)
    await store.open()
    try:
        (run,) = await kept(store)
        for number, most, sizes in ((41, 1000, [21, 20]), (16, 1000, [16]), (41, 16, [16, 16, 9]), (10, 4, [4, 4, 2])):
            monkeypatch.setattr("sentri_events.store_thread.MAX_GROUP", most)
            assert await asyncio.to_thread(idle.wait, 20)
            del commits[:]
            go_on.clear()
            tasks = [asyncio.ensure_future(store.append(WORKSPACE, run, logs(1))) for _ in range(number)]
            writer = store._writer
            await until(lambda: writer and writer._waiting.qsize() == number - 1, "all but the first wait")  # noqa: B023
            go_on.set()
            await asyncio.gather(*tasks)
            assert [len(commit) for commit in commits] == sizes
        assert await seqs(store, run) == list(range(1, 111))
    finally:
        await store.close()


# What others do meanwhile


async def test_a_run_that_another_has_ended_takes_nothing_more(url: str) -> None:
    """Caught: a status that is not insisted on."""
    async with opened(url) as one, opened(url) as two:
        (run,) = await kept(one)
        say(url, "UPDATE run SET status = 'aborted' WHERE id = %s", run)  # without an event, so that only it tells
        assert await outcome(one.append(WORKSPACE, run, logs(1))) is Conflict
        (run,) = await kept(one)
        await two.append(WORKSPACE, run, DONE)
        assert await outcome(one.append(WORKSPACE, run, logs(1))) is Conflict
        assert await seqs(one, run) == [1, 2, 3]


async def test_what_was_ended_here_is_not_kept(url: str) -> None:
    """Caught: an attempt that can only fail."""
    async with opened(url) as store:
        (run,) = await kept(store)
        await store.append(WORKSPACE, run, DONE)
        with messages(store) as sent:
            assert await outcome(store.append(WORKSPACE, run, logs(1))) is Conflict
            assert sent == ["BEGIN", "SELECT", "COMMIT"]


async def test_a_run_that_was_removed_or_made_anew_is_not_the_one_that_was_kept(url: str) -> None:
    """Caught: an epoch that is not insisted on."""
    async with opened(url) as one, opened(url) as two:
        (run,) = await kept(one)
        say(url, "DELETE FROM event")
        say(url, "DELETE FROM run")
        assert await outcome(one.append(WORKSPACE, run, logs(1))) is NotFound
        (run,) = await kept(one)
        old = (await one.head(run)).epoch
        say(url, "DELETE FROM event")
        say(url, "DELETE FROM run")
        await make_run(two, run)
        assert span(await two.append(WORKSPACE, run, logs(2))) == (1, 2)
        answer = json.loads((await one.append(WORKSPACE, run, logs(1))).json)
        assert (answer["first"], answer["epoch"] != old) == (3, True)
        assert {event.epoch for event in await stored(one, run)} == {answer["epoch"]}


async def test_what_another_has_added_and_trimmed_is_not_numbered_again(url: str) -> None:
    """No event is there that a second of its number would meet. Caught: a head that is not insisted on."""
    async with opened(url) as one, opened(url) as two:
        (run,) = await kept(one)
        await two.append(WORKSPACE, run, logs(3))
        await two.trim(run, 5)
        await one.append(WORKSPACE, run, some({"type": "frame"}))
        assert (await one.head(run)).head == 5
        (run,) = await kept(one)
        await two.append(WORKSPACE, run, logs(3))
        await two.trim(run, 5)
        assert span(await one.append(WORKSPACE, run, logs(1))) == (6, 6)


async def test_trimming_and_hearing_by_others_change_no_number(url: str) -> None:
    async with opened(url) as one, opened(url) as two:
        (run,) = await kept(one)
        await two.trim(run, 1)
        await two.hear(WORKSPACE, run)
        await two.beat(0)
        assert span(await one.append(WORKSPACE, run, logs(1))) == (3, 3)
        assert await seqs(one, run) == [2, 3]
        assert await one.check() == []


async def test_a_run_that_another_session_has_is_not_waited_for_twice(url: str) -> None:
    """Caught: an attempt that waits for the lock, before the way that waits for it."""
    async with opened(url) as store:
        stuck, run = await kept(store, 2)
        with psycopg.connect(url) as other, messages(store) as sent:
            other.execute("SELECT 1 FROM run WHERE id = %s FOR UPDATE", (stuck,))
            other.execute("SET LOCAL statement_timeout = 0")
            with held(store):
                work = [outcome(store.append(WORKSPACE, one, logs(1))) for one in (stuck, run)]
                tasks = [asyncio.ensure_future(one) for one in work]
            refused, answer = await asyncio.gather(*tasks)
            assert (refused, span(answer)) == (Unavailable, (3, 3))
            assert sum("INSERT" in message for message in sent) == 2
        assert span(await store.append(WORKSPACE, stuck, logs(1))) == (3, 3)


async def test_a_neighbour_to_blame_costs_the_others_nothing(url: str) -> None:
    async with opened(url) as store:
        one, two = await kept(store, 2)
        broken = [Draft("log", b'{"type":"log"}', 1 << 70, False, None)]  # no database has such a number
        with held(store):
            work = [(one, logs(1)), (two, broken), (one, logs(1)), (two, logs(1))]
            tasks = [asyncio.ensure_future(outcome(store.append(WORKSPACE, run, what))) for run, what in work]
        first, blamed, second, other = await asyncio.gather(*tasks)
        assert [span(answer) for answer in (first, second, other)] == [(3, 3), (4, 4), (3, 3)]
        assert isinstance(blamed, type)
        assert await store.check() == []


async def test_a_refusal_costs_the_others_nothing(url: str) -> None:
    store = Store(url, Clock())
    commits = told(store)
    await store.open()
    try:
        (run,) = await kept(store)
        del commits[:]
        with held(store):
            work = [store.append(WORKSPACE, run, logs(1)), store.append("other", run, logs(1))]
            tasks = [asyncio.ensure_future(outcome(one)) for one in work]
        answer, refused = await asyncio.gather(*tasks)
        assert (span(answer), refused) == ((3, 3), NotFound)
        assert [[event.seq for event in commit] for commit in commits] == [[3]]
    finally:
        await store.close()


# Keys


async def test_a_key_that_was_used_is_answered_as_before(url: str) -> None:
    """By this process or another, in this group or before, for numbered events and others. Caught: a key that is
    forgotten within its group; the error of a key that is there."""
    async with opened(url) as one, opened(url) as two:
        (run,) = await kept(one)
        first = await one.append(WORKSPACE, run, logs(1), Once("own", "digest"))
        say(url, "INSERT INTO key (scope, key, digest, run, answer) VALUES (%s, 'other', 'digest', %s, '{}')", run, run)
        for key in ("own", "other"):
            again = await one.append(WORKSPACE, run, logs(1), Once(key, "digest"))
            assert (again.json, again.replayed) == (first.json if key == "own" else b"{}", True)
            assert await outcome(one.append(WORKSPACE, run, logs(1), Once(key, "changed"))) is Invalid
            await one.append(WORKSPACE, run, logs(1))
            await one.append(WORKSPACE, run, logs(1))
        with held(one):
            work = [
                one.append(WORKSPACE, run, logs(2), Once("new", "digest")),
                one.append(WORKSPACE, run, logs(2), Once("new", "digest")),
                one.append(WORKSPACE, run, logs(2), Once("new", "changed")),
                one.append(WORKSPACE, run, some({"type": "frame"}), Once("frame", "digest")),
                one.append(WORKSPACE, run, some({"type": "frame"}), Once("frame", "digest")),
            ]
            tasks = [asyncio.ensure_future(outcome(one)) for one in work]
        first, again, changed, frame, frame_again = await asyncio.gather(*tasks)
        assert (again, changed) == (first._replace(replayed=True), Invalid)
        assert frame_again == frame._replace(replayed=True)
        assert await two.append(WORKSPACE, run, logs(2), Once("new", "digest")) == again
        assert (await one.head(run)).head == span(first)[1] == 9


# Connections


async def test_a_session_that_ended_idle_is_no_doubt(url: str) -> None:
    """Caught: a message to a session that has said that it ends."""
    store, doubts = Store(url, Clock()), []
    store.doubted = lambda: doubts.append(True)
    await store.open()
    try:
        (run,) = await kept(store)
        for number in range(3, 9):
            others = "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            assert say(url, f"SELECT pg_terminate_backend(pid, 5000) FROM {others}") != []
            assert span(await store.append(WORKSPACE, run, logs(1))) == (number, number)
        assert doubts == []
    finally:
        await store.close()


async def test_what_fails_while_it_is_locked_after_an_attempt_is_no_doubt(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, doubts = Store(url, Clock()), []
    store.doubted = lambda: doubts.append(True)
    await store.open()
    try:
        (run,) = await kept(store)
        say(url, "UPDATE run SET head = 7")

        def fail(_: object) -> None:
            raise peewee.OperationalError("the network is away")

        assert store._writer is not None
        monkeypatch.setattr(store._writer._locks, "begin", fail)
        with pytest.raises(Unavailable, match="the network is away"):
            await store.append(WORKSPACE, run, logs(1))
        assert doubts == []  # one would have been told before the answer
    finally:
        await store.close()


async def test_a_bounded_number_of_runs_is_kept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last ones. Caught: no bound."""
    monkeypatch.setattr(store_kept, "MOST", 3)
    async with opened(url) as store:
        runs = await kept(store, 5)
        assert store._writer is not None
        assert len(store._writer._kept._left) == 3
        for run in runs:
            assert span(await store.append(WORKSPACE, run, logs(1))) == (3, 3)


# All of it


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_many_stores_do_to_the_same_runs_what_is_answered_is_so(url: str, seed: int) -> None:
    """P1, P6, P7: every number once and in the order of its store's answers, every key once, every commit told to its
    own store. Caught: a head that is not insisted on."""
    chance = random.Random(seed)
    stores = [Store(url, Clock()) for _ in range(3)]
    commits = [told(store) for store in stores]
    for store in stores:
        await store.open()
    try:
        runs = [await make_run(stores[0]) for _ in range(4)]
        answers: list[tuple[str, str, Any]] = []

        async def post(store: Store, run: str, name: str, key: str | None) -> None:
            what = some(*[{"type": "log", "message": f"{name}-{n}"} for n in range(chance.randrange(1, 4))])
            if chance.random() < 0.1:
                what += some(result("test", "passed"))
            elif chance.random() < 0.1:
                what = some({"type": "frame"})
            once = None if key is None else Once(key, key)
            answers.append((run, name, await store.append(WORKSPACE, run, what, once)))

        async def produce(store: Store, number: int) -> None:
            for turn in range(40):
                run = chance.choice(runs[: 1 + turn // 10])  # alone for a while, and then in company
                name = f"{number}-{turn}"
                key = chance.choice([None, name, f"shared-{turn}"])
                if chance.random() < 0.05:
                    await store.hear(WORKSPACE, run)
                await post(store, run, name, key)
                await asyncio.sleep(chance.choice([0, 0, 0.002]))

        await asyncio.gather(*[produce(stores[number % 3], number) for number in range(7)])
        for run in runs:
            events = await stored(stores[0], run)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            new = [
                (name, answer) for of, name, answer in answers if of == run and answer.stored and not answer.replayed
            ]
            spans = sorted(span(answer) for _, answer in new)
            assert [seq for first, last in spans for seq in range(first, last + 1)] == [event.seq for event in events]
            said = {event.seq: event.json for event in events}
            for name, answer in new:
                assert json.loads(said[span(answer)[0]])["message"] == f"{name}-0"
            seen = [
                event.seq
                for of_store in commits
                for commit in of_store
                for event in commit
                if event.run == run and event.seq
            ]
            assert sorted(seen) == list(range(1, len(events) + 1))
            for of_store in commits:
                own = [event.seq for commit in of_store for event in commit if event.run == run and event.seq]
                assert own == sorted(own)
        assert await stores[0].check() == []
    finally:
        for store in stores:
            await store.close()
