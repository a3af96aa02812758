"""Runs over HTTP (protocol, sections 4 and 5): made, read, listed, kept alive, aborted, and their history in pages."""

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sentri_events.server import open_store
from sentri_events.settings import Settings
from tests.raw import Answer, Connection, ask, lines, request
from tests.server_process import ServerProcess

API = "/api/v1"
DONE = {"type": "done", "status": "completed"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ORDER = ["id", "projectId", "workspaceId", "type", "name", "status", "startedAt", "finishedAt", "duration", "error",
         "passed", "failed", "skipped", "total", "tests", "testQueue", "results", "logs"]  # fmt: skip
SUMMARY = ORDER[: ORDER.index("tests")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the whole file; what it logs is judged at the end."""
    process = ServerProcess(tmp_path_factory.mktemp("runs"), "--heartbeat", "0.2")
    try:
        yield process.start()
        log = process.log.read_text()
        assert "Traceback" not in log, log
        assert " ERROR " not in log, log
    finally:
        process.close()


def make(server: ServerProcess, body: Any, headers: dict[str, str] | None = None) -> Answer:
    return ask(server.port, "POST", f"{API}/runs", body, headers)


def publish(server: ServerProcess, run: str, *events: dict[str, Any]) -> None:
    answer = ask(server.port, "POST", f"{API}/runs/{run}/events", list(events))
    assert answer.status == 201, answer


def page(server: ServerProcess, run: str, query: str = "", headers: dict[str, str] | None = None) -> Answer:
    path = f"{API}/runs/{run}/events{query}"
    return ask(server.port, "GET", path, headers={"Accept": "application/json", **(headers or {})})


# Making and reading


def test_a_new_run_has_the_document_of_the_protocol(server: ServerProcess) -> None:
    """Its fields, in their order. Caught: `logs` before `results`."""
    answer = make(server, {"projectId": "web"})
    assert (answer.status, answer.headers["content-type"]) == (201, "application/json")
    document = answer.json
    assert list(document) == ORDER
    assert re.fullmatch(r"RUN-\d+", document["id"])
    assert TIME.fullmatch(document["startedAt"])
    assert {name: document[name] for name in ORDER if name not in ("id", "startedAt")} == {
        "projectId": "web",
        "workspaceId": "default",
        "type": "test_run",
        "name": None,
        "status": "running",
        "finishedAt": None,
        "duration": None,
        "error": None,
        "passed": 0,
        "failed": 0,
        "skipped": 0,
        "total": 0,
        "tests": [],
        "testQueue": [],
        "results": [],
        "logs": [],
    }
    assert ask(server.port, "GET", f"{API}/runs/{document['id']}").body == answer.body


def test_a_run_keeps_what_its_producer_says(server: ServerProcess) -> None:
    """Fields of the protocol in their places, all others after `testQueue`; what is the server's is not taken."""
    own = {"zebra": {"deep": [1, 2.5, "é\u2028"]}, "ci": None, "tests": ["a"], "testQueue": ["a", "b"]}
    given = {"projectId": "web", "id": "my.run-1_A", "type": "crawl", "name": "né", "total": 9, "passed": 2,
             "error": "e", "startedAt": "2026-01-31T13:00:00+01:00", "workspaceId": "mine", "status": "running",
             **own}  # fmt: skip
    answer = make(server, given)
    document = answer.json
    assert answer.body.isascii()
    assert list(document) == [*ORDER[:16], "ci", "zebra", "results", "logs"]
    assert {name: document[name] for name in own} == own
    assert document["startedAt"] == "2026-01-31T12:00:00.000Z"
    assert [document[name] for name in ("id", "type", "name", "total", "passed", "error", "workspaceId", "status")] == [
        "my.run-1_A", "crawl", "né", 9, 2, "e", "default", "running",
    ]  # fmt: skip
    assert ask(server.port, "GET", f"{API}/runs/my.run-1_A").body == answer.body
    assert page(server, "my.run-1_A").json["head"] == 0, "making a run uses no number"


def test_the_document_of_an_ended_run(server: ServerProcess) -> None:
    run = make(server, {"projectId": "web", "startedAt": "2026-01-31T12:00:00Z"}).json["id"]
    result = {"testId": "a::b", "status": "failed", "error": "é"}
    publish(server, run, {"type": "log", "message": "one", "level": "warn", "_at": "2026-01-31T12:00:00.5Z"})
    publish(server, run, {"type": "result", "result": result})
    publish(server, run, {"type": "done", "status": "failed", "error": "why", "_at": "2026-01-31T12:00:01.5Z"})
    document = ask(server.port, "GET", f"{API}/runs/{run}").json
    assert list(document) == ORDER
    assert [document[name] for name in SUMMARY[5:]] == [
        "failed", "2026-01-31T12:00:00.000Z", "2026-01-31T12:00:01.500Z", 1500, "why", 0, 1, 0, 1,
    ]  # fmt: skip
    assert (document["results"], document["logs"]) == ([result], ["one"])
    with_meta = ask(server.port, "GET", f"{API}/runs/{run}?meta=1&logs=5").json
    line = {"seq": 1, "at": "2026-01-31T12:00:00.500Z", "level": "warn", "message": "one"}
    assert with_meta == {**document, "logs": [line]}
    none = ask(server.port, "GET", f"{API}/runs/{run}?logs=0").json
    assert none == {**document, "logs": [], "logsTruncated": True}


def test_an_id_is_taken_once(server: ServerProcess) -> None:
    """409 for everyone, whatever project, and after its end too. Numbers that somebody took are passed over."""
    taken = make(server, {"projectId": "web"}).json["id"]
    for project in ("web", "other-project"):
        answer = make(server, {"projectId": project, "id": taken})
        assert (answer.status, taken in answer.error) == (409, True)
    number = int(taken.removeprefix("RUN-"))
    # Each run uses up a number, whether or not its id shows it.
    for ahead in range(number + 3, number + 6):
        assert make(server, {"projectId": "web", "id": f"RUN-{ahead}"}).status == 201
    ids = [make(server, {"projectId": "web"}).json["id"] for _ in range(5)]
    assert len(set(ids)) == 5
    publish(server, taken, DONE)
    assert make(server, {"projectId": "web", "id": taken}).status == 409


BAD_RUNS: list[tuple[int, bytes]] = [
    (400, b""),
    (400, b"nonsense"),
    (400, b"[]"),
    (400, b"null"),
    (400, b'{"projectId":"web","n":NaN}'),
    (400, b'{"projectId":"web","s":"\\ud800"}'),
    (400, b'{"projectId":"web","s":"\xff"}'),
    (422, b"{}"),
    (422, b'{"projectId":""}'),
    (422, b'{"projectId":null}'),
    (422, b'{"projectId":5}'),
    (422, b'{"projectId":"a b"}'),
    (422, b'{"projectId":"web","id":""}'),
    (422, b'{"projectId":"web","id":"a/b"}'),
    (422, b'{"projectId":"web","id":5}'),
    (422, b'{"projectId":"web","id":"' + b"x" * 129 + b'"}'),
    (422, b'{"projectId":"web","status":"completed"}'),
    (422, b'{"projectId":"web","status":null}'),
    (422, b'{"projectId":"web","type":5}'),
    (422, b'{"projectId":"web","name":["a"]}'),
    (422, b'{"projectId":"web","total":-1}'),
    (422, b'{"projectId":"web","total":"5"}'),
    (422, b'{"projectId":"web","startedAt":"now"}'),
    (422, b'{"projectId":"web","tests":"a"}'),
    (422, b'{"projectId":"web","testQueue":{}}'),
    (422, b'{"projectId":"web","results":[{}]}'),
    (422, b'{"projectId":"web","logs":["a"]}'),
    (422, b'{"projectId":"web","logsTruncated":false}'),
    (422, b'{"projectId":"web","_at":"2026-01-31T12:00:00Z"}'),
    (422, b'{"projectId":"web","_x":1}'),
    (422, b'{"projectId":"web","d":' + b"[" * 64 + b"]" * 64 + b"}"),
    (422, b'{"projectId":"web","d":' + b"[" * 5000 + b"]" * 5000 + b"}"),
]


@pytest.mark.parametrize(("status", "body"), BAD_RUNS)
def test_a_run_that_is_none_is_refused_and_not_made(server: ServerProcess, status: int, body: bytes) -> None:
    """Nor its project. Caught: a document nested a thousand deep."""
    body = body.replace(b'"projectId":"web"', b'"projectId":"never-made"')
    answer = make(server, body)
    assert answer.status == status
    assert answer.error.endswith(".")
    assert ask(server.port, "GET", f"{API}/projects/never-made").status == 404


def test_the_same_request_makes_one_run(server: ServerProcess) -> None:
    """Caught: a key that is looked up after the id, which the first request itself has taken."""
    key = {"Idempotency-Key": "make"}
    body = {"projectId": "web", "id": "made-once", "name": "n"}
    first, again = make(server, body, key), make(server, body, key)
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    for other in ({**body, "name": "m"}, b"nonsense", b"{}", {"projectId": "web"}):
        answer = make(server, other, key)
        assert (answer.status, "Idempotency-Key" in answer.error) == (422, True)
    assert make(server, body, {**key, "Content-Type": "text/json"}).status == 422
    assert make(server, body, {"Idempotency-Key": "x" * 129}).status == 422
    publish(server, "made-once", {"type": "update", "run": {"name": "later"}})
    assert make(server, body, key).body == first.body, "the first answer, not what became of it"


# Lists


@pytest.fixture(scope="module")
def listed(server: ServerProcess) -> dict[str, list[str]]:
    """Runs of two projects, some of them ended."""
    made: dict[str, list[str]] = {"list-a": [], "list-b": []}
    for number in range(12):
        project = "list-a" if number % 3 else "list-b"
        run = make(server, {"projectId": project, "name": f"n{number}", "extra": 1}).json["id"]
        if number % 2:
            publish(server, run, {"type": "log", "message": "x"}, {"type": "done", "status": "failed"})
        made[project].insert(0, run)
    return made


def walk(server: ServerProcess, path: str, limit: int) -> list[dict[str, Any]]:
    """All pages."""
    found: list[dict[str, Any]] = []
    query = f"limit={limit}"
    while True:
        answer = ask(server.port, "GET", f"{path}{'&' if '?' in path else '?'}{query}")
        assert answer.status == 200
        assert list(answer.json) == ["data", "next"]
        assert len(answer.json["data"]) <= limit
        found += answer.json["data"]
        if answer.json["next"] is None:
            return found
        assert isinstance(answer.json["next"], str)
        query = f"limit={limit}&cursor={answer.json['next']}"


@pytest.mark.parametrize("limit", [1, 2, 4, 8, 500])
def test_runs_are_listed_newest_first_in_pages(server: ServerProcess, listed: dict[str, list[str]], limit: int) -> None:
    """Caught: a page that begins with the last one of the page before."""
    for project, ids in listed.items():
        found = walk(server, f"{API}/runs?project={project}", limit)
        assert [run["id"] for run in found] == ids
        assert walk(server, f"{API}/projects/{project}/runs", limit) == found
        assert all(list(run) == SUMMARY for run in found)
        for status, parity in (("running", 0), ("failed", 1), ("aborted", 2)):
            expected = [run["id"] for run in found if int(run["name"][1:]) % 2 == parity]
            for path in (
                f"{API}/runs?project={project}&status={status}",
                f"{API}/projects/{project}/runs?status={status}",
            ):
                assert [run["id"] for run in walk(server, path, limit)] == expected
    everything = [run["id"] for run in walk(server, f"{API}/runs", limit)]
    assert set(listed["list-a"] + listed["list-b"]) <= set(everything)
    assert len(everything) == len(set(everything))


def test_a_list_shows_what_the_document_shows(server: ServerProcess, listed: dict[str, list[str]]) -> None:
    for run in walk(server, f"{API}/projects/list-b/runs", 500):
        document = ask(server.port, "GET", f"{API}/runs/{run['id']}").json
        assert run == {name: document[name] for name in SUMMARY}


def test_a_run_that_is_made_between_two_pages_moves_nothing(server: ServerProcess) -> None:
    ids = [make(server, {"projectId": "moving"}).json["id"] for _ in range(4)]
    first = ask(server.port, "GET", f"{API}/runs?project=moving&limit=2").json
    make(server, {"projectId": "moving"})
    second = ask(server.port, "GET", f"{API}/runs?project=moving&limit=2&cursor={first['next']}").json
    assert [run["id"] for run in first["data"] + second["data"]] == ids[::-1]
    assert second["next"] is None


@pytest.mark.parametrize(
    "query",
    ["limit=x", "limit=-1", "limit=", "cursor=x", "cursor=-1", "cursor=1.5", "status=done", "status=", "project=%ff",
     "status=Running", f"text={'x' * 129}", "text=%ff"],
)  # fmt: skip
def test_a_list_that_cannot_be_is_refused(server: ServerProcess, query: str) -> None:
    make(server, {"projectId": "web"})
    for path in ("runs", "projects/web/runs"):
        if "project" in query and path != "runs":
            continue
        answer = ask(server.port, "GET", f"{API}/{path}?{query}")
        assert answer.status == 400
        assert query.partition("=")[0] in answer.error


def test_a_list_is_searched_by_text(server: ServerProcess) -> None:
    """Page by page, with the other filters. Caught: a text that is looked for in the page alone."""
    runs = [make(server, {"projectId": "searched", "name": f"Nightly {n % 2}"}).json["id"] for n in range(6)]
    found, query = [], "text=nightly%201&project=searched&limit=1"
    page = ask(server.port, "GET", f"{API}/runs?{query}").json
    while True:
        found += [run["id"] for run in page["data"]]
        if page["next"] is None:
            break
        page = ask(server.port, "GET", f"{API}/runs?{query}&cursor={page['next']}").json
    assert found == runs[5::-2]


def test_bounds_of_a_list_are_kept(server: ServerProcess) -> None:
    for query, most in (("limit=0", 1), ("limit=99999999999999999999", 500), ("", 50)):
        assert len(ask(server.port, "GET", f"{API}/runs?{query}").json["data"]) <= most
    assert ask(server.port, "GET", f"{API}/runs?project=no%20such").json == {"data": [], "next": None}
    assert ask(server.port, "GET", f"{API}/runs?cursor=1").json == {"data": [], "next": None}


# Alive and abort


def test_alive_is_204_while_the_run_is_running(server: ServerProcess) -> None:
    run = make(server, {"projectId": "web"}).json["id"]
    with Connection(server.port) as client:
        for _ in range(2):
            client.send(request("POST", f"{API}/runs/{run}/alive"))
            answer = client.answer()
            assert (answer.status, answer.body) == (204, b"")
            assert "content-length" not in answer.headers
    publish(server, run, DONE)
    answer = ask(server.port, "POST", f"{API}/runs/{run}/alive")
    assert (answer.status, answer.error) == (409, "The run has ended.")
    assert page(server, run).json["head"] == 1


def test_abort_ends_the_run_once(server: ServerProcess) -> None:
    run = make(server, {"projectId": "web"}).json["id"]
    answers = [ask(server.port, "POST", f"{API}/runs/{run}/abort", b"{}") for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 409]
    assert answers[0].json == {"runId": run, "epoch": page(server, run).json["epoch"], "first": 1, "last": 1}
    assert answers[1].error == "The run has ended."
    assert [event["event"] for event in server.history(run)] == [{"type": "done", "status": "aborted"}]
    assert server.document(run)["status"] == "aborted"


# History


def test_a_page_of_history_to_the_byte(server: ServerProcess) -> None:
    run = make(server, {"projectId": "web"}).json["id"]
    at = "2026-01-31T12:00:00.123Z"
    publish(server, run, {"type": "log", "message": "é", "_at": at}, {"type": "x", "n": 1, "_at": at})
    answer = page(server, run)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-store")
    assert answer.headers["vary"] == "Accept"
    assert "etag" not in answer.headers
    epoch = answer.json["epoch"]
    expected = (
        f'{{"epoch":"{epoch}","events":[{{"seq":1,"at":"{at}","event":{{"type":"log","message":"\\u00e9"}}}},'
        f'{{"seq":2,"at":"{at}","event":{{"type":"x","n":1}}}}],"head":2,"ended":false}}'
    )
    assert answer.body == expected.encode()
    publish(server, run, DONE)
    last = page(server, run, "?after=2").json
    assert [last["head"], last["ended"], last["events"][0]["event"]] == [3, True, DONE]


def test_history_in_pages_from_any_position(server: ServerProcess) -> None:
    run = make(server, {"projectId": "web"}).json["id"]
    events = [{"type": "x", "n": number} for number in range(1, 8)]
    publish(server, run, *events)
    epoch = page(server, run).json["epoch"]
    for after in range(8):
        for limit in (1, 3, 7, 1000, 9999):
            for text in (str(after), f"{epoch}.{after}"):
                got = page(server, run, f"?after={text}&limit={limit}").json
                assert [event["seq"] for event in got["events"]] == list(range(after + 1, 8))[:limit]
                assert (got["head"], got["ended"], "reset" in got) == (7, False, False)
    assert page(server, run, headers={"Last-Event-ID": "5"}).json["events"][0]["seq"] == 6
    assert page(server, run, "?lastEventId=4").json["events"][0]["seq"] == 5
    assert page(server, run, "?after=3&lastEventId=4", {"Last-Event-ID": "5"}).json["events"][0]["seq"] == 4
    assert len(page(server, run, "?limit=0").json["events"]) == 1


@pytest.mark.parametrize(
    ("after", "reset"), [("8", "future"), ("zzzzzz.3", "epoch"), ("x", "malformed"), ("-1", "malformed")]
)
def test_a_position_of_no_use_begins_again_and_says_so(server: ServerProcess, after: str, reset: str) -> None:
    run = make(server, {"projectId": "web"}).json["id"]
    publish(server, run, *[{"type": "x"}] * 7)
    got = page(server, run, f"?after={after}&wait=5").json
    assert (got["reset"], len(got["events"]), list(got)[-1]) == (reset, 7, "reset")


def test_a_trimmed_position_begins_at_the_floor_and_says_so(server: ServerProcess) -> None:
    run = make(server, {"projectId": "web"}).json["id"]
    publish(server, run, *[{"type": "x"}] * 7)

    async def trim() -> None:
        async with open_store(Settings(database=f"sqlite:///{server.database}")) as store:
            await store.trim(run, 4)

    asyncio.run(trim())
    for after in ("0", "3"):
        got = page(server, run, f"?after={after}").json
        assert (got["reset"], [event["seq"] for event in got["events"]]) == ("trimmed", [5, 6, 7])
    assert "reset" not in page(server, run, "?after=4").json
    assert "reset" not in page(server, run).json


def test_a_page_has_at_most_4_mib(server: ServerProcess) -> None:
    """All of it, with what stands around the events. Caught: a bound on the events alone; a page of none."""
    run = make(server, {"projectId": "web"}).json["id"]
    for _ in range(4):
        publish(server, run, *[{"type": "x", "pad": "p" * 5000}] * 500)
    publish(server, run, *[{"type": "x", "pad": "p" * 1_048_000}] * 5)
    after, sizes = 0, []
    while True:
        answer = page(server, run, f"?after={after}")
        got = answer.json
        if not got["events"]:
            break
        assert got["events"][0]["seq"] == after + 1
        sizes.append(len(answer.body))
        after = got["events"][-1]["seq"]
    assert after == got["head"] == 2005
    assert max(sizes) <= 4 << 20
    assert sizes[0] > 3 << 20, "a page is not small without need"
    assert len(sizes) < 9


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "wait=x", "wait=-1", "wait=1.5", "after=%ff"])
def test_a_page_that_cannot_be_is_refused(server: ServerProcess, query: str) -> None:
    run = make(server, {"projectId": "web"}).json["id"]
    answer = page(server, run, f"?{query}")
    assert (answer.status, query.partition("=")[0] in answer.error) == (400, True)


