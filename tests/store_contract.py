"""The rules of a store, whatever its database: a subclass brings a `url` fixture, and so an empty database.

Where a test says "caught", that mutant was tried and failed it.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import peewee
import pytest

from sentri_events import store_write
from sentri_events.database import execute, open_database, together
from sentri_events.errors import Conflict, Invalid, NotFound, SentriEventsError, Unavailable
from sentri_events.event import Draft, Event, Rules, drafts
from sentri_events.store import Store
from sentri_events.store_list import NOTHING
from sentri_events.store_write import Once

WORKSPACE, OTHER = "default", "other"
START, START_TEXT = 1_800_000_000_000, "2027-01-15T08:00:00.000Z"
RULES = Rules(frozenset({"frame"}), 1 << 20)
TABLES = ("counter", "project", "run", "field", "event", "result", "key", "fleet")


class Clock:
    """Milliseconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@asynccontextmanager
async def opened(url: str, clock: Callable[[], int] | None = None) -> AsyncIterator[Store]:
    """A store that is open."""
    store = Store(url, clock or Clock())
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@contextmanager
def held(store: Store) -> Iterator[None]:
    """What is asked of the writer meanwhile waits, and is one group afterwards."""
    began, go_on = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        began.set()
        assert go_on.wait(20)

    task = asyncio.ensure_future(store._write(wait))
    asyncio.get_running_loop().call_soon(lambda: began.wait(20))
    task.add_done_callback(lambda done: done.result())
    try:
        yield
    finally:
        asyncio.get_running_loop().call_later(0, go_on.set)


def told(store: Store) -> list[list[Event]]:
    """What `committed` is given from now on, commit by commit. Call it before the store is open."""
    commits: list[list[Event]] = []
    store.committed = commits.append
    return commits


def logs(number: int, **payload: Any) -> list[Draft]:
    return some(*[{"type": "log", "message": f"line {n}", **payload} for n in range(1, number + 1)])


def some(*payloads: dict[str, Any]) -> list[Draft]:
    return drafts(list(payloads), RULES, START)


def result(test: str, status: str, **more: Any) -> dict[str, Any]:
    return {"type": "result", "result": {"testId": test, "status": status, **more}}


async def make_run(
    store: Store, id: str | None = None, workspace: str = WORKSPACE, project: str | None = None, **fields: Any
) -> str:
    """A new run's id."""
    project = project or f"project-of-{workspace}"
    answer = await store.create_run(workspace, project, id, "RUN-", fields, make_project=True)
    return str(json.loads(answer.json)["id"])


async def document(store: Store, run: str, logs: int = 10_000) -> dict[str, Any]:
    return dict(json.loads((await store.snapshot(run, logs)).document))


async def stored(store: Store, run: str) -> list[Event]:
    """All of a run's events, page by page."""
    epoch = (await store.head(run)).epoch
    events: list[Event] = []
    while page := await store.after(run, epoch, events[-1].seq if events else 0):
        events += page
    return events


async def seqs(store: Store, run: str) -> list[int]:
    return [event.seq for event in await stored(store, run)]


def span(answer: store_write.Answer) -> tuple[int, int]:
    told = json.loads(answer.json)
    return told["first"], told["last"]


async def outcome(work: Any) -> Any:
    """The result, or the class of the error."""
    value: Any = (await asyncio.gather(work, return_exceptions=True))[0]
    return type(value) if isinstance(value, BaseException) else value


