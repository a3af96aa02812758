"""Bad input of every kind gets its sentence and changes nothing (P16): made-up requests against a real server.

Each answer is judged by a model of the protocol where one is short, else by what must hold for every answer: below 500,
an error is a sentence, and a run that a refused request was for is what it was before.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.raw import Answer, Connection, Head, Stream, ask, data, id_of, lines, request
from tests.server_process import ServerProcess

MAX_EVENT, MAX_BODY = 2048, 20_000
API = "/api/v1"
NDJSON = "application/x-ndjson"
# The same examples each time, or a rare one would be somebody else's red build.
fuzz = settings(derandomize=True, deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))

TEXT = st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
COUNTS = st.sampled_from([0, 1, 7, -1, True, None, 1.5, "5", 1 << 53, 1 << 70])
TIMES: st.SearchStrategy[Any] = st.sampled_from(
    ["2026-01-31T12:00:00Z", "2026-01-31", "9999-12-31T23:59:59-10:00", "1969-01-01", "now", "", 5, None, []]
)
STATUSES = st.sampled_from(["passed", "failed", "warning", "xfailed", "running", "completed", "aborted", "", 5, None])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON, "projectId": JSON, "name": JSON, "type": TEXT, "status": STATUSES, "startedAt": TIMES,
        "finishedAt": TIMES, "duration": COUNTS, "error": JSON, "passed": COUNTS, "total": COUNTS, "tests": JSON,
        "results": st.lists(st.fixed_dictionaries({}, optional={"testId": TEXT, "status": STATUSES})) | JSON,
        "logs": JSON, "logsTruncated": JSON, "own": JSON, "_own": JSON, "": JSON, "é": JSON,
    },
)  # fmt: skip
TYPES = st.sampled_from(["log", "result", "update", "frame", "snapshot", "x", "a.b:c-d_9", "done"])
EVENTS = st.fixed_dictionaries(
    {"type": TYPES | st.sampled_from(["log", "result", "update", "x"]) | SCALARS},
    optional={
        "message": JSON, "level": JSON, "status": STATUSES, "run": FIELDS | JSON, "total": COUNTS, "error": JSON,
        "result": st.fixed_dictionaries({"testId": TEXT}, optional={"status": STATUSES, "own": JSON}) | JSON,
        "_at": TIMES, "_seq": JSON, "pad": st.integers(1900, 2100).map(lambda size: "p" * size), "own": JSON,
    },
) | st.dictionaries(TEXT, JSON, max_size=4)  # fmt: skip
BATCHES = st.lists(EVENTS, max_size=4)

# What should be taken: without it hardly any event of a batch would be.
CLEAN_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
CLEAN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | CLEAN_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CLEAN_TEXT, inner, max_size=3),
    max_leaves=8,
)
GOOD = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["log", "x", "frame", "a.b:c-d_9"])},
        optional={"message": CLEAN, "level": CLEAN, "own": CLEAN, "_at": st.just("2026-01-31T12:00:00.5+01:00")},
    ),
    st.fixed_dictionaries(
        {"testId": st.sampled_from(["a", "b", "é"]), "status": STATUSES}, optional={"own": CLEAN}
    ).map(lambda result: {"type": "result", "result": result}),
    st.fixed_dictionaries({}, optional={"own": CLEAN, "total": st.integers(0, 9), "id": CLEAN}).map(
        lambda run: {"type": "update", "run": run}
    ),
)
GOODS = st.lists(GOOD, min_size=1, max_size=5)


def dumped(value: Any) -> bytes:
    """As Python writes it: with NaN, Infinity and lone surrogates, which are no JSON."""
    return json.dumps(value).encode()


BODIES = st.one_of(
    GOOD.map(dumped),
    GOODS.map(dumped),
    GOODS.map(lines),
    GOODS.map(lambda events: json.dumps(events, ensure_ascii=False, indent=2).encode()),
    GOODS.map(lambda events: lines([*events, {"type": "done", "status": "failed"}])),
    st.builds(lambda event, key: dumped({**event, key: 1}), GOOD, st.sampled_from(["_seq", "_", "_at2", "__proto__"])),
    st.tuples(GOODS, EVENTS).map(lambda batch: dumped([*batch[0], batch[1]])),
    EVENTS.map(dumped),
    BATCHES.map(dumped),
    BATCHES.map(lines),
    BATCHES.map(lambda events: lines(events).replace(b"\n", b"\r\n\n")),
    st.tuples(BATCHES.map(dumped) | BATCHES.map(lines), st.integers(0, 99), st.binary(max_size=3)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] :]
    ),
    st.integers(1, 400).map(lambda depth: b'{"type":"x","d":' + b"[" * depth + b"]" * depth + b"}"),
    st.integers(0, 3).map(lambda more: dumped([{"type": "x"}] * (999 + more))),
    st.integers(0, 3).map(lambda more: b'{"type":"x"}'.ljust(MAX_BODY - 1 + more)),
    JSON.map(dumped),
    st.binary(max_size=60),
)
CONTENT_TYPES = st.sampled_from([NDJSON, NDJSON.upper() + "; charset=utf-8", "application/json", "", "text/plain"])
HEADER_TEXT = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=150)
OPTIONS = ["volatile", "named", "types", "snapshot", "meta", "logs", "lastEventId", "after", "limit", "wait", "project",
           "status", "cursor", "x"]  # fmt: skip
QUERY = st.dictionaries(
    st.sampled_from(OPTIONS),
    st.sampled_from(["", "0", "1", "2", "true", "-1", "x", "99999999999999999999", "log,done", "%ff", "%00", "a.1"])
    | st.binary(max_size=5).map(quote_from_bytes),
    max_size=4,
).map(lambda query: "&".join(map("=".join, query.items())))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server with small bounds for the whole file. At the end it lives, and has logged no error of its own."""
    bounds = ("--max-event-bytes", str(MAX_EVENT), "--max-body-bytes", str(MAX_BODY))
    process = ServerProcess(tmp_path_factory.mktemp("fuzz"), *bounds)
    try:
        yield process.start()
        assert ask(process.port, "GET", "/health/ready").json == {"status": "ready"}
        log = process.log.read_text()
        assert "Traceback" not in log, log
        assert " ERROR " not in log, log
    finally:
        process.close()


