"""What an attacker would try, each with the number of the weakness that it looks for (CWE).

A server is judged by what it answers and by what it still does afterwards for everyone else. At the end it lives, has
logged no error of its own, and no token stands in its log.
"""

import base64
import gzip
import hmac
import importlib
import json
import logging
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest

import sentri_events
from tests.embedded import Embedded
from tests.raw import PATIENCE, Answer, Connection, Head, Stream, ask, data, id_of, request
from tests.server_process import ServerProcess, wait_until
from tests.test_slow_viewers import open_sockets
from tests.tokens import OTHER_SECRET, SECRET, bearer, token

API = "/api/v1"
QA, VIEWER = token(role="qa_lead"), token()
HALF_OPEN = 1000
TIMEOUT = 1.0  # seconds that the server gives to a request


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One with a secret, a project `web`, and the run `ours` of WS-1."""
    process = ServerProcess(
        tmp_path_factory.mktemp("attacked"), "--request-timeout", str(TIMEOUT), env={"JWT_SECRET": SECRET}
    )
    try:
        process.start()
        assert process.request("POST", f"{API}/projects", {"id": "web"}, bearer(QA))[0] == 201
        assert process.request("POST", f"{API}/runs", {"projectId": "web", "id": "ours"}, bearer(QA))[0] == 201
        yield process
        assert ask(process.port, "GET", "/health/ready").json == {"status": "ready"}
        log = process.log.read_text()
        assert "Traceback" not in log, log
        assert " ERROR " not in log, log
        for secret in (QA, VIEWER, SECRET, OTHER_SECRET):
            assert secret not in log, "CWE-532: a secret in a log"
    finally:
        process.close()


def publish(server: ServerProcess, *events: Any, run: str = "ours") -> Answer:
    return ask(server.port, "POST", f"{API}/runs/{run}/events", list(events), bearer(QA))


def head(server: ServerProcess) -> int:
    headers = {"Accept": "application/json", **bearer(QA)}
    number = ask(server.port, "GET", f"{API}/runs/ours/events?limit=1", headers=headers).json["head"]
    assert isinstance(number, int)
    return number


def exchange(server: ServerProcess, sent: bytes) -> bytes:
    """All that comes back until the server closes."""
    with Connection(server.port) as connection:
        connection.send(sent)
        try:
            return connection.rest()
        except ConnectionResetError:
            return b""


def fine(server: ServerProcess) -> None:
    """It still works for others."""
    assert publish(server, {"type": "x"}).status == 201


# Injection

BREAKS = ["\r\n", "\n", "\r", "\0", "\u2028", "\x0b\x0c\x85"]


@pytest.mark.parametrize("breaking", BREAKS)
def test_no_text_of_an_event_begins_a_line_of_the_stream(server: ServerProcess, breaking: str) -> None:
    """CWE-93. Mutant caught: JSON is written with what is not ASCII as it is."""
    evil = f"a{breaking}{breaking}id: 1{breaking}data: evil{breaking}{breaking}"
    event = {"type": "log", "message": evil, evil: {"deep": [evil]}}
    with Stream(server.port, "ours", f"lastEventId={head(server)}&named=1&meta=1", bearer(QA)) as viewer:
        assert publish(server, event).status == 201
        block = viewer.block()
    lines = re.split(rb"[\r\n\x00\x0b\x0c\x85]|\xe2\x80\xa8", block)
    assert [line.partition(b":")[0] for line in lines] == [b"id", b"event", b"data", b"", b""]
    assert block.isascii()
    seen = data(block)
    assert (seen["message"], seen[evil]) == (evil, {"deep": [evil]})


@pytest.mark.parametrize("breaking", BREAKS)
def test_no_type_and_no_id_holds_a_line_break(server: ServerProcess, breaking: str) -> None:
    """CWE-93. They stand in the stream and in URLs as they are. Mutant caught: `match` in place of `fullmatch`."""
    for evil in (f"x{breaking}", f"x{breaking}data: evil"):
        answer = publish(server, {"type": evil})
        assert (answer.status, answer.headers.get("x-evil")) == (422, None)
        for path, body in (
            (f"{API}/runs", {"projectId": "web", "id": evil}),
            (f"{API}/runs", {"projectId": evil}),
            (f"{API}/projects", {"id": evil}),
        ):
            assert ask(server.port, "POST", path, body, bearer(QA)).status in (404, 422)
        assert ask(server.port, "GET", f"{API}/runs/{quote(evil, safe='')}/events", headers=bearer(QA)).status == 404
        types = quote(f"log,{evil}data: evil")
        assert ask(server.port, "GET", f"{API}/runs/ours/events?types={types}", headers=bearer(QA)).status == 400


@pytest.mark.parametrize("breaking", BREAKS)
def test_no_position_comes_back(server: ServerProcess, breaking: str) -> None:
    """CWE-93. What cannot be a position is a reset; what was sent stands nowhere in the stream."""
    evil = f"abcdef.1{breaking}{breaking}data: evil-position"
    with Stream(server.port, "ours", f"lastEventId={quote(evil)}", bearer(QA)) as viewer:
        reset, snapshot = viewer.blocks(2)
    assert data(reset) == {"type": "reset", "reason": "malformed"}
    assert (id_of(reset), b"evil-position" in reset + snapshot) == (None, False)


@pytest.mark.parametrize("breaking", ["\r\n", "\n", "\r", "\0", "%0d%0a", "%00"])
@pytest.mark.parametrize(
    "name", ["X-Request-Id", "Origin", "Last-Event-ID", "Idempotency-Key", "X-Forwarded-For", "Host"]
)
def test_no_header_makes_another_header(server: ServerProcess, name: str, breaking: str) -> None:
    """CWE-113. Not even the request's id, which is answered. Mutant caught: any id is answered as it came."""
    lines = f"GET {API}/runs HTTP/1.1\r\nHost: x\r\n{name}: a{breaking}X-Evil: 1\r\nConnection: close\r\n\r\n"
    answer = exchange(server, lines.encode("latin-1"))
    top = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"x-evil" not in top
    assert answer.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize(
    "path", ["/api/runs/%0d%0aX-Evil:%201", "/api/runs/x%0a%0aevil", "/api/runs//evil.example.org/%0d%0aX-Evil:1"]
)
def test_a_redirect_stays_here_and_makes_no_header(server: ServerProcess, path: str) -> None:
    """CWE-113 and CWE-601. Mutant caught: the path is decoded before it is sent back."""
    answer = ask(server.port, "GET", path)
    assert answer.status == 308
    assert answer.headers["location"] == path.replace("/api/runs/", "/api/v1/runs/", 1)
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize("target", ["http://evil.example.org/api/runs/x", "//evil.example.org/api/runs/x"])
def test_no_redirect_leads_elsewhere(server: ServerProcess, target: str) -> None:
    """CWE-601."""
    with Connection(server.port) as connection:
        connection.send(request("GET", target))
        assert "location" not in connection.answer().headers