class StoreContract:
    """Test methods for every database."""

    # Numbers

    async def test_events_are_numbered_from_1_without_holes(self, url: str) -> None:
        async with opened(url) as store:
            run, other = await make_run(store), await make_run(store)
            assert (await store.head(run)).head == 0
            assert span(await store.append(WORKSPACE, run, logs(3))) == (1, 3)
            assert span(await store.append(WORKSPACE, other, logs(1))) == (1, 1)
            mixed = some({"type": "frame"}, {"type": "a"}, {"type": "frame"}, {"type": "b"})
            answer = await store.append(WORKSPACE, run, mixed)
            head = await store.head(run)
            assert answer.json.decode() == f'{{"runId":"{run}","epoch":"{head.epoch}","first":4,"last":5}}'
            assert (answer.stored, answer.replayed, head.head, head.ended) == (True, False, 5, False)
            events = await stored(store, run)
            assert [event.seq for event in events] == [1, 2, 3, 4, 5]
            assert {(event.run, event.epoch) for event in events} == {(run, head.epoch)}
            assert [event.json for event in events[3:]] == [b'{"type":"a"}', b'{"type":"b"}']

    async def test_volatile_events_alone_use_no_number(self, url: str) -> None:
        async with opened(url) as store:
            run = await make_run(store)
            answer = await store.append(WORKSPACE, run, some({"type": "frame"}))
            assert (answer.json, answer.stored) == (b'{"runId":"%b"}' % run.encode(), False)
            assert (await store.head(run)).head == 0

    async def test_many_writers_of_one_run_and_two_stores_get_one_numbering(self, url: str) -> None:
        """Caught: a head that outlives its transaction."""
        async with opened(url) as one, opened(url) as two:
            run = await make_run(one)
            answers = [await store.append(WORKSPACE, run, logs(2)) for _ in range(5) for store in (one, two)]
            answers += await asyncio.gather(
                *[store.append(WORKSPACE, run, logs(n % 3 + 1)) for n in range(60) for store in (one, two)]
            )
            taken = sorted(seq for answer in answers for seq in range(span(answer)[0], span(answer)[1] + 1))
            assert taken == list(range(1, 261)) == await seqs(one, run) == await seqs(two, run)
            assert await one.check() == []

    async def test_what_is_answered_is_there_after_the_store_is_opened_anew(self, url: str) -> None:
        async with opened(url) as store:
            run = await make_run(store, name="seven")
            await store.append(WORKSPACE, run, logs(7))
        async with opened(url) as store:
            assert await seqs(store, run) == [1, 2, 3, 4, 5, 6, 7]
            assert span(await store.append(WORKSPACE, run, logs(1))) == (8, 8)
            assert (await document(store, run))["name"] == "seven"

    # Groups

    async def test_what_waits_is_one_commit_in_the_order_it_was_asked(self, url: str) -> None:
        """Caught: a commit for each."""
        store = Store(url, Clock())
        commits = told(store)
        await store.open()
        try:
            runs = [await make_run(store) for _ in range(3)]
            with held(store):
                tasks = [asyncio.ensure_future(store.append(WORKSPACE, runs[n % 3], logs(2))) for n in range(30)]
            await asyncio.gather(*tasks)
            assert len(commits) == 1
            assert [event.run for event in commits[0]] == [runs[n % 3] for n in range(30) for _ in range(2)]
            assert [event.seq for event in commits[0] if event.run == runs[1]] == list(range(1, 21))
        finally:
            await store.close()

    async def test_a_group_is_bounded_by_requests_events_and_bytes(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sentri_events.store_thread.MAX_WEIGHT", 20)
        monkeypatch.setattr("sentri_events.store_thread.MAX_GROUP", 3)
        store = Store(url, Clock())
        commits = told(store)
        await store.open()
        try:
            run = await make_run(store)
            with held(store):
                batches = [logs(15), logs(15), *[logs(1)] * 4, logs(1, text="." * 20_000), logs(1)]
                tasks = [asyncio.ensure_future(store.append(WORKSPACE, run, batch)) for batch in batches]
            await asyncio.gather(*tasks)
            assert [len(commit) for commit in commits] == [30, 3, 2, 1]
        finally:
            await store.close()

    async def test_a_refusal_in_a_group_fails_no_neighbour_and_leaves_nothing(self, url: str) -> None:
        """Caught: a refusal that rolls back; a create_run that refuses after it took a number."""
        async with opened(url) as store:
            run, foreign, ended = await make_run(store), await make_run(store, workspace=OTHER), await make_run(store)
            await store.append(WORKSPACE, ended, some({"type": "done", "status": "completed"}))
            await store.append(WORKSPACE, run, logs(1), Once("key", "digest"))
            with held(store):
                work = [
                    store.append(WORKSPACE, run, logs(2), Once("first", "digest")),
                    store.append(WORKSPACE, "missing", logs(2)),
                    store.append(WORKSPACE, foreign, logs(2)),
                    store.append(WORKSPACE, ended, logs(2)),
                    store.append(WORKSPACE, run, logs(2), Once("key", "another digest")),
                    store.create_run(WORKSPACE, "web", run, "RUN-", {}, make_project=True),
                    store.create_run(WORKSPACE, "no-project", "new-1", "RUN-", {}),
                    store.create_run(WORKSPACE, "web", "new-2", "RUN-", {"x": object()}, make_project=True),
                    store.create_run(WORKSPACE, "not a project id", "new-3", "RUN-", {}, make_project=True),
                    store.create_project(WORKSPACE, "project-of-other", None),
                    store.hear(WORKSPACE, ended),
                    store.hear(WORKSPACE, foreign),
                    store.append(WORKSPACE, run, logs(2)),
                ]
                tasks = [asyncio.ensure_future(outcome(one)) for one in work]
            first, *refused, last = await asyncio.gather(*tasks)
            assert (span(first), span(last)) == ((2, 3), (4, 5))
            assert await store.answered(run, Once("first", "digest")) == first._replace(replayed=True)
            assert refused == [
                *(NotFound, NotFound, Conflict, Invalid, Conflict, NotFound, Invalid, Invalid, Conflict, Conflict),
                NotFound,
            ]
            assert [(await store.head(one)).head for one in (run, foreign, ended)] == [5, 0, 1]
            listed, _ = await store.runs(WORKSPACE, None, None, 100, None)
            assert {one["id"] for one in listed} == {run, ended}
            assert [one["id"] for one in await store.projects(WORKSPACE)] == ["project-of-default"]
            assert await make_run(store) == "RUN-4", "a refused run took a number"
            assert await store.check() == []

    async def test_a_foreign_error_in_one_verb_fails_no_neighbour(
        self, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It shows at the flush only, where nobody can say whose it was. Caught: it fails the whole group."""
        async with opened(url) as store:
            run = await make_run(store)
            broken = [Draft("log", b'{"type":"log"}', 1 << 70, False, None)]  # no database has such a number
            with held(store):
                work = [store.append(WORKSPACE, run, broken if n in (4, 5) else logs(1)) for n in range(10)]
                tasks = [asyncio.ensure_future(outcome(one)) for one in work]
            outcomes = await asyncio.gather(*tasks)
            spans = [span(one) for n, one in enumerate(outcomes) if n not in (4, 5)]
            assert spans == [(n, n) for n in range(1, 9)]
            assert not issubclass(outcomes[4], SentriEventsError)
            assert await seqs(store, run) == list(range(1, 9))
            assert caplog.text.count("A write failed.") == 2
            assert await store.check() == []

    async def test_an_error_that_somebody_keeps_holds_nobody_up(self, url: str) -> None:
        """Its traceback has a cursor. Caught: without a rollback SQLite's lock outlives the connection's close."""
        async with opened(url) as store:
            (kept,) = await asyncio.gather(store.use("x", 1 << 70), return_exceptions=True)
            assert kept is not None
            assert not isinstance(kept, SentriEventsError)
            await store.use("x", 1)

    # What is told, and when

    async def test_events_are_told_after_the_commit_and_before_the_answer(self, url: str) -> None:
        """Caught: answers before events; events of a refused verb."""
        store = Store(url, Clock())
        seen: list[str] = []
        store.committed = lambda events: seen.append(f"told {[event.seq for event in events]}")
        await store.open()
        try:
            run = await make_run(store)

            async def append() -> None:
                await store.append(WORKSPACE, run, some({"type": "a"}, {"type": "frame"}, {"type": "b"}))
                seen.append(f"answered {await seqs(store, run)}")

            await append()
            with pytest.raises(NotFound):
                await store.append(WORKSPACE, "missing", logs(1))
            assert seen == ["told [1, 0, 2]", "answered [1, 2]"]
        finally:
            await store.close()

    async def test_the_event_of_a_cancelled_publisher_is_told_all_the_same(self, url: str) -> None:
        store = Store(url, Clock())
        commits = told(store)
        await store.open()
        try:
            run = await make_run(store)
            with held(store):
                tasks = [asyncio.ensure_future(store.append(WORKSPACE, run, logs(1))) for _ in range(3)]
                await asyncio.sleep(0)
                tasks[1].cancel()
            first, second, third = await asyncio.gather(*map(outcome, tasks))
            assert (span(first), second, span(third)) == ((1, 1), asyncio.CancelledError, (3, 3))
            assert [event.seq for event in commits[0]] == [1, 2, 3] == await seqs(store, run)
        finally:
            await store.close()

    async def test_a_listener_that_fails_keeps_nobody_waiting(self, url: str) -> None:
        store = Store(url, Clock())
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context["exception"]))

        def fail(events: list[Event]) -> None:
            raise RuntimeError("a listener's fault")

        store.committed = fail
        await store.open()
        try:
            assert span(await store.append(WORKSPACE, await make_run(store), logs(1))) == (1, 1)
            assert [str(one) for one in failures] == ["a listener's fault"]
        finally:
            await store.close()

    async def test_closing_commits_what_waits_and_then_there_is_no_store(self, url: str) -> None:
        """Caught: work that is asked for after the close and never answered."""
        store = Store(url, Clock())
        await store.open()
        run = await make_run(store)
        with held(store):
            tasks = [asyncio.ensure_future(store.append(WORKSPACE, run, logs(1))) for _ in range(5)]
            await asyncio.sleep(0)
        await store.close()
        assert [span(await task) for task in tasks] == [(n, n) for n in range(1, 6)]
        for work in (store.append(WORKSPACE, run, logs(1)), store.head(run)):
            with pytest.raises(Unavailable, match=r"The store is closed\."):
                await work
        await store.close()
        async with opened(url) as again:
            assert await seqs(again, run) == [1, 2, 3, 4, 5]

    async def test_a_commit_that_fails_is_a_doubt_and_a_repetition_ends_it(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A connection that breaks in the commit's answer: nothing short of a mock does it at the right moment.

        Caught: a doubt that nobody is told of.
        """
        store = Store(url, Clock())
        commits, doubts = told(store), []
        store.doubted = lambda: doubts.append(True)
        await store.open()
        try:
            run = await make_run(store)

            @contextmanager
            def half(database: Any) -> Iterator[None]:
                with together(database):
                    yield
                raise peewee.OperationalError("the answer was lost")

            monkeypatch.setattr("sentri_events.store_thread.together", half)
            with pytest.raises(Unavailable, match="the answer was lost"):
                await store.append(WORKSPACE, run, logs(2), Once("key", "digest"))
            monkeypatch.undo()
            await asyncio.sleep(0)
            assert (doubts, commits) == ([True], [])
            answer = await store.append(WORKSPACE, run, logs(2), Once("key", "digest"))
            assert (span(answer), answer.replayed) == ((1, 2), True)
            assert await seqs(store, run) == [1, 2]
        finally:
            await store.close()

    # Keys

    async def test_a_key_gives_one_event_and_the_same_answer(self, url: str) -> None:
        """P7. Caught: a key that is looked up only after the run's end is."""
        async with opened(url) as store:
            run, other = await make_run(store), await make_run(store)
            first = await store.append(WORKSPACE, run, logs(2), Once("key", "digest"))
            again = await store.append(WORKSPACE, run, logs(2), Once("key", "digest"))
            assert again == first._replace(replayed=True)
            with pytest.raises(Invalid, match="used with another request"):
                await store.append(WORKSPACE, run, logs(2), Once("key", "changed"))
            assert await seqs(store, run) == [1, 2]
            assert span(await store.append(WORKSPACE, other, logs(1), Once("key", "digest"))) == (1, 1)
            await store.append(WORKSPACE, run, some({"type": "done", "status": "failed"}))
            assert await store.append(WORKSPACE, run, logs(2), Once("key", "digest")) == again
            assert await store.answered(run, Once("key", "digest")) == again
            assert await store.answered(run, Once("never", "digest")) is None
            with pytest.raises(Invalid):
                await store.answered(run, Once("key", "changed"))

    async def test_the_same_key_many_times_at_once(self, url: str) -> None:
        """P7, within groups and across two stores."""
        async with opened(url) as one, opened(url) as two:
            run = await make_run(one)
            answers = await asyncio.gather(
                *[
                    store.append(WORKSPACE, run, logs(2), Once("key", "digest"))
                    for _ in range(20)
                    for store in (one, two)
                ]
            )
            assert {span(answer) for answer in answers} == {(1, 2)}
            assert sum(not answer.replayed for answer in answers) == 1
            assert await seqs(one, run) == [1, 2]

    async def test_a_key_holds_for_volatile_events_too(self, url: str) -> None:
        store = Store(url, Clock())
        commits = told(store)
        await store.open()
        try:
            run = await make_run(store)
            first = await store.append(WORKSPACE, run, some({"type": "frame"}), Once("key", "digest"))
            again = await store.append(WORKSPACE, run, some({"type": "frame"}), Once("key", "digest"))
            assert again == first._replace(replayed=True)
            assert (again.stored, sum(map(len, commits))) == (False, 1)
        finally:
            await store.close()

    async def test_a_key_makes_one_run(self, url: str) -> None:
        async with opened(url) as store:

            async def create(workspace: str, digest: str = "digest") -> store_write.Answer:
                once = Once("key", digest)
                return await store.create_run(workspace, f"of-{workspace}", None, "RUN-", {"a": 1}, once, True)

            first, again = await create(WORKSPACE), await create(WORKSPACE)
            assert again == first._replace(replayed=True)
            with pytest.raises(Invalid, match="used with another request"):
                await create(WORKSPACE, "changed")
            assert json.loads((await create(OTHER)).json)["id"] == "RUN-2"
            await store.append(WORKSPACE, "RUN-1", logs(1), Once("key", "of an event"))
            assert len((await store.runs(WORKSPACE, None, None, 9, None))[0]) == 1
            await store.append(WORKSPACE, "RUN-1", some({"type": "done", "status": "completed"}))
            assert json.loads((await create(WORKSPACE)).json)["status"] == "running", "the answer as it was given"

    # Runs and projects

    async def test_a_run_begins_with_its_fields(self, url: str) -> None:
        clock = Clock()
        async with opened(url, clock) as store:
            fields = {
                "name": "nightly",
                "total": 3,
                "tests": ["a"],
                "branch": {"of": ["main"]},
                "startedAt": START - 5000,
            }
            answer = await store.create_run(WORKSPACE, "web", "my.run", "RUN-", fields, make_project=True)
            expected = {
                **{"id": "my.run", "projectId": "web", "workspaceId": WORKSPACE, "type": "test_run", "name": "nightly"},
                **{"status": "running", "startedAt": "2027-01-15T07:59:55.000Z", "finishedAt": None, "duration": None},
                **{"error": None, "passed": 0, "failed": 0, "skipped": 0, "total": 3, "tests": ["a"], "testQueue": []},
                **{"branch": {"of": ["main"]}, "results": [], "logs": []},
            }
            assert json.loads(answer.json) == expected == await document(store, "my.run")

    async def test_numbered_ids_skip_those_that_are_taken(self, url: str) -> None:
        async with opened(url) as store:
            await make_run(store, "RUN-3")
            await make_run(store, "RUN-4", workspace=OTHER)
            assert [await make_run(store) for _ in range(3)] == ["RUN-5", "RUN-6", "RUN-7"]
            for workspace in (WORKSPACE, OTHER):
                with pytest.raises(Conflict, match="RUN-3 is there already"):
                    await make_run(store, "RUN-3", workspace)
            answer = await store.create_run(WORKSPACE, "project-of-default", None, "CI.", {})
            assert json.loads(answer.json)["id"] == "CI.8"

    async def test_a_project_belongs_to_one_workspace(self, url: str) -> None:
        clock = Clock()
        async with opened(url, clock) as store:
            made = await store.create_project(WORKSPACE, "web", "The web")
            expected = {
                "id": "web",
                "workspaceId": WORKSPACE,
                "name": "The web",
                "createdAt": START_TEXT,
            }
            assert made == expected == await store.project(WORKSPACE, "web")
            await store.create_project(WORKSPACE, "PRJ-2", None)
            clock.now += 1
            assert [(await store.create_project(WORKSPACE, None, None))["id"] for _ in range(2)] == ["PRJ-1", "PRJ-3"]
            for workspace in (WORKSPACE, OTHER):
                with pytest.raises(Conflict):
                    await store.create_project(workspace, "web", None)
            with pytest.raises(NotFound):
                await store.project(OTHER, "web")
            with pytest.raises(NotFound):
                await store.create_run(OTHER, "web", None, "RUN-", {}, make_project=True)
            ids = [project["id"] for project in await store.projects(WORKSPACE)]
            assert (ids, await store.projects(OTHER)) == (["PRJ-2", "web", "PRJ-1", "PRJ-3"], [])

    async def test_runs_are_listed_newest_first_page_by_page(self, url: str) -> None:
        """Caught: a page that is counted by offset, so that a new run repeats one."""
        async with opened(url) as store:
            for n in range(7):
                await make_run(store, f"r{n}", project="even" if n % 2 == 0 else "odd")
            await make_run(store, "foreign", OTHER)
            await store.append(WORKSPACE, "r2", some({"type": "done", "status": "failed"}))

            async def pages(project: str | None, status: str | None, limit: int) -> list[list[str]]:
                found: list[list[str]] = []
                before: int | None = None
                while True:
                    runs, before = await store.runs(WORKSPACE, project, status, limit, before)
                    found.append([run["id"] for run in runs])
                    if not found[1:] and project is None:
                        await make_run(store, f"new{limit}{status}")
                    if before is None:
                        return found

            assert await pages(None, None, 3) == [["r6", "r5", "r4"], ["r3", "r2", "r1"], ["r0"]]
            assert await pages("even", None, 2) == [["r6", "r4"], ["r2", "r0"]]
            assert await pages("even", "running", 9) == [["r6", "r4", "r0"]]
            assert await pages(None, "failed", 1) == [["r2"]]
            assert await pages("nothing", None, 1) == [[]]
            for n, text in enumerate(("R1", "odd", "%", "_", "\\", "\0")):
                await make_run(store, name=f"has {text} n{n}")
                found, _ = await store.runs(WORKSPACE, None, None, 9, None, text)
                expected = {"R1": ["r1"], "odd": ["r5", "r3", "r1"]}.get(text, [])
                if text != "\0":  # no name in a database may have it
                    assert [run["id"] for run in found[1:]] == expected, text
                    assert found[0]["name"] == f"has {text} n{n}"
            (listed,), _ = await store.runs(WORKSPACE, None, "failed", 1, None)
            whole = await document(store, "r2")
            assert listed == {key: whole[key] for key in whole if key not in ("tests", "testQueue", "results", "logs")}

    async def test_what_changed_since_a_list_last_asked(self, url: str) -> None:
        """Caught: new runs by the newest number of their own workspace, which an empty one has not; a run that ended
        between two looks left out; a run that is as it was told again."""
        async with opened(url) as store:
            seen = dict.fromkeys((WORKSPACE, OTHER), NOTHING)

            async def look() -> list[tuple[str, str, int]]:
                answers = await store.changes(seen)
                seen.update({workspace: answer[0] for workspace, answer in answers.items()})
                assert all(run["workspaceId"] == key for key, answer in answers.items() for _, run in answer[1])
                return [(kind, run["id"], run["total"]) for key in seen for kind, run in answers[key][1]]

            ended, running = await make_run(store), await make_run(store)
            await store.append(WORKSPACE, ended, some({"type": "done", "status": "failed"}))
            await look()
            assert await look() == []
            await store.append(WORKSPACE, running, some(result("a", "passed")))
            new, foreign = await make_run(store), await make_run(store, workspace=OTHER)
            expected = [("progress", running, 1), ("started", new, 0), ("started", foreign, 0)]
            assert await look() == expected
            brief = await make_run(store)
            for run in (running, brief):
                await store.append(WORKSPACE, run, some({"type": "done", "status": "completed", "total": 7}))
            assert await look() == [("done", running, 7), ("done", brief, 7)]
            await store.prune(1 << 60)
            await make_run(store, ended)
            assert await look() == [("started", ended, 0)]
            assert seen[WORKSPACE].running == {new: 0, ended: 0}

    async def test_whose_runs_a_commit_touches_is_told(self, url: str) -> None:
        """Caught: making a run left out."""
        async with opened(url) as store:
            assert store._writer is not None
            touched: list[set[str]] = []
            store._writer._touched = touched.append
            run = await make_run(store)
            with held(store):
                work = [store.append(WORKSPACE, run, logs(1)), make_run(store, workspace=OTHER)]
                tasks = [asyncio.ensure_future(one) for one in work]
            await asyncio.gather(*tasks)
            with pytest.raises(NotFound):
                await store.append(WORKSPACE, "RUN-none", logs(1))
            assert touched == [{WORKSPACE}, {WORKSPACE, OTHER}]

    # Effects

    async def test_results_are_upserted_in_the_place_of_the_first_and_counted(self, url: str) -> None:
        """Caught: a changed result that moves to the end; a second result of a test within a batch counted twice."""
        async with opened(url) as store:
            run = await make_run(store)
            statuses = ("passed", "xpassed", "warning", "failed", "error", "skipped", "xfailed", "odd")
            await store.append(WORKSPACE, run, some(*[result(f"t{n}", one) for n, one in enumerate(statuses)]))
            counts = await document(store, run)
            assert [counts[name] for name in ("passed", "failed", "skipped", "total")] == [3, 2, 2, 8]
            await store.append(WORKSPACE, run, some(result("t0", "failed", n=1)))
            await store.append(
                WORKSPACE,
                run,
                some(
                    result("new", "passed"), result("t7", "passed"), result("new", "failed"), result("new", "skipped")
                ),
            )
            after = await document(store, run)
            assert [after[name] for name in ("passed", "failed", "skipped", "total")] == [3, 3, 3, 9]
            assert [one["testId"] for one in after["results"]] == [f"t{n}" for n in range(8)] + ["new"]
            assert after["results"][0] == {"testId": "t0", "status": "failed", "n": 1}
            assert await store.check() == []

    async def test_what_the_producer_counts_is_what_is_shown(self, url: str) -> None:
        async with opened(url) as store:
            run = await make_run(store, total=2)
            await store.append(WORKSPACE, run, some(*[result(f"t{n}", "passed") for n in range(3)]))
            assert (await document(store, run))["total"] == 3
            await store.append(WORKSPACE, run, some({"type": "update", "run": {"passed": 9, "total": 30}}))
            await store.append(WORKSPACE, run, some(result("t9", "passed")))
            shown = await document(store, run)
            assert (shown["passed"], shown["total"]) == (9, 30)
            await store.append(WORKSPACE, run, some({"type": "update", "run": {"passed": None, "total": None}}))
            shown = await document(store, run)
            assert (shown["passed"], shown["total"]) == (4, 4)

    async def test_an_update_replaces_fields_and_results(self, url: str) -> None:
        """The order of the producer's results is kept. Caught: places that are the event's seq."""
        async with opened(url) as store:
            run = await make_run(store, branch="main", results=[{"testId": "z", "status": "passed"}])
            results = [{"testId": test, "status": "failed"} for test in ("c", "a", "b")]
            update = {"branch": "topic", "name": "n", "results": results, "id": "x", "status": "failed", "queue": [1]}
            await store.append(
                WORKSPACE,
                run,
                some(result("early", "passed"), {"type": "update", "run": update}, result("late", "passed")),
            )
            shown = await document(store, run)
            assert (shown["id"], shown["status"], shown["branch"], shown["name"]) == (run, "running", "topic", "n")
            assert shown["results"] == [*results, {"testId": "late", "status": "passed"}]
            assert [shown[name] for name in ("passed", "failed", "total")] == [1, 3, 4]
            assert await store.check() == []

    async def test_done_seals_the_run(self, url: str) -> None:
        async with opened(url) as store:
            run = await make_run(store, startedAt=START - 1500, error="early")
            done = {"type": "done", "status": "failed", "passed": 5, "error": "why", "testsGenerated": 4}
            with held(store):
                work = (some(result("a", "passed"), done), logs(1))
                tasks = [asyncio.ensure_future(outcome(store.append(WORKSPACE, run, one))) for one in work]
            first, second = await asyncio.gather(*tasks)
            assert (span(first), second) == ((1, 2), Conflict)
            shown = await document(store, run)
            assert (shown["status"], shown["finishedAt"], shown["duration"]) == (
                "failed",
                START_TEXT,
                1500,
            )
            assert (shown["passed"], shown["error"], shown["testsGenerated"], shown["total"]) == (5, "why", 4, 1)
            head = await store.head(run)
            assert (head.head, head.ended) == (2, True)
            with pytest.raises(Conflict):
                await store.hear(WORKSPACE, run)

    # Reading

    async def test_a_snapshot_is_of_one_moment(self, url: str) -> None:
        """The head and what stands in the document agree at any time. Caught: reads without a transaction."""
        async with opened(url) as store:
            run = await make_run(store)
            writing = True

            async def write() -> None:
                for n in range(150):
                    await store.append(WORKSPACE, run, some({"type": "log", "message": ""}, result(f"t{n}", "passed")))

            async def read() -> int:
                looks = 0
                while writing:
                    taken = await store.snapshot(run, 10_000)
                    shown = json.loads(taken.document)
                    assert 2 * len(shown["logs"]) == 2 * len(shown["results"]) == 2 * shown["passed"] == taken.head.head
                    looks += 1
                return looks

            readers = [asyncio.ensure_future(read()) for _ in range(3)]
            await write()
            writing = False
            assert min(await asyncio.gather(*readers)) > 1

    async def test_the_logs_of_a_snapshot_are_the_last_ones(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        async with opened(url) as store:
            run = await make_run(store)
            odd = some({"type": "log"}, {"type": "note"}, {"type": "log", "message": {"n": 1}, "level": "warn"})
            await store.append(WORKSPACE, run, logs(3) + odd)
            shown = await document(store, run)
            assert (shown["logs"], "logsTruncated" in shown) == (["line 1", "line 2", "line 3", "", '{"n":1}'], False)
            shown = await document(store, run, logs=2)
            assert (shown["logs"], shown["logsTruncated"]) == (["", '{"n":1}'], True)
            assert "logsTruncated" not in await document(store, run, logs=5)
            meta = json.loads((await store.snapshot(run, 1, with_meta=True)).document)["logs"]
            assert meta == [{"seq": 6, "at": START_TEXT, "level": "warn", "message": '{"n":1}'}]
            monkeypatch.setattr("sentri_events.store_read.MAX_LOG_BYTES", 100)
            shown = await document(store, run)
            assert (len(shown["logs"]), shown["logsTruncated"]) == (3, True)
            with pytest.raises(NotFound):
                await store.snapshot("missing", 1)

    async def test_a_page_of_events_is_bounded_by_number_and_bytes(self, url: str) -> None:
        async with opened(url) as store:
            run = await make_run(store)
            await store.append(WORKSPACE, run, some(*[{"type": "x", "t": "." * 84} for _ in range(10)]))
            epoch = (await store.head(run)).epoch

            async def page(seq: int, limit: int = 1000, max_bytes: int = 1 << 20) -> list[int]:
                return [event.seq for event in await store.after(run, epoch, seq, limit, max_bytes)]

            assert await page(0) == list(range(1, 11))
            assert await page(8) == [9, 10]
            assert (await page(10), await page(99)) == ([], [])
            assert await page(2, limit=3) == [3, 4, 5]
            size = len((await store.after(run, epoch, 0, 1))[0].json)
            assert await page(0, max_bytes=3 * size) == [1, 2, 3]
            assert await page(0, max_bytes=3 * size - 1) == [1, 2]
            assert await page(4, max_bytes=1) == [5], "there is no way past an event but to give it"

    async def test_the_heads_of_many_runs_are_those_of_each(self, url: str) -> None:
        async with opened(url) as store:
            runs = [await make_run(store) for _ in range(3)]
            await store.append(WORKSPACE, runs[1], logs(2))
            expected = {run: await store.head(run) for run in runs[:2]}
            assert await store.heads([*runs[:2], "missing"]) == expected
            assert await store.heads([]) == {}

    async def test_events_of_another_epoch_are_not_this_runs(self, url: str) -> None:
        """An id that was pruned and used again. Caught: events that are read without a look at the epoch."""
        async with opened(url) as store:
            run = await make_run(store)
            await store.append(WORKSPACE, run, logs(1))
            assert await store.after(run, "another", 0) == []
            assert await store.after("missing", "another", 0) == []
            with pytest.raises(NotFound):
                await store.head("missing")

    # Upkeep

    async def test_pruning_removes_runs_that_ended_before_in_steps(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Caught: a run that is removed because its finishedAt was set by an update; results that are left."""
        monkeypatch.setattr(store_write, "STEP", 10)
        async with opened(url) as store:
            done = {"type": "done", "status": "completed"}
            for n, id in enumerate(("old", "older", "new", "running")):
                await make_run(store, id, branch="main", owner="me")
                await store.append(WORKSPACE, id, logs(25) + some(*[result(f"t{t}", "passed") for t in range(12)]))
                for key in range(21):
                    await store.append(WORKSPACE, id, logs(1), Once(f"key {key}", "digest"))
                if id != "running":
                    at = f"2027-01-15T08:00:0{n}.000Z"
                    await store.append(WORKSPACE, id, some({**done, "_at": at}))
            await store.append(WORKSPACE, "running", some({"type": "update", "run": {"finishedAt": "2020-01-01"}}))
            steps = []
            execute_step = store_write.Transaction.prune

            def prune(tx: store_write.Transaction, run: str, before: int) -> bool:
                steps.append(run)
                return execute_step(tx, run, before)

            monkeypatch.setattr(store_write.Transaction, "prune", prune)
            assert await store.prune(START + 2000) == 2
            assert len(steps) > 2 * 8
            for gone in ("old", "older"):
                with pytest.raises(NotFound):
                    await store.head(gone)
            assert {len(await seqs(store, "new")), len(await seqs(store, "running"))} == {59}
            assert await store.check() == []
            assert await store.prune(START + 2000) == 0
            left = {table: {row[0] for row in rows(url, f"SELECT run FROM {table}")} for table in OF_A_RUN}
            assert left == {table: {"new", "running"} for table in OF_A_RUN}

    async def test_a_run_that_is_pruned_half_way_is_sound_and_its_positions_are_trimmed(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_write, "STEP", 10)
        async with opened(url) as store:
            run = await make_run(store)
            await store.append(WORKSPACE, run, logs(14) + some(*[result(f"t{t}", "passed") for t in range(14)]))
            await store.append(WORKSPACE, run, some({"type": "done", "status": "completed"}))
            steps = 0
            while not await store._write(lambda tx: tx.prune(run, START + 1)):
                steps += 1
                assert (await store.head(run)).floor == min(10 * steps, 29)
                assert await store.check() == []
            assert steps == 3

    async def test_two_instances_may_prune_and_trim_the_same_at_once(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While a third publishes. Each counts what it found, and nothing is refused or half gone."""
        monkeypatch.setattr(store_write, "STEP", 10)
        async with opened(url) as one, opened(url) as two, opened(url) as publisher:
            for number in range(6):
                run = await make_run(one, f"old-{number}")
                await one.append(WORKSPACE, run, logs(35) + some({"type": "done", "status": "completed"}))
            long = await make_run(one, "long")
            await one.append(WORKSPACE, long, logs(95))
            found, _, _ = await asyncio.gather(
                asyncio.gather(*(store.prune(START + 1) for store in (one, two))),
                asyncio.gather(*(store.trim(long, 75) for store in (one, two))),
                asyncio.gather(*(publisher.append(WORKSPACE, long, logs(1)) for _ in range(20))),
            )
            assert 6 <= sum(found) <= 12
            assert await seqs(one, long) == list(range(76, 116))
            assert await one.longer_than(39) == [(long, 115)]
            assert await one.longer_than(40) == []
            assert await one.statuses() == {"running": 1}
            assert await one.check() == []

    async def test_a_run_that_was_made_anew_meanwhile_is_not_pruned(self, url: str) -> None:
        async with opened(url) as store:
            run = await make_run(store)
            await store.append(WORKSPACE, run, some({"type": "update", "run": {"finishedAt": "2020-01-01"}}))
            assert await store._write(lambda tx: tx.prune(run, 1 << 60))
            assert await store._write(lambda tx: tx.prune("missing", 1 << 60))
            assert await seqs(store, run) == [1]

    async def test_an_id_that_is_used_again_is_another_run(self, url: str) -> None:
        async with opened(url) as store:
            await make_run(store, "same")
            await store.append(WORKSPACE, "same", logs(3) + some({"type": "done", "status": "failed"}), Once("k", "d"))
            before = await store.head("same")
            assert await store.prune(START + 1) == 1
            await make_run(store, "same")
            after = await store.head("same")
            assert (after.head, after.floor, after.status) == (0, 0, "running")
            assert after.epoch != before.epoch
            assert after.epoch.isalnum()
            assert after.epoch.islower() or after.epoch.isdigit()
            assert 6 <= len(after.epoch) <= 16
            assert span(await store.append(WORKSPACE, "same", logs(1), Once("k", "d"))) == (1, 1)
            assert await store.after("same", before.epoch, 0) == []

    async def test_trimming_takes_events_and_leaves_numbers_and_results(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_write, "STEP", 2)
        async with opened(url) as store:
            run = await make_run(store)
            await store.append(WORKSPACE, run, some(result("a", "passed")) + logs(5))
            await store.trim(run, 5)
            head = await store.head(run)
            assert (head.floor, head.head, await seqs(store, run)) == (5, 6, [6])
            await store.trim(run, 2)
            assert (await store.head(run)).floor == 5
            await store.trim(run, 99)
            await store.trim("missing", 1)
            head = await store.head(run)
            assert (head.floor, head.head) == (6, 6)
            assert await store.check() == []
            assert span(await store.append(WORKSPACE, run, logs(1))) == (7, 7)
            shown = await document(store, run)
            assert (shown["passed"], shown["logs"]) == (1, ["line 1"])
            assert await store.check() == []

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            ("DELETE FROM event WHERE run = 'RUN-1' AND seq = 2", "Run RUN-1: its events should be 1 to 4, and 3"),
            ("DELETE FROM event WHERE run = 'RUN-1' AND seq = 1", "Run RUN-1: its events should be 1 to 4, and 3"),
            ("DELETE FROM event WHERE run = 'RUN-1'", "Run RUN-1: its events should be 1 to 4, and none"),
            ("UPDATE event SET seq = 0 WHERE run = 'RUN-1' AND seq = 2", "Run RUN-1: its events should be 1 to 4"),
            ("UPDATE run SET head = 5 WHERE id = 'RUN-1'", "Run RUN-1: its events should be 1 to 5"),
            ("UPDATE run SET head = 3 WHERE id = 'RUN-1'", "Run RUN-1: its events should be 1 to 3"),
            ("UPDATE run SET floor = 1 WHERE id = 'RUN-1'", "Run RUN-1: its events should be 2 to 4"),
            ("UPDATE run SET status = 'failed' WHERE id = 'RUN-1'", "Run RUN-1 is failed, and its last event"),
            ("UPDATE run SET status = 'running' WHERE id = 'RUN-2'", "Run RUN-2 is running, and its last event"),
            ("UPDATE run SET counted_passed = 7 WHERE id = 'RUN-1'", "Run RUN-1: its counts"),
            ("DELETE FROM result", "Run RUN-1: its counts"),
            ("INSERT INTO event (run, seq, at, type, json) VALUES ('gone', 1, 0, 'log', '{}')", "Run gone is gone"),
            ("INSERT INTO field (run, name, json) VALUES ('gone', 'a', '1')", "rows in the table field"),
            ("INSERT INTO result (run, test, place, json) VALUES ('gone', 'a', 1, '{}')", "rows in the table result"),
        ],
    )
    async def test_a_check_finds_damage(self, url: str, damage: str, words: str) -> None:
        async with opened(url) as store:
            run, ended = await make_run(store), await make_run(store)
            await store.append(WORKSPACE, run, logs(3) + some(result("a", "passed")))
            await store.append(WORKSPACE, ended, some({"type": "done", "status": "completed"}))
            assert await store.check() == []
            rows(url, damage)
            (sentence,) = await store.check()
            assert sentence.startswith(words) or words in sentence

    # The end of silent runs

    async def test_silence_is_counted_from_the_last_that_was_heard(self, url: str) -> None:
        clock = Clock()
        async with opened(url, clock) as store:
            for id in ("appends", "volatile", "alive", "silent", "ended"):
                await make_run(store, id)
            await make_run(store, "foreign", OTHER)
            await store.append(WORKSPACE, "ended", some({"type": "done", "status": "completed"}))
            clock.now += 100
            await store.append(WORKSPACE, "appends", logs(1))
            await store.append(WORKSPACE, "volatile", some({"type": "frame"}))
            await store.hear(WORKSPACE, "alive")
            assert await store.overdue(START) == []
            assert sorted(await store.overdue(START + 100)) == [(WORKSPACE, "silent"), (OTHER, "foreign")]
            clock.now += 5
            await store.hear(WORKSPACE, "silent")
            late = {run for _, run in await store.overdue(START + 105)}
            assert late == {"appends", "volatile", "alive", "foreign"}
            with pytest.raises(NotFound):
                await store.hear(OTHER, "silent")

    async def test_a_run_is_ended_for_silence_only_while_it_is_silent(self, url: str) -> None:
        """It was heard of between the look and the end, or another instance was first."""
        clock = Clock()
        async with opened(url, clock) as store:
            run = await make_run(store)
            done = some({"type": "done", "status": "interrupted"})
            with pytest.raises(Conflict):
                await store.append(WORKSPACE, run, done, silent_since=START)
            assert (await store.head(run)).head == 0
            with held(store):
                work = [store.append(WORKSPACE, run, done, silent_since=START + 1) for _ in range(2)]
                tasks = [asyncio.ensure_future(outcome(one)) for one in work]
            first, second = await asyncio.gather(*tasks)
            assert (span(first), second) == ((1, 1), Conflict)

    async def test_an_outage_is_credited_to_running_runs(self, url: str) -> None:
        """Caught: a credit that reaches into the future; a credit for every instance that comes back; none at all."""
        clock = Clock()
        async with opened(url, clock) as store, opened(url, clock) as other:
            await make_run(store, "long silent")
            await make_run(store, "ended")
            await store.append(WORKSPACE, "ended", some({"type": "done", "status": "completed"}))
            assert await store.beat(50) == 0, "nobody has ever said that he lives"
            clock.now += 50
            assert await store.beat(50) == 0
            clock.now += 20
            await make_run(store, "just heard")
            clock.now += 31
            assert (await store.beat(50), await other.beat(50)) == (51, 0)
            assert await store.overdue(START + 51) == []
            assert await store.overdue(START + 52) == [(WORKSPACE, "long silent")]
            assert await store.overdue(clock.now) == [(WORKSPACE, "long silent")]
            assert len(await store.overdue(clock.now + 1)) == 2, "and no further than now"
            clock.now -= 1000
            assert await store.beat(50) == 0, "a clock that was set back is no outage"

    async def test_trouble_is_none_while_all_is_well_and_trying_leaves_nothing(self, url: str) -> None:
        async with opened(url) as store:
            assert [await store.trouble() for _ in range(3)] == [None, None, None]
            assert rows(url, "SELECT COUNT(*) FROM counter") == [(0,)]


OF_A_RUN = ("event", "result", "field", "key")


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    """What a connection of the test's own answers; its change is committed."""
    database = open_database(url)
    try:
        cursor = execute(database, sql)
        return list(cursor.fetchall()) if cursor.description else []
    finally:
        database.close_all()