class Target:
    """A running run, replaced when it has ended."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.run = server.make_run()

    def state(self) -> tuple[bytes, list[Any], int]:
        """All that a request could change: the document, the history and the head."""
        document = ask(self.server.port, "GET", f"{API}/runs/{self.run}")
        page = ask(self.server.port, "GET", f"{API}/runs/{self.run}/events", headers={"Accept": "application/json"})
        assert document.status == page.status == 200
        if page.json["ended"] or page.json["head"] > 50:
            self.run = self.server.make_run()
            return self.state()
        return document.body, page.json["events"], page.json["head"]


@pytest.fixture(scope="module")
def target(server: ServerProcess) -> Target:
    return Target(server)


def sentence(answer: Answer) -> bool:
    """Whether an error is `{"error": "<a sentence>"}` and below 500."""
    return 400 <= answer.status < 500 and (answer.error == "not found" or answer.error.endswith("."))


def exchange(server: ServerProcess, asked: bytes) -> Answer | None:
    """The answer to bytes that need not be a request; None if Tornado's own parser refused them."""
    with Connection(server.port) as client:
        client.send(asked)
        try:
            head = Head.read(client)
        except (AssertionError, ConnectionError):
            return None
        if head.headers.get("content-type") == "text/event-stream" or not head.headers.get("date"):
            return None
        size = 0 if asked.startswith(b"HEAD ") else int(head.headers.get("content-length", "0"))
        return Answer(head.status, head.headers, client.exactly(size))


# Publishing


