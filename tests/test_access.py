"""Who may do what over HTTP: credentials, roles and workspaces, on every route."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.web import RequestHandler

from sentri_events.handlers import routes
from sentri_events.server import open_hub
from sentri_events.settings import Settings
from tests.raw import Answer, Connection, Head, Stream, ask, data, request
from tests.server_process import ServerProcess
from tests.tokens import OTHER_SECRET, SECRET, VECTOR, bearer, runner, token

MISSING = "never-made"
EVENT = {"type": "log", "message": "hello"}
QA, ADMIN, VIEWER = bearer(token(role="qa_lead")), bearer(token(role="admin")), bearer(token())
# Every route that has something of a workspace's, what it takes, and a body where it needs one. {run} and {project}.
ROUTES: list[tuple[str, str, str, Any]] = [
    ("GET", "/api/v1/runs/{run}", "viewer", b""),
    ("GET", "/api/v1/runs/{run}/events", "viewer", b""),
    ("GET", "/api/v1/runs/{run}/events?after=0", "viewer", b""),
    ("HEAD", "/api/v1/runs/{run}/events", "viewer", b""),
    ("POST", "/api/v1/runs/{run}/events", "qa_lead", EVENT),
    ("POST", "/api/v1/runs/{run}/events?volatile=true", "qa_lead", {"type": "frame"}),
    ("POST", "/api/v1/runs/{run}/events", "qa_lead", {"type": "result"}),
    ("POST", "/api/v1/runs/{run}/alive", "qa_lead", b""),
    ("POST", "/api/v1/runs/{run}/abort", "qa_lead", b""),
    ("POST", "/api/v1/runs", "qa_lead", {"projectId": "{project}"}),
    ("GET", "/api/v1/projects/{project}", "viewer", b""),
    ("GET", "/api/v1/projects/{project}/runs", "viewer", b""),
    ("GET", "/api/v1/events?run={run}", "viewer", b""),
    ("HEAD", "/api/v1/events?run={run}", "viewer", b""),
    ("GET", "/api/v1/projects/{project}/events", "viewer", b""),
    ("HEAD", "/api/v1/projects/{project}/events", "viewer", b""),
]
LISTS = ["/api/v1/runs", "/api/v1/runs?project={project}", "/api/v1/projects"]
OPEN = ["/health", "/health/ready"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a secret, one project with a run of WS-1 and nothing of WS-2."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    server = ServerProcess(folder, env={"JWT_SECRET": SECRET, "SENTRI_EVENTS_METRICS_TOKEN": "scrape"})
    try:
        server.start()
        assert server.request("POST", "/api/v1/projects", {"id": "web"}, ADMIN)[0] == 201
        assert server.request("POST", "/api/v1/projects", {"id": "api"}, ADMIN)[0] == 201
        assert server.request("POST", "/api/v1/runs", {"projectId": "web", "id": "ours"}, QA)[0] == 201
        assert server.request("POST", "/api/v1/runs", {"projectId": "api", "id": "ours-too"}, QA)[0] == 201
        yield server
    finally:
        server.close()


def call(server: ServerProcess, route: tuple[str, str, str, Any], headers: Any, run: str, project: str) -> Answer:
    method, path, _, body = route
    path = path.format(run=run, project=project)
    if isinstance(body, dict):
        body = {name: value.format(project=project) for name, value in body.items()}
    accept = {"Accept": "application/json"} if "after" in path else {}
    return ask(server.port, method, path, body, {**accept, **headers})


def same(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    own = ("date", "x-request-id")
    return answer.status, {name: text for name, text in answer.headers.items() if name not in own}, answer.body


@pytest.mark.parametrize("route", [route for route in ROUTES if route[3] != {"projectId": "{project}"}], ids=str)
def test_a_foreign_run_is_a_missing_run(guarded: ServerProcess, route: tuple[str, str, str, Any]) -> None:
    """Status, headers and body, for every role. Mutant: `alive` without the workspace answered 204."""
    for role in ("viewer", "qa_lead", "admin"):
        foreign = bearer(token("WS-2", role))
        there = same(call(guarded, route, foreign, "ours", "web"))
        assert there == same(call(guarded, route, foreign, MISSING, MISSING))
        assert there[0] == (403 if (role, route[2]) == ("viewer", "qa_lead") else 404)


def test_runs_cannot_be_made_in_a_foreign_project(guarded: ServerProcess) -> None:
    foreign = bearer(token("WS-2", "admin"))
    route = ("POST", "/api/v1/runs", "qa_lead", {"projectId": "{project}"})
    there = same(call(guarded, route, foreign, "", "web"))
    assert there == same(call(guarded, route, foreign, "", MISSING))
    assert there[0] == 404


def test_an_idempotency_key_gives_no_foreign_answer(tmp_path: Path) -> None:
    """The same key and request. Mutants: keys of all workspaces are one; a key is looked up before its run is."""
    key = {"Idempotency-Key": "shared"}
    foreign, other_runner = bearer(token(workspace="WS-2", role="qa_lead")), bearer(runner("api"))
    server = ServerProcess(tmp_path, env={"JWT_SECRET": SECRET})
    try:
        port = server.start().port
        for who, project in ((QA, "web"), (QA, "api"), (foreign, "theirs")):
            assert ask(port, "POST", "/api/v1/projects", {"id": project}, who).status == 201
        assert ask(port, "POST", "/api/v1/runs", {"projectId": "web", "id": "ours"}, QA).status == 201
        for path, body in (("/api/v1/runs/ours/events", EVENT), ("/api/v1/runs", {"projectId": "web"})):
            assert ask(port, "POST", path, body, {**QA, **key}).status == 201
            assert "idempotency-replayed" in ask(port, "POST", path, body, {**QA, **key}).headers
            for stranger in (foreign, other_runner):
                answer = ask(port, "POST", path, body, {**stranger, **key})
                assert (answer.status, answer.body) == (404, b'{"error":"not found"}')
        theirs = ask(port, "POST", "/api/v1/runs", {"projectId": "theirs"}, {**foreign, **key})
        assert (theirs.status, theirs.json["projectId"]) == (201, "theirs")
    finally:
        server.close()


@pytest.mark.parametrize("path", LISTS)
def test_lists_hold_nothing_foreign(guarded: ServerProcess, path: str) -> None:
    path = path.format(project="web")
    assert ask(guarded.port, "GET", path, headers=bearer(token("WS-2", "admin"))).json["data"] == []
    assert ask(guarded.port, "GET", path, headers=VIEWER).json["data"]


def test_a_live_list_tells_nothing_foreign(guarded: ServerProcess) -> None:
    """Neither at its beginning nor later. Mutants: a look that answers for one workspace with the runs of another; the
    list of a workspace that the first viewer of all had."""
    theirs = bearer(token("WS-3", "admin"))
    assert guarded.request("POST", "/api/v1/projects", {"id": "theirs"}, theirs)[0] == 201
    path = "/api/v1/workspace/events"
    assert ask(guarded.port, "GET", path).status == 401
    with (
        Stream(guarded.port, "", headers=VIEWER, path=path) as ours,
        Stream(guarded.port, "", headers=theirs, path=path) as foreign,
    ):
        assert {run["workspaceId"] for run in data(ours.block())["data"]} == {"WS-1"}
        assert data(foreign.block()) == {"type": "runs", "data": [], "next": None}
        for headers, project in ((QA, "web"), (theirs, "theirs"), (QA, "web"), (theirs, "theirs")):
            assert guarded.request("POST", "/api/v1/runs", {"projectId": project}, headers)[0] == 201
        for stream, workspace in ((ours, "WS-1"), (foreign, "WS-3")):
            told = [data(stream.block())["run"] for _ in range(2)]
            assert {run["workspaceId"] for run in told} == {workspace}


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_who_says_nothing_is_asked(guarded: ServerProcess, route: tuple[str, str, str, Any]) -> None:
    """The same for what is there and what is not."""
    for run, project in (("ours", "web"), (MISSING, MISSING)):
        answer = call(guarded, route, {}, run, project)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.body == b"" if route[0] == "HEAD" else b'{"error":"Authentication required."}'


@pytest.mark.parametrize("route", [route for route in ROUTES if route[2] == "qa_lead"], ids=str)
def test_a_viewer_only_reads(guarded: ServerProcess, route: tuple[str, str, str, Any]) -> None:
    answer = call(guarded, route, VIEWER, "ours", "web")
    assert answer.status == 403
    assert answer.json == {
        "error": "This takes the role qa_lead.",
        "requiredRole": "qa_lead",
        "currentRole": "viewer",
    }
    assert list(answer.json) == ["error", "requiredRole", "currentRole"]


def test_a_runner_makes_runs_publishes_and_nothing_else(guarded: ServerProcess) -> None:
    """Mutant: a publisher that counted as a qa_lead could abort, and read."""
    ours = bearer(runner("web"))
    made = ask(guarded.port, "POST", "/api/v1/runs", {"projectId": "web"}, ours)
    assert made.status == 201
    run = made.json["id"]
    assert ask(guarded.port, "POST", f"/api/v1/runs/{run}/events", EVENT, ours).status == 201
    assert ask(guarded.port, "POST", f"/api/v1/runs/{run}/events", {"type": "frame"}, ours).status == 202
    assert ask(guarded.port, "POST", f"/api/v1/runs/{run}/alive", b"", ours).status == 204
    may = {"/api/v1/runs", "/api/v1/runs/{run}/events", "/api/v1/runs/{run}/alive"}
    for route in [*ROUTES, ("POST", "/api/v1/projects", "qa_lead", {"id": "mine"}), ("GET", LISTS[0], "viewer", b"")]:
        answer = call(guarded, route, ours, run, "web")
        if route[0] == "POST" and route[1].partition("?")[0] in may:
            assert answer.status not in (401, 403), route
        else:
            assert answer.status == 403, route
            if route[0] != "HEAD":
                assert answer.json["requiredRole"] == route[2]
                assert answer.json["currentRole"] == "publish"


def test_a_runner_knows_no_other_project(guarded: ServerProcess) -> None:
    """Mutant: the project was compared when a run is made, and not when it is published into."""
    ours = bearer(runner("web"))
    for project in ("api", MISSING):
        assert ask(guarded.port, "POST", "/api/v1/runs", {"projectId": project}, ours).error == "not found"
    for path, body in (
        ("events", EVENT),
        ("events", {"type": "frame"}),
        ("events", {"type": "result"}),
        ("events?volatile=true", {"type": "x"}),
        ("alive", b""),
    ):
        there, missing = (
            same(ask(guarded.port, "POST", f"/api/v1/runs/{run}/{path}", body, ours)) for run in ("ours-too", MISSING)
        )
        assert there == missing
        assert there[0] == 404
    keyed = {**ours, "Idempotency-Key": "k"}
    assert (
        ask(guarded.port, "POST", "/api/v1/runs/ours-too/events", EVENT, {**QA, "Idempotency-Key": "k"}).status == 201
    )
    assert ask(guarded.port, "POST", "/api/v1/runs/ours-too/events", EVENT, keyed).error == "not found"


@pytest.mark.parametrize("path", OPEN)
def test_health_asks_nobody(guarded: ServerProcess, path: str) -> None:
    assert ask(guarded.port, "GET", path).status == 200


def test_the_metrics_are_for_their_token_and_for_admins(guarded: ServerProcess) -> None:
    """Mutant: everyone who may read a run could read them."""
    assert ask(guarded.port, "GET", "/metrics").status == 401
    assert ask(guarded.port, "GET", "/metrics", headers=QA).status == 403
    for headers in (bearer("scrape"), ADMIN):
        assert b"sentri_events_" in ask(guarded.port, "GET", "/metrics", headers=headers).body


def test_the_metrics_token_opens_nothing_else(guarded: ServerProcess) -> None:
    for route in ROUTES:
        assert call(guarded, route, bearer("scrape"), "ours", "web").status == 403


def test_an_unknown_project_is_not_made(guarded: ServerProcess) -> None:
    assert ask(guarded.port, "POST", "/api/v1/runs", {"projectId": "new"}, ADMIN).error == "not found"


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"Cookie": f"x=1; access_token={VECTOR}"}, ""),
        (bearer(VECTOR), ""),
        ({"Authorization": f"bearer  {VECTOR}"}, ""),
        ({}, f"?token={VECTOR}"),
        ({"Cookie": "access_token=expired", **bearer(VECTOR)}, "?token=x"),
        ({"Cookie": "access_token=", **bearer("x.y.z")}, f"?token={VECTOR}"),
        ({"Cookie": f"access_token={token(secret=OTHER_SECRET)}"}, f"?token=x&token={VECTOR}"),
    ],
)
def test_the_first_credential_that_verifies_counts(guarded: ServerProcess, headers: dict[str, str], query: str) -> None:
    assert ask(guarded.port, "GET", f"/api/v1/runs/ours{query}", headers=headers).status == 200


def test_the_order_is_cookie_header_query(guarded: ServerProcess) -> None:
    """Mutant: the header before the cookie."""
    foreign = token("WS-2")
    for headers, query in (
        ({"Cookie": f"access_token={foreign}", **VIEWER}, f"?token={token()}"),
        (bearer(foreign), f"?token={token()}"),
    ):
        assert ask(guarded.port, "GET", f"/api/v1/runs/ours{query}", headers=headers).status == 404


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Basic eA=="}, {"Authorization": "Bearer"}, {"Cookie": "access_token"}, bearer("ü")]
)
def test_what_is_no_token_says_nothing(guarded: ServerProcess, headers: dict[str, str]) -> None:
    assert ask(guarded.port, "GET", "/api/v1/runs", headers=headers).status == 401


def test_query_tokens_can_be_switched_off(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, "--no-query-token", env={"JWT_SECRET": SECRET})
    try:
        server.start()
        assert ask(server.port, "GET", f"/api/v1/runs?token={VECTOR}").status == 401
        assert ask(server.port, "GET", "/api/v1/runs", headers=bearer(VECTOR)).status == 200
    finally:
        server.close()


def test_a_stream_is_for_whoever_may(guarded: ServerProcess) -> None:
    with Stream(guarded.port, "ours", f"token={VECTOR}") as stream:
        assert b'"type":"snapshot"' in stream.block()


def test_what_has_no_route_is_missing_for_everyone(guarded: ServerProcess) -> None:
    assert ask(guarded.port, "GET", "/api/v1/nothing").status == 404
    assert ask(guarded.port, "GET", "/api/runs/ours").status == 308


# What has nothing of a workspace's (the page, health, files by their links) or is tried elsewhere (admin, metrics).
ELSEWHERE = {
    "/", "/runs/x", "/static/0/x", "/health", "/health/ready", "/artifacts/x", "/metrics", "/openapi.json", "/api/x",
    "/api/runs/x", "/api/v1/tickets", "/api/v1/workspace/events", "/api/v1/admin/streams", "/api/v1/admin/streams/x",
}  # fmt: skip


async def test_no_route_is_forgotten(tmp_path: Path) -> None:
    """Whoever adds one adds it above, or says why not. Mutant: a route for runs that is in no table here."""
    async with open_hub(Settings(database=f"sqlite:///{tmp_path}/events.db")) as hub:
        tried = {(method, path.partition("?")[0].format(run="x", project="x")) for method, path, _, _ in ROUTES}
        tried |= {("GET", path.partition("?")[0]) for path in LISTS}
        forgotten = []
        for spec in routes(hub):
            path = re.sub(r"\(.*?\)|\.\*", "x", spec.regex.pattern.replace("([0-9a-f]+)", "0").rstrip("$"))
            path = re.sub(r"\\(.)", r"\1", path)
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
                missing = getattr(spec.handler_class, method.lower()) is RequestHandler._unimplemented_method
                if not missing and path not in ELSEWHERE and (method, path) not in tried:
                    forgotten.append((method, path))
        assert forgotten == [("POST", "/api/v1/projects")]  # makes one; what a taken id says is the same for everyone


def test_the_live_list_holds_nothing_foreign(guarded: ServerProcess) -> None:
    for headers, number in ((VIEWER, 2), (bearer(token("WS-2", "admin")), 0)):
        with Connection(guarded.port) as connection:
            connection.send(request("GET", "/api/v1/workspace/events", headers, version="1.0"))
            assert Head.read(connection).status == 200
            connection.until(b"data: ")
            assert (len(json.loads(connection.until(b"\n\n"))["data"]) >= number) is True
            if not number:
                assert ask(guarded.port, "GET", "/api/v1/admin/streams", headers=headers).json["total"] == 1


def test_an_admin_knows_of_no_foreign_stream(guarded: ServerProcess) -> None:
    foreign = bearer(token("WS-2", "admin"))
    with Stream(guarded.port, "ours", headers=VIEWER) as stream:
        stream.block()
        (about,) = ask(guarded.port, "GET", "/api/v1/admin/streams", headers=ADMIN).json["data"]
        there, missing = (
            same(ask(guarded.port, "DELETE", f"/api/v1/admin/streams/{id}", headers=foreign))
            for id in (about["id"], about["id"][:-1] + ("0" if about["id"][-1] != "0" else "1"))
        )
        assert there == missing
        assert there[0] == 404