def waiting(server: ServerProcess, run: str, query: str) -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(page(server, run, query)))
    thread.start()
    return thread, answers


@pytest.mark.parametrize("event", [{"type": "x"}, DONE])
def test_wait_holds_the_answer_until_something_is_there(server: ServerProcess, event: dict[str, Any]) -> None:
    """Nothing volatile. Caught: an answer at the first event of any kind."""
    run = make(server, {"projectId": "web"}).json["id"]
    thread, answers = waiting(server, run, "?after=0&wait=30")
    for _ in range(5):
        assert ask(server.port, "POST", f"{API}/runs/{run}/events", {"type": "frame"}).status == 202
    assert thread.is_alive()
    publish(server, run, event)
    thread.join(20)
    (answer,) = answers
    assert [one["event"] for one in answer.json["events"]] == [event]
    assert answer.json["ended"] is (event == DONE)


def test_wait_ends_with_an_empty_page(server: ServerProcess) -> None:
    run = make(server, {"projectId": "web"}).json["id"]
    assert page(server, run, "?wait=1").json["events"] == []


def test_wait_does_not_wait_without_need(server: ServerProcess) -> None:
    run = make(server, {"projectId": "web"}).json["id"]
    publish(server, run, {"type": "x"}, DONE)
    for query, seqs in (("?after=0&wait=30", [1, 2]), ("?after=2&wait=30", []), ("?after=9&wait=30", [1, 2])):
        thread, answers = waiting(server, run, query)
        thread.join(10)
        assert [event["seq"] for event in answers[0].json["events"]] == seqs


