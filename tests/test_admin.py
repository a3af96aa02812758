"""What an operator sees and does: who watches what, how far behind, and the end of a stream."""

import os
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.embedded import Embedded
from tests.raw import Connection, Head, Stream, ask, data, request
from tests.redis_server import RedisServer
from tests.server_process import PROCESSES, ServerProcess, wait_until
from tests.tokens import SECRET, bearer, token

PATH = "/api/v1/admin/streams"


@pytest.fixture
def fleet(tmp_path: Path, redis: RedisServer) -> Iterator[ServerProcess]:
    """Several processes that ask who it is."""
    server = ServerProcess(
        tmp_path, "--processes", str(PROCESSES), "--redis-url", redis.url, env={"JWT_SECRET": SECRET}
    )
    try:
        yield server.start()
    finally:
        server.close()


def listed(port: int, query: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = ask(port, "GET", PATH + query, headers=headers)
    assert answer.status == 200, answer
    return dict(answer.json)


def test_who_watches_what(server: ServerProcess) -> None:
    """Mutants caught: the number of the last event stands for the viewer's; bytes that are never counted."""
    assert listed(server.port) == {"data": [], "total": 0}
    run = server.make_run()
    with Stream(server.port, run) as viewer, Stream(server.port, run):
        viewer.block()
        ask(server.port, "POST", f"/api/v1/runs/{run}/events", [{"type": "log"}] * 3)
        viewer.blocks(3)
        answer = wait_until(lambda: (found := listed(server.port))["total"] == 2 and found, "both are open")
        one, other = answer["data"]
        assert one["id"] != other["id"]
        for about in (one, other):
            assert about["path"] == f"/api/v1/runs/{run}/events"
            assert (about["who"], about["address"]) == ("admin@default", "127.0.0.1")
            assert (about["runs"], about["behind"], about["state"]) == (
                [{"run": run, "cursor": 3, "head": 3}],
                0,
                "live",
            )
            assert about["bytes"] > 500
            assert abs((datetime.now().astimezone() - datetime.fromisoformat(about["since"])).total_seconds()) < 60
        assert listed(server.port, "?limit=1") == {"data": [one], "total": 2}
    wait_until(lambda: listed(server.port)["total"] == 0, "they have left")


def test_who_is_behind_comes_first(tmp_path: Path) -> None:
    """A reader that takes nothing among others that do. Mutant caught: the oldest first."""
    with Embedded(tmp_path) as server:
        run = str(ask(server.port, "POST", "/api/v1/runs", {"projectId": "web"}).json["id"])
        with Stream(server.port, run) as fast, Stream(server.port, run) as slow:
            fast.block()
            slow.block()
            sent = 0
            while (first := listed(server.port)["data"][0])["state"] == "live":
                ask(server.port, "POST", f"/api/v1/runs/{run}/events", [{"type": "log", "message": "x" * 50_000}] * 20)
                sent += 20
                fast.blocks(20)
            (place,) = first["runs"]
            assert place["head"] == sent
            assert 0 < first["behind"] == sent - place["cursor"]


def test_a_list_of_runs_is_a_stream_too(server: ServerProcess) -> None:
    server.make_run()
    path = "/api/v1/workspace/events"
    with Connection(server.port) as connection:
        connection.send(request("GET", path))
        assert Head.read(connection).status == 200
        (about,) = listed(server.port)["data"]
        assert (about["path"], about["runs"], about["behind"], about["state"]) == (path, [], 0, "live")


def test_several_runs_on_one_stream(server: ServerProcess) -> None:
    """Where it stands in each of them, and how far behind in all. Caught: only the connection's own viewer is asked."""
    runs = [server.make_run() for _ in range(3)]
    with Connection(server.port) as connection:
        connection.send(request("GET", f"/api/v1/events?{'&'.join(f'run={run}' for run in runs)}"))
        assert Head.read(connection).status == 200
        ask(server.port, "POST", f"/api/v1/runs/{runs[1]}/events", [{"type": "log"}] * 2)
        heads = dict(zip(runs, (0, 2, 0), strict=True))
        wanted = [{"run": run, "cursor": head, "head": head} for run, head in heads.items()]
        (about,) = wait_until(
            lambda: (found := listed(server.port)["data"]) and found[0]["runs"] == wanted and found, "it is level"
        )
        assert (about["path"], about["behind"], about["state"]) == ("/api/v1/events", 0, "live")
        assert ask(server.port, "DELETE", f"{PATH}/{about['id']}").status == 204
        assert b"retry: " in connection.rest()


def test_an_admin_ends_a_stream(server: ServerProcess) -> None:
    """In order, and it may come back. Mutant caught: whichever is first is ended."""
    run = server.make_run()
    with Stream(server.port, run) as one:
        one.block()
        (about,) = listed(server.port)["data"]
        with Stream(server.port, run) as other:
            other.block()
            assert ask(server.port, "DELETE", f"{PATH}/{about['id']}").status == 204
            rest = one.rest()
            assert len(rest) == 1
            assert rest[0].startswith(b"retry: ")
            ask(server.port, "POST", f"/api/v1/runs/{run}/events", {"type": "log"})
            assert data(other.block())["type"] == "log"
        assert ask(server.port, "DELETE", f"{PATH}/nobody").error == "not found"
        assert ask(server.port, "GET", f"{PATH}/{about['id']}").status == 405


def test_admins_only_and_only_of_their_workspace(fleet: ServerProcess) -> None:
    """Of all processes, whichever is asked. Mutants caught: the others are not asked; they do not judge the caller; the
    streams of all workspaces; a stream of another process is missing."""
    admin, foreign = bearer(token(role="admin")), bearer(token("WS-2", "admin"))
    assert ask(fleet.port, "POST", "/api/v1/projects", {"id": "web"}, admin).status == 201
    run = ask(fleet.port, "POST", "/api/v1/runs", {"projectId": "web"}, admin).json["id"]
    viewers: list[Stream] = []
    answer: dict[str, Any] = {"data": []}
    while len({about["id"].partition("-")[0] for about in answer["data"]}) < 2:  # not all on one process
        viewers.append(Stream(fleet.port, run, headers=bearer(token(sub=f"user-{len(viewers)}"))))
        viewers[-1].block()
        answer = listed(fleet.port, headers=admin)
        assert answer["total"] == len(viewers)
    for _ in range(2 * PROCESSES):  # each asks whichever process it lands on
        answer = listed(fleet.port, headers=admin)
        assert {about["who"] for about in answer["data"]} == {f"user-{number}@WS-1" for number in range(len(viewers))}
        few = listed(fleet.port, "?limit=1", admin)
        assert (few["total"], few["data"]) == (len(viewers), answer["data"][:1])
        assert listed(fleet.port, headers=foreign) == {"data": [], "total": 0}
    for headers, status in ((bearer(token(role="qa_lead")), 403), ({}, 401)):
        assert ask(fleet.port, "GET", PATH, headers=headers).status == status
        assert ask(fleet.port, "DELETE", f"{PATH}/x", headers=headers).status == status
    for about in answer["data"]:
        assert ask(fleet.port, "DELETE", f"{PATH}/{about['id']}", headers=foreign).status == 404
        assert ask(fleet.port, "DELETE", f"{PATH}/{about['id']}", headers=admin).status == 204
    for viewer in viewers:
        assert viewer.rest()[-1].startswith(b"retry: ")
        viewer.connection.socket.close()


def test_a_dead_process_is_left_out(fleet: ServerProcess) -> None:
    """Its door stays, and nobody opens."""
    admin = bearer(token(role="admin"))
    children = Path(f"/proc/{fleet.pid}/task/{fleet.pid}/children")
    victim = int(children.read_text().split()[0])
    os.kill(victim, signal.SIGKILL)
    assert listed(fleet.port, headers=admin)["total"] == 0
    wait_until(lambda: len(children.read_text().split()) == PROCESSES, "another one has its place")
    assert listed(fleet.port, headers=admin)["total"] == 0
    assert fleet.stop() == 0
