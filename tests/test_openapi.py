"""`/openapi.json` says what the server does: its routes, its bounds, its answers; and its examples are true."""

import gzip
import json
import secrets
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from tornado.web import RequestHandler

from sentri_events.event import FINAL_STATUSES, MAX_BATCH, MAX_INDEXED
from sentri_events.handlers import admin, base, merged, routes, runs, stream, streaming, tickets
from sentri_events.handlers.base import MissingHandler
from sentri_events.handlers.pages import Pages
from sentri_events.hub import LOGS
from sentri_events.links import Links
from sentri_events.server import open_hub
from sentri_events.settings import EVENT_TYPE, RUN_ID, Settings
from tests.description import DESCRIPTION, FILE, Operation, examples, faults, operations, resolve
from tests.raw import Connection, Head, Stream, ask, data, request
from tests.server_process import ServerProcess
from tests.tokens import SECRET, bearer, token

LINKS = Links("the-artifact-secret", 600_000)
ADMIN = bearer(token(role="admin"))
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")  # OPTIONS is answered where CORS_ORIGIN is set
EVERYWHERE = {"400", "413", "414", "431"}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a secret, the project web and a file that is an artifact."""
    folder: Path = tmp_path_factory.mktemp("described")
    artifact = folder / "artifacts" / "screenshots" / "login.png"
    artifact.parent.mkdir(parents=True)
    artifact.write_bytes(b"a picture, more or less" * 10)
    env = {"JWT_SECRET": SECRET, "ARTIFACT_SECRET": "the-artifact-secret"}
    server = ServerProcess(folder, "--artifacts", str(folder / "artifacts"), env=env)
    try:
        server.start()
        assert server.request("POST", "/api/v1/projects", {"id": "web"}, ADMIN)[0] == 201
        yield server
    finally:
        server.close()


def make_run(server: ServerProcess, *events: Any) -> str:
    status, run = server.request("POST", "/api/v1/runs", {"projectId": "web"}, ADMIN)
    assert status == 201
    for event in events:
        assert server.request("POST", f"/api/v1/runs/{run['id']}/events", event, ADMIN)[0] in (201, 202)
    return str(run["id"])


def test_it_is_openapi() -> None:
    """By the definition of OpenAPI 3.1. Mutant: an answer without a description."""
    schemathesis.openapi.from_dict(DESCRIPTION).validate()
    assert DESCRIPTION["openapi"].startswith("3.1.")


async def test_it_holds_every_route_and_no_other(tmp_path: Path) -> None:
    """Both ways, and who is asked. Mutants: a path less, a path that is not there, a method too many, a 403 too few."""
    async with open_hub(Settings(database=f"sqlite:///{tmp_path}/events.db")) as hub:
        table = [spec for spec in routes(hub) if spec.handler_class is not MissingHandler]
    served = {
        (spec.regex.pattern, method)
        for spec in table
        for method in METHODS
        if getattr(spec.handler_class, method.lower()) is not RequestHandler._unimplemented_method
    }
    told = []
    for operation in operations():
        path = operation.path.format(**{p["name"]: p["example"] for p in operation.parameters if p["in"] == "path"})
        spec = next((spec for spec in table if spec.regex.match(path)), None)
        assert spec is not None, f"{operation} is no route"
        told.append((spec.regex.pattern, operation.method))
        asked = spec.handler_class.reads if operation.method in ("GET", "HEAD") else spec.handler_class.writes
        answers = operation.said["responses"].keys()
        assert ("403" in answers) is (asked is not None), operation
        assert asked is None or "401" in answers, operation
        assert ("security" in operation.said and not operation.said["security"]) is ("401" not in answers), operation
        assert answers >= EVERYWHERE, operation
    assert len(told) == len(set(told))
    assert set(told) == served


def test_its_bounds_are_those_of_the_code() -> None:
    """Each that is a constant there. Mutant: another number on either side."""
    parameters, schemas = DESCRIPTION["components"]["parameters"], DESCRIPTION["components"]["schemas"]
    of = {(str(operation), p["name"]): p["schema"] for operation in operations() for p in operation.parameters}
    history, watched = "GET /api/v1/runs/{run}/events", "GET /api/v1/admin/streams"
    events = DESCRIPTION["paths"]["/api/v1/runs/{run}/events"]["post"]["requestBody"]["content"]
    assert DESCRIPTION["info"]["version"] == metadata.version("sentri-events")
    assert schemas["Id"]["pattern"] == f"^{RUN_ID.pattern}$"
    assert schemas["EventType"]["pattern"] == f"^{EVENT_TYPE.pattern}$"
    assert schemas["FinalStatus"]["enum"] == list(FINAL_STATUSES)
    assert schemas["Status"]["enum"] == ["running", *FINAL_STATUSES]
    assert schemas["Count"]["maximum"] == (1 << 53) - 1
    assert schemas["NewRun"]["propertyNames"]["maxLength"] == MAX_INDEXED
    assert schemas["RunFields"]["propertyNames"]["maxLength"] == MAX_INDEXED
    assert schemas["NewTicket"]["properties"]["path"]["maxLength"] == tickets.MAX_PATH
    assert schemas["History"]["properties"]["events"]["maxItems"] == stream.PAGE_EVENTS
    assert events["application/json"]["schema"]["oneOf"][1]["maxItems"] == MAX_BATCH == Settings().max_batch_events
    assert parameters["IdempotencyKey"]["schema"]["maxLength"] == base.MAX_KEY
    assert DESCRIPTION["components"]["headers"]["RequestId"]["schema"]["pattern"] == f"^{base.REQUEST_ID.pattern}$"
    assert parameters["text"]["schema"]["maxLength"] == runs.LONGEST_TEXT
    assert parameters["runs"]["schema"]["maxItems"] == merged.MOST_RUNS
    assert parameters["runsLimit"]["schema"]["default"] == runs.PAGE
    assert parameters["logs"]["schema"]["default"] == LOGS
    assert of[history, "limit"]["default"] == stream.PAGE_EVENTS
    assert of[watched, "limit"]["default"] == admin.PAGE
    for text, most in (
        (parameters["runsLimit"], runs.LONGEST_PAGE),
        (parameters["logs"], streaming.MOST_LOGS),
        (_parameter(history, "wait"), stream.LONGEST_WAIT),
        (_parameter(watched, "limit"), admin.LONGEST_PAGE),
    ):
        assert str(most) in text["description"]


def _parameter(operation: str, name: str) -> Any:
    return next(p for one in operations() if str(one) == operation for p in one.parameters if p["name"] == name)


def test_every_example_is_what_its_schema_allows() -> None:
    """Streams' too, event by event. Mutant: an example run with an unknown status."""
    found = 0
    for place, described in _with_examples(DESCRIPTION, ""):
        for example in examples(described):
            found += 1
            assert faults(described["schema"], example) == [], place
            if place.endswith("/text~event-stream"):
                assert faults(_content(described["schema"]), json.loads(example["data"])) == [], place
    assert found > 50


