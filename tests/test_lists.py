"""The live list: the newest runs, then every change. Over HTTP to the byte, and between hubs, whatever a bell does.

Where a test says "caught", that mutant was tried and failed it.
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentri_events import listing, lists
from sentri_events.errors import Unavailable
from sentri_events.event import Event
from sentri_events.hub import Hub
from sentri_events.listing import Page
from sentri_events.queue_sink import EventsDialect
from sentri_events.viewer import Viewer
from tests.bridge import WORKSPACE, BellBackend, draft, hubs, make_run, publish, until
from tests.raw import Connection, Head, Stream, ask, data, lines, request
from tests.server_process import ServerProcess

WHOLE = "/api/v1/workspace/events"
NDJSON = {"Content-Type": "application/x-ndjson"}
DONE = {"type": "done", "status": "completed"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the whole file; what it logs is judged at the end."""
    process = ServerProcess(tmp_path_factory.mktemp("lists"), "--heartbeat", "0.2")
    try:
        yield process.start()
        log = process.log.read_text()
        assert "Traceback" not in log, log
        assert " ERROR " not in log, log
    finally:
        process.close()


def of_project(project: str) -> str:
    return f"/api/v1/projects/{project}/events"


def post(server: ServerProcess, run: str, *events: dict[str, Any]) -> None:
    answer = ask(server.port, "POST", f"/api/v1/runs/{run}/events", lines(events), NDJSON)
    assert answer.status == 201, answer


def passed(test: str) -> dict[str, Any]:
    return {"type": "result", "result": {"testId": test, "status": "passed"}}


def listed(server: ServerProcess, project: str) -> list[dict[str, Any]]:
    return list(ask(server.port, "GET", f"/api/v1/projects/{project}/runs").json["data"])


