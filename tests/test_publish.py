"""Publishing (protocol, section 3): what is taken, what is refused and in which words, and what it does to the run."""

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.raw import Answer, Connection, Stream, ask, data, lines, request
from tests.server_process import ServerProcess

MAX_EVENT, MAX_BODY = 4096, 40_000
NDJSON = {"Content-Type": "application/x-ndjson"}
DONE = {"type": "done", "status": "completed"}
STATUSES = ("completed", "completed_empty", "failed", "aborted", "interrupted")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server with small bounds for the whole file; what it logs is judged at the end."""
    bounds = ("--max-event-bytes", str(MAX_EVENT), "--max-body-bytes", str(MAX_BODY))
    process = ServerProcess(tmp_path_factory.mktemp("publish"), *bounds)
    try:
        yield process.start()
        log = process.log.read_text()
        assert "Traceback" not in log, log
        assert " ERROR " not in log, log
    finally:
        process.close()


def post(
    server: ServerProcess, run: str, body: Any, headers: Mapping[str, str] | None = None, query: str = ""
) -> Answer:
    return ask(server.port, "POST", f"/api/v1/runs/{run}/events{query}", body, headers)


def head(server: ServerProcess, run: str) -> tuple[int, bool]:
    """The run's last number, and whether it has ended."""
    path = f"/api/v1/runs/{run}/events?limit=1"
    page = ask(server.port, "GET", path, headers={"Accept": "application/json"}).json
    return page["head"], page["ended"]


def stored(server: ServerProcess, run: str) -> list[dict[str, Any]]:
    return [event["event"] for event in server.history(run)]


def log(message: str, **more: Any) -> dict[str, Any]:
    return {"type": "log", "message": message, **more}


def result(test: str, status: Any = "passed", **more: Any) -> dict[str, Any]:
    return {"type": "result", "result": {"testId": test, "status": status, **more}}


# What is taken


def test_the_answer_is_the_numbers(server: ServerProcess) -> None:
    run = server.make_run()
    first = post(server, run, log("one"))
    assert (first.status, list(first.json)) == (201, ["runId", "epoch", "first", "last"])
    assert first.json == {"runId": run, "epoch": first.json["epoch"], "first": 1, "last": 1}
    assert "idempotency-replayed" not in first.headers
    many = post(server, run, [{"type": "x"}, {"type": "frame"}, {"type": "y"}])
    assert many.json == {**first.json, "first": 2, "last": 3}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'[{"type":"x","n":1},{"type":"x","n":2}]', {}),
        (b' \r\n\t[ {"type" : "x", "n":1 } , {"n":2,"type":"x"} ]\n', {"Content-Type": "application/json"}),
        (b'{"type":"x","n":1}\n{"type":"x","n":2}\n', NDJSON),
        (b'{"type":"x","n":1}\n{"type":"x","n":2}', NDJSON),
        (b'\n\r\n{"type":"x","n":1}\r\n  \n\n{"n":2, "type":"x"}\r\n\r\n', NDJSON),
        (b'{"type":"x","n":1}\n{"type":"x","n":2}', {"Content-Type": "Application/X-NDJSON; charset=utf-8"}),
        (b'{"type":"x","n":1}\n{"type":"x","n":2}', {"Content-Type": " application/x-ndjson ;x"}),
    ],
)
def test_a_batch_in_all_its_shapes(server: ServerProcess, body: bytes, headers: dict[str, str]) -> None:
    """`type` goes first wherever it stood. Caught: lines that are split where Python splits them."""
    run = server.make_run()
    assert post(server, run, body, headers).status == 201
    page = ask(server.port, "GET", f"/api/v1/runs/{run}/events", headers={"Accept": "application/json"}).body
    assert page.count(b'"event":{"type":"x","n":1}') == page.count(b'"event":{"type":"x","n":2}') == 1
    assert stored(server, run) == [{"type": "x", "n": 1}, {"type": "x", "n": 2}]


def test_lines_end_at_line_feeds_alone(server: ServerProcess) -> None:
    run = server.make_run()
    text = "a\u2028b\u2029c\x85d\x0b\x0c\x1c"
    body = json.dumps(log(text), ensure_ascii=False).encode() + b"\n" + json.dumps({"type": "x"}).encode()
    assert post(server, run, body, NDJSON).json["last"] == 2
    assert stored(server, run)[0] == log(text)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_may_come_in_any_pieces(server: ServerProcess, chunked: bool) -> None:
    run = server.make_run()
    body = lines(log("é" * 50) for _ in range(100))
    head = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    with Connection(server.port) as client:
        client.send(request("POST", f"/api/v1/runs/{run}/events", {**NDJSON, **head}))
        for start in range(0, len(body), 999):
            piece = body[start : start + 999]
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        client.send(b"0\r\n\r\n" if chunked else b"")
        assert client.answer().json["last"] == 100