def test_the_page_says_nothing_that_it_was_sent(server: ServerProcess) -> None:
    """CWE-79. Every page is the same, and no script may be in it."""
    plain = ask(server.port, "GET", "/runs/ours")
    evil = ask(server.port, "GET", f"/runs/{quote('<script>alert(1)</script>', safe='')}?x=<script>")
    assert (plain.status, plain.body) == (evil.status, evil.body)
    assert "script-src 'self'" in plain.headers["content-security-policy"]
    answer = ask(server.port, "GET", f"{API}/runs?limit=<script>", headers=bearer(QA))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/{version}/../../setup.py",
        "/static/{version}/..%2f..%2fsetup.py",
        "/static/{version}/%2e%2e/server.py",
        "/static/{version}//etc/passwd",
        "/static/{version}/app.js%00.css",
        "/runs/..%2f..%2fetc%2fpasswd/x",
        "/api/v1/runs/../../../etc/passwd",
        "/api/v1/runs/..%2f..%2f..%2fetc%2fpasswd",
        "/artifacts/../events.db",
        "/artifacts/%2e%2e%2fevents.db",
    ],
)
def test_no_path_leads_out_of_where_it_should(server: ServerProcess, path: str) -> None:
    """CWE-22."""
    page = ask(server.port, "GET", "/").body.decode()
    found = re.search(r"static/([0-9a-f]+)/", page)
    assert found
    answer = ask(server.port, "GET", path.format(version=found[1]), headers=bearer(QA))
    assert answer.status in (400, 401, 403, 404)
    assert b"root:" not in answer.body
    assert b"SQLite" not in answer.body


# Tokens


def _claims(**more: Any) -> dict[str, Any]:
    return {"sub": "evil", "workspaceId": "WS-1", "role": "admin", "exp": int(time.time()) + 600, **more}


