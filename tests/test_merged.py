"""Several runs on one connection: every event of each, once and in order, with ids that hold all positions.

Where a test says "caught", that mutant was tried and failed it.
"""

import asyncio
import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentri_events.dialect import StreamDialect
from sentri_events.errors import NotFound, Unavailable
from sentri_events.hub import Hub
from sentri_events.merge import Merge, follow_all
from sentri_events.server import open_store
from sentri_events.settings import Settings
from sentri_events.sse import Parser
from sentri_events.viewer import Viewer
from tests.bridge import WORKSPACE, draft, hubs, make_run, publish, until
from tests.raw import HEARTBEAT, Connection, Head, Stream, ask, data, id_of, lines, request
from tests.server_process import ServerProcess

PATH = "/api/v1/events"
NDJSON = {"Content-Type": "application/x-ndjson"}
DONE = {"type": "done", "status": "completed"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the whole file; what it logs is judged at the end."""
    process = ServerProcess(tmp_path_factory.mktemp("merged"), "--heartbeat", "0.2")
    try:
        yield process.start()
        log = process.log.read_text()
        assert "Traceback" not in log, log
        assert " ERROR " not in log, log
    finally:
        process.close()


def make(server: ServerProcess, *events: dict[str, Any]) -> tuple[str, str]:
    """A new run with these events, and its epoch."""
    run = server.make_run()
    if events:
        post(server, run, *events)
    page = ask(server.port, "GET", f"/api/v1/runs/{run}/events", headers={"Accept": "application/json"})
    return run, page.json["epoch"]


def post(server: ServerProcess, run: str, *events: dict[str, Any]) -> None:
    answer = ask(server.port, "POST", f"/api/v1/runs/{run}/events", lines(events), NDJSON)
    assert answer.status in (201, 202), answer


def log(message: str) -> dict[str, Any]:
    return {"type": "log", "message": message}


def of(*runs: str, **options: str) -> str:
    return "&".join([*(f"run={run}" for run in runs), *(f"{name}={value}" for name, value in options.items())])


def merged(server: ServerProcess, *runs: str, position: str = "", version: str = "1.1", **options: str) -> Stream:
    headers = {"Last-Event-ID": position} if position else None
    return Stream(server.port, "", of(*runs, **options), headers, version, path=PATH)


def block(event: dict[str, Any], run: str, id: str | None = None, name: str | None = None) -> bytes:
    """The block that an event must be: the protocol's words, not the server's code."""
    text = json.dumps({**event, "_run": run}, separators=(",", ":"))
    head = (f"id: {id}\n" if id else "") + (f"event: {name}\n" if name else "")
    return f"{head}data: {text}\n\n".encode()


# Framing


def test_a_new_viewer_to_the_byte(server: ServerProcess) -> None:
    """Caught: an id of one run alone; a volatile event with an id; an end at the first `done`; no `_run`."""
    (a, of_a), (b, of_b) = make(server, log("one")), make(server)
    documents = [ask(server.port, "GET", f"/api/v1/runs/{run}").json for run in (a, b)]
    with Connection(server.port) as alone, merged(server, a, b) as viewer:
        alone.send(request("GET", f"/api/v1/runs/{a}/events"))
        own = {"date": "", "x-request-id": ""}
        assert {**viewer.head.headers, **own} == {**Head.read(alone).headers, **own}
        assert viewer.block() == block({"type": "snapshot", "run": documents[0]}, a, f"{of_a}.1~")
        assert viewer.block() == block({"type": "snapshot", "run": documents[1]}, b, f"{of_a}.1~{of_b}.0")
        post(server, b, log("two"))
        assert viewer.block() == block(log("two"), b, f"{of_a}.1~{of_b}.1")
        post(server, a, {"type": "frame", "data": "x"})
        assert viewer.block() == block({"type": "frame", "data": "x"}, a)
        post(server, a, log("three"), DONE)
        assert viewer.blocks(2) == [
            block(log("three"), a, f"{of_a}.2~{of_b}.1"),
            block(DONE, a, f"{of_a}.3~{of_b}.1"),
        ]
        assert viewer.next() == HEARTBEAT
        post(server, b, log("four"), DONE)
        assert viewer.rest() == [
            block(log("four"), b, f"{of_a}.3~{of_b}.2"),
            block(DONE, b, f"{of_a}.3~{of_b}.3"),
        ]
    assert ask(server.port, "GET", f"{PATH}?{of(a, b)}", headers={"Last-Event-ID": f"{of_a}.3~{of_b}.3"}).status == 204


def test_one_run_and_http_1_0(server: ServerProcess) -> None:
    run, epoch = make(server, log("one"))
    with merged(server, run, position=f"{epoch}.0", version="1.0") as viewer:
        assert "transfer-encoding" not in viewer.head.headers
        assert viewer.block() == block(log("one"), run, f"{epoch}.1")
        post(server, run, DONE)
        assert viewer.rest() == [block(DONE, run, f"{epoch}.2")]


def test_options(server: ServerProcess) -> None:
    """Those of a run's own stream. Caught: a position that does not move with events that are not shown."""
    (a, of_a), (b, of_b) = make(server, log("one")), make(server)
    with merged(server, a, b, snapshot="0", named="1", types="result") as viewer:
        assert viewer.blocks(2) == [f"id: {of_a}.1~\n\n".encode(), f"id: {of_a}.1~{of_b}.0\n\n".encode()]
        result = {"type": "result", "result": {"testId": "t", "status": "passed"}}
        post(server, b, log("hidden"), result)
        assert viewer.block() == block(result, b, f"{of_a}.1~{of_b}.2", "result")
        post(server, a, DONE)
        assert viewer.block() == block(DONE, a, f"{of_a}.2~{of_b}.2", "done")
    with merged(server, a, b, meta="1", logs="0") as viewer:
        snapshot = data(viewer.block())
        assert (snapshot["_run"], snapshot["run"]["logs"], snapshot["run"]["logsTruncated"]) == (a, [], True)
        done = data(viewer.block())
        assert (done["_run"], done["_seq"], "_at" in done) == (a, 2, True)
        assert data(viewer.block())["_run"] == b
        post(server, b, log("live"))
        assert data(viewer.block())["_seq"] == 3


def test_what_is_refused(server: ServerProcess) -> None:
    """Caught: one missing run of several let through; fifty-one runs; a run given twice, of which only one is told."""
    run, _ = make(server)
    for query in (of("none"), of(run, "none"), of("a%20b", run)):
        for method in ("GET", "HEAD"):
            answer = ask(server.port, method, f"{PATH}?{query}")
            assert (answer.status, answer.body) == (404, b'{"error":"not found"}' if method == "GET" else b"")
    for query in ("", of(run, run), of(*[f"r{n}" for n in range(51)]), of(run, named="x"), of(run, logs="x")):
        answer = ask(server.port, "GET", f"{PATH}?{query}")
        assert (answer.status, bool(answer.error)) == (400, True)
    with Connection(server.port) as connection:
        connection.send(request("HEAD", f"{PATH}?{of(run)}"))
        assert Head.read(connection).headers["content-type"] == "text/event-stream"


# Positions


def test_from_every_pair_of_positions_exactly_the_rest(server: ServerProcess) -> None:
    """P3. Caught: positions in another order than the query's; a bare one that is not taken."""
    (a, of_a), (b, of_b) = (make(server, log("a1"), log("a2")), make(server, log("b1"), DONE))
    whole = {a: [log("a1"), log("a2")], b: [log("b1"), DONE]}
    for in_a in range(3):
        for in_b in range(3):
            for text in (f"{of_a}.{in_a}~{of_b}.{in_b}", f"{in_a}~{in_b}"):
                with merged(server, a, b, lastEventId=text) as viewer:
                    expected = [(a, event) for event in whole[a][in_a:]] + [(b, event) for event in whole[b][in_b:]]
                    told = [data(viewer.block()) for _ in expected]
                    told.sort(key=lambda event: event["_run"] == b)  # each in order; which of the runs is first is open
                    assert [(event.pop("_run"), event) for event in told] == expected
                    assert viewer.connection.socket.gettimeout() is not None
    post(server, a, DONE)
    assert ask(server.port, "GET", f"{PATH}?{of(a, b, lastEventId='3~2')}").status == 204
    with merged(server, b, a, position="2~2", lastEventId="0~0") as viewer:
        assert viewer.rest() == [block(DONE, a, f"2~{of_a}.3")]


def test_a_position_of_no_use_is_a_reset_of_that_run(server: ServerProcess) -> None:
    """P4. Caught: a reset that names no run; the others begun anew with it."""
    (a, of_a), (b, of_b) = make(server, log("one")), make(server, log("two"))
    for text, reason in (("zzzzzz.1", "epoch"), ("9", "future"), ("x", "malformed")):
        with merged(server, a, b, lastEventId=f"{of_a}.0~{text}") as viewer:
            before = "" if text == "x" else text
            one, reset, snapshot = sorted(viewer.blocks(3), key=lambda told: data(told)["_run"] == b)
            assert one in [block(log("one"), a, f"{of_a}.1~{place}") for place in (before, f"{of_b}.1")]
            assert reset == block({"type": "reset", "reason": reason}, b)
            assert id_of(snapshot) in [f"{of_a}.{seq}~{of_b}.1" for seq in (0, 1)]
            assert data(snapshot)["run"]["id"] == b
    for text in (f"{of_a}.1", f"{of_a}.1~{of_b}.1~x.1"):
        with merged(server, a, b, lastEventId=text) as viewer:
            told = [data(viewer.block()) for _ in range(4)]
            assert [(event["type"], event["_run"]) for event in told] == [
                ("reset", a), ("snapshot", a), ("reset", b), ("snapshot", b)
            ]  # fmt: skip
    with merged(server, a, b, lastEventId=f"{of_a}.1~") as viewer:
        assert data(viewer.block())["run"]["id"] == b


def test_any_number_of_cuts_loses_and_repeats_nothing(server: ServerProcess) -> None:
    """P5, cut after any byte, and by kill -9 of the server, while three runs go on. Caught: a position that is not
    moved with its event; positions in another order than the query's."""
    chance = random.Random(5)
    runs = [make(server)[0] for _ in range(3)]
    seen: dict[str, list[int]] = {run: [] for run in runs}
    position = "0~0~0"
    sent = 0
    ended = False
    for _ in range(200):
        if sent in (15, 30):
            server.restart()
        if sent < 40:
            for run in chance.sample(runs, 2):
                post(server, run, *({"type": "x", "pad": "é" * chance.randrange(90)} for _ in range(3)))
            sent += 1
        elif sent == 40:
            sent += 1
            for run in runs:
                post(server, run, DONE)
        parser = Parser()
        with Connection(server.port) as connection:
            connection.send(request("GET", f"{PATH}?{of(*runs, meta='1')}", {"Last-Event-ID": position}, version="1.0"))
            head = Head.read(connection)
            if head.status == 204:
                ended = True
                break
            left = chance.randrange(3000) if sent < 41 else 1 << 20
            while left > 0:
                connection.socket.settimeout(0.02 if sent < 41 else 20)
                try:
                    text = connection.some()[:left]
                except TimeoutError:
                    break
                if not text:
                    break
                left -= len(text)
                for message in parser.feed(text):
                    event = json.loads(message.data)
                    seen[event["_run"]].append(event["_seq"])
        position = parser.last_event_id or position
    assert ended, "it did not come to an end"
    heads = [len(server.history(run)) for run in runs]
    assert [seen[run] for run in runs] == [list(range(1, head + 1)) for head in heads]


# The end


def test_the_server_says_farewell(tmp_path: Path) -> None:
    """And a stream that is begun while it stops, too. Caught: the connection's own viewer not enlisted."""
    server = ServerProcess(tmp_path)
    try:
        server.start()
        (a, of_a), (b, of_b) = make(server, log("one")), make(server)
        with merged(server, a, b) as viewer:
            viewer.blocks(2)
            assert server.stop() == 0
            (farewell,) = viewer.rest()
            assert farewell.startswith(b"retry: ")
        server.start()
        with merged(server, a, b, position=f"{of_a}.1~{of_b}.0") as viewer:
            post(server, b, log("two"))
            assert viewer.block() == block(log("two"), b, f"{of_a}.1~{of_b}.1")
    finally:
        server.close()


def test_a_run_that_is_pruned_ends_the_stream(server: ServerProcess) -> None:
    """Its viewer is to come back and be told; so come all. Caught: a run without `done` that counts as ended."""
    (a, _), (b, _) = make(server, DONE), make(server, log("one"))
    trimmed, _ = make(server, log("one"), DONE)

    async def prune(run: str, floor: int) -> None:
        async with open_store(Settings(database=f"sqlite:///{server.database}")) as store:
            await store.trim(run, floor)

    asyncio.run(prune(trimmed, 2))
    with merged(server, a, b, trimmed) as viewer:
        told = [data(text) for text in viewer.rest()]
        assert [(event["type"], event["_run"]) for event in told] == [
            ("snapshot", a), ("done", a), ("snapshot", b), ("snapshot", trimmed)
        ]  # fmt: skip


# Slow viewers


class Slow:
    """A sink that takes what it is told to; the stream's bytes are parsed. `viewer` is the connection's own."""

    def __init__(self) -> None:
        self.takes = 1 << 60
        self.events: list[dict[str, Any]] = []
        self.ids: list[str | None] = []
        self.finished = False
        self.largest = 0
        self.viewer: Viewer | None = None
        self._parser = Parser()

    def start(self, viewer: Viewer) -> bool:
        self.viewer = viewer
        return self.takes > 0

    def write(self, text: bytes) -> bool:
        assert self.takes > 0, "it was written to although it takes no more"
        assert not self.finished
        self.takes -= 1
        self.largest = max(self.largest, len(text))
        for message in self._parser.feed(text):
            self.events.append(json.loads(message.data))
            self.ids.append(message.id)
        return self.takes > 0

    def finish(self, last: bytes = b"") -> None:
        assert not self.finished
        self.finished = True

    def beat(self) -> bool:
        return self.takes > 0

    def take(self, pieces: int) -> None:
        assert self.viewer is not None
        self.takes = pieces
        self.viewer.ready()


async def follow(hub: Hub, slow: Slow, *runs: str, position: str = "") -> bool:
    bare = StreamDialect(chunked=False, meta=True)
    return await follow_all(hub, WORKSPACE, runs, position, lambda: slow, bare, logs=10, snapshot=True)


async def test_a_slow_reader_is_behind_with_all_and_gets_all(tmp_path: Path) -> None:
    """P10. What is kept for it is bounded, and every run has its turn. Caught: runs that are told that there is room
    while they wait for the store; one run that goes first each time; what was kept left out; a heart for each run."""
    async with hubs(tmp_path, 1) as (hub,):
        runs = [await make_run(hub, f"RUN-{n}") for n in range(4)]
        slow = Slow()
        assert await follow(hub, slow, *runs, position="0~0~0~0")
        slow.takes = 1
        for _ in range(60):
            for run in runs:
                await hub.publish(WORKSPACE, run, draft("x", pad="p" * 20_000))
        assert slow.takes == 0
        read, go_on = hub.store.after, asyncio.Event()

        async def late(*arguments: Any) -> Any:
            await go_on.wait()
            return await read(*arguments)

        hub.store.after = late  # type: ignore[assignment,method-assign]
        assert slow.viewer is not None
        assert hub.viewers == 1
        merge = slow.viewer.channel
        assert isinstance(merge, Merge)
        for _ in range(20):
            slow.take(1)
        go_on.set()
        turns: list[int] = []
        while len(slow.events) < 240:
            slow.take(1)
            assert len(merge._kept) <= len(runs)
            await asyncio.sleep(0.001)
            if len(slow.events) > 100 and not turns:
                turns = [sum(event["_run"] == run for event in slow.events) for run in runs]
        assert min(turns) > 15, turns
        for run in runs:
            assert [event["_seq"] for event in slow.events if event["_run"] == run] == list(range(1, 61))
        slow.take(1 << 60)
        for run in runs:
            await hub.publish(WORKSPACE, run, draft("done", status="completed"))
        await until(lambda: slow.finished, "the stream ends")
        assert slow.ids[-1] is not None
        assert hub.viewers == 0
        assert [channel.viewers for channel in hub._channels.values()] == [0] * len(hub._channels)


async def test_a_snapshot_waits_until_the_one_before_is_sent(tmp_path: Path) -> None:
    """P10: fifty snapshots are never in memory for one viewer. Caught: `free` not waited for."""
    async with hubs(tmp_path, 1) as (hub,):
        runs = [await make_run(hub, f"RUN-{n}") for n in range(3)]
        slow = Slow()
        slow.takes = 1
        task = asyncio.create_task(follow(hub, slow, *runs))
        await until(lambda: slow.events, "the first snapshot is sent")
        for n in range(5):
            await publish(hub, runs[0], n)
        assert [event["type"] for event in slow.events] == ["snapshot"]
        assert list(hub._channels) == runs[:1]
        slow.take(1 << 60)
        assert await task
        assert [event["_run"] for event in slow.events if event["type"] == "snapshot"] == runs
        assert [event["_seq"] for event in slow.events if event["type"] == "log"] == [1, 2, 3, 4, 5]


async def test_a_client_that_leaves_while_its_runs_are_begun(tmp_path: Path) -> None:
    """P14: nothing is left of it. Caught: a wait that nobody ends; the runs that were begun kept."""
    async with hubs(tmp_path, 1) as (hub,):
        runs = [await make_run(hub, f"RUN-{n}") for n in range(3)]
        slow = Slow()
        slow.takes = 1
        task = asyncio.create_task(follow(hub, slow, *runs))
        await until(lambda: slow.events, "the first snapshot is sent")
        assert slow.viewer is not None
        slow.viewer.leave()
        assert await task
        assert hub.viewers == 0
        assert [channel.viewers for channel in hub._channels.values()] == [0]
        assert len(slow.events) == 1


async def test_a_store_that_goes_away_while_runs_are_begun(tmp_path: Path) -> None:
    """Before the first byte it is an error, after it the end: whoever comes back has its positions. Caught: an error
    after the headers; a stream that stays open without some of its runs."""
    async with hubs(tmp_path, 1) as (hub,):
        snapshot = hub.store.snapshot
        for number, error in ((1, Unavailable("away")), (1, NotFound()), (0, Unavailable("away"))):
            runs = [await make_run(hub, f"RUN-{n}-{error}-{number}".replace(" ", "-")) for n in range(2)]

            async def fail(run: str, *rest: Any, failing: str = runs[number], error: Exception = error) -> Any:
                if run == failing:
                    raise error
                return await snapshot(run, *rest)

            hub.store.snapshot = fail  # type: ignore[assignment,method-assign]
            slow = Slow()
            if number == 0:
                with pytest.raises(Unavailable):
                    await follow(hub, slow, *runs)
                assert (slow.events, slow.finished) == ([], False)
            else:
                assert await follow(hub, slow, *runs)
                assert ([event["_run"] for event in slow.events], slow.finished) == (runs[:1], True)
            assert hub.viewers == 0


def test_a_reader_that_reads_nothing_harms_nobody(server: ServerProcess) -> None:
    """P10 on real sockets: the slow one gets everything when it wakes."""
    runs = [make(server)[0] for _ in range(2)]
    with socket.socket() as slow, merged(server, *runs, position="0~0", meta="1") as fast:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(30)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(request("GET", f"{PATH}?{of(*runs, lastEventId='0~0', meta='1')}", version="1.0"))
        for _ in range(40):
            for run in runs:
                post(server, run, {"type": "x", "pad": "p" * 100_000})
                assert data(fast.block())["_run"] == run
        for run in runs:
            post(server, run, DONE)
        parser, seen, text = Parser(), [], b""
        while b"\r\n\r\n" not in text:
            text += slow.recv(1 << 16)
        text = text.partition(b"\r\n\r\n")[2]
        while True:
            seen += [json.loads(message.data) for message in parser.feed(text)]
            text = slow.recv(1 << 16)
            if not text:
                break
        for run in runs:
            assert [event["_seq"] for event in seen if event["_run"] == run] == list(range(1, 42))
