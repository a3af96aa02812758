"""The stream (protocol, section 2), to the byte, over raw sockets."""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sentri_events.server import open_store
from sentri_events.settings import Settings
from tests.raw import HEARTBEAT, RETRY, Answer, Connection, Head, Stream, ask, data, id_of, lines, request
from tests.server_process import ServerProcess, wait_until

NDJSON = {"Content-Type": "application/x-ndjson"}
POSITION = re.compile(r"([a-z0-9]{6,16})\.(\d+)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the whole file; what it logs is judged at the end."""
    process = ServerProcess(tmp_path_factory.mktemp("stream"), "--heartbeat", "0.2")
    try:
        yield process.start()
        log = process.log.read_text()
        assert "Traceback" not in log, log
        assert " ERROR " not in log, log
    finally:
        process.close()


def make(server: ServerProcess, *events: dict[str, Any], **fields: Any) -> str:
    """A new run with these events."""
    run = server.make_run(**fields)
    if events:
        publish(server, run, *events)
    return run


def publish(server: ServerProcess, run: str, *events: dict[str, Any], query: str = "") -> dict[str, Any]:
    answer = ask(server.port, "POST", f"/api/v1/runs/{run}/events{query}", lines(events), NDJSON)
    assert answer.status in (201, 202), answer
    return dict(answer.json)


def epoch_of(server: ServerProcess, run: str) -> str:
    return str(page(server, run).json["epoch"])


def page(server: ServerProcess, run: str, query: str = "") -> Answer:
    return ask(server.port, "GET", f"/api/v1/runs/{run}/events{query}", headers={"Accept": "application/json"})


def log(message: str, **more: Any) -> dict[str, Any]:
    return {"type": "log", "message": message, **more}


DONE = {"type": "done", "status": "completed"}
LOGS = [log(f"line {number}") for number in range(1, 6)]


def block(event: dict[str, Any], id: str | None = None, name: str | None = None) -> bytes:
    """The block that an event must be: the protocol's words, not the server's code."""
    text = json.dumps(event, separators=(",", ":"))
    head = (f"id: {id}\n" if id else "") + (f"event: {name}\n" if name else "")
    return f"{head}data: {text}\n\n".encode()


# Framing


def test_a_new_viewer_to_the_byte(server: ServerProcess) -> None:
    """Caught: a `retry:` after the snapshot; a chunk's size that is one too small."""
    run = make(server, log("one"))
    epoch = epoch_of(server, run)
    document = ask(server.port, "GET", f"/api/v1/runs/{run}").body
    with Connection(server.port) as viewer:
        viewer.send(request("GET", f"/api/v1/runs/{run}/events", {"X-Request-Id": "mine"}))
        head = Head.read(viewer)
        assert head.line == "HTTP/1.1 200 OK"
        assert {**head.headers, "date": ""} == {
            "x-request-id": "mine",
            "content-type": "text/event-stream",
            "cache-control": "no-cache",
            "connection": "keep-alive",
            "x-accel-buffering": "no",
            "vary": "Accept",
            "transfer-encoding": "chunked",
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
            "referrer-policy": "no-referrer",
            "date": "",
        }
        first = b'retry: 2000\nid: %s.1\ndata: {"type":"snapshot","run":%s}\n\n' % (epoch.encode(), document)
        chunk = b"%x\r\n%s\r\n" % (len(first), first)
        assert viewer.exactly(len(chunk)) == chunk
        publish(server, run, log("two", level="warn"))
        event = b'id: %s.2\ndata: {"type":"log","message":"two","level":"warn"}\n\n' % epoch.encode()
        while (size := viewer.until(b"\r\n")) == b"e\r\n":
            assert viewer.exactly(16) == b": heartbeat\n\n\r\n"[:16]
        assert size == b"%x\r\n" % len(event)
        assert viewer.exactly(len(event) + 2) == event + b"\r\n"


def test_http_1_0_gets_the_body_bare(server: ServerProcess) -> None:
    run = make(server, *LOGS)
    epoch = epoch_of(server, run)
    with Stream(server.port, run, version="1.0") as viewer:
        assert "transfer-encoding" not in viewer.head.headers
        assert "content-length" not in viewer.head.headers
        assert id_of(viewer.block()) == f"{epoch}.5"
        publish(server, run, log("six"), DONE)
        assert viewer.rest() == [block(log("six"), f"{epoch}.6"), block(DONE, f"{epoch}.7")]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("query", ["", "?snapshot=0"])
def test_the_headers_do_not_wait_for_an_event(server: ServerProcess, version: str, query: str) -> None:
    run = make(server, log("one"))
    path = f"/api/v1/runs/{run}/events{query}"
    with Connection(server.port) as viewer:
        viewer.send(request("GET", path, {"Last-Event-ID": "1"}, version=version))
        assert Head.read(viewer).status == 200
        first = b"c\r\n" + RETRY + b"\r\n" if version == "1.1" else RETRY
        assert viewer.exactly(len(first)) == first


def test_every_viewer_gets_heartbeats_as_chunks_of_their_own(server: ServerProcess) -> None:
    """Caught: a heart that beats for nobody."""
    run = make(server)
    viewers = [Stream(server.port, run, version=version) for version in ("1.1", "1.0", "1.1")]
    for viewer in viewers:
        with viewer:
            viewer.block()
            assert [viewer.next() for _ in range(3)] == [HEARTBEAT] * 3


def test_json_is_ascii_without_spaces(server: ServerProcess) -> None:
    """U+2028 and its like end a line for clients that split by Unicode's rules. Caught: what is not ASCII, as it is."""
    text = 'a\u2028b\u2029c\x85d\u00e9 \u20ac \U0001f600 \x00 \n \r " \\ \u200f\ufeff\uffff'
    event = {"type": "log", "message": text, "\u2028 key\U0001f600": {"deep": ["\u0660", None, 1.5, True]}}
    update = {"type": "update", "run": {"name": text, "caf\u00e9": text}}
    run = make(server, event, update, {"type": "result", "result": {"testId": text, "status": "passed"}})
    with Stream(server.port, run, "lastEventId=0") as viewer, Stream(server.port, run) as newcomer:
        blocks = [*viewer.blocks(3), newcomer.block()]
    for one in blocks:
        assert one.isascii()
        assert one.count(b"\n") == 3
        assert not re.search(rb"[\x00-\x09\x0b-\x1f]", one)
        (line,) = [line for line in one.split(b"\n") if line.startswith(b"data: ")]
        assert line == b"data: " + json.dumps(data(one), separators=(",", ":")).encode()
    assert data(blocks[0]) == event
    assert b"\\ud83d\\ude00" in blocks[0]
    assert b"\\u2028" in blocks[0]
    assert data(blocks[1]) == update
    document = data(blocks[3])["run"]
    assert (document["name"], document["caf\u00e9"], document["results"][0]["testId"]) == (text, text, text)
    assert document["logs"] == [text]


def test_a_large_event_comes_whole(server: ServerProcess) -> None:
    run = make(server)
    epoch = epoch_of(server, run)
    event = log("x" * 1_000_000)
    with Stream(server.port, run) as viewer, Stream(server.port, run, version="1.0") as old:
        viewer.block(), old.block()
        publish(server, run, event, DONE)
        expected = [block(event, f"{epoch}.1"), block(DONE, f"{epoch}.2")]
        assert viewer.rest() == expected
        assert old.rest() == expected


# The end


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("events", [[], LOGS])
def test_an_ended_run_is_a_snapshot_then_done_then_the_end(
    server: ServerProcess, version: str, events: list[dict[str, Any]]
) -> None:
    """The stored done follows the snapshot with an id of its own. Caught: a snapshot with the head's id."""
    run = make(server, *events, DONE)
    epoch = epoch_of(server, run)
    with Stream(server.port, run, version=version) as viewer:
        snapshot, done = viewer.rest()
    assert id_of(snapshot) == f"{epoch}.{len(events)}"
    document = data(snapshot)["run"]
    assert document["status"] == "completed"
    assert document["logs"] == [event["message"] for event in events]
    assert done == block(DONE, f"{epoch}.{len(events) + 1}")


def test_a_run_without_events_has_the_id_zero(server: ServerProcess) -> None:
    run = make(server)
    with Stream(server.port, run) as viewer:
        assert id_of(viewer.block()) == f"{epoch_of(server, run)}.0"


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_done_ends_the_live_streams(server: ServerProcess, version: str) -> None:
    run = make(server, log("one"))
    epoch = epoch_of(server, run)
    with Stream(server.port, run, version=version) as viewer:
        viewer.block()
        publish(server, run, log("two"), DONE)
        assert viewer.rest() == [block(log("two"), f"{epoch}.2"), block(DONE, f"{epoch}.3")]


def test_done_is_the_last_event_whoever_races_with_it(server: ServerProcess) -> None:
    """P9: many publishers and one done. Caught: a run's end that the transaction does not look at."""
    run = make(server)
    epoch = epoch_of(server, run)
    viewers = [Stream(server.port, run, "snapshot=0") for _ in range(4)]
    answers: list[Answer] = []
    go = threading.Barrier(9)

    def write(number: int) -> None:
        go.wait()
        for turn in range(12):
            event = DONE if number == 0 and turn == 4 else log(f"{number}.{turn}")
            answers.append(ask(server.port, "POST", f"/api/v1/runs/{run}/events", event))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    go.wait()
    for writer in writers:
        writer.join()
    assert {answer.status for answer in answers} == {201, 409}
    history = page(server, run).json
    last = history["head"]
    assert history["ended"] is True
    assert [event["seq"] for event in history["events"]] == list(range(1, last + 1))
    assert [event["event"]["type"] for event in history["events"]] == ["log"] * (last - 1) + ["done"]
    assert sorted(answer.json["first"] for answer in answers if answer.status == 201) == list(range(1, last + 1))
    assert {answer.error for answer in answers if answer.status == 409} == {"The run has ended."}
    expected = [block(event["event"], f"{epoch}.{event['seq']}") for event in history["events"]]
    for viewer in viewers:
        with viewer:
            assert viewer.block() == f"id: {epoch}.0\n\n".encode()
            assert viewer.rest() == expected


def test_the_head_of_an_ended_run_is_204(server: ServerProcess) -> None:
    """It tells a browser's EventSource to stop. Caught: 200 with an empty stream."""
    run = make(server, *LOGS, DONE)
    epoch = epoch_of(server, run)
    path = f"/api/v1/runs/{run}/events"
    for position in ("6", f"{epoch}.6"):
        for headers, query in (({"Last-Event-ID": position}, ""), ({}, f"?lastEventId={position}")):
            answer = ask(server.port, "GET", path + query, headers=headers)
            assert (answer.status, answer.body) == (204, b"")
            assert "content-type" not in answer.headers
            assert "content-length" not in answer.headers


# Positions


def test_every_position_gives_exactly_the_rest(server: ServerProcess) -> None:
    """P3: every k in 0..n+2, bare and with the epoch, by header and by query, across a restart.

    Caught: `>=` for `>` in the read of the store; the query that wins over the header.
    """
    running, ended = make(server, *LOGS), make(server, *LOGS, DONE)
    epochs = {run: epoch_of(server, run) for run in (running, ended)}
    for _ in range(2):
        for run, stored in ((running, LOGS), (ended, [*LOGS, DONE])):
            epoch, head = epochs[run], len(stored)
            for k in reversed(range(head + 3)):  # or all but the first would be served from memory
                for position in (str(k), f"{epoch}.{k}"):
                    rest = [block(event, f"{epoch}.{seq}") for seq, event in enumerate(stored[k:], k + 1)]
                    for headers, query in (
                        ({"Last-Event-ID": position}, ""),
                        ({"Last-Event-ID": position}, "lastEventId=4"),
                        ({}, f"lastEventId={position}"),
                    ):
                        with Stream(server.port, run, query, headers) as viewer:
                            if run == ended and k == head:
                                assert viewer.head.status == 204
                            elif k > head:
                                assert viewer.block() == block({"type": "reset", "reason": "future"})
                                assert data(viewer.block())["type"] == "snapshot"
                            elif run == ended:
                                assert viewer.rest() == rest
                            else:
                                assert viewer.blocks(len(rest)) == rest
        server.restart()
    viewers = [Stream(server.port, running, f"lastEventId={k}") for k in range(len(LOGS) + 1)]
    publish(server, running, log("live"))
    for k, viewer in enumerate(viewers):
        with viewer:
            assert viewer.blocks(len(LOGS) - k + 1)[-1] == block(log("live"), f"{epochs[running]}.6")


RESETS = {
    "malformed": ["x", "-1", "1.5", "{epoch}:5", "{epoch}.", ".5", "{epoch}.5.", "{epoch}.-1", "ABCDEFGH.1", "abc.1",
                  "0x1", "1e3", "+1", "null", "undefined", "1,2", "5 5", "{epoch}.5~{epoch}.0", "9" * 50],
    "epoch": ["zzzzzz.1", "zzzzzzzzzzzzzzzz.0", "zzzzzz.999"],
    "future": ["6", "{epoch}.6", "9" * 40, "{epoch}.99999999999999999999"],
}  # fmt: skip


@pytest.mark.parametrize("reason", RESETS)
@pytest.mark.parametrize("ended", [False, True])
def test_a_position_of_no_use_is_a_reset_and_then_a_snapshot(server: ServerProcess, reason: str, ended: bool) -> None:
    """P4: loss is never silent. Caught: an epoch that is not compared; `snapshot=0` that leaves the snapshot out."""
    run = make(server, *LOGS[:4], DONE if ended else LOGS[4])
    epoch = epoch_of(server, run)
    for text in RESETS[reason]:
        position = text.format(epoch=epoch)
        for query in ("", "snapshot=0"):
            with Stream(server.port, run, query, {"Last-Event-ID": position}) as viewer:
                assert viewer.block() == block({"type": "reset", "reason": reason}), position
                snapshot = viewer.block()
                assert data(snapshot)["run"]["id"] == run
                assert id_of(snapshot) == f"{epoch}.{4 if ended else 5}"
                if ended:
                    assert viewer.rest() == [block(DONE, f"{epoch}.5")]


def test_a_live_stream_goes_on_after_a_reset(server: ServerProcess) -> None:
    run = make(server, *LOGS)
    with Stream(server.port, run, "lastEventId=99") as viewer:
        viewer.blocks(2)
        publish(server, run, log("six"))
        assert viewer.block() == block(log("six"), f"{epoch_of(server, run)}.6")


def trim(server: ServerProcess, run: str, floor: int) -> None:
    async def work() -> None:
        async with open_store(Settings(database=f"sqlite:///{server.database}")) as store:
            await store.trim(run, floor)

    asyncio.run(work())


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_a_trimmed_position_is_a_reset_and_then_a_snapshot(server: ServerProcess, stopped: bool, ended: bool) -> None:
    """P4, with the server down and under it. The results survive. Caught: a floor that is not compared."""
    result = {"type": "result", "result": {"testId": "a", "status": "passed"}}
    last = DONE if ended else LOGS[1]
    run = make(server, LOGS[0], result, last)
    epoch = epoch_of(server, run)
    if stopped:
        server.stop()
    trim(server, run, 2)
    if stopped:
        server.start()
    for position in ("0", "1", f"{epoch}.1"):
        with Stream(server.port, run, f"lastEventId={position}") as viewer:
            assert viewer.block() == block({"type": "reset", "reason": "trimmed"})
            snapshot = viewer.block()
            assert id_of(snapshot) == f"{epoch}.{2 if ended else 3}"
            document = data(snapshot)["run"]
            assert (document["passed"], document["total"]) == (1, 1)
            assert document["results"] == [result["result"]]
            assert document["logsTruncated"] is True
    with Stream(server.port, run, "lastEventId=2") as viewer:
        assert viewer.block() == block(last, f"{epoch}.3")


def test_events_trimmed_while_a_channel_is_open_are_not_lost_in_silence(server: ServerProcess) -> None:
    """The process knows the run from before, so that it may notice too late: the stream ends, and the next one says it.

    Caught: a page of the store that is taken although it begins later.
    """
    run = make(server, *LOGS)
    with Stream(server.port, run) as witness:
        witness.block()
        trim(server, run, 3)
        with Stream(server.port, run, "lastEventId=1") as first:
            blocks = [first.block()] if first.more() else []
        if not blocks:
            with Stream(server.port, run, "lastEventId=1") as second:
                blocks = [second.block()]
        assert blocks == [block({"type": "reset", "reason": "trimmed"})]


def test_an_id_that_is_used_again_is_another_run(server: ServerProcess) -> None:
    """P4, recreated: the old position, of an equal number, is a reset of `epoch`."""

    async def prune() -> None:
        async with open_store(Settings(database=f"sqlite:///{server.database}")) as store:
            await store.prune(1 << 60)

    run = make(server, *LOGS, DONE)
    old = epoch_of(server, run)
    with Stream(server.port, run) as viewer:
        viewer.rest()
    asyncio.run(prune())
    assert ask(server.port, "HEAD", f"/api/v1/runs/{run}/events").status == 404
    wait_until(lambda: status_of(server, run) == 404, "what the process keeps for viewers is gone too")
    make(server, *LOGS, log("six"), id=run)
    new = epoch_of(server, run)
    assert new != old
    with Stream(server.port, run, headers={"Last-Event-ID": f"{old}.6"}) as viewer:
        assert viewer.block() == block({"type": "reset", "reason": "epoch"})
        assert id_of(viewer.block()) == f"{new}.6"
        publish(server, run, DONE)
        assert viewer.rest() == [block(DONE, f"{new}.7")]


def status_of(server: ServerProcess, run: str) -> int:
    with Stream(server.port, run) as viewer:
        return viewer.head.status


# Options


def test_named_adds_the_type_as_the_event(server: ServerProcess) -> None:
    run = make(server, log("one"))
    epoch = epoch_of(server, run)
    for text in ("1", "true"):
        with Stream(server.port, run, f"named={text}") as viewer:
            assert viewer.block().startswith(f"id: {epoch}.1\nevent: snapshot\ndata: ".encode())
    with Stream(server.port, run, "named=1&lastEventId=9") as viewer:
        assert viewer.block() == block({"type": "reset", "reason": "future"}, name="reset")
        viewer.block()
        publish(server, run, {"type": "frame", "n": 1}, {"type": "a.b:c_-D"}, DONE)
        assert viewer.rest() == [
            block({"type": "frame", "n": 1}, name="frame"),
            block({"type": "a.b:c_-D"}, f"{epoch}.2", "a.b:c_-D"),
            block(DONE, f"{epoch}.3", "done"),
        ]
    for text in ("0", "false"):
        with Stream(server.port, run, f"named={text}&lastEventId=1") as viewer:
            assert b"event:" not in b"".join(viewer.rest())


def test_types_shows_only_these_and_the_ids_go_on(server: ServerProcess) -> None:
    """Caught: a filter that hides `reset` and `done`."""
    events = [log("1"), {"type": "x"}, {"type": "y"}, log("4"), {"type": "x"}]
    run = make(server, *events)
    epoch = epoch_of(server, run)
    with Stream(server.port, run, "types=log,y&lastEventId=0") as viewer:
        assert viewer.blocks(3) == [block(events[seq - 1], f"{epoch}.{seq}") for seq in (1, 3, 4)]
        publish(server, run, {"type": "x"}, {"type": "frame"}, {"type": "y"}, {"type": "snapshot", "run": {}}, DONE)
        assert viewer.rest() == [
            block({"type": "y"}, f"{epoch}.7"),
            block({"type": "snapshot", "run": {}}),
            block(DONE, f"{epoch}.8"),
        ]
    with Stream(server.port, run, "types=frame&lastEventId=zzzzzz.1") as viewer:
        reset, snapshot, done = viewer.rest()
        assert (data(reset)["type"], data(snapshot)["type"], data(done)["type"]) == ("reset", "snapshot", "done")


def test_without_a_snapshot_the_first_block_is_the_position(server: ServerProcess) -> None:
    run = make(server, *LOGS)
    epoch = epoch_of(server, run)
    with Connection(server.port) as viewer:
        viewer.send(request("GET", f"/api/v1/runs/{run}/events?snapshot=0", version="1.0"))
        Head.read(viewer)
        expected = f"retry: 2000\nid: {epoch}.5\n\n".encode()
        assert viewer.exactly(len(expected)) == expected
    with Stream(server.port, run, "snapshot=0&named=1&meta=1&types=done") as viewer:
        assert viewer.block() == f"id: {epoch}.5\n\n".encode()
        publish(server, run, log("six"), DONE)
        (done,) = viewer.rest()
        assert done.startswith(
            f'id: {epoch}.7\nevent: done\ndata: {{"type":"done","status":"completed","_seq":7'.encode()
        )
    with Stream(server.port, run, "snapshot=0") as viewer:
        assert viewer.rest() == [f"id: {epoch}.6\n\n".encode(), block(DONE, f"{epoch}.7")]


def test_meta_adds_number_and_time(server: ServerProcess) -> None:
    """Caught: `_at` as the time of the request for an event that brought its own."""
    at = "2026-01-31T12:00:00.123Z"
    run = make(server, log("one", level="warn", _at=at), {"type": "x", "_at": "2026-01-31T13:00:00+01:00"})
    epoch = epoch_of(server, run)
    with Stream(server.port, run, "meta=1") as viewer:
        document = data(viewer.block())["run"]
        assert document["logs"] == [{"seq": 1, "at": at, "level": "warn", "message": "one"}]
        publish(server, run, {"type": "frame", "_at": at})
        assert viewer.block() == block({"type": "frame", "_at": at})
    with Stream(server.port, run, "meta=1&lastEventId=0") as viewer:
        assert viewer.blocks(2) == [
            block({"type": "log", "message": "one", "level": "warn", "_seq": 1, "_at": at}, f"{epoch}.1"),
            block({"type": "x", "_seq": 2, "_at": "2026-01-31T12:00:00.000Z"}, f"{epoch}.2"),
        ]
    with Stream(server.port, run, "lastEventId=0") as viewer:
        assert viewer.blocks(2) == [block(log("one", level="warn"), f"{epoch}.1"), block({"type": "x"}, f"{epoch}.2")]


def test_logs_bounds_the_log_of_the_snapshot(server: ServerProcess) -> None:
    run = make(server, *LOGS, {"type": "x"})
    expected = [event["message"] for event in LOGS]
    for number in (0, 1, 4):
        with Stream(server.port, run, f"logs={number}") as viewer:
            document = data(viewer.block())["run"]
            assert document["logs"] == expected[len(expected) - number :]
            assert document["logsTruncated"] is True
    for query in ("logs=5", "logs=6", "", "logs=99999999999999999999"):
        with Stream(server.port, run, query) as viewer:
            document = data(viewer.block())["run"]
            assert document["logs"] == expected
            assert "logsTruncated" not in document
    with Stream(server.port, run, "logs=1&meta=1&lastEventId=zzzzzz.1&named=1&types=log") as viewer:
        assert viewer.block() == block({"type": "reset", "reason": "epoch"}, name="reset")
        document = data(viewer.block())["run"]
        assert [line["seq"] for line in document["logs"]] == [5]
        assert document["logsTruncated"] is True


def test_the_last_10000_lines_are_in_a_snapshot(server: ServerProcess) -> None:
    run = make(server)
    for number in range(0, 10_001, 1000):
        publish(server, run, *(log(str(line)) for line in range(number, min(number + 1000, 10_001))))
    with Stream(server.port, run) as viewer:
        document = data(viewer.block())["run"]
    assert document["logs"] == [str(line) for line in range(1, 10_001)]
    assert document["logsTruncated"] is True


@pytest.mark.parametrize(
    "query",
    ["named=2", "named=", "named=yes", "meta=x", "snapshot=no", "logs=-1", "logs=x", "logs=", "logs=1.5", "types=",
     "types=,", "types=a%20b", "types=" + "x" * 65, "named=%ff", "lastEventId=%ff", "logs=%d9%a3"],
)  # fmt: skip
def test_an_option_that_means_nothing_is_refused(server: ServerProcess, query: str) -> None:
    run = make(server)
    answer = ask(server.port, "GET", f"/api/v1/runs/{run}/events?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.error


# Volatile events


def test_volatile_events_have_no_id_and_are_not_stored(server: ServerProcess) -> None:
    """Caught: a volatile event with an id."""
    run = make(server, log("one"))
    epoch = epoch_of(server, run)
    batch = [{"type": "frame", "n": 1}, log("two"), {"type": "snapshot", "run": {"id": "mine"}}, log("three")]
    with Stream(server.port, run) as viewer:
        viewer.block()
        publish(server, run, *batch)
        assert viewer.blocks(4) == [
            block(batch[0]),
            block(batch[1], f"{epoch}.2"),
            block(batch[2]),
            block(batch[3], f"{epoch}.3"),
        ]
        publish(server, run, {"type": "cursor", "x": 5}, query="?volatile=true")
        assert viewer.block() == block({"type": "cursor", "x": 5})
    assert [event["event"] for event in page(server, run).json["events"]] == [log("one"), batch[1], batch[3]]
    with Stream(server.port, run, "lastEventId=1") as viewer:
        assert viewer.blocks(2) == [block(batch[1], f"{epoch}.2"), block(batch[3], f"{epoch}.3")]


# Other ways to ask


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_head_is_the_headers_and_the_end(server: ServerProcess, version: str) -> None:
    run = make(server)
    with Connection(server.port) as viewer:
        viewer.send(request("HEAD", f"/api/v1/runs/{run}/events", {"Connection": "keep-alive"}, version=version))
        head = Head.read(viewer)
        assert head.status == 200
        for name, value in {
            "content-type": "text/event-stream",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            "vary": "Accept",
        }.items():
            assert head.headers[name] == value
        assert "content-length" not in head.headers
        viewer.send(request("GET", "/health"))
        assert viewer.answer().json == {"status": "alive"}


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        (None, True),
        ("*/*", True),
        ("text/event-stream", True),
        ("text/html", True),
        ("application/json", False),
        ("Application/JSON; q=0.9, text/html", False),
        ("application/json, text/event-stream;q=0.1", True),
        ("application/json-seq", True),
        ("application/problem+json", True),
        ("*/*, application/json", False),
    ],
)
def test_who_asks_for_json_alone_gets_a_page(server: ServerProcess, accept: str | None, stream: bool) -> None:
    run = make(server)
    with Connection(server.port) as viewer:
        viewer.send(request("GET", f"/api/v1/runs/{run}/events", {"Accept": accept} if accept else {}))
        head = Head.read(viewer)
    assert head.headers["content-type"] == ("text/event-stream" if stream else "application/json")
    assert head.headers["vary"] == "Accept"
    assert head.headers["cache-control"] == ("no-cache" if stream else "no-store")