# Over HTTP


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, on which nothing has just happened."""
    process = ServerProcess(tmp_path, "--heartbeat", "0.2")
    try:
        yield process.start()
    finally:
        process.close()


@pytest.mark.parametrize("path", [WHOLE, "/api/v1/projects/web/events"])
def test_a_list_to_the_byte(fresh: ServerProcess, path: str) -> None:
    """Caught: a `runs` event with an id; a summary that is not that of `GET /runs`; an end told as progress."""
    run = fresh.make_run("web", name="nightly")
    page = ask(fresh.port, "GET", "/api/v1/runs").body
    with Connection(fresh.port) as viewer:
        viewer.send(request("GET", path, {"X-Request-Id": "mine"}))
        head = Head.read(viewer)
        assert head.line == "HTTP/1.1 200 OK"
        assert {**head.headers, "date": ""} == {
            "content-type": "text/event-stream",
            "cache-control": "no-cache",
            "connection": "keep-alive",
            "x-accel-buffering": "no",
            "vary": "Accept",
            "transfer-encoding": "chunked",
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
            "referrer-policy": "no-referrer",
            "x-request-id": "mine",
            "date": "",
        }
        first = b'retry: 2000\ndata: {"type":"runs",%b\n\n' % page[1:]
        chunk = b"%x\r\n%b\r\n" % (len(first), first)
        assert viewer.exactly(len(chunk)) == chunk
    with Stream(fresh.port, "", path=path) as stream:
        stream.block()
        for event, kind in ((passed("a"), "run.progress"), (DONE, "run.done")):
            post(fresh, run, event)
            (summary,) = listed(fresh, "web")
            text = json.dumps({"type": kind, "run": summary}, separators=(",", ":"))
            assert stream.block() == f"data: {text}\n\n".encode()
        new = fresh.make_run("web")
        assert data(stream.block()) == {"type": "run.started", "run": listed(fresh, "web")[0]}
        post(fresh, new, DONE)
        assert data(stream.block())["run"]["status"] == "completed"
    assert stream.heartbeats > 0


def test_a_project_has_a_list_of_its_own(server: ServerProcess) -> None:
    """Caught: changes told to the lists of all projects."""
    mine, other = server.make_run("own"), server.make_run("elsewhere")
    with Stream(server.port, "", path=of_project("own")) as own, Stream(server.port, "", path=WHOLE) as whole:
        assert [run["id"] for run in data(own.block())["data"]] == [mine]
        whole.block()
        for run in (other, mine):
            post(server, run, DONE)
            while data(whole.block())["run"] != listed(server, "own" if run == mine else "elsewhere")[0]:
                pass  # it may be told once more of what it began with
        told = data(own.block())
        assert (told["type"], told["run"]["id"]) == ("run.done", mine)


def test_options_and_length(server: ServerProcess) -> None:
    """The options of a stream, and the length of a list. Caught: no `next`, with which `GET /runs` goes on."""
    runs = [server.make_run("long") for _ in range(3)]
    with Stream(server.port, "", "limit=2&named=1", path=of_project("long"), version="1.0") as stream:
        assert "transfer-encoding" not in stream.head.headers
        first = stream.block()
        assert first.startswith(b"event: runs\n")
        page = data(first)
        assert [run["id"] for run in page["data"]] == runs[:0:-1]
        rest = ask(server.port, "GET", f"/api/v1/projects/long/runs?limit=2&cursor={page['next']}").json
        assert ([run["id"] for run in rest["data"]], rest["next"]) == (runs[:1], None)
        post(server, runs[0], passed("a"))
        assert stream.block().startswith(b"event: run.")
    with Stream(server.port, "", "types=run.done", path=of_project("long")) as stream:
        assert data(stream.block())["type"] == "runs"
        post(server, runs[1], passed("a"))
        post(server, runs[2], DONE)
        post(server, runs[1], DONE)
        done = [data(stream.block()) for _ in range(2)]
        assert [event["type"] for event in done] == ["run.done"] * 2


def test_what_is_refused(server: ServerProcess) -> None:
    """And `HEAD`, which answers the headers alone. Caught: a project that is not there, as an empty list."""
    for path in (of_project("none"), of_project("a%20b")):
        for method in ("GET", "HEAD"):
            answer = ask(server.port, method, path)
            assert (answer.status, answer.body) == (404, b'{"error":"not found"}' if method == "GET" else b"")
    for query in ("limit=x", "named=2", "types=", "types=a,%25"):
        answer = ask(server.port, "GET", f"{WHOLE}?{query}")
        assert (answer.status, bool(answer.error)) == (400, True)
    assert ask(server.port, "POST", WHOLE).headers["allow"] == "GET, HEAD"
    server.make_run("head")
    for path in (WHOLE, of_project("head")):
        with Connection(server.port) as connection:
            connection.send(request("HEAD", path))
            head = Head.read(connection)
            assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")


def test_a_list_ends_with_the_server_and_begins_anew(fresh: ServerProcess) -> None:
    """Caught: lists left out of what is sent away at the end."""
    run = fresh.make_run("web")
    with Stream(fresh.port, "", path=WHOLE) as stream:
        stream.block()
        assert fresh.stop() == 0
        (farewell,) = stream.rest()
        assert farewell.startswith(b"retry: ")
    fresh.start()
    with Stream(fresh.port, "", path=WHOLE) as stream:
        assert [known["id"] for known in data(stream.block())["data"]] == [run]
        post(fresh, run, DONE)
        assert data(stream.block())["type"] == "run.done"


# Between hubs


class Watcher:
    """A viewer of a list that takes what it is told to. `runs` is what it would show, as a page does; `told` is what
    came after its beginning."""

    def __init__(self) -> None:
        self.takes = True
        self.finished = False
        self.runs: dict[str, dict[str, Any]] = {}
        self.told: list[tuple[str, str]] = []
        self.viewer: Viewer | None = None

    async def follow(self, hub: Hub, project: str | None = None, limit: int = 50) -> "Watcher":
        await hub.follow_runs(WORKSPACE, project, limit, self._opened, EventsDialect())
        return self

    def _opened(self, page: Page) -> "Watcher":
        self.runs = {run["id"]: run for run in json.loads(page.json)["data"]}
        return self

    def start(self, viewer: Viewer) -> bool:
        self.viewer = viewer
        return self.takes

    def write(self, events: list[Event]) -> bool:
        assert self.takes, "it was written to although it takes no more"
        for event in events:
            said = json.loads(event.json)
            assert said["type"] == event.type
            self.told.append((said["type"], said["run"]["id"]))
            before = self.runs.get(said["run"]["id"], {"passed": 0, "status": "running"})
            assert before["passed"] <= said["run"]["passed"], "an older state came after a newer one"
            assert before["status"] in ("running", said["run"]["status"]), "an end was taken back"
            self.runs[said["run"]["id"]] = said["run"]
        return self.takes

    def finish(self, last: bytes = b"") -> None:
        self.finished = True

    def beat(self) -> bool:
        return self.takes

    def wake(self) -> None:
        """It takes again."""
        assert self.viewer is not None
        self.takes = True
        self.viewer.ready()

    def shows(self, run: str, status: str = "running", count: int = 0) -> Callable[[], bool]:
        return lambda: run in self.runs and (self.runs[run]["status"], self.runs[run]["passed"]) == (status, count)


def result(number: int) -> Any:
    return draft("result", result={"testId": f"t{number}", "status": "passed"})


async def end(hub: Hub, run: str) -> None:
    await hub.publish(WORKSPACE, run, draft("done", status="completed"))


async def test_another_instance_is_right_although_no_bell_rings(tmp_path: Path) -> None:
    """The law: the store is the truth. Caught: lists left out of `_watch`."""
    async with hubs(tmp_path, 2, spoil=lambda event: []) as (near, far):
        old = await make_run(near, "RUN-old")
        watcher = await Watcher().follow(far)
        assert watcher.shows(old)()
        await make_run(near, "RUN-new")
        await until(watcher.shows("RUN-new"), "a new run is shown")
        await near.publish(WORKSPACE, old, result(1))
        await until(watcher.shows(old, count=1), "progress is shown")
        await end(near, old)
        await end(near, "RUN-new")
        await until(watcher.shows(old, "completed", 1), "an end is shown")
        await until(watcher.shows("RUN-new", "completed"), "another end is shown")


async def test_a_bell_makes_another_instance_look_at_once(tmp_path: Path) -> None:
    """And rings once a second at most. Caught: a commit that rings nowhere else; a ring for each; a workspace whose
    bells are heard for ever."""
    async with hubs(tmp_path, 2, heartbeat=0.2) as (near, far):
        near._lookout.stop()
        far._lookout.stop()
        rings, ring = [], near.backend.ring

        def count(workspace: str) -> None:
            rings.append(workspace)
            ring(workspace)

        near.backend.ring = count  # type: ignore[method-assign]
        watcher = await Watcher().follow(far)
        run = await make_run(near)
        await until(watcher.shows(run), "a new run is shown")
        for number in range(20):
            await near.publish(WORKSPACE, run, result(number))
        assert rings == [WORKSPACE]
        await near._watch()
        await near.publish(WORKSPACE, run, result(20))
        assert rings == [WORKSPACE] * 2
        await until(watcher.shows(run, count=21), "progress is shown")
        assert isinstance(far.backend, BellBackend)
        assert far.backend.listening == {WORKSPACE}
        assert watcher.viewer is not None
        watcher.viewer.leave()
        await until(lambda: far.backend.listening == set(), "nobody listens any more")  # type: ignore[attr-defined]


async def test_a_single_instance_looks_when_something_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not again for a second after it found something, whatever comes meanwhile: progress is told once a second.

    Caught: no rest after a look; a look for every commit."""
    monkeypatch.setattr(lists, "REST", 3600.0)
    async with hubs(tmp_path, 1) as (hub,):
        hub._lookout.stop()  # a single instance has none
        run = await make_run(hub)
        watcher = await Watcher().follow(hub)
        looks = _count_looks(hub)
        await asyncio.gather(*(publish(hub, run, n) for n in range(20)))
        await until(lambda: watcher.told, "progress is told")
        for number in range(20):
            await hub.publish(WORKSPACE, run, result(number))
        assert (watcher.told, looks()) == ([("run.progress", run)], 1)
    async with hubs(tmp_path, 1) as (hub,):
        hub._lookout.stop()
        watcher = await Watcher().follow(hub)
        looks = _count_looks(hub)
        await hub.create_run("another", "theirs", id="RUN-B", make_project=True)
        await hub.publish("another", "RUN-B", result(1))
        await hub.publish(WORKSPACE, run, draft("frame"))
        assert (watcher.told, looks()) == ([], 0)
        await make_run(hub, "RUN-C")
        await until(watcher.shows("RUN-C"), "a new run is shown")