def _joined(header: dict[str, Any], claims: dict[str, Any], signature: bytes) -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def _signed(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """By HS512 and our secret, which is too short for it: what makes tokens would refuse to."""
    text = _joined(header, claims, b"").rpartition(".")[0]
    return f"{text}." + _joined({}, {}, hmac.digest(SECRET.encode(), text.encode(), "sha512")).rpartition(".")[2]


OTHER_KEY = {"kty": "oct", "k": base64.urlsafe_b64encode(OTHER_SECRET.encode()).decode()}
TOKENS: dict[str, Callable[[], str]] = {
    "CWE-347 alg none": lambda: jwt.encode(_claims(), "", algorithm="none"),
    "CWE-347 alg None, spelled otherwise": lambda: _joined({"alg": "nOnE", "typ": "JWT"}, _claims(), b""),
    "CWE-347 no signature": lambda: token(role="admin").rpartition(".")[0] + ".",
    "CWE-347 no third part": lambda: token(role="admin").rpartition(".")[0],
    "CWE-347 another's claims": lambda: ".".join(
        [token().split(".")[0], token(role="admin").split(".")[1], token().split(".")[2]]
    ),
    "CWE-347 another algorithm of the same secret": lambda: _signed({"alg": "HS512", "typ": "JWT"}, _claims()),
    "CWE-347 the public key as a secret": lambda: _joined({"alg": "RS256", "typ": "JWT"}, _claims(), b"x" * 256),
    "CWE-347 a key that it brings itself": lambda: jwt.encode(_claims(), OTHER_SECRET, headers={"jwk": OTHER_KEY}),
    "CWE-347 a key from elsewhere": lambda: jwt.encode(
        _claims(), OTHER_SECRET, headers={"jku": "http://127.0.0.1:9/keys", "kid": "../../etc/passwd"}
    ),
    "CWE-347 a foreign secret": lambda: token(secret=OTHER_SECRET, role="admin"),
    "CWE-613 expired": lambda: token(role="admin", lifetime=-1),
    "CWE-613 without an end": lambda: token(role="admin", exp=None),
    "CWE-613 an end that is no number": lambda: jwt.encode({**_claims(), "exp": "never"}, SECRET),
    "CWE-613 an end beyond all": lambda: _joined({"alg": "HS256"}, _claims(exp=10**400), b""),
    "CWE-287 nobody's workspace": lambda: token(workspace=None, role="admin"),
    "CWE-287 not valid yet": lambda: token(role="admin", nbf=int(time.time()) + 600),
    "CWE-674 nested for ever": lambda: _joined({"alg": "HS256", "x": "[" * 50}, {"x": "{" * 50}, b"x"),
}


@pytest.mark.parametrize("name", TOKENS)
def test_no_forged_token_says_who_one_is(server: ServerProcess, name: str) -> None:
    """Wherever it stands: always the same answer, to the byte. Mutant caught: the algorithm is the token's choice."""
    forged = TOKENS[name]()
    nobody = ask(server.port, "GET", f"{API}/runs")
    assert nobody.status == 401
    for headers, query in (
        (bearer(forged), ""),
        ({"Cookie": f"access_token={forged}"}, ""),
        ({}, f"?token={quote(forged)}"),
        ({}, f"?ticket={quote(forged)}"),
    ):
        for path in (f"{API}/runs", f"{API}/runs/ours/events"):
            answer = ask(server.port, "GET", path + query, headers=headers)
            assert (answer.status, answer.body) == (401, nobody.body)


def test_a_write_that_another_site_made_a_browser_send_is_refused(server: ServerProcess) -> None:
    """CWE-352."""
    cookie = {"Cookie": f"access_token={QA}"}
    before = head(server)
    for more in ({}, {"Origin": "https://evil.example.org"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = ask(server.port, "POST", f"{API}/runs/ours/events", {"type": "x"}, {**cookie, **more})
        assert answer.status == 403
    assert head(server) == before


# What is there, and whose


def test_whether_a_run_exists_shows_in_no_answer_and_in_no_work(tmp_path: Path) -> None:
    """CWE-204 and CWE-208: the same bytes, after the same statements; also while it is watched, by as many as may.
    Mutants caught: `Hub.head` reads the run's events before it asks whose it is; a channel that is there answers for
    the store; who is too many is told so before it is known whose the run is."""
    statements: list[str] = []

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            statements.append(str(record.msg[0] if isinstance(record.msg, tuple) else record.msg))

    logger, note = logging.getLogger("peewee"), Note()
    level = logger.level
    with Embedded(tmp_path, jwt_secret=SECRET, run_timeout=3600, max_streams_per_run=1) as application:
        port = application.port
        ours, theirs = bearer(token(role="qa_lead")), bearer(token(workspace="WS-2", role="qa_lead"))
        assert ask(port, "POST", f"{API}/projects", {"id": "web"}, ours).status == 201
        assert ask(port, "POST", f"{API}/runs", {"projectId": "web", "id": "exists"}, ours).status == 201
        assert ask(port, "POST", f"{API}/runs/exists/events", [{"type": "x"}] * 3, ours).status == 201
        requests: list[tuple[str, str, Any, dict[str, str]]] = [
            ("GET", "/runs/{}", b"", {}),
            ("GET", "/runs/{}/events", b"", {}),
            ("GET", "/runs/{}/events?lastEventId=1", b"", {}),
            ("GET", "/runs/{}/events", b"", {"Accept": "application/json"}),
            ("GET", "/runs/{}/events?after=1&wait=5", b"", {"Accept": "application/json"}),
            ("GET", "/events?run={}", b"", {}),
            ("POST", "/runs/{}/events", {"type": "x"}, {}),
            ("POST", "/runs/{}/events", {"type": "result"}, {}),
            ("POST", "/runs/{}/events?volatile=1", {"type": "frame"}, {}),
            ("POST", "/runs/{}/events", {"type": "x"}, {"Idempotency-Key": "k"}),
            ("POST", "/runs/{}/alive", b"", {}),
            ("POST", "/runs/{}/abort", b"", {}),
        ]

        def compare() -> None:
            for method, path, body, headers in requests:
                answers, work = [], []
                for run in ("exists", "absent"):
                    ask(port, method, API + path.format(run), body, {**theirs, **headers})  # what is asked once is over
                    statements.clear()
                    answer = ask(port, method, API + path.format(run), body, {**theirs, **headers})
                    work.append([line for line in statements if "revo" not in line])  # which it asks now and then
                    answers.append((answer.status, answer.body))
                assert answers[0] == answers[1] == (404, b'{"error":"not found"}'), path
                assert work[0] == work[1], path

        logger.addHandler(note)
        logger.setLevel(logging.DEBUG)
        try:
            compare()
            with Stream(port, "exists", headers=ours) as stream:
                stream.block()
                compare()
        finally:
            logger.setLevel(level)
            logger.removeHandler(note)


# Too much


OVERSIZED: dict[str, Callable[[], tuple[str, bytes]]] = {
    "CWE-674 nested lists": lambda: ("", b'{"type":"x","d":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "CWE-674 nested objects": lambda: ("", b'{"type":"x","d":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001),
    "CWE-674 never closed": lambda: ("", b"[" * 4_000_000),
    "CWE-407 a number of a million digits": lambda: ("", b'{"type":"x","n":' + b"9" * 1_000_000 + b"}"),
    "CWE-190 an exponent beyond all": lambda: ("", b'{"type":"x","n":1e999999999}'),
    "CWE-400 a million events": lambda: ("", b"[" + b"{}," * 1_000_000 + b"{}]"),
    "CWE-770 a body over its bound": lambda: ("", b" " * ((8 << 20) + 1)),
    "CWE-770 an event over its bound": lambda: ("", b'{"type":"x","d":"%b"}' % (b"x" * (1 << 20))),
    "CWE-770 a URL over its bound": lambda: ("?" + "a" * 9000, b'{"type":"x"}'),
}  # fmt: skip


@pytest.mark.parametrize("name", OVERSIZED)
def test_what_is_too_much_changes_nothing(server: ServerProcess, name: str) -> None:
    """And is answered, with a sentence, while others are served."""
    query, body = OVERSIZED[name]()
    before = head(server)
    with Connection(server.port) as connection:
        try:
            connection.send(request("POST", f"{API}/runs/ours/events{query}", bearer(QA), body))
        except (ConnectionResetError, BrokenPipeError):
            assert len(body) > 8 << 20, "it may close only on what is over the bound"
        else:
            answer = connection.answer()
            assert 400 <= answer.status < 500
            assert answer.error
    assert head(server) == before
    fine(server)


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b'{"type":"x","n":0.' + b"9" * 1_000_000 + b"}", {"type": "x", "n": 1.0}),
        (b'{"type":"x"' + b',"k":0' * 1_000_000 + b',"k":1}', {"type": "x", "k": 1}),
        (b" " * 4_000_000 + b'{"type":"x"}', {"type": "x"}),
    ],
    ids=["a fraction of a million digits", "a key a million times", "nothing in front"],
)
def test_what_is_long_and_says_little_is_stored_as_what_it_says(
    server: ServerProcess, body: bytes, stored: dict[str, Any]
) -> None:
    """CWE-407."""
    answer = ask(server.port, "POST", f"{API}/runs/ours/events", body, bearer(QA))
    assert answer.status == 201
    headers = {"Accept": "application/json", **bearer(QA)}
    after = answer.json["first"] - 1
    page = ask(server.port, "GET", f"{API}/runs/ours/events?after={after}", headers=headers).json
    assert [row["event"] for row in page["events"]] == [stored]


def test_a_query_of_thousands_of_parts_is_refused(server: ServerProcess) -> None:
    """CWE-400. By Tornado, without a word."""
    answered = exchange(server, request("GET", f"{API}/runs?{'a=1&' * 1900}", bearer(QA)))
    assert answered.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Long": "a" * 17_000}, 431),
        ({f"X-{number}": "a" for number in range(2500)}, 431),
        ({"Cookie": "; ".join(f"a{number}=b" for number in range(1000)) + ";\\" * 1000}, 401),
        ({"Accept": "a/b," * 3000}, 401),
        ({"Range": "bytes=" + ",".join(f"{number}-" for number in range(2000))}, 401),
    ],
)
def test_large_headers_cost_little(server: ServerProcess, headers: dict[str, str], status: int) -> None:
    """CWE-400, CWE-1333 (cookies and lists have been parsed in quadratic time before)."""
    answer = ask(server.port, "GET", f"{API}/runs", headers=headers)
    assert (answer.status, bool(answer.error)) == (status, True)


