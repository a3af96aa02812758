"""`sentri-events replay`: the schedule under a clock of the test's own, the rest against a real server."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sentri_events.client import Received
from sentri_events.replay import in_time
from tests.commands import run, start
from tests.server_process import ServerProcess, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    try:
        yield process.start()
    finally:
        process.close()


class Clock:
    """Time that passes only in `sleep`, and when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


async def stored(*seconds: float) -> AsyncIterator[Received]:
    for number, at in enumerate(seconds, 1):
        yield Received("R", "log", {"type": "log"}, number, f"2026-01-31T12:00:{at:06.3f}Z", f"abcdef.{number}")


async def played(clock: Clock, speed: float, *seconds: float, late: float = 0) -> list[tuple[float, list[int]]]:
    """When each batch came, and its seqs; whoever takes them needs `late` seconds for each."""
    found = []
    async for batch in in_time(stored(*seconds), speed, clock=clock, sleep=clock.sleep):
        found.append((round(clock.now - 1000, 6), [received.seq or 0 for received in batch]))
        clock.now += late
    return found


async def test_the_original_timing() -> None:
    assert await played(Clock(), 1, 5, 5.5, 5.5, 9) == [(0, [1]), (0.5, [2, 3]), (4, [4])]


async def test_speed_divides_it() -> None:
    assert await played(Clock(), 10, 5, 5.5, 9) == [(0, [1]), (0.05, [2]), (0.4, [3])]


async def test_max_does_not_wait() -> None:
    clock = Clock()
    found = await played(clock, math.inf, *range(50), *range(5))
    assert found == [(0, list(range(1, 56)))]
    assert clock.slept == []


async def test_a_slow_taker_does_not_move_the_schedule() -> None:
    """Caught a mutant that sleeps the difference between two events."""
    assert await played(Clock(), 1, 0, 1, 2, 3, 10, late=3) == [(0, [1]), (3, [2, 3, 4]), (10, [5])]


async def test_time_that_goes_backwards_keeps_the_order() -> None:
    assert await played(Clock(), 1, 5, 7, 6, 8) == [(0, [1]), (2, [2, 3]), (3, [4])]


async def test_batches_are_bounded() -> None:
    assert [len(seqs) for _, seqs in await played(Clock(), math.inf, *[0.0] * 2500)] == [1000, 1000, 500]


def make(server: ServerProcess, *events: dict[str, Any], **fields: Any) -> str:
    name = server.make_run(**fields)
    status, answer = server.request("POST", f"/api/v1/runs/{name}/events", list(events))
    assert status == 201, answer
    return name


def at(seconds: float) -> str:
    return f"2026-01-31T12:00:{seconds:06.3f}Z"


def whole(status: str = "failed", apart: float = 0.01) -> list[dict[str, Any]]:
    return [
        {"type": "log", "message": "begin", "_at": at(1)},
        {"type": "result", "result": {"testId": "a", "status": "passed"}, "_at": at(1 + apart)},
        {"type": "step", "n": 1, "_at": at(1 + 2 * apart)},
        {"type": "result", "result": {"testId": "b", "status": "failed"}, "_at": at(1 + 3 * apart)},
        {"type": "done", "status": status, "_at": at(1 + 4 * apart)},
    ]


def test_to_the_terminal_as_tail_does(server: ServerProcess) -> None:
    name = make(server, *whole())
    shown = run("replay", name, "--speed", "max", "--url", server.url)
    assert shown == (1, 'begin\nPASSED a\nstep {"n": 1}\nFAILED b\nfailed\n', "")
    assert shown == run("tail", name, "--url", server.url)


def test_json_is_what_tail_shows(server: ServerProcess) -> None:
    name = make(server, *whole("aborted"))
    shown = run("replay", name, "--json", "--speed", "max", "--url", server.url)
    assert shown == run("tail", name, "--json", "--url", server.url)
    assert shown[0] == 3
    assert [json.loads(line)["seq"] for line in shown[1].splitlines()] == [1, 2, 3, 4, 5]


def test_a_part(server: ServerProcess) -> None:
    name = make(server, *whole())
    options = ("--speed", "max", "--url", server.url)
    assert run("replay", name, "--from", "2", "--to", "4", *options) == (0, 'PASSED a\nstep {"n": 1}\nFAILED b\n', "")
    assert run("replay", name, "--from", "5", *options) == (1, "failed\n", "")
    assert run("replay", name, "--from", "99", *options) == (2, "", f"Error: {name} has no event 99 yet.\n")