def test_its_own_time_is_kept_apart(server: ServerProcess) -> None:
    """`_at` is when it happened; it is no part of the event."""
    run = server.make_run()
    times = {
        "2026-01-31T12:00:00.123Z": "2026-01-31T12:00:00.123Z",
        "2026-01-31T12:00:00.001+02:00": "2026-01-31T10:00:00.001Z",
        "2026-01-31T12:00:00": "2026-01-31T12:00:00.000Z",
        "2026-01-31T12:00:00.9999Z": "2026-01-31T12:00:00.999Z",
        "1970-01-01T00:00:00Z": "1970-01-01T00:00:00.000Z",
        "9999-12-31T23:59:59.999Z": "9999-12-31T23:59:59.999Z",
    }
    assert post(server, run, [{"_at": at, "type": "x"} for at in times]).status == 201
    assert [event["at"] for event in server.history(run)] == list(times.values())
    assert stored(server, run) == [{"type": "x"}] * len(times)


def test_any_type_is_carried_as_it_is(server: ServerProcess) -> None:
    run = server.make_run()
    events: list[dict[str, Any]] = [
        {"type": "A-z_0.9:" + "x" * 56, "n": 12345678901234567890123, "f": 0.1, "e": 1e300, "s": ""},
        {"type": "run.started", "": {"": []}, "type2": None, "data": {"type": "done", "_x": 1}},
        {"type": "0"},
        {"type": "log"},
        {"type": "log", "message": {"not": "text"}, "level": 5},
    ]
    assert post(server, run, events).status == 201
    assert stored(server, run) == events
    assert server.document(run)["logs"] == ["", '{"not":"text"}']


def test_a_key_that_comes_twice_is_taken_once(server: ServerProcess) -> None:
    run = server.make_run()
    assert post(server, run, b'{"type":"x","n":1,"n":2}').status == 201
    assert stored(server, run) == [{"type": "x", "n": 2}]


# What is refused


def deep(levels: int, kind: str = "[") -> str:
    """A value that is nested so deep."""
    return "[" * levels + "]" * levels if kind == "[" else '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


def event_of(size: int, kind: str = "x") -> dict[str, str]:
    """An event that is stored in so many bytes."""
    empty = json.dumps({"type": kind, "pad": ""}, separators=(",", ":"))
    return {"type": kind, "pad": "p" * (size - len(empty))}