def test_headers_without_an_end_are_cut_off(server: ServerProcess) -> None:
    """CWE-770: ten megabytes of them. Tornado closes without a word."""
    with Connection(server.port) as connection, pytest.raises((ConnectionResetError, BrokenPipeError)):
        connection.send(b"GET / HTTP/1.1\r\n" + b"X: %b\r\n" % (b"a" * 1000) * 10_000)
    fine(server)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", "GZIP", "zstd"])
def test_no_body_is_decompressed(server: ServerProcess, coding: str) -> None:
    """CWE-409: a kilobyte that would be a gigabyte of it. Mutant caught: `decompress_request`."""
    bomb = gzip.compress(b"0" * 10_000_000)
    headers = {"Content-Encoding": coding, **bearer(QA)}
    answer = ask(server.port, "POST", f"{API}/runs/ours/events", bomb, headers)
    assert (answer.status, answer.error) == (400, "The body must not be compressed.")
    sent = f"POST {API}/runs/ours/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    assert b"HTTP/1.1 2" not in exchange(server, sent.encode())


# Too slow


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /hea",
        b"GET /health HTTP/1.1\r\nHost: x\r\n",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6",
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
@pytest.mark.parametrize("dribbled", [False, True])
def test_a_slow_request_is_cut_off(server: ServerProcess, beginning: bytes, dribbled: bool) -> None:
    """CWE-400 (slowloris): whether nothing more comes or a byte now and then, which must not buy more time. Mutant
    caught: a server without the two time-outs."""
    beginning = beginning.replace(b"Host: x", f"Host: x\r\nAuthorization: Bearer {QA}".encode())
    with Connection(server.port) as connection:
        connection.send(beginning)
        connection.socket.settimeout(TIMEOUT / 10)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if not connection.socket.recv(1 << 16):
                    break
            except TimeoutError:
                if dribbled and not beginning.endswith(b"\r\n\r\n"):
                    try:
                        connection.send(b"1")
                    except (ConnectionResetError, BrokenPipeError):
                        break
            except ConnectionResetError:
                break
        else:
            pytest.fail("it was not cut off")
    fine(server)