def _count_looks(hub: Hub) -> Callable[[], int]:
    looks = []
    changes = hub.store.changes

    async def count(seen: Any) -> Any:
        looks.append(seen)
        return await changes(seen)

    hub.store.changes = count  # type: ignore[method-assign]
    return lambda: len(looks)


async def test_a_page_is_not_read_while_a_look_is(tmp_path: Path) -> None:
    """P2 for lists: what is told after a page must be newer than the page. Caught: no lock around the page."""
    async with hubs(tmp_path, 1) as (hub,):
        hub._lookout.stop()
        run = await make_run(hub)
        await Watcher().follow(hub)
        changes, looked, go_on = hub.store.changes, asyncio.Event(), asyncio.Event()

        async def slowly(seen: Any) -> Any:
            answers = await changes(seen)
            looked.set()
            await go_on.wait()
            return answers

        hub.store.changes = slowly  # type: ignore[method-assign]
        await hub.publish(WORKSPACE, run, result(1))
        await looked.wait()
        await hub.publish(WORKSPACE, run, result(2))
        watcher = Watcher()
        task = asyncio.create_task(watcher.follow(hub))
        for _ in range(20):
            await hub.store.head(run)  # time enough for a page, if one is read
        go_on.set()
        await task
        await end(hub, run)
        await until(watcher.shows(run, "completed", 2), "it is right")