NOT_JSON = [
    b"",
    b" \n",
    b"nonsense",
    b'{"type":"x"',
    b'{"type":"x",}',
    b"{'type':'x'}",
    b'{"type":"x"} {"type":"y"}',
    b'{"type":"x"}{"type":"y"}',
    b'{"type":"x","n":NaN}',
    b'{"type":"x","n":Infinity}',
    b'{"type":"x","n":-Infinity}',
    b'{"type":"x","n":1e999}',
    b'{"type":"x","n":01}',
    b'{"type":"x","s":"\\ud800"}',
    b'{"type":"x","s":"\\udc00\\ud800"}',
    b'{"type":"x","\\ud800":1}',
    b'{"type":"x","s":"\xff"}',
    b'{"type":"x","s":"\xed\xa0\x80"}',
    b'{"\xc0\x80":1,"type":"x"}',
    b'{"type":"x","s":"a\nb"}',
    b'\xef\xbb\xbf{"type":"x"}',
    '{"type":"x"}'.encode("utf-16"),
    b"type=log&message=hi",
    b"\x1f\x8b\x08\x00",
    b"\x00",
]
NOT_AN_OBJECT = [b"null", b"1", b'"log"', b"true", b'["log"]', b'[{"type":"x"},[]]', b"[null]"]
BAD_LINES = [  # the body, the line that must be named
    (b'{"type":"x"}\n{"type":"x"} {"type":"y"}\n', 2),
    (b'{"type":"x"}{"type":"y"}\n', 1),
    (b'\n\n{"type":"x"}\n\r\nnonsense\n', 5),
    (b'{"type":"x"}\n[{"type":"y"}]\n', 2),
    (b'{"type":"x"}\r\n\r\nnull\r\n', 3),
    (b'{"type":\n"x"}\n', 1),
    (b'{"type":"x"}\r{"type":"y"}\n', 1),
    (b'{"type":"x"}\n{"type":"x","s":"\xff"}', 2),
    (b'{"type":"x"}\n{"type":"x","s":"\\ud800"}', 2),
    (b'{"type":1}\n{"type":"x","n":NaN}', 2),
    (b'{"type":"x","d":' + deep(5000).encode() + b"}\nnonsense\n", 2),
]
INVALID = [
    b"{}",
    b'{"message":"hi"}',
    b'{"type":null}',
    b'{"type":5}',
    b'{"type":["log"]}',
    b'{"type":""}',
    b'{"type":"a b"}',
    b'{"type":"log\\n"}',
    b'{"type":"caf\xc3\xa9"}',
    b'{"type":"a/b"}',
    json.dumps({"type": "x" * 65}).encode(),
    b'{"Type":"log"}',
    b'{"type":"x","_seq":1}',
    b'{"type":"x","_":1}',
    b'{"type":"x","__proto__":{}}',
    b'{"type":"x","_at":5}',
    b'{"type":"x","_at":null}',
    b'{"type":"x","_at":"yesterday"}',
    b'{"type":"x","_at":""}',
    b'{"type":"x","_at":"1969-12-31T23:59:59Z"}',
    b'{"type":"x","_at":"9999-12-31T23:59:59-01:00"}',
    b'{"type":"x","_at":"2026-02-30T00:00:00Z"}',
    b'{"type":"x","d":' + deep(64).encode() + b"}",
    b'{"type":"x","d":' + deep(64, "{").encode() + b"}",
    b'{"type":"x","d":' + deep(1500).encode() + b"}",
    b'{"type":"result"}',
    b'{"type":"result","result":null}',
    b'{"type":"result","result":{}}',
    b'{"type":"result","result":{"status":"passed"}}',
    b'{"type":"result","result":{"testId":""}}',
    b'{"type":"result","result":{"testId":7}}',
    b'{"type":"result","testId":"a"}',
    b'{"type":"done"}',
    b'{"type":"done","status":"running"}',
    b'{"type":"done","status":"passed"}',
    b'{"type":"done","status":null}',
    b'{"type":"done","status":["completed"]}',
    b'{"type":"done","status":"completed","passed":-1}',
    b'{"type":"done","status":"completed","total":"5"}',
    b'{"type":"done","status":"completed","failed":1.5}',
    b'{"type":"done","status":"completed","skipped":true}',
    b'{"type":"done","status":"completed","testsGenerated":9007199254740993}',
    b'{"type":"done","status":"failed","error":5}',
    b'{"type":"update"}',
    b'{"type":"update","run":[]}',
    b'{"type":"update","run":{"_epoch":"x"}}',
    b'{"type":"update","run":{"passed":-1}}',
    b'{"type":"update","run":{"total":99999999999999999999}}',
    b'{"type":"update","run":{"name":5}}',
    b'{"type":"update","run":{"type":null}}',
    b'{"type":"update","run":{"startedAt":"then"}}',
    b'{"type":"update","run":{"startedAt":null}}',
    b'{"type":"update","run":{"finishedAt":5}}',
    b'{"type":"update","run":{"logs":[]}}',
    b'{"type":"update","run":{"logsTruncated":true}}',
    b'{"type":"update","run":{"results":{}}}',
    b'{"type":"update","run":{"results":[{"status":"passed"}]}}',
    b'{"type":"update","run":{"results":[5]}}',
    b'{"type":"update","run":{"tests":"all"}}',
    b'{"type":"update","run":{"testQueue":null}}',
]


@pytest.mark.parametrize(
    ("status", "bodies"),
    [(400, NOT_JSON), (400, NOT_AN_OBJECT), (422, INVALID)],
    ids=["not JSON", "no object", "against a rule"],
)
def test_what_is_refused_has_its_sentence_and_changes_nothing(
    server: ServerProcess, status: int, bodies: list[bytes]
) -> None:
    """Alone, and as the second of a batch that is good otherwise: all or nothing.

    Caught: a time after the year 9999, which was stored and then made every answer that held it a 500.
    """
    run = server.make_run(tests=["a"])
    assert post(server, run, [log("before"), result("a")]).status == 201
    before = ask(server.port, "GET", f"/api/v1/runs/{run}").body
    for body in bodies:
        answer = post(server, run, body)
        assert answer.status == status, body
        assert answer.error.endswith("."), answer.error
        if status == 422:
            batch = post(server, run, b'[{"type":"x"},%s,{"type":"y"}]' % body)
            assert batch.status == 422, body
            assert batch.error == f"Event 2: {answer.error}" or "nested deeper" in batch.error
            assert post(server, run, b'{"type":"x"}\n\n%s\n' % body, NDJSON).status == 422, body
    assert ask(server.port, "GET", f"/api/v1/runs/{run}").body == before
    assert head(server, run) == (2, False)


