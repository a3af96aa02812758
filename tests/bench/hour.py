"""An hour of tests as a server has it stored, in a run that has ended and in one that goes on."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2

from tests.bench import kit
from tests.bench.load import Flawed
from tests.bench.peers import Ours
from tests.running import running

LINES, RESULTS, SECONDS = 100_000, 5_000, 3600
ENDED, LIVE = "ended", "live"  # the runs' ids
LAST_LINE = f"request {RESULTS - 1}-{LINES // RESULTS - 1} answered"
BATCH = 1000
OPTIONS = ("--run-timeout", "86400")  # the other one must not end because nothing has come for long


@contextmanager
def serving(folder: Path) -> Iterator[httpx2.Client]:
    """What speaks to a server with both runs, in a copy of their database."""
    shutil.copytree(_stored().name, folder, dirs_exist_ok=True)
    with running(Ours(folder, *OPTIONS)) as server, _speaking(server) as http:
        yield http


def post(http: httpx2.Client, run: str, events: list[dict[str, Any]], volatile: bool = False) -> None:
    """Raises `Flawed` if it was refused."""
    answer = http.post(f"/api/v1/runs/{run}/events{'?volatile=true' if volatile else ''}", json=events)
    if answer.is_error:
        raise Flawed(f"an event was refused: {answer.text}")


@cache
def _stored() -> tempfile.TemporaryDirectory[str]:
    """A folder with the database; it lasts as long as the program."""
    folder = tempfile.TemporaryDirectory(dir=kit.FOLDER, prefix="hour-")
    with running(Ours(Path(folder.name), *OPTIONS)) as server, _speaking(server) as http:
        begin = time.time() - SECONDS
        for run in (ENDED, LIVE):
            about = {"projectId": "bench", "id": run, "name": "an hour", "total": RESULTS + 100}
            http.post("/api/v1/runs", json=about | {"startedAt": _stamp(begin)}).raise_for_status()
            events = _events(begin)
            while batch := list(islice(events, BATCH)):
                post(http, run, batch)
        post(http, ENDED, [{"type": "done", "status": "failed"}])
    return folder


@contextmanager
def _speaking(server: Ours) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
        yield http


def _events(begin: float) -> Iterator[dict[str, Any]]:
    """20 lines and a result each, from four workers."""
    for number in range(RESULTS):
        end = begin + SECONDS * number / RESULTS
        test = f"tests/test_area_{number % 50}.py::test_case_{number}"
        for line in range(LINES // RESULTS):
            text = f"\x1b[2m{line:03d}\x1b[0m request {number}-{line} answered \x1b[32m200\x1b[0m in {line * 7 % 90} ms"
            yield {"type": "log", "message": text, "level": "info", "testId": test, "_at": _stamp(end)}
        result: dict[str, Any] = {
            "testId": test,
            "testName": test.partition("::")[2],
            "status": "failed" if number % 100 == 7 else "passed",
            "durationMs": 2500 + number % 400,
            "startedAt": round(1000 * (end - 2.5)),
            "worker": f"gw{number % 4}",
        }
        if result["status"] == "failed":
            result["error"] = "def test():\n>   assert 1 == 2\nE   AssertionError: assert 1 == 2\n" * 10
        yield {"type": "result", "result": result, "_at": _stamp(end)}


def _stamp(seconds: float) -> str:
    """As the protocol writes times."""
    whole, part = divmod(seconds, 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int(1000 * part):03d}Z"