# Connections


def test_a_stream_on_a_connection_that_was_used_before(server: ServerProcess) -> None:
    run = make(server)
    path = f"/api/v1/runs/{run}/events"
    with Connection(server.port) as client:
        client.send(
            request("POST", path, body=b'{"type":"log","message":"one"}') + request("GET", path + "?snapshot=0")
        )
        assert client.answer().status == 201
        assert Head.read(client).status == 200
        assert client.until(b"\n\n").endswith(f"{RETRY.decode()}id: {epoch_of(server, run)}.1\n\n".encode())


def test_what_a_client_says_on_a_stream_is_ignored(server: ServerProcess) -> None:
    """A pipelined request, before and after the answer, and what is no HTTP at all."""
    run = make(server)
    epoch = epoch_of(server, run)
    path = f"/api/v1/runs/{run}/events"
    with Connection(server.port) as client:
        client.send(request("GET", path, version="1.0") + request("GET", "/health") + b"\x00\xff garbage " * 100)
        Head.read(client)
        client.until(b"\n\n")
        client.send(b"\r\n\r\n\x16\x03\x01" * 50_000)
        publish(server, run, log("one"), DONE)
        client.until(b"id: ")
        expected = block(log("one"), f"{epoch}.1") + block(DONE, f"{epoch}.2")
        assert (b"id: " + client.rest()).replace(HEARTBEAT, b"") == expected


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_client_that_goes_leaves_the_others_alone(server: ServerProcess, how: str) -> None:
    run = make(server)
    epoch = epoch_of(server, run)
    with Stream(server.port, run, "snapshot=0") as stays:
        leavers = [Stream(server.port, run, "snapshot=0") for _ in range(5)]
        for leaver in leavers:
            leaver.block()
            if how == "half":
                leaver.connection.socket.shutdown(socket.SHUT_WR)
                assert set(leaver.connection.rest().split(b"\r\n")) <= {b"d", HEARTBEAT, b""}
            if how == "reset":
                leaver.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            leaver.connection.socket.close()
        publish(server, run, *LOGS, DONE)
        assert stays.rest()[1:] == [
            *(block(event, f"{epoch}.{seq}") for seq, event in enumerate(LOGS, 1)),
            block(DONE, f"{epoch}.6"),
        ]