@pytest.mark.parametrize(("body", "line"), BAD_LINES)
def test_a_broken_line_is_named(server: ServerProcess, body: bytes, line: int) -> None:
    """Counted from 1, blank lines too. Two objects on one line are broken. Caught: `splitlines`."""
    run = server.make_run()
    answer = post(server, run, body, NDJSON)
    assert answer.status == 400
    assert answer.error.startswith(f"Line {line} ")
    assert head(server, run) == (0, False)


def test_a_broken_member_of_an_array_is_named(server: ServerProcess) -> None:
    run = server.make_run()
    assert post(server, run, b'[{"type":"x"},{"type":"x"},7]').error.startswith("Event 3 ")


@pytest.mark.parametrize(
    ("body", "headers"), [(b"[]", {}), (b"\n", NDJSON), (b" \r\n\r\n", NDJSON)], ids=["array", "line", "lines"]
)
def test_an_empty_batch_is_refused(server: ServerProcess, body: bytes, headers: dict[str, str]) -> None:
    answer = post(server, server.make_run(), body, headers)
    assert (answer.status, answer.error) == (422, "The batch is empty.")


@pytest.mark.parametrize("after", [log("late"), DONE, {"type": "frame"}])
def test_nothing_follows_done_in_a_batch(server: ServerProcess, after: dict[str, Any]) -> None:
    run = server.make_run()
    answer = post(server, run, [log("one"), DONE, after])
    assert (answer.status, answer.error) == (422, "Event 3: Nothing can follow done.")
    assert head(server, run) == (0, False)


@pytest.mark.parametrize("kind", ["log", "result", "update", "done"])
def test_what_the_document_is_made_of_cannot_be_volatile(server: ServerProcess, kind: str) -> None:
    run = server.make_run()
    event = {"type": kind, "status": "completed", "result": {"testId": "a"}, "run": {}}
    answer = post(server, run, event, query="?volatile=true")
    assert (answer.status, answer.error) == (422, f"{kind} cannot be volatile.")
    assert post(server, run, event, query="?volatile=false").status == 201


def test_volatile_means_yes_or_no(server: ServerProcess) -> None:
    run = server.make_run()
    assert post(server, run, {"type": "x"}, query="?volatile=maybe").status == 400
    assert post(server, run, {"type": "x"}, query="?volatile=1").status == 202


def test_a_run_that_has_ended_takes_nothing(server: ServerProcess) -> None:
    run = server.make_run()
    assert post(server, run, DONE).status == 201
    for event, query in ((log("late"), ""), (DONE, ""), ({"type": "frame"}, ""), ({"type": "x"}, "?volatile=true")):
        answer = post(server, run, event, query=query)
        assert (answer.status, answer.error) == (409, "The run has ended.")
    assert head(server, run) == (1, True)


# Bounds, exactly


TAKING_A_BODY = ["/api/v1/runs/{}/events", "/api/v1/runs", "/api/v1/projects", "/api/v1/runs/{}/alive",
                 "/api/v1/runs/{}/abort", "/api/v1/runs/{}", "/api/runs/{}/events", "/api/v1/nothing", "/nothing",
                 "/health"]  # fmt: skip


def test_an_event_may_have_so_many_bytes_as_stored(server: ServerProcess) -> None:
    """Not as sent: spaces and its time do not count, and what is not ASCII counts as it is written."""
    run = server.make_run()
    assert post(server, run, event_of(MAX_EVENT)).status == 201
    padded = json.dumps({"_at": "2026-01-31T12:00:00Z", **event_of(MAX_EVENT)}, indent=50)
    assert post(server, run, padded.encode()).status == 201
    escaped = json.dumps({"type": "x", "s": "é" * 690}, ensure_ascii=False).encode()
    assert len(escaped) < MAX_EVENT
    for body in (json.dumps(event_of(MAX_EVENT + 1)).encode(), escaped):
        answer = post(server, run, body)
        assert answer.status == 413
        assert f"may have {MAX_EVENT} bytes" in answer.error
    batch = post(server, run, [{"type": "x"}, event_of(MAX_EVENT + 1)])
    assert batch.status == 413
    assert batch.error.startswith("Event 2: ")
    assert head(server, run) == (2, False)