def test_a_thousand_half_open_connections_harm_nobody(server: ServerProcess) -> None:
    """CWE-400. Meanwhile others are served; then all are closed, and nothing of them is left."""
    beginnings = [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
    with Stream(server.port, "ours", f"lastEventId={head(server)}", bearer(QA)) as viewer, ExitStack() as stack:
        for number in range(HALF_OPEN):
            connection = stack.enter_context(Connection(server.port))
            connection.send(beginnings[number % len(beginnings)])
            if number % 100 == 0:
                fine(server)
                assert data(viewer.block()) == {"type": "x"}
        fine(server)
        wait_until(lambda: open_sockets(server) <= 1, "all but the viewer are closed")
    wait_until(lambda: open_sockets(server) == 0, "the viewer, too")


# Smuggling

SMUGGLED = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
START = b"POST /api/v1/runs/ours/events HTTP/1.1\r\nHost: x\r\n"
SMUGGLING = {
    "CL and TE": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
    "two lengths in one": b"Content-Length: 0, 40\r\n\r\n",
    "a signed length": b"Content-Length: +0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": b"Content-Length: 0x0\r\n\r\n",
    "a length with an underscore": b"Content-Length: 1_0\r\n\r\n0123456789",
    "a length of other digits": "Content-Length: \u0661\r\n\r\n0".encode(),
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding before it": b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "a coding after it": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 0\r\n\r\n",
    "a space before the name": b" Content-Length: 0\r\n\r\n",
    "a NUL in a header": b"X-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a signed chunk": b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
    "a chunk with 0x": b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a chunk with an underscore": b"Transfer-Encoding: chunked\r\n\r\n0_0\r\n\r\n",
    "a chunk that is no number": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a chunk that is longer": b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "a chunk beyond all": b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    "a chunk's line with LF": b"Transfer-Encoding: chunked\r\n\r\n0\n\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_no_request_hides_in_another(server: ServerProcess, name: str) -> None:
    """CWE-444: where a proxy might see one request and we two, there is one answer at most, a refusal, and the end."""
    for credentials in (b"", f"Authorization: Bearer {QA}\r\n".encode()):
        answered = exchange(server, START + credentials + SMUGGLING[name] + SMUGGLED)
        statuses = re.findall(rb"HTTP/1\.1 (\d+)", answered)
        assert len(statuses) <= 1, answered
        assert all(status.startswith(b"4") for status in statuses), answered
        assert b"alive" not in answered


def test_after_a_refusal_before_the_body_the_body_is_no_request(server: ServerProcess) -> None:
    """CWE-444: 401 and 413 are answered early; what then comes as the body must not be read as the next request."""
    for headers in ({}, {"Content-Encoding": "gzip"}, bearer("x"), {"Content-Encoding": "gzip", **bearer(QA)}):
        sent = request("POST", f"{API}/runs/ours/events", headers, SMUGGLED)
        with Connection(server.port) as connection:
            connection.send(sent)
            assert Head.read(connection).status in (400, 401)
            try:
                assert b"alive" not in connection.rest()
            except ConnectionResetError:
                continue


# Regular expressions

REPEATED = [
    "a",
    "0",
    ".",
    "-",
    "_",
    " ",
    "/",
    ":",
    "\\ud8",
    "\\",
    "eyJ",
    "?token=",
    "\r",
    "\x1b[",
    "https://",
    "%",
    "é",
]
SIZE, FACTOR = 2000, 8


def patterns() -> dict[str, re.Pattern[Any]]:
    """Every compiled expression of the package."""
    found: dict[str, re.Pattern[Any]] = {}
    for module in pkgutil.walk_packages(sentri_events.__path__, "sentri_events."):
        if module.name.endswith("__main__"):
            continue
        try:
            imported = importlib.import_module(module.name)
        except ImportError:
            continue  # of an extra that is not installed
        found |= {
            f"{module.name}.{name}": value for name, value in vars(imported).items() if isinstance(value, re.Pattern)
        }
    return found


@pytest.mark.parametrize("name", patterns())
def test_no_expression_takes_more_than_its_share(name: str) -> None:
    """CWE-1333: an input that is FACTOR times as long takes about as many times as long, where a square would take the
    square of that. The best of several tries is compared, with three times as much to spare."""
    pattern = patterns()[name]

    def seconds(text: Any) -> float:
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            pattern.fullmatch(text), pattern.match(text), pattern.search(text), pattern.sub(text[:0], text)
            best = min(best, time.process_time() - began)
        return best

    for repeated in REPEATED:
        short, long = (repeated * (SIZE * times) + "\n!" for times in (1, FACTOR))
        if isinstance(pattern.pattern, bytes):
            once, more = seconds(short.encode()), seconds(long.encode())
        else:
            once, more = seconds(short), seconds(long)
        assert more < 3 * FACTOR * max(once, 0.0002), f"{repeated!r}: {once:.5f} s, then {more:.5f} s"
