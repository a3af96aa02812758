"""The plain face for runners: against a server that misbehaves as told, against none, and against ours."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sentri_events import publisher
from sentri_events.errors import ClientError, Invalid
from sentri_events.outbox import Outbox
from sentri_events.post import Server
from sentri_events.publisher import Run
from sentri_events.wire import encode
from tests.scripted import Request, answer, scripted
from tests.server_process import ServerProcess

SOON = 0.001


def start(url: str, say: Callable[[str], None] | None = None, token: str | None = None, **times: float) -> Run:
    """A run that is not waited for, unless `times` say so."""
    return Run(Outbox(Server(url, token), encode({"projectId": "web"}), say, **{"first_delay": SOON, **times}))


async def close(run: Run, timeout: float = 10.0) -> bool:
    return await asyncio.to_thread(run.close, timeout)


class Inbox:
    """Answers as our server does; a batch that holds a `bad` event is refused whole."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []

    def __call__(self, request: Request) -> bytes:
        if request.target == "/api/v1/runs":
            return answer(201, {"id": "R"})
        if request.target == "/api/v1/runs/R/alive":
            return answer(204)
        assert request.target == "/api/v1/runs/R/events"
        batch = [json.loads(line) for line in request.body.split(b"\n")]
        if any(event.get("message") == "bad" for event in batch):
            return answer(422, {"error": "bad is not good"})
        self.batches.append(batch)
        return answer(201, {"runId": "R"})

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for batch in self.batches for event in batch]

    @property
    def brief(self) -> list[str]:
        """The message of a log, else the type."""
        return [event.get("message", event["type"]) for event in self.events]


async def test_a_run_as_it_goes_over_the_wire() -> None:
    inbox = Inbox()
    async with scripted(otherwise=inbox) as server:
        before = datetime.now(UTC)
        run = publisher.run(project="web", url=server.url + "/", name="n", total=2, token="t0k.en", branch="main")
        assert run.problem is None
        assert await asyncio.to_thread(run.wait_id, 10) == "R"
        assert (run.id, run.link) == ("R", f"{server.url}/api/v1/runs/R/events")
        run.log("é\u2028\udc80", level="warn")
        run.result({"testId": "a", "status": "passed"})
        run.update(total=3)
        run.emit("frame", {"n": Path("x"), "type": "other", "_at": "2026-01-01T00:00:00.000Z"})
        run.done("completed", passed=1)
        assert await close(run)
    made, *posts = server.requests
    assert made.headers["content-type"] == "application/json"
    document = {"projectId": "web", "type": "test_run", "name": "n", "total": 2, "branch": "main"}
    assert json.loads(made.body) == document
    assert all(post.headers["content-type"] == "application/x-ndjson" for post in posts)
    assert all(request.headers["authorization"] == "Bearer t0k.en" for request in server.requests)
    keys = {request.headers["idempotency-key"] for request in server.requests}
    assert len(keys) == len(server.requests)
    for event in inbox.events[:3]:
        at = event.pop("_at")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
        assert abs(datetime.fromisoformat(at) - before).total_seconds() < 60
    inbox.events[-1].pop("_at")
    assert inbox.events == [
        {"type": "log", "message": "é\u2028\ufffd", "level": "warn"},
        {"type": "result", "result": {"testId": "a", "status": "passed"}},
        {"type": "update", "run": {"total": 3}},
        {"type": "frame", "n": "x", "_at": "2026-01-01T00:00:00.000Z"},
        {"type": "done", "status": "completed", "passed": 1},
    ]
    assert list(inbox.events[3]) == ["type", "_at", "n"]


@pytest.mark.parametrize(
    ("ending", "done"),
    [
        (None, {"status": "completed"}),
        (ValueError("no\nway"), {"status": "failed", "error": "ValueError: no\nway"}),
        (KeyboardInterrupt(), {"status": "aborted"}),
        (SystemExit(0), {"status": "completed"}),
        (SystemExit(3), {"status": "failed", "error": "SystemExit: 3"}),
    ],
)
async def test_leaving_the_block_says_how_it_ended(ending: BaseException | None, done: dict[str, str]) -> None:
    def job(url: str) -> None:
        with start(url) as run:
            run.log("working")
            if ending is not None:
                raise ending

    inbox = Inbox()
    async with scripted(otherwise=inbox) as server:
        await asyncio.to_thread(_swallow, job, server.url)
    last = inbox.events[-1]
    del last["_at"]
    assert last == {"type": "done", **done}