@fuzz
@given(BODIES, CONTENT_TYPES, st.sampled_from(["", "", "", "?volatile=true", "?volatile=0", "?volatile=x"]))
@example(b'{"type":"x","_at":"9999-12-31T23:59:59-10:00"}', "", "")
@example(b'{"type":"x"}{"type":"y"}', NDJSON, "")
def test_a_body_is_stored_as_it_is_or_refused_and_nothing_changes(
    server: ServerProcess, target: Target, body: bytes, content_type: str, query: str
) -> None:
    """Caught: a time that could be stored and not be shown."""
    document, _, head = target.state()
    run = target.run
    headers = {"Content-Type": content_type} if content_type else {}
    answer = ask(server.port, "POST", f"{API}/runs/{run}/events{query}", body, headers)
    page = ask(server.port, "GET", f"{API}/runs/{run}/events?after={head}", headers={"Accept": "application/json"}).json
    after = ask(server.port, "GET", f"{API}/runs/{run}")
    assert after.status == 200

    if answer.status in (201, 202):
        text = body.decode()
        if "ndjson" in content_type.lower():
            sent = [json.loads(line) for line in re.split("\r?\n", text) if line.strip()]
        else:
            whole = json.loads(text)
            sent = whole if isinstance(whole, list) else [whole]
        assert not [key for event in sent for key in event if key.startswith("_") and key != "_at"]
        kept = [
            {key: value for key, value in event.items() if key != "_at"}
            for event in sent
            if event["type"] not in ("frame", "snapshot") and query != "?volatile=true"
        ]
        assert [event["event"] for event in page["events"]] == kept
        assert page["head"] == head + len(kept)
        assert (answer.status == 201) == bool(kept)
    else:
        assert sentence(answer)
        assert (after.body, page["head"], page["events"]) == (document, head, [])


@fuzz
@given(
    BATCHES | GOODS, HEADER_TEXT | st.sampled_from(["", "k", "k", "k" * 128, "k" * 129]), CONTENT_TYPES, st.booleans()
)
def test_any_key_gives_the_same_answer_again_or_is_refused(
    server: ServerProcess, target: Target, events: list[Any], key: str, content_type: str, changed: bool
) -> None:
    """The repetition of whatever was answered adds nothing."""
    target.state()
    run = target.run
    headers = {"Idempotency-Key": key} | ({"Content-Type": content_type} if content_type else {})
    body = lines(events) if "ndjson" in content_type.lower() else dumped(events)
    first = exchange(server, request("POST", f"{API}/runs/{run}/events", headers, body))
    if first is None:
        return
    state = ask(server.port, "GET", f"{API}/runs/{run}/events", headers={"Accept": "application/json"}).body
    again = exchange(server, request("POST", f"{API}/runs/{run}/events", headers, body + b" " * changed))
    assert again is not None
    if first.status < 300 and not changed:
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["idempotency-replayed"] == "true"
    else:
        assert first.status < 300 or sentence(first)
        assert sentence(again)
    assert ask(server.port, "GET", f"{API}/runs/{run}/events", headers={"Accept": "application/json"}).body == state


# Making


@fuzz
@given(FIELDS | JSON, st.sampled_from(["web", "w" * 129, "a b", 5, None, "fuzzed"]), st.booleans())
def test_a_run_is_made_as_it_is_said_or_not_at_all(
    server: ServerProcess, given: Any, project: Any, without: bool
) -> None:
    newest = ask(server.port, "GET", f"{API}/runs?limit=1").body
    body = {**given, "projectId": project} if isinstance(given, dict) and not without else given
    answer = ask(server.port, "POST", f"{API}/runs", dumped(body))
    if answer.status == 201:
        document = answer.json
        assert ask(server.port, "GET", f"{API}/runs/{document['id']}").body == answer.body
        for key in ("own", "é", "", "name", "error"):
            assert document.get(key) == body.get(key)
        for key in ("tests", "results"):
            assert key not in body or key == "results" or document[key] == body[key]
    else:
        assert sentence(answer)
        assert ask(server.port, "GET", f"{API}/runs?limit=1").body == newest


@fuzz
@given(st.fixed_dictionaries({}, optional={"id": JSON, "name": JSON}) | JSON)
def test_a_project_is_made_as_it_is_said_or_not_at_all(server: ServerProcess, given: Any) -> None:
    before = ask(server.port, "GET", f"{API}/projects").body
    answer = ask(server.port, "POST", f"{API}/projects", dumped(given))
    after = ask(server.port, "GET", f"{API}/projects")
    if answer.status == 201:
        assert answer.json in after.json["data"]
        assert answer.json["name"] == given.get("name")
    else:
        assert sentence(answer)
        assert after.body == before


# Positions


POSITIONS = st.one_of(
    st.tuples(st.sampled_from(["", "{epoch}.", "zzzzzz.", "abc.", "{epoch}:"]), st.integers(-2, 12)).map(
        lambda parts: f"{parts[0]}{parts[1]}"
    ),
    st.from_regex(r"[a-z0-9]{5,17}\.[0-9]{1,42}", fullmatch=True),
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), min_size=1, max_size=20),
)