def test_a_client_that_does_not_close_after_the_end_is_closed(server: ServerProcess) -> None:
    run = make(server, DONE)
    with Stream(server.port, run) as viewer:
        viewer.rest()
        wait_until(lambda: refused(viewer.connection.socket), "the server lets go of the connection")


def refused(sock: socket.socket) -> bool:
    """Whether what is sent is answered with a reset: nobody has the connection any more."""
    try:
        sock.sendall(b"still here\n")
    except ConnectionError:
        return True
    return False


# Who is not there


MISSING = ["RUN-999999", "nobody", "a%20b", "%FF", "%00", "caf%C3%A9", "x" * 129, "%2E%2E%2Fruns", "a:b", "$",
           "foreign", "%F0%9F%98%80", "a%2Fb", "%ED%A0%80"]  # fmt: skip
ROUTES = [
    ("GET", "/api/v1/runs/{}", b"", {}),
    ("GET", "/api/v1/runs/{}/events", b"", {}),
    ("GET", "/api/v1/runs/{}/events?lastEventId=1", b"", {}),
    ("GET", "/api/v1/runs/{}/events?snapshot=0", b"", {}),
    ("GET", "/api/v1/runs/{}/events?after=1&wait=5", b"", {"Accept": "application/json"}),
    ("POST", "/api/v1/runs/{}/events", b'{"type":"log"}', {}),
    ("POST", "/api/v1/runs/{}/events", b'{"type":"log"}', {"Idempotency-Key": "k"}),
    ("POST", "/api/v1/runs/{}/events?volatile=true", b'{"type":"x"}', {}),
    ("POST", "/api/v1/runs/{}/events", b'{"type":"no type"}', {}),
    ("POST", "/api/v1/runs/{}/events", b'{"type":"no type"}', {"Idempotency-Key": "k"}),
    ("POST", "/api/v1/runs/{}/alive", b"", {}),
    ("POST", "/api/v1/runs/{}/abort", b"", {}),
    ("GET", "/api/v1/projects/{}", b"", {}),
    ("GET", "/api/v1/projects/{}/runs", b"", {}),
]