def _with_examples(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        if "schema" in value:
            yield place, value
        for name, inner in value.items():
            if name not in ("example", "examples"):
                yield from _with_examples(inner, f"{place}/{name.replace('/', '~')}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _with_examples(inner, f"{place}/{number}")


@pytest.mark.parametrize("operation", operations(), ids=str)
def test_what_its_examples_ask_is_answered_as_it_says(described: ServerProcess, operation: Operation) -> None:
    """Sent to a real server. Mutant: a body with a key that begins with _."""
    for kind, body in operation.examples():
        for wanted in next(iter(operation.said["responses"].values())).get("content", {"": None}):
            with Stream(described.port, make_run(described), headers=ADMIN) as watched:
                watched.block()
                _try(described, operation, kind, body, wanted)


def _try(server: ServerProcess, operation: Operation, kind: str, body: Any, wanted: str) -> None:
    path, headers = _filled(server, operation)
    headers |= {"Accept": wanted} if wanted else {}
    headers |= {"Content-Type": kind} if kind else {}
    sent = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    with Connection(server.port) as connection:
        connection.send(request(operation.method, path, headers, sent))
        head = Head.read(connection)
        answer = operation.answer(head.status)
        assert head.status < 400, (operation, body)
        text = b""
        if operation.method != "HEAD" and "content-length" in head.headers:
            text = connection.exactly(int(head.headers["content-length"]))
    for name, header in answer["headers"].items():
        assert name.lower() in head.headers or not resolve(header).get("required"), name
    got = head.headers.get("content-type", "").partition(";")[0]
    assert got in answer["content"] if "content" in answer else not got
    if got == "application/json" and operation.method != "HEAD":
        assert faults(answer["content"][got].get("schema", {}), json.loads(text)) == []


def _filled(server: ServerProcess, operation: Operation) -> tuple[str, dict[str, str]]:
    """The path with its query, and the headers: the examples, but of what must be there what is."""
    given = {(p["in"], p["name"]): examples(p)[0] for p in operation.parameters if examples(p)}
    there: dict[tuple[str, str], Any] = {}
    if operation.path.startswith("/api/v1/"):
        there["path", "run"] = make_run(server)
        there["query", "run"] = [there["path", "run"], make_run(server)]
    if "{stream}" in operation.path:
        there["path", "stream"] = server.request("GET", "/api/v1/admin/streams", headers=ADMIN)[1]["data"][0]["id"]
    there["header", "Idempotency-Key"] = secrets.token_hex(8)
    there["path", "version"] = Pages().version
    given |= {key: value for key, value in there.items() if key in given}
    if operation.path == "/artifacts/{path}":
        link = LINKS.sign(f"/artifacts/{given.pop(('path', 'path'))}")
        return link, {name: value for (place, name), value in given.items() if place == "header"}
    path = operation.path.format(**{name: value for (place, name), value in given.items() if place == "path"})
    query = {name: value for (place, name), value in given.items() if place == "query"}
    if isinstance(query.get("types"), list):
        query["types"] = ",".join(query["types"])
    headers = {name: value for (place, name), value in given.items() if place == "header"}
    return f"{path}?{urlencode(query, doseq=True)}" if query else path, {**ADMIN, **headers}


def test_what_streams_send_is_what_it_says(described: ServerProcess) -> None:
    """Each kind of event. Mutant: a snapshot without its logs."""
    events: list[Any] = [
        {"type": "log", "message": "hello"}, {"type": "result", "result": {"testId": "t", "status": "passed"}},
        {"type": "update", "run": {"total": 2, "branch": "main"}}, {"type": "custom.thing", "a": [1]},
        {"type": "done", "status": "failed", "error": "no"},
    ]  # fmt: skip
    ended, other = make_run(described, *events), make_run(described, *events)
    heard = 0
    for path, query in (
        (f"/api/v1/runs/{ended}/events", ""),
        (f"/api/v1/runs/{ended}/events", "meta=1&named=1&lastEventId=0"),
        (f"/api/v1/runs/{ended}/events", "meta=1&lastEventId=9999"),
        ("/api/v1/events", f"run={ended}&run={other}"),
        ("/api/v1/events", f"run={ended}&run={other}&lastEventId=nonsense"),
    ):
        with Stream(described.port, "", query, ADMIN, path=path) as stream:
            for block in stream.rest():
                heard += 1
                assert faults(_content(_event(path, ended)), data(block)) == []
    assert heard >= 20
    for path in ("/api/v1/workspace/events", "/api/v1/projects/web/events"):
        with Stream(described.port, "", "", ADMIN, path=path) as stream:
            kinds = [data(stream.block())["type"]]
            run = make_run(described)
            assert described.request("POST", f"/api/v1/runs/{run}/abort", None, ADMIN)[0] == 200
            while kinds[-1] != "run.done":
                event = data(stream.block())
                kinds.append(event["type"])
                assert faults(_content(_event(path, run)), event) == []


def _content(event: Any) -> Any:
    """The schema of an event's data."""
    return resolve(event)["properties"]["data"]["contentSchema"]


def _event(path: str, run: str) -> Any:
    described = DESCRIPTION["paths"][path.replace(f"/{run}/", "/{run}/").replace("/web/", "/{project}/")]
    return described["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"]


def test_it_is_served_to_everyone_and_kept_until_it_changes(described: ServerProcess) -> None:
    """Mutants: a role for it; an answer that must not be kept."""
    port = described.port
    answer = ask(port, "GET", "/openapi.json")
    assert answer.status == 200
    assert answer.body == FILE.read_bytes()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert ask(port, "HEAD", "/openapi.json").headers["content-length"] == str(len(answer.body))
    assert ask(port, "GET", "/openapi.json", headers={"If-None-Match": answer.headers["etag"]}).status == 304
    packed = ask(port, "GET", "/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.body) == answer.body