async def test_a_page_is_not_taken_if_something_was_told_since(tmp_path: Path) -> None:
    """P2 for lists: between reading a page and following. Caught: a page whose `heard` is not compared."""
    async with hubs(tmp_path, 1) as (hub,):
        hub._lookout.stop()
        run = await make_run(hub)
        await Watcher().follow(hub)
        changes, runs = hub.store.changes, hub.store.runs

        async def overtaken(*arguments: Any) -> Any:
            page = await runs(*arguments)
            hub.store.runs = runs  # type: ignore[method-assign]
            await hub.publish(WORKSPACE, run, result(1))
            answers = await changes({WORKSPACE: hub._lists._watched[WORKSPACE].seen})  # type: ignore[dict-item]

            async def at_once(seen: Any) -> Any:
                return answers

            hub.store.changes = at_once  # type: ignore[method-assign]
            return page

        hub.store.runs = overtaken  # type: ignore[assignment,method-assign]
        watcher = await Watcher().follow(hub, limit=9)
        assert watcher.shows(run, count=1)()


async def test_whenever_a_viewer_comes_it_becomes_right_and_never_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2 for lists: viewers come at any moment of what happens. Caught: runs that ended between two looks left out."""
    monkeypatch.setattr(lists, "REST", 0.0)
    chance = random.Random(7)
    async with hubs(tmp_path, 2, spoil=lambda event: []) as both:
        watchers: list[asyncio.Task[Watcher]] = []
        runs = [await make_run(both[0], f"RUN-{n}") for n in range(4)]
        for number in range(60):
            writer, reader = chance.choice(both), chance.choice(both)
            watchers.append(asyncio.create_task(Watcher().follow(reader, limit=chance.choice((50, 60)))))
            await asyncio.gather(*(writer.publish(WORKSPACE, run, result(number)) for run in chance.sample(runs, 2)))
            if number % 10 == 9:
                await end(writer, runs.pop(0))
                runs.append(await make_run(writer, f"RUN-late-{number}"))
            if number % 3 == 0:
                reader.missed()
        for run in runs:
            await end(both[0], run)
        listed = {run["id"]: run for run in (await both[0].store.runs(WORKSPACE, None, None, 50, None))[0]}
        for watcher in await asyncio.gather(*watchers):
            await until(lambda: watcher.runs == listed, "it shows what is stored")  # noqa: B023


async def test_who_is_behind_is_told_the_newest_of_each_run(tmp_path: Path) -> None:
    """Bounded memory: latest wins for each run. Caught: every change kept; a viewer who is behind written to."""
    async with hubs(tmp_path, 1) as (hub,):
        a, b = await make_run(hub, "RUN-A"), await make_run(hub, "RUN-B")
        fast, slow = await Watcher().follow(hub), await Watcher().follow(hub)
        slow.takes = False
        assert slow.viewer is not None
        slow.viewer.fell_behind()
        for number in range(1, 4):
            for run in (a, b):
                await hub.publish(WORKSPACE, run, result(number))
            await until(fast.shows(b, count=number), "the fast one is told")
        await end(hub, a)
        await until(fast.shows(a, "completed", 3), "the fast one is told of the end")
        assert slow.told == []
        slow.wake()
        assert slow.told == [("run.progress", b), ("run.done", a)]
        assert slow.runs == fast.runs
        await end(hub, b)
        await until(slow.shows(b, "completed", 3), "it is live again")
        assert not fast.finished
        assert not slow.finished


async def test_who_is_behind_by_more_than_is_kept_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caught: a bound that nobody keeps; a viewer that goes on without what was let go."""
    monkeypatch.setattr(listing, "KEPT_BYTES", 1000)
    async with hubs(tmp_path, 1) as (hub,):
        fast, slow = await Watcher().follow(hub), await Watcher().follow(hub)
        slow.takes = False
        assert slow.viewer is not None
        slow.viewer.fell_behind()
        for number in range(10):
            await make_run(hub, f"RUN-{number}")
        await until(lambda: len(fast.runs) == 10, "the fast one is told of all")
        (watched,) = hub._lists._watched.values()
        (one,) = watched.listings.values()
        await until(lambda: len(one._latest) < 4, "what is kept is bounded")
        slow.wake()
        assert (slow.told, slow.finished, hub.viewers) == ([], True, 1)


