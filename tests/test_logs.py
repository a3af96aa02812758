"""What an operator reads in the log: a line for each request and stream, found by its id; quiet while all is well."""

import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentri_events.caller import VIEWER, Caller
from sentri_events.handlers.access_log import Client
from sentri_events.handlers.sockets import Socket, Streams
from sentri_events.logs import REQUEST, JsonLines, TextLines
from tests.raw import Answer, Stream, ask
from tests.server_process import ServerProcess, wait_until
from tests.tokens import SECRET, bearer, token

OWN_ID = re.compile(r"[0-9a-f]{16}")


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[ServerProcess]:
    """It says all, as JSON, and asks who it is."""
    server = ServerProcess(tmp_path, "--log-level", "debug", "--log-json", env={"JWT_SECRET": SECRET})
    try:
        yield server.start()
    finally:
        server.close()


def told(server: ServerProcess) -> list[dict[str, Any]]:
    """All lines of JSON."""
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


def of(server: ServerProcess, request: str) -> list[dict[str, Any]]:
    """The lines of one request, once there is any."""
    return list(
        wait_until(lambda: [line for line in told(server) if line.get("request") == request], f"a line of {request}")
    )


def make_run(server: ServerProcess, who: dict[str, str]) -> str:
    assert ask(server.port, "POST", "/api/v1/projects", {"id": "web"}, who).status == 201
    return str(ask(server.port, "POST", "/api/v1/runs", {"projectId": "web"}, who).json["id"])


def test_a_request_has_one_line(talkative: ServerProcess) -> None:
    """Who, what, how long, how much. Mutants caught: the caller is not told; the bytes of the answer, as those of the
    request."""
    who = bearer(token(role="qa_lead", sub="alice"))
    run = make_run(talkative, who)
    event = {"type": "log", "message": "hello"}
    answer = ask(talkative.port, "POST", f"/api/v1/runs/{run}/events", event, {**who, "X-Request-Id": "mine-1"})
    (line,) = of(talkative, "mine-1")
    assert line["level"] == "debug"
    assert (line["method"], line["path"], line["status"]) == ("POST", f"/api/v1/runs/{run}/events", 201)
    assert (line["bytesIn"], line["bytesOut"]) == (len(json.dumps(event)), len(answer.body))
    assert line["who"] == "alice@WS-1"
    assert line["address"] == "127.0.0.1"
    assert 0 < line["milliseconds"] < 20_000


def test_a_refused_request_says_why(talkative: ServerProcess) -> None:
    who = bearer(token(role="qa_lead"))
    ask(talkative.port, "GET", "/api/v1/runs?status=odd", headers={**who, "X-Request-Id": "odd"})
    (line,) = of(talkative, "odd")
    assert (line["level"], line["status"], line["path"]) == ("info", 400, "/api/v1/runs")
    assert line["why"].startswith("status must be one of")
    ask(talkative.port, "GET", "/api/v1/runs", headers={"X-Request-Id": "stranger"})
    (line,) = of(talkative, "stranger")
    assert (line["status"], line["who"]) == (401, "nobody")


def test_a_stream_has_one_line_at_its_end(talkative: ServerProcess) -> None:
    """Mutant caught: the line of a stream has the id of whatever ended it."""
    who = bearer(token(role="qa_lead", sub="bob"))
    run = make_run(talkative, who)
    with Stream(talkative.port, run, headers={**who, "X-Request-Id": "stream-1"}) as viewer:
        assert viewer.head.headers["x-request-id"] == "stream-1"
        viewer.block()
        done = {"type": "done", "status": "completed"}
        ask(talkative.port, "POST", f"/api/v1/runs/{run}/events", done, {**who, "X-Request-Id": "publish-1"})
        viewer.rest()
    (line,) = of(talkative, "stream-1")
    assert (line["level"], line["stream"], line["who"]) == ("debug", f"/api/v1/runs/{run}/events", "bob@WS-1")
    assert line["why"] == "ended with what it followed"
    assert line["bytesOut"] > 300
    assert line["seconds"] < 20


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "a;b", "\xff", "../x"])
def test_an_id_is_bounded_and_harmless(server: ServerProcess, given: str) -> None:
    """Mutant caught: whatever was sent comes back."""
    answer = ask(server.port, "GET", "/health", headers={"X-Request-Id": given} if given else {})
    assert OWN_ID.fullmatch(answer.headers["x-request-id"])