def _swallow(job: Callable[[str], None], url: str) -> None:
    try:
        job(url)
    except BaseException as error:  # noqa: BLE001 - a KeyboardInterrupt is what is tested
        assert type(error) in (ValueError, KeyboardInterrupt, SystemExit)  # noqa: PT017 - each test knows which


async def test_a_done_that_was_said_is_not_said_again() -> None:
    inbox = Inbox()

    def job(url: str) -> None:
        with start(url) as run:
            run.done("completed_empty")

    async with scripted(otherwise=inbox) as server:
        await asyncio.to_thread(job, server.url)
    assert [event["status"] for event in inbox.events] == ["completed_empty"]


async def test_what_is_no_json_is_lost_and_nothing_else() -> None:
    circle: dict[str, Any] = {}
    circle["circle"] = circle
    inbox = Inbox()
    async with scripted(otherwise=inbox) as server:
        run = start(server.url)
        run.emit("metric", {"value": float("nan")})
        run.emit("metric", circle)
        run.log("x")
        assert not await close(run)
    assert (inbox.brief, run.lost) == (["x"], 2)
    assert run.problem is not None
    assert run.problem.startswith("The event cannot be written as JSON: ")


async def test_what_is_not_known_is_not_said() -> None:
    inbox = Inbox()
    async with scripted(otherwise=inbox) as server:
        assert await close(publisher.run(project="web", url=server.url))
    assert json.loads(server.requests[0].body) == {"projectId": "web", "type": "test_run"}


def test_unusable_addresses_and_tokens_are_refused_at_once() -> None:
    with pytest.raises(ClientError, match=r"must look like http://127\.0\.0\.1:8000"):
        publisher.run(project="web", url="localhost:8000")
    with pytest.raises(ClientError, match="token must be visible ASCII") as refusal:
        publisher.run(project="web", token="s3cret\n")
    assert "s3cret" not in str(refusal.value)
    with pytest.raises(Invalid):
        publisher.run(project="web", limit=float("inf"))


def test_a_forked_child_publishes_nothing_and_hangs_nowhere(server: ServerProcess) -> None:
    script = """
import os, sys, warnings
warnings.simplefilter("ignore")  # 3.12 and later warn about forks beside threads: the case in question
from sentri_events import publisher
run = publisher.run(project="web", url=sys.argv[1])
run.log("parent")
child = os.fork()
if child == 0:
    run.log("child")
    run.wait_id(60)
    os._exit(0 if not run.close(60) and run.lost == 1 and "forked" in run.problem else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
run.done("completed")
assert run.close(60)
print(run.id)
"""
    done = subprocess.run([sys.executable, "-c", script, server.url], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    events = [row["event"] for row in server.history(done.stdout.strip())]
    assert [event.get("message", event["type"]) for event in events] == ["parent", "done"]


def test_it_is_light() -> None:
    """Nothing but the standard library comes with it, whatever an interpreter here loads at its start."""

    def loaded(what: str) -> set[str]:
        script = f"import sys{what}; print(*{{name.partition('.')[0] for name in sys.modules}})"
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return set(run.stdout.split())

    more = loaded(", sentri_events.publisher") - loaded("")
    assert "sentri_events" in more
    assert more - sys.stdlib_module_names == {"sentri_events"}


def test_a_run_survives_a_killed_server(server: ServerProcess) -> None:
    """P6, P7: kill -9 and restart under load; every event once, in order."""
    said: list[str] = []
    run = start(server.url, said.append, first_delay=0.05, interval=0.01)
    stop = threading.Event()
    sent: list[str] = []

    def work() -> None:
        while not stop.wait(0.001):
            run.log(f"line {len(sent)}")
            sent.append(f"line {len(sent)}")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        id = run.wait_id(20)
        assert id is not None
        for _ in range(2):
            server.restart()
            assert server.document(id)["status"] == "running"
    finally:
        stop.set()
        worker.join()
    run.done("completed")
    assert run.close(60)
    assert said  # or no kill was felt
    events = [row["event"] for row in server.history(id)]
    assert [event.get("message", event["type"]) for event in events] == [*sent, "done"]
    assert server.document(id)["status"] == "completed"