@pytest.fixture(scope="module")
def foreign(server: ServerProcess) -> None:
    """A run and a project `foreign` of another workspace."""

    async def work() -> None:
        async with open_store(Settings(database=f"sqlite:///{server.database}")) as store:
            await store.create_run("other", "foreign", "foreign", "RUN-", {}, make_project=True)

    asyncio.run(work())


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(("method", "path", "body", "headers"), ROUTES)
def test_a_missing_foreign_or_impossible_id_is_the_same_404(
    server: ServerProcess, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    """To the byte, headers too. Caught: 400 for a path that is not UTF-8; a workspace that is not compared."""
    answers = [ask(server.port, method, path.format(id), body, headers) for id in MISSING]
    for id, answer in zip(MISSING, answers, strict=True):
        assert (answer.status, answer.body) == (404, b'{"error":"not found"}'), id
        own = {"date": "", "x-request-id": ""}
        assert {**answer.headers, **own} == {**answers[0].headers, **own}


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("id", ["RUN-999999", "foreign", "%FF"])
def test_head_of_a_missing_run_is_404(server: ServerProcess, id: str) -> None:
    assert ask(server.port, "HEAD", f"/api/v1/runs/{id}/events").status == 404


def test_an_id_may_be_percent_encoded(server: ServerProcess) -> None:
    make(server, id="a.b-c_D")
    with Stream(server.port, "a.b-c_D") as viewer:
        assert data(viewer.block())["run"]["id"] == "a.b-c_D"
    assert ask(server.port, "GET", "/api/v1/runs/%61.b%2Dc_D").json["id"] == "a.b-c_D"