@pytest.fixture(scope="module")
def ended(server: ServerProcess) -> tuple[str, str, list[Any]]:
    """A run of eight events that has ended, its epoch, and what was published."""
    run = server.make_run()
    events = [{"type": "x", "n": number} for number in range(1, 8)] + [{"type": "done", "status": "completed"}]
    epoch = ask(server.port, "POST", f"{API}/runs/{run}/events", events).json["epoch"]
    return run, epoch, events


@fuzz
@given(POSITIONS, st.booleans())
def test_any_position_gives_what_the_protocol_says(
    server: ServerProcess, ended: tuple[str, str, list[Any]], text: str, by_query: bool
) -> None:
    """204, the rest, or a reset with the right reason: against a model of five lines."""
    run, epoch, events = ended
    text = text.replace("{epoch}", epoch)
    expected: str | int | None
    known = re.fullmatch(r"(?:([a-z0-9]{6,16})\.)?([0-9]{1,40})", text.strip())
    if not known:
        expected = "malformed" if text.strip() else None
    elif known[1] not in (None, epoch):
        expected = "epoch"
    else:
        expected = "future" if int(known[2]) > 8 else int(known[2])
    headers, query = ({}, f"lastEventId={quote(text)}") if by_query else ({"Last-Event-ID": text}, "")
    with Stream(server.port, run, query, headers) as viewer:
        if viewer.head.status != 200:
            assert viewer.head.status == 204
            assert expected == 8
            return
        blocks = viewer.rest()
    if isinstance(expected, int):
        assert [data(block) for block in blocks] == events[expected:]
        assert [id_of(block) for block in blocks] == [f"{epoch}.{seq}" for seq in range(expected + 1, 9)]
    else:
        reset = [] if expected is None else [{"type": "reset", "reason": expected}]
        assert [data(block) for block in blocks[:-2]] == reset
        assert [id_of(block) for block in blocks[-2:]] == [f"{epoch}.7", f"{epoch}.8"]


# Anything


@fuzz
@given(
    st.sampled_from(["GET", "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "X"]),
    st.sampled_from(["runs/{}", "runs/{}/events", "runs/{}/alive", "runs/{}/abort", "projects/{}", "projects/{}/runs",
                     "projects/{}/events", "events?run={}&", "{}", "runs", "projects", "../runs/{}"]),
    st.binary(min_size=1, max_size=10) | TEXT.map(lambda text: text.encode("utf-8", "replace")),
    QUERY,
    st.dictionaries(
        st.sampled_from(["Last-Event-ID", "Accept", "Content-Type", "Idempotency-Key", "Content-Encoding", "Expect",
                         "Range", "If-None-Match", "Cookie", "Authorization", "X-Forwarded-For", "Origin"]),
        HEADER_TEXT | st.sampled_from(["application/json", "text/event-stream", "100-continue", "gzip", "*"]),
        max_size=4,
    ),
    st.binary(max_size=20),
)  # fmt: skip
def test_any_request_is_answered_below_500(
    server: ServerProcess, method: str, path: str, id: bytes, query: str, headers: dict[str, str], body: bytes
) -> None:
    """Ids that nothing has: 404 to the byte wherever the request can be read, and nothing is made."""
    where = f"{API}/{path.format(quote_from_bytes(id, safe=''))}"
    answer = exchange(server, request(method, f"{where}?{query}", headers, body))
    if answer is None:
        return
    assert answer.status < 500
    if method == "HEAD":
        assert answer.status >= 400
    elif answer.status == 404:
        assert answer.body == b'{"error":"not found"}'
    elif answer.status >= 400:
        assert sentence(answer)
    else:
        assert answer.status in (200, 201)
        assert path in ("runs", "projects") or unquote_to_bytes(id).decode().isascii()


@fuzz
@given(st.binary(max_size=80), st.integers(0, 120), st.integers(0, 20))
def test_what_is_no_request_at_all_harms_nobody(
    server: ServerProcess, target: Target, noise: bytes, start: int, length: int
) -> None:
    """A good request with noise somewhere in it; what the parser of HTTP itself refuses needs no sentence."""
    before = target.state()
    good = request("POST", f"{API}/runs/{target.run}/events", {"Content-Type": NDJSON}, b'{"type":"log"')
    with Connection(server.port) as client:
        client.send(good[:start] + noise + good[start + length :])
    assert target.state() == before