# Other routes


MOVED = [
    "RUN-1",
    "RUN-1/events?lastEventId=5&types=log",
    "RUN-1/events?x=%2Fapi%2Fruns%2F",
    "a%20b/abort",
    "x?a=/api/runs/y",
]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("rest", MOVED)
def test_the_original_s_paths_are_308(server: ServerProcess, method: str, rest: str) -> None:
    """The query kept, whatever the method. Caught: a path in the query that is changed too."""
    body = b'{"type":"x"}' if method == "POST" else b""
    answer = ask(server.port, method, f"/api/runs/{rest}", body)
    assert (answer.status, answer.headers["location"], answer.body) == (308, f"{API}/runs/{rest}", b"")


def test_a_post_that_is_sent_on_arrives(server: ServerProcess) -> None:
    run = make(server, {"projectId": "web"}).json["id"]
    with Connection(server.port) as client:
        client.send(request("POST", f"/api/runs/{run}/events", body=b'{"type":"x"}'))
        location = client.answer().headers["location"]
        client.send(request("POST", location, body=b'{"type":"x"}'))
        assert client.answer().status == 201


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("runs", "GET, POST"),
        ("runs/RUN-1", "GET"),
        ("runs/RUN-1/events", "GET, HEAD, POST"),
        ("runs/RUN-1/alive", "POST"),
        ("runs/RUN-1/abort", "POST"),
        ("projects", "GET, POST"),
        ("projects/web", "GET"),
        ("projects/web/runs", "GET"),
    ],
)
def test_another_method_is_405_with_those_that_are_allowed(server: ServerProcess, path: str, allowed: str) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        if method in allowed.split(", "):
            continue
        answer = ask(server.port, method, f"{API}/{path}", b"{}" if method in ("POST", "PUT") else b"")
        assert (answer.status, answer.headers["allow"]) == (405, allowed), method
        assert answer.error == "Method Not Allowed."


@pytest.mark.parametrize(
    "path",
    ["/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/runs", "/nothing", "/api/v1/runs/", "/api/v1/runs//events",
     "/api/v1/runs/RUN-1/nothing", "/api/v1/runs/RUN-1/events/"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_what_has_no_route_is_404(server: ServerProcess, method: str, path: str) -> None:
    answer = ask(server.port, method, path)
    assert (answer.status, answer.body) == (404, b'{"error":"not found"}')


def test_connections_are_kept_for_the_next_request(server: ServerProcess) -> None:
    """Whatever was answered, as long as the body was read."""
    run = make(server, {"projectId": "web"}).json["id"]
    path = f"{API}/runs/{run}/events"
    with Connection(server.port) as client:
        for method, where, body, status in (
            ("POST", path, b'{"type":"x"}', 201),
            ("POST", path, b"nonsense", 400),
            ("POST", path, b"{}", 422),
            ("POST", f"{API}/runs/nobody/events", b'{"type":"x"}', 404),
            ("DELETE", path, b"", 405),
            ("GET", f"{API}/runs/{run}", b"", 200),
            ("POST", path, lines([{"type": "x"}]), 201),
        ):
            client.send(request(method, where, body=body))
            assert client.answer().status == status