def test_timing_takes_time(server: ServerProcess) -> None:
    """The real clock is the one that `in_time` is given."""
    import time

    name = make(server, *whole(apart=0.2))
    begun = time.monotonic()
    assert run("replay", name, "--speed", "2", "--url", server.url)[0] == 1
    assert time.monotonic() - begun >= 0.4


@pytest.mark.parametrize("project", ["", "other"])
def test_into_a_new_run(server: ServerProcess, project: str) -> None:
    fields = {"name": "nightly", "type": "crawl", "total": 7, "testQueue": ["a", "b"], "branch": "main"}
    name = make(server, *whole(), **fields)
    into = ("--into", project) if project else ("--into",)
    status, out, error = run("replay", name, "--speed", "max", "--url", server.url, *into)
    assert (status, error) == (1, "")
    copy = out.strip()
    assert copy != name
    assert [row["event"] for row in server.history(copy)] == [row["event"] for row in server.history(name)]
    old, new = server.document(name), server.document(copy)
    assert new["projectId"] == (project or old["projectId"])
    for field in ("name", "type", "total", "testQueue", "branch", "status", "passed", "failed", "results", "logs"):
        assert new[field] == old[field], field


def test_a_part_into_a_new_run_does_not_stay_open(server: ServerProcess) -> None:
    name = make(server, *whole())
    status, out, _ = run("replay", name, "--speed", "max", "--to", "2", "--into", "--url", server.url)
    assert status == 0
    copied = [row["event"] for row in server.history(out.strip())]
    assert copied[:2] == [row["event"] for row in server.history(name)][:2]
    assert [event["type"] for event in copied] == ["log", "result", "done"]
    assert copied[2]["status"] == "aborted"


def test_ctrl_c_aborts_the_copy(server: ServerProcess) -> None:
    name = make(server, *whole(apart=14))
    with start("replay", name, "--into", "--url", server.url) as process:
        assert process.stdout is not None
        copy = process.stdout.readline().decode().strip()
        wait_until(lambda: server.history(copy), "the first event")
        process.send_signal(2)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b"\n"
    assert [row["event"]["type"] for row in server.history(copy)] == ["log", "done"]
    assert server.document(copy)["status"] == "aborted"


def test_the_copy_survives_a_restart(tmp_path: Any) -> None:
    server = ServerProcess(tmp_path)
    try:
        server.start()
        name = make(server, *whole(apart=0.5))
        with start("replay", name, "--into", "--url", server.url) as process:
            assert process.stdout is not None
            copy = process.stdout.readline().decode().strip()
            wait_until(lambda: server.history(copy), "the first event")
            server.restart()
            assert process.wait(60) == 1
        assert [row["event"] for row in server.history(copy)] == [row["event"] for row in server.history(name)]
    finally:
        server.close()


def test_more_than_a_page(server: ServerProcess) -> None:
    name = server.make_run()
    for first in range(0, 2500, 500):
        batch = [{"type": "log", "message": str(number)} for number in range(first, first + 500)]
        assert server.request("POST", f"/api/v1/runs/{name}/events", batch)[0] == 201
    server.request("POST", f"/api/v1/runs/{name}/events", {"type": "done", "status": "completed"})
    status, out, _ = run("replay", name, "--speed", "max", "--url", server.url)
    assert (status, out.split()) == (0, [*map(str, range(2500)), "completed"])
    status, out, _ = run("replay", name, "--speed", "max", "--into", "--url", server.url)
    assert (status, len(server.history(out.strip()))) == (0, 2501)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--speed", "0"], "no number above 0"),
        (["--speed", "nan"], "no number above 0"),
        (["--speed", "inf"], "no number above 0"),
        (["--speed", "fast"], "no number above 0"),
        (["--from", "0"], "--from"),
        (["--from", "5", "--to", "4"], "lies before"),
    ],
)
def test_wrong_use(server: ServerProcess, options: list[str], why: str) -> None:
    status, out, error = run("replay", "RUN-1", *options, "--url", server.url)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"Error: [^\n]+\n", error)
    assert why in error


def test_an_unknown_run(server: ServerProcess) -> None:
    assert run("replay", "NONE", "--url", server.url) == (2, "", f"Error: There is no run NONE on {server.url}.\n")


async def test_sleeping_is_asyncios_by_default() -> None:
    async with asyncio.timeout(10):
        assert [len(batch) async for batch in in_time(stored(1, 1.01), 1)] == [1, 1]
