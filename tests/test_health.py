"""Whether the server says truthfully how it is (protocol, section 4)."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.embedded import Embedded
from tests.raw import Stream, ask, data
from tests.server_process import ServerProcess, wait_until


def test_a_server_that_can_work_says_so(server: ServerProcess) -> None:
    health, ready = ask(server.port, "GET", "/health"), ask(server.port, "GET", "/health/ready")
    assert (health.status, health.body) == (200, b'{"status":"alive"}')
    assert (ready.status, ready.body) == (200, b'{"status":"ready"}')
    for path in ("/health", "/health/ready"):
        answer = ask(server.port, "POST", path)
        assert (answer.status, answer.headers["allow"]) == (405, "GET")
        assert ask(server.port, "GET", "/api/v1" + path).status == 404


def test_a_store_that_cannot_be_written_is_503_until_it_can(server: ServerProcess) -> None:
    """Another program holds the write lock. Reading goes on, a viewer stays, and a retry with the key is answered.

    Caught: a readiness that only reads.
    """
    run = server.make_run()
    path = f"/api/v1/runs/{run}/events"
    key = {"Idempotency-Key": "k"}
    with Stream(server.port, run) as viewer:
        viewer.block()
        other = sqlite3.connect(server.database, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            requests: list[tuple[str, str, Any, dict[str, str]]] = [
                ("POST", path, {"type": "x"}, key),
                ("GET", "/health/ready", b"", {}),
                ("POST", "/api/v1/runs", {"projectId": "web"}, {}),
                ("POST", "/api/v1/projects", {}, {}),
                ("POST", f"/api/v1/runs/{run}/alive", b"", {}),
                ("POST", f"/api/v1/runs/{run}/abort", b"", {}),
            ]
            with ThreadPoolExecutor(len(requests)) as pool:
                answers = list(pool.map(lambda request: ask(server.port, *request), requests))
            assert [answer.status for answer in answers] == [503] * len(requests)
            for answer in answers:
                assert "locked" in answer.json["error"]
            assert answers[0].headers["retry-after"] == "1"
            assert answers[1].json == {
                "error": (why := answers[1].json["error"]),
                "status": "unavailable",
                "store": why,
            }
            assert ask(server.port, "GET", "/health").status == 200
            assert ask(server.port, "GET", f"/api/v1/runs/{run}").status == 200
        finally:
            other.close()
        wait_until(lambda: ask(server.port, "GET", "/health/ready").status == 200, "the store is there again")
        assert ask(server.port, "POST", path, {"type": "x"}, key).json["first"] == 1
        assert ask(server.port, "POST", path, {"type": "done", "status": "completed"}).json["first"] == 2
        assert [data(block)["type"] for block in viewer.rest()] == ["x", "done"]


def test_a_server_that_stops_is_not_ready(tmp_path: Path) -> None:
    with Embedded(tmp_path) as application:
        application.ask(lambda: setattr(application.hub, "stopping", True))
        ready = ask(application.port, "GET", "/health/ready")
        assert (ready.status, ready.json["status"]) == (503, "unavailable")
        assert ready.json["server"] == ready.json["error"] == "The server is stopping."
        assert ask(application.port, "GET", "/health").status == 200


def test_a_transport_that_is_away_is_degraded_and_no_more(tmp_path: Path) -> None:
    """With its reason: what is published here is stored and seen here."""
    with Embedded(tmp_path) as application:
        application.ask(lambda: setattr(application.hub.backend, "trouble", "The bell is away."))
        ready = ask(application.port, "GET", "/health/ready")
        assert (ready.status, ready.json) == (200, {"status": "degraded", "backend": "The bell is away."})
