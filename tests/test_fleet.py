"""Several server processes on one machine, behind one port: `serve --processes`."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sentri_events.fleet import Fleet
from tests.raw import Stream, data
from tests.redis_server import RedisServer
from tests.server_process import PROCESSES, ServerProcess, wait_until
from tests.test_slow_viewers import Reader, post, readers


def children(server: ServerProcess) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()}


def test_viewers_of_every_process_see_every_event(fleet: ServerProcess) -> None:
    """P1 over processes: a new connection for each post and each viewer, wherever it lands."""
    run = fleet.make_run()
    viewers = [Reader(fleet, run) for _ in range(12)]
    with readers(*viewers):
        for n in range(60):
            post(fleet, run, {"type": "log", "message": str(n)})
        post(fleet, run, {"type": "done", "status": "completed"})
        for viewer in viewers:
            viewer.read_to_end()
            assert viewer.seqs == list(range(1, 62))


def test_lists_of_every_process_are_right(fleet: ServerProcess, redis: RedisServer) -> None:
    """Runs that are made, go on and end wherever their requests land; at last without Redis (P8). Caught: lists that
    only bells make right; a look that is made where the viewers are not."""
    viewers = [Stream(fleet.port, "", path="/api/v1/workspace/events") for _ in range(8)]
    shown: list[dict[str, Any]] = [{} for _ in viewers]
    with ExitStack() as stack:
        for viewer in viewers:
            stack.enter_context(viewer)
        for killed in (False, True):
            if killed:
                asyncio.run(redis.kill())
            runs = [fleet.make_run("web") for _ in range(4)]
            for run in runs:
                post(fleet, run, {"type": "result", "result": {"testId": "a", "status": "passed"}})
            for run in runs[:2]:
                post(fleet, run, {"type": "done", "status": "completed"})
            right = {run["id"]: run for run in fleet.request("GET", "/api/v1/runs")[1]["data"]}
            for viewer, known in zip(viewers, shown, strict=True):
                while known != right:
                    told = data(viewer.block())
                    known.update((run["id"], run) for run in (told["data"] if "data" in told else [told["run"]]))


def test_a_child_that_dies_is_replaced_and_nothing_is_lost(fleet: ServerProcess) -> None:
    """Mutant caught: `_watch` forgets to fork."""
    run = fleet.make_run()
    born = children(fleet)
    assert len(born) == PROCESSES
    victim = min(born)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(children(fleet)) == PROCESSES and victim not in children(fleet), "another has its place")
    for n in range(20):
        post(fleet, run, {"type": "log", "message": str(n)})
    assert [event["seq"] for event in fleet.history(run)] == list(range(1, 21))
    assert "another one takes its place" in fleet.log.read_text()


def test_sigterm_ends_all_of_them_in_order(fleet: ServerProcess) -> None:
    run = fleet.make_run()
    viewers = [Reader(fleet, run) for _ in range(6)]
    with readers(*viewers):
        post(fleet, run, {"type": "log", "message": "x"})
        for viewer in viewers:
            while not viewer.seqs:
                assert viewer.read()
        born = children(fleet)
        assert fleet.stop() == 0
        for viewer in viewers:
            viewer.read_to_end()
        assert not any(Path(f"/proc/{child}").exists() for child in born)


def test_children_do_not_outlive_their_parent(fleet: ServerProcess) -> None:
    """kill -9 of the parent. Mutant caught: nobody holds the lifeline."""
    born = children(fleet)
    fleet.kill()
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in born), "they have ended")


def test_a_second_signal_counts_although_the_first_is_still_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant caught: that it is stopping is known only when all children have been told."""
    fleet = Fleet(1, lambda *_: 0, lambda: None)
    fleet._born = {1: (0.0, 0)}
    told: list[int] = []

    def kill(_child: int, number: int) -> None:
        told.append(number)
        if told == [signal.SIGTERM]:
            fleet._stop()

    monkeypatch.setattr("sentri_events.fleet.os.kill", kill)
    fleet._stop()
    assert told == [signal.SIGTERM, signal.SIGKILL]


def test_standalone_brings_its_own_redis(tmp_path: Path) -> None:
    """Nothing is left behind: neither the program nor its socket."""
    server = ServerProcess(tmp_path, "--processes", "2", "--standalone")
    try:
        server.start()
        run = server.make_run()
        viewers = [Reader(server, run) for _ in range(6)]
        with readers(*viewers):
            for n in range(20):
                post(server, run, {"type": "log", "message": str(n)})
            post(server, run, {"type": "done", "status": "completed"})
            for viewer in viewers:
                viewer.read_to_end()
                assert viewer.seqs == list(range(1, 22))
        assert server.request("GET", "/health/ready") == (200, {"status": "ready"})
        born = children(server)
        assert len(born) == 3
        assert server.stop() == 0
        assert not any(Path(f"/proc/{child}").exists() for child in born)
    finally:
        server.close()


def test_a_redis_of_its_own_ends_with_a_killed_parent(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, "--processes", "2", "--standalone")
    try:
        born = children(server.start())
        server.kill()
        wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in born), "all have ended")
    finally:
        server.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells a child")
def test_a_child_that_is_born_while_its_parent_dies_ends_too() -> None:
    """Mutant caught: only a death that is still to come is waited for."""
    script = (
        "import os, signal, time; from sentri_events.standalone import end_with_parent; "
        "end_with_parent(os.getpid(), signal.SIGTERM); time.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=30, check=False).returncode == 128 + signal.SIGTERM


def test_several_processes_without_a_redis_are_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sentri_events", "serve", "--port", "0", "--processes", "2"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "REDIS_URL"},
    )
    assert done.returncode == 2
    assert done.stderr.endswith(
        "Error: Several processes need a Redis between them, or the viewers of one would not hear of another's events "
        "at once: set --redis-url (REDIS_URL), or say --standalone.\n"
    )