def test_a_batch_may_hold_1000_events(server: ServerProcess) -> None:
    run = server.make_run()
    for headers, join in (({}, lambda events: json.dumps(events).encode()), (NDJSON, lines)):
        assert post(server, run, join([{"type": "x"}] * 1000), headers).status == 201
        answer = post(server, run, join([{"type": "x"}] * 1001), headers)
        assert (answer.status, answer.error) == (413, "A batch may hold 1000 events, not 1001.")
    assert head(server, run) == (2000, False)


@pytest.mark.parametrize("kind", ["[", "{"])
def test_an_event_may_be_nested_64_deep(server: ServerProcess, kind: str) -> None:
    """The event itself is the first level; an empty array at the 65th is too deep. Caught: both off by one."""
    run = server.make_run()
    assert post(server, run, f'{{"type":"x","d":{deep(63, kind)}}}'.encode()).status == 201
    for level in (64, 65, 66, 200):
        assert post(server, run, f'{{"type":"x","d":{deep(level, kind)}}}'.encode()).status == 422
    wide = '"wide":' + str([[]] * 100)
    for level, status in ((63, 201), (64, 422)):
        assert post(server, run, f'{{"type":"x",{wide},"d":{deep(level, kind)}}}'.encode()).status == status
    assert head(server, run) == (2, False)


def test_a_body_of_exactly_the_bound_is_taken(server: ServerProcess) -> None:
    run = server.make_run()
    body = b'{"type":"x"}'.ljust(MAX_BODY)
    assert post(server, run, body).status == 201
    assert post(server, run, body + b" ").status == 413
    assert head(server, run) == (1, False)


@pytest.mark.parametrize("path", TAKING_A_BODY)
@pytest.mark.parametrize("length", [MAX_BODY + 1, 10 * MAX_BODY, 10**9, 10**30])
def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes(
    server: ServerProcess, path: str, length: int
) -> None:
    """Nothing of it is ever sent here. Caught: Tornado's own bound, which answers without a sentence."""
    run = server.make_run()
    with Connection(server.port) as client:
        client.send(request("POST", path.format(run), {"Content-Length": str(length)}))
        answer = client.answer()
        assert (answer.status, answer.error) == (413, f"A body may have {MAX_BODY} bytes.")
        assert answer.headers["connection"] == "close"
        assert client.rest() == b""
    assert head(server, run) == (0, False)


def test_a_client_that_asks_first_need_not_send_it(server: ServerProcess) -> None:
    run = server.make_run()
    path = f"/api/v1/runs/{run}/events"
    with Connection(server.port) as client:
        client.send(request("POST", path, {"Content-Length": str(MAX_BODY + 1), "Expect": "100-continue"}))
        assert client.answer().status == 413
    with Connection(server.port) as client:
        client.send(request("POST", path, {"Content-Length": "12", "Expect": "100-continue"}))
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        client.send(b'{"type":"x"}')
        assert client.answer().status == 201