async def test_a_store_that_is_away_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is sent away. Caught: what was due forgotten; the first error remembered for all who come later."""
    monkeypatch.setattr(lists, "REST", 0.01)
    async with hubs(tmp_path, 1) as (hub,):
        hub._lookout.stop()
        failures: list[Exception] = []

        def failing(read: Any) -> Any:
            async def call(*arguments: Any) -> Any:
                if failures:
                    raise failures.pop(0)
                return await read(*arguments)

            return call

        for name in ("changes", "runs"):
            monkeypatch.setattr(hub.store, name, failing(getattr(hub.store, name)))
            failures.append(Unavailable("away"))
            with pytest.raises(Unavailable):
                await Watcher().follow(hub, limit=len(name))
            watcher = await Watcher().follow(hub, limit=len(name))
        failures += [Unavailable("away"), KeyError("a mistake")]
        await make_run(hub, "RUN-A")
        await until(watcher.shows("RUN-A"), "it is shown at last")
        assert failures == []


async def test_lists_that_nobody_watches_cost_nothing(tmp_path: Path) -> None:
    """P14. Caught: lists kept for ever."""
    async with hubs(tmp_path, 1, heartbeat=0.2) as (hub,):
        await make_run(hub)
        watchers = [await Watcher().follow(hub, project) for project in (None, "web", None)]
        assert len(hub._lists._watched[WORKSPACE].listings) == 2
        for watcher in watchers:
            assert watcher.viewer is not None
            watcher.viewer.leave()
        assert hub.viewers == 0
        await until(lambda: not hub._lists._watched, "they are let go")