def test_every_answer_has_the_id(server: ServerProcess) -> None:
    """Errors too, and two answers have two."""
    ids = {"X-Request-Id": "given-1"}
    run = server.make_run()
    answers: list[Answer] = [
        ask(server.port, "GET", "/health", headers=ids),
        ask(server.port, "GET", "/nothing", headers=ids),
        ask(server.port, "PUT", f"/api/v1/runs/{run}", headers=ids),
        ask(server.port, "POST", f"/api/v1/runs/{run}/events", b"{", ids),
        ask(server.port, "GET", f"/api/runs/{run}", headers=ids),
    ]
    assert [answer.headers["x-request-id"] for answer in answers] == ["given-1"] * len(answers)
    assert len({ask(server.port, "GET", "/health").headers["x-request-id"] for _ in range(3)}) == 3


def test_nothing_is_said_while_all_is_well(server: ServerProcess) -> None:
    """By default: not of publishes, nor of streams that come and end."""
    before = server.log.read_text()
    run = server.make_run()
    with Stream(server.port, run) as viewer:
        for _ in range(5):
            ask(server.port, "POST", f"/api/v1/runs/{run}/events", {"type": "log"})
        ask(server.port, "POST", f"/api/v1/runs/{run}/events", {"type": "done", "status": "failed"})
        viewer.rest()
    assert ask(server.port, "GET", "/api/v1/runs/none", headers={"X-Request-Id": "last"}).status == 404
    wait_until(lambda: "[last]" in server.log.read_text(), "a refusal is told")
    (line,) = server.log.read_text().removeprefix(before).splitlines()
    assert re.search(
        r" INFO \S+access_log: GET /api/v1/runs/none 404, [\d.]+ ms, 0 bytes in, 21 out, \S+ \(127\.0\.0\.1\): ", line
    )


def test_no_token_is_in_the_log(talkative: ServerProcess) -> None:
    """Wherever a client puts it: also where its words are quoted in a sentence. Mutant caught: lines are not masked."""
    secret = token(role="qa_lead")
    for path, headers in (
        (f"/api/v1/runs?token={secret}", {}),
        (f"/api/v1/runs?limit={secret}", bearer(secret)),
        (f"/api/v1/runs/{secret}", bearer(secret)),
        ("/api/v1/runs", {"Cookie": f"access_token={secret}", "X-Request-Id": "last"}),
    ):
        ask(talkative.port, "GET", path, headers=headers)
    of(talkative, "last")
    log = talkative.log.read_text()
    assert len([line for line in told(talkative) if "path" in line]) == 4
    assert not any(part in log for part in secret.split("."))
    assert "token=" not in log


def record(message: str, **more: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "a", "levelname": "INFO", "msg": message, **more})


def test_what_is_sent_cannot_begin_a_line() -> None:
    """CWE-117. A traceback may: it is ours."""
    line = TextLines().format(record("a\r\nb\x1b[31m\u2028c"))
    assert line.endswith("INFO a: a\\r\\nb\\x1b[31m\\u2028c")
    assert json.loads(JsonLines().format(record("a\nb")))["message"] == "a\nb"
    try:
        raise ValueError("odd?token=hush&x=1")
    except ValueError as error:
        failed = record("failed", exc_info=(ValueError, error, error.__traceback__))
    assert "\nTraceback" in TextLines().format(failed)
    assert "odd?token=…&x=1" in TextLines().format(failed)
    assert "odd?token=...&x=1" in json.loads(JsonLines().format(failed))["exception"]


def test_a_line_has_the_id_of_its_request() -> None:
    known = REQUEST.set("now")
    try:
        assert TextLines().format(record("x")).endswith("a: x [now]")
        assert json.loads(JsonLines().format(record("x")))["request"] == "now"
        assert TextLines().format(record("x", request="then")).endswith("a: x [then]")
    finally:
        REQUEST.reset(known)
    assert "request" not in json.loads(JsonLines().format(record("x")))


async def test_a_stream_is_told_with_its_own_id(caplog: pytest.LogCaptureFixture) -> None:
    """It may be let go in the middle of another request. Mutant caught: the line has that one's id."""
    ours, theirs = socket.socketpair()
    with theirs, caplog.at_level(logging.INFO):
        stream = Socket(
            ours, Streams(60), Client("/a", "::1", Caller("default", VIEWER, "alice"), "its-own"), True, b""
        )
        known = REQUEST.set("another")
        stream.close("stalled")
        REQUEST.reset(known)
    (line,) = caplog.records
    assert json.loads(JsonLines().format(line))["request"] == "its-own"
    assert line.getMessage().endswith("alice@default (::1): took nothing for too long")