@pytest.mark.parametrize("path", TAKING_A_BODY)
def test_a_body_of_unknown_length_is_cut_off_at_the_bound(server: ServerProcess, path: str) -> None:
    """It never ends here: the answer comes although there is more. Caught: a bound that is looked at after the end."""
    run = server.make_run()
    with Connection(server.port) as client:
        client.send(request("POST", path.format(run), {"Transfer-Encoding": "chunked"}))
        piece = b"%x\r\n%s\r\n" % (8000, b" " * 8000)
        for _ in range(MAX_BODY // 8000 + 1):
            client.send(piece)
        answer = client.answer()
        assert (answer.status, answer.error) == (413, f"A body may have {MAX_BODY} bytes.")
    assert head(server, run) == (0, False)


def test_a_compressed_body_is_refused(server: ServerProcess) -> None:
    run = server.make_run()
    answer = post(server, run, b"\x1f\x8b\x08", {"Content-Encoding": "gzip"})
    assert answer.status == 400
    assert "compressed" in answer.error
    assert post(server, run, b'{"type":"x"}', {"Content-Encoding": "identity"}).status == 201


def test_a_body_that_does_not_come_whole_is_nothing(server: ServerProcess) -> None:
    run = server.make_run()
    with Connection(server.port) as client:
        client.send(request("POST", f"/api/v1/runs/{run}/events", body=b'{"type":"x"}')[:-1])
    with Connection(server.port) as client:
        client.send(request("POST", f"/api/v1/runs/{run}/events", {"Transfer-Encoding": "chunked"}))
        client.send(b'c\r\n{"type":"x"}\r\n')
    assert post(server, run, {"type": "y"}).json["first"] == 1


# The first that holds


def test_the_order_of_refusals(server: ServerProcess) -> None:
    """Caught: 422 for an event before 413 for a later one; 404 before 400."""
    run, ended = server.make_run(), server.make_run()
    assert post(server, ended, DONE).status == 201
    large, broken = event_of(MAX_EVENT + 1), b'[{"type":"x"}'
    cases: dict[str, dict[int, list[Any]]] = {
        "nobody": {400: [broken, b"[7]"], 404: [large, {}, {"type": "log"}, [], [{}] * 1001, {"type": "frame"}]},
        ended: {400: [broken, b"7"], 409: [large, {}, {"type": "log"}, [], [{}] * 1001, [DONE, DONE]]},
        run: {
            400: [broken, json.dumps([{}, large, 7]).encode()],
            413: [large, [{}, large], [large, {}], [{}] * 1001, {**large, "type": 5, "_x": 1}, [DONE, DONE, large]],
            422: [{}, [], [DONE, DONE]],
        },
    }
    for where, bodies in cases.items():
        for status, one_of in bodies.items():
            for body in one_of:
                assert post(server, where, body).status == status, (where, body)
    assert post(server, "nobody", {"type": "log"}, query="?volatile=maybe").status == 400
    assert post(server, ended, {"type": "log"}, query="?volatile=true").status == 409
    assert head(server, run) == (0, False)


# The same request again


def test_a_retry_is_answered_as_the_first_time(server: ServerProcess) -> None:
    """Caught: a replay without its header; a run whose end is looked at before the key."""
    run = server.make_run()
    key = {"Idempotency-Key": "k" * 128}
    batch = [log("one"), {"type": "frame"}, DONE]
    first = post(server, run, batch, key)
    assert first.status == 201
    assert "idempotency-replayed" not in first.headers
    again = [post(server, run, batch, key) for _ in range(3)]
    for answer in again:
        assert (answer.status, answer.body) == (201, first.body)
        assert answer.headers["idempotency-replayed"] == "true"
    assert stored(server, run) == [log("one"), DONE]
    server.restart()
    assert post(server, run, batch, key).body == first.body
    assert post(server, run, batch, {"Idempotency-Key": "another"}).status == 409


def test_a_key_with_another_request_is_refused_whatever_else_is_wrong(server: ServerProcess) -> None:
    """Bytes, content type and query make the request. Caught: a key that is looked up after the body is judged."""
    run, other = server.make_run(), server.make_run()
    key = {"Idempotency-Key": "k"}
    body = b'{"type":"x"}'
    first = post(server, run, body, {**key, "Content-Type": "application/json"})
    assert first.status == 201
    for changed, headers, query in (
        (b'{"type":"x"} ', {"Content-Type": "application/json"}, ""),
        (b'{"type":"y"}', {"Content-Type": "application/json"}, ""),
        (body, {"Content-Type": "application/x-ndjson"}, ""),
        (body, {}, ""),
        (body, {"Content-Type": "application/json"}, "?volatile=false"),
        (b"nonsense", {"Content-Type": "application/json"}, ""),
        (b"", {"Content-Type": "application/json"}, ""),
        (b"{}", {"Content-Type": "application/json"}, ""),
        (json.dumps(event_of(MAX_EVENT + 1)).encode(), {"Content-Type": "application/json"}, ""),
    ):
        answer = post(server, run, changed, {**key, **headers}, query)
        assert (answer.status, "Idempotency-Key" in answer.error) == (422, True), (changed, headers, query)
    assert post(server, other, body, key).json["first"] == 1, "a key belongs to its run"
    assert head(server, run) == (1, False)
    assert post(server, run, DONE).status == 201
    assert post(server, run, b"nonsense", key).status == 422
    assert post(server, run, body, {**key, "Content-Type": "application/json"}).body == first.body


def test_a_refused_request_leaves_its_key_free(server: ServerProcess) -> None:
    run = server.make_run()
    key = {"Idempotency-Key": "k"}
    for body in (b"nonsense", b"{}", json.dumps(event_of(MAX_EVENT + 1)).encode()):
        assert post(server, run, body, key).status in (400, 413, 422)
    assert post(server, run, log("one"), key).status == 201


def test_a_volatile_batch_with_a_key_goes_out_once(server: ServerProcess) -> None:
    run = server.make_run()
    key = {"Idempotency-Key": "k"}
    with Stream(server.port, run) as viewer:
        viewer.block()
        first = post(server, run, {"type": "frame", "n": 1}, key)
        again = post(server, run, {"type": "frame", "n": 1}, key)
        assert (first.status, again.status) == (202, 202)
        assert first.json == again.json == {"runId": run}
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert post(server, run, DONE).status == 201
        assert [data(block)["type"] for block in viewer.rest()] == ["frame", "done"]


@pytest.mark.parametrize("key", ["", "k" * 129])
def test_a_key_has_1_to_128_characters(server: ServerProcess, key: str) -> None:
    run = server.make_run()
    answer = post(server, run, log("one"), {"Idempotency-Key": key})
    assert (answer.status, "Idempotency-Key" in answer.error) == (422, True)
    assert head(server, run) == (0, False)


def test_a_storm_of_one_key_is_one_event(server: ServerProcess) -> None:
    """P7. Caught: a key that is looked up before the transaction that remembers it, and not in it."""
    run = server.make_run()
    go = threading.Barrier(16)
    answers: list[Answer] = []
    made: list[Answer] = []

    def storm() -> None:
        go.wait()
        for number in range(6):
            headers = {"Idempotency-Key": f"k{number}"}
            answers.append(post(server, run, [log(f"{number}"), log("two")], headers))
            made.append(ask(server.port, "POST", "/api/v1/runs", {"projectId": "web", "name": "storm"}, headers))

    threads = [threading.Thread(target=storm) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers + made} == {201}
    assert len({answer.body for answer in answers}) == 6
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 6
    assert sorted(event["message"] for event in stored(server, run)) == sorted([*"012345", *["two"] * 6])
    assert len({answer.json["id"] for answer in made}) == 6
    assert sum("idempotency-replayed" not in answer.headers for answer in made) == 6


# Volatile


def test_volatile_alone_is_202_and_uses_no_number(server: ServerProcess) -> None:
    run = server.make_run()
    for body, query in (
        ({"type": "frame"}, ""),
        ([{"type": "frame"}, {"type": "snapshot"}], ""),
        ({"type": "x"}, "?volatile=true"),
    ):
        answer = post(server, run, body, query=query)
        assert (answer.status, answer.json) == (202, {"runId": run})
    assert head(server, run) == (0, False)
    assert post(server, run, [{"type": "frame"}, log("one"), {"type": "frame"}]).json["last"] == 1


# What it does to the run document


COUNTS = ("passed", "failed", "skipped", "total")


def counts(document: dict[str, Any]) -> tuple[int, ...]:
    return tuple(document[name] for name in COUNTS)


def test_a_log_is_a_line(server: ServerProcess) -> None:
    run = server.make_run()
    post(server, run, [log("one"), log("two", level="error"), {"type": "x", "message": "no log"}, log("")])
    assert server.document(run)["logs"] == ["one", "two", ""]


def test_results_are_upserted_and_counted(server: ServerProcess) -> None:
    """Caught: a test that is counted twice; an unknown status that is counted as passed."""
    run = server.make_run(total=4)
    kinds = {"passed": "passed", "xpassed": "passed", "warning": "passed", "failed": "failed", "error": "failed",
             "skipped": "skipped", "xfailed": "skipped"}  # fmt: skip
    post(server, run, [result(status, status) for status in kinds])
    assert counts(server.document(run)) == (3, 2, 2, 7)
    post(server, run, [result("running", "running"), result("none", None), result("odd", ["passed"])])
    assert counts(server.document(run)) == (3, 2, 2, 10)
    post(server, run, [result("failed", "passed", retries=1), result("running", "failed")])
    document = server.document(run)
    assert counts(document) == (4, 2, 2, 10)
    assert [one["testId"] for one in document["results"]] == [*kinds, "running", "none", "odd"]
    assert document["results"][3] == {"testId": "failed", "status": "passed", "retries": 1}
    assert "retries" not in document["results"][0]


def test_the_total_is_the_larger_one(server: ServerProcess) -> None:
    run = server.make_run(total=3)
    assert counts(server.document(run)) == (0, 0, 0, 3)
    post(server, run, [result(str(number)) for number in range(2)])
    assert counts(server.document(run)) == (2, 0, 0, 3)
    post(server, run, [result(str(number)) for number in range(5)])
    assert counts(server.document(run)) == (5, 0, 0, 5)
    post(server, run, {**DONE, "total": 4})
    assert counts(server.document(run)) == (5, 0, 0, 5)


def test_counts_that_the_producer_set_stand(server: ServerProcess) -> None:
    run = server.make_run(passed=7)
    post(server, run, [result("a"), result("b", "failed")])
    assert counts(server.document(run)) == (7, 1, 0, 2)
    post(server, run, {"type": "update", "run": {"failed": 0, "total": 100}})
    assert counts(server.document(run)) == (7, 0, 0, 100)
    post(server, run, {"type": "update", "run": {"passed": None}})
    assert counts(server.document(run)) == (1, 0, 0, 100)
    post(server, run, {**DONE, "passed": 9, "failed": 8, "skipped": 6, "total": 120})
    assert counts(server.document(run)) == (9, 8, 6, 120)


def test_an_update_replaces_fields(server: ServerProcess) -> None:
    run = server.make_run(name="old", browser="firefox", tests=["a", "b"])
    before = server.document(run)
    forbidden = {"id": "X", "projectId": "X", "workspaceId": "X", "status": "failed"}
    fields = {"name": "new", "type": "crawl", "error": "e", "startedAt": "2026-01-31T13:00:00+01:00", "tests": ["c"],
              "testQueue": ["d"], "browser": {"name": "chrome"}, "é": [1.5, None]}  # fmt: skip
    assert post(server, run, {"type": "update", "run": {**forbidden, **fields}}).status == 201
    assert server.document(run) == {**before, **fields, "startedAt": "2026-01-31T12:00:00.000Z"}
    assert post(server, run, {"type": "update", "run": {"name": None, "error": None}}).status == 201
    assert server.document(run)["name"] is None
    assert post(server, run, {"type": "update", "run": {}}).status == 201


def test_an_update_of_the_results_replaces_them_all(server: ServerProcess) -> None:
    run = server.make_run()
    post(server, run, [result("a"), result("b", "failed")])
    new = [{"testId": "c", "status": "skipped"}, {"testId": "a", "status": "failed"}]
    post(server, run, [{"type": "update", "run": {"results": new}}, result("d")])
    document = server.document(run)
    assert counts(document) == (1, 1, 1, 3)
    assert [one["testId"] for one in document["results"]] == ["c", "a", "d"]


@pytest.mark.parametrize("status", STATUSES)
def test_done_seals_the_run(server: ServerProcess, status: str) -> None:
    """Its time is the event's own. Caught: a duration in seconds."""
    run = server.make_run(startedAt="2026-01-31T12:00:00Z")
    done = {"type": "done", "status": status, "testsGenerated": 3, "error": "why", "more": 1}
    assert post(server, run, {**done, "_at": "2026-01-31T12:01:00.500Z"}).status == 201
    document = server.document(run)
    assert (document["status"], document["error"], document["testsGenerated"]) == (status, "why", 3)
    assert (document["finishedAt"], document["duration"]) == ("2026-01-31T12:01:00.500Z", 60_500)
    assert "more" not in document


def test_a_snapshot_and_other_types_change_nothing(server: ServerProcess) -> None:
    run = server.make_run()
    before = server.document(run)
    post(
        server,
        run,
        [{"type": "snapshot", "run": {"name": "x"}}, {"type": "x", "run": {"name": "x"}, "status": "failed"}],
    )
    assert server.document(run) == before


def test_a_batch_is_taken_in_its_order(server: ServerProcess) -> None:
    run = server.make_run()
    batch = [
        result("a", "failed"),
        {"type": "update", "run": {"name": "1"}},
        result("a"),
        {"type": "update", "run": {"name": "2"}},
    ]
    with Stream(server.port, run, "snapshot=0&meta=1") as viewer:
        viewer.block()
        post(server, run, [*batch, {"type": "frame"}, DONE])
        seen = [data(block) for block in viewer.rest()]
    assert [event["type"] for event in seen] == ["result", "update", "result", "update", "frame", "done"]
    assert [event.get("_seq") for event in seen] == [1, 2, 3, 4, None, 5]
    document = server.document(run)
    assert (document["name"], counts(document)) == ("2", (1, 0, 0, 1))


def test_many_publishers_at_once_get_numbers_without_holes(server: ServerProcess) -> None:
    """P1, in one process."""
    run = server.make_run()
    answers: list[Answer] = []

    def publish(number: int) -> None:
        for turn in range(10):
            size = 1 + (number + turn) % 3
            answers.append(
                post(server, run, [{"type": "x", "who": number, "turn": turn, "part": p} for p in range(size)])
            )
            if turn % 4 == 0:
                assert post(server, run, [{"type": "x"}, {}]).status == 422

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [n for answer in answers for n in range(answer.json["first"], answer.json["last"] + 1)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    history = server.history(run)
    assert [event["seq"] for event in history] == sorted(numbers)
    for who in range(8):
        mine = [(event["event"]["turn"], event["event"]["part"]) for event in history if event["event"]["who"] == who]
        assert mine == sorted(mine)
