"""Following a run: against a server that misbehaves as told, and against ours, killed and restarted."""

import asyncio
import json
from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import Any

import pytest

from sentri_events.client import Client, Received
from sentri_events.errors import ClientError
from sentri_events.sse import HEARTBEAT, frame, retry
from tests.scripted import Request, Wire, answer, chunked, hold, scripted, stream, until, unused_url
from tests.server_process import ServerProcess

EPOCH = "k3v9x2"
SOON = 0.001  # a first delay that nobody waits for
EMPTY = b"retry: 1\n\n"


def log(seq: int, epoch: str = EPOCH) -> bytes:
    """A durable event as a stream with meta=1 carries it."""
    event = {"type": "log", "message": str(seq), "_seq": seq, "_at": "2026-01-01T00:00:00.000Z"}
    return frame(json.dumps(event).encode(), f"{epoch}.{seq}")


def done(seq: int) -> bytes:
    event = {"type": "done", "status": "completed", "_seq": seq, "_at": "2026-01-01T00:00:00.000Z"}
    return frame(json.dumps(event).encode(), f"{EPOCH}.{seq}")


def snapshot(seq: int, epoch: str = EPOCH) -> bytes:
    return frame(b'{"type":"snapshot","run":{"id":"R"}}', f"{epoch}.{seq}")


async def collect(events: AsyncIterable[Received]) -> list[Received]:
    return [event async for event in events]


def brief(events: list[Received]) -> list[str]:
    """What was received, at a glance: the message of a log, else the type."""
    return [event.event.get("message", event.type) for event in events]


async def follow(url: str, *arguments: Any, patience: float = 30.0, silence: float = 15.0, **options: Any) -> list[str]:
    async with Client(url, patience=patience, first_delay=SOON, silence=silence) as client:
        return brief(await collect(client.follow("R", *arguments, **options)))


async def test_a_stream_is_read_to_its_done() -> None:
    at = "2026-01-01T00:00:00.000Z"
    frames = snapshot(1), HEARTBEAT, log(2), frame(b'{"type":"frame","n":1,"_at":"%b"}' % at.encode()), done(3)
    async with scripted(stream(retry(2000), *frames)) as server, Client(server.url) as client:
        received = await collect(client.follow("R"))
    assert received == [
        Received("R", "snapshot", {"type": "snapshot", "run": {"id": "R"}}, None, None, f"{EPOCH}.1"),
        Received("R", "log", {"type": "log", "message": "2"}, 2, at, f"{EPOCH}.2"),
        Received("R", "frame", {"type": "frame", "n": 1}, None, at, f"{EPOCH}.2"),
        Received("R", "done", {"type": "done", "status": "completed"}, 3, at, f"{EPOCH}.3"),
    ]
    (request,) = server.requests
    assert (request.method, request.target) == ("GET", "/api/v1/runs/R/events?meta=1")
    assert request.headers["accept"] == "text/event-stream"
    assert "last-event-id" not in request.headers
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("position", "options", "header", "query"),
    [
        (None, {"types": ["log", "result"]}, None, "meta=1&types=log%2Cresult"),
        (None, {"snapshot": False}, None, "meta=1&snapshot=0"),
        (0, {}, "0", "meta=1"),
        (7, {}, "7", "meta=1"),
        (f"{EPOCH}.7", {}, f"{EPOCH}.7", "meta=1"),
        ("héllo", {}, "h\xc3\xa9llo", "meta=1"),
    ],
)
async def test_position_and_options(position: Any, options: dict[str, Any], header: str | None, query: str) -> None:
    async with scripted(stream(done(8))) as server:
        assert await follow(server.url, position, **options) == ["done"]
    assert server.requests[0].headers.get("last-event-id") == header
    assert server.requests[0].target.partition("?")[2] == query


async def test_a_cut_stream_goes_on_after_the_last_event() -> None:
    half = log(3)[:-10]
    async with (
        scripted(
            stream(EMPTY, log(1), log(2), half),  # closed in the middle of an event
            chunked(log(3), log(4)[:20], log(4)[20:], b"id: k3v9x2.5\n"),  # cut, as the chunks tell
            stream(b"id: k3v9x2.6\n\n"),  # a position without an event: those were of other types
            b"",  # closed without an answer
            stream(HEARTBEAT),  # opened, and nothing but that
            stream(done(7)),
        ) as server
    ):
        assert await follow(server.url, 0) == ["1", "2", "3", "4", "done"]
    ids = [request.headers["last-event-id"] for request in server.requests]
    assert ids == ["0", f"{EPOCH}.2", f"{EPOCH}.4", *[f"{EPOCH}.6"] * 3]


async def test_a_cut_anywhere_loses_and_repeats_nothing() -> None:
    """In the head of the answer, in a line, in a character: at every third byte, one after the other."""
    umlaut = frame('{"type":"log","message":"ü","_seq":4}'.encode(), f"{EPOCH}.4")
    frames = [log(1), log(2), HEARTBEAT + log(3), umlaut, done(5)]
    cuts: list[int] = []

    def respond(request: Request) -> bytes:
        seen = int(request.headers["last-event-id"].rpartition(".")[2])
        whole = stream(EMPTY, *frames[seen:])
        return whole[: cuts.pop()] if cuts else whole

    async with scripted(otherwise=respond) as server, Client(server.url, first_delay=SOON) as client:
        for cut in range(0, len(stream(EMPTY, *frames[:-1])), 3):
            cuts.append(cut)
            assert brief(await collect(client.follow("R", 0))) == ["1", "2", "3", "ü", "done"]


async def test_a_list_begins_anew_after_each_cut() -> None:
    """Caught: a position sent where there are none; a list that ends with the first connection."""
    runs = [frame(json.dumps({"type": "runs", "data": [{"id": name}]}).encode()) for name in "ab"]
    change = frame(b'{"type":"run.done","run":{"id":"a"}}')
    async with (
        scripted(stream(EMPTY, runs[0], change[:-9]), stream(HEARTBEAT, runs[1], change)) as server,
        Client(server.url, first_delay=SOON) as client,
        aclosing(client.follow_runs(project="a b", limit=7)) as events,
    ):
        received = [await anext(events) for _ in range(3)]
    assert [event["type"] for event in received] == ["runs", "runs", "run.done"]
    assert [event.get("run", event.get("data")) for event in received] == [[{"id": "a"}], [{"id": "b"}], {"id": "a"}]
    for request in server.requests:
        assert request.target == "/api/v1/projects/a%20b/events?limit=7"
        assert "last-event-id" not in request.headers


async def test_no_durable_event_twice_or_out_of_order() -> None:
    async with scripted(
        stream(EMPTY, log(1), log(2), log(2), log(1), log(3)),
        stream(log(2), log(3), log(4)),
        stream(log(3), done(5)),
    ) as server:
        assert await follow(server.url, 0) == ["1", "2", "3", "4", "done"]


async def test_what_a_position_says_has_been_seen() -> None:
    async with scripted(stream(log(1), log(2), log(3), done(4))) as server:
        assert await follow(server.url, f"{EPOCH}.2") == ["3", "done"]


async def test_after_a_reset_the_snapshot_is_the_new_truth() -> None:
    reset = frame(b'{"type":"reset","reason":"epoch"}')
    async with scripted(
        stream(EMPTY, log(8), log(9)),
        stream(reset, snapshot(1, "zzzzzz"), log(2, "zzzzzz")),
        stream(log(2, "zzzzzz"), log(3, "zzzzzz")),
        stream(reset, snapshot(1), log(2), done(3)),  # the same epoch, cut back
    ) as server:
        received = ["8", "9", "reset", "snapshot", "2", "3", "reset", "snapshot", "2", "done"]
        assert await follow(server.url, 0) == received
    assert server.requests[2].headers["last-event-id"] == "zzzzzz.2"


async def test_what_follows_a_reset_or_another_epoch_is_no_repetition() -> None:
    reset = frame(b'{"type":"reset","reason":"future"}')
    async with scripted(stream(EMPTY, log(8), reset, log(2), log(1, "zzzzzz"), done(3))) as server:
        assert await follow(server.url, 0, snapshot=False) == ["8", "reset", "2", "1", "done"]


async def test_volatile_events_come_as_they_are() -> None:
    """Without an id nothing is known to be a repetition."""
    picture = frame(b'{"type":"frame"}')
    async with scripted(stream(EMPTY, picture, picture), stream(picture, log(1), picture, done(2))) as server:
        assert await follow(server.url) == ["frame", "frame", "frame", "1", "frame", "done"]
    assert "last-event-id" not in server.requests[1].headers


async def test_204_stops() -> None:
    async with scripted(answer(204)) as server:
        assert await follow(server.url, f"{EPOCH}.9") == []
    async with scripted(stream(EMPTY, log(1)), answer(204)) as server:
        assert await follow(server.url, 0) == ["1"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500, 501])
async def test_a_refusal_is_final(status: int) -> None:
    async with scripted(answer(status, {"error": "no, and here is why"})) as server:
        with pytest.raises(ClientError, match=r"^no, and here is why$") as refusal:
            await follow(server.url)
    assert refusal.value.status == status
    async with scripted(stream(EMPTY, log(1)), answer(status, b"<html>")) as server:
        with pytest.raises(ClientError, match=f"^The server answered {status}.$"):
            await follow(server.url)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_server_is_asked_again(status: int) -> None:
    async with scripted(
        answer(status), stream(EMPTY, log(1)), answer(status), answer(status), stream(done(2))
    ) as server:
        assert await follow(server.url) == ["1", "done"]


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/event-streams", ""])
async def test_what_is_no_event_stream_is_refused(content_type: str) -> None:
    async with scripted(stream(log(1), content_type=content_type)) as server:
        with pytest.raises(ClientError, match="is no event stream"):
            await follow(server.url)


async def test_parameters_of_the_content_type_do_not_matter() -> None:
    async with scripted(stream(done(1), content_type="Text/Event-Stream ; charset=utf-8")) as server:
        assert await follow(server.url) == ["done"]


@pytest.mark.parametrize("data", [b"hello", b"[1]", b'"type"', b"{}", b"7"])
async def test_a_message_that_is_no_event_is_an_error(data: bytes) -> None:
    async with scripted(stream(log(1), frame(data))) as server, Client(server.url) as client:
        events = client.follow("R")
        assert (await anext(events)).seq == 1
        with pytest.raises(ClientError, match="no event"):
            await anext(events)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_of_a_stream_are_followed(status: int) -> None:
    async with scripted(stream(EMPTY, log(5)), stream(done(6))) as home:
        away = answer(status, location=f"{home.url}/elsewhere?meta=1")
        async with scripted(away, away) as server:
            assert await follow(server.url, f"{EPOCH}.4") == ["5", "done"]
    assert [request.headers["last-event-id"] for request in home.requests] == [f"{EPOCH}.4", f"{EPOCH}.5"]
    assert [request.target for request in server.requests] == ["/api/v1/runs/R/events?meta=1"] * 2


@pytest.mark.parametrize("location", ["/api/v1/runs/R/events", "ftp://127.0.0.1/"])
async def test_redirects_that_lead_nowhere(location: str) -> None:
    async with scripted(otherwise=lambda request: answer(302, location=location)) as server:
        with pytest.raises(ClientError, match="cannot be reached"):
            await follow(server.url)
    assert len(server.requests) <= 21  # one way to the end, and no second one


async def test_the_stream_says_how_long_to_wait() -> None:
    """A lower bound only: a loaded machine is late, never early."""
    loop = asyncio.get_running_loop()
    arrivals = []

    def note(request: Request) -> bytes:
        arrivals.append(loop.time())
        return stream(retry(200), log(1)) if len(arrivals) == 1 else stream(done(2))

    async with scripted(otherwise=note) as server:
        await follow(server.url)
    assert arrivals[1] - arrivals[0] >= 0.2


async def test_retry_after_is_at_least_what_is_waited() -> None:
    async with scripted(answer(503, {"error": "later"}, retry_after="3600")) as server:
        with pytest.raises(ClientError, match=r"^later$") as busy:
            await follow(server.url)
    assert busy.value.status == 503


async def test_a_server_that_was_never_there_is_given_up() -> None:
    with pytest.raises(ClientError, match="cannot be reached") as away:
        await follow(unused_url(), patience=0.1)
    assert away.value.status == 503


async def test_a_stream_that_was_there_is_reopened_for_ever() -> None:
    cuts = [answer(503)] * 5
    async with scripted(stream(EMPTY, log(1)), *cuts, stream(done(2))) as server:
        assert await follow(server.url, patience=0.0) == ["1", "done"]


async def test_a_silent_stream_is_cut_and_reopened() -> None:
    async with scripted(hold(EMPTY, log(1), b"data: {"), stream(done(2))) as server:
        assert await follow(server.url, silence=0.1) == ["1", "done"]


async def test_heartbeats_are_no_silence() -> None:
    async def beat(wire: Wire) -> None:
        await wire.send(stream(log(1)))
        for _ in range(6):
            await asyncio.sleep(0.2)
            await wire.send(HEARTBEAT)
        await wire.send(done(2))

    async with scripted(beat) as server:
        assert await follow(server.url, silence=1.0) == ["1", "done"]


async def test_a_cancelled_stream_closes_its_connection() -> None:
    """`scripted` fails if one stays open."""
    async with scripted(hold(log(1)), hold(log(1))) as server, Client(server.url) as client:
        first: asyncio.Future[Received] = asyncio.get_running_loop().create_future()

        async def read() -> None:
            async for received in client.follow("R"):
                first.set_result(received)

        task = asyncio.create_task(read())
        await first
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        async with aclosing(client.follow("R")) as events:
            async for _ in events:
                break
        await until(lambda: not server.open)


async def test_a_closed_client_has_no_connection() -> None:
    async with scripted(hold(log(1))) as server:
        async with Client(server.url) as client:
            events = client.follow("R")
            await anext(events)
        await until(lambda: not server.open)
        await events.aclose()


async def test_a_viewer_and_a_publisher_outlive_a_killed_server(server: ServerProcess) -> None:
    """P3, P5, P7: two kills -9 under load; every event once, in order, for both."""
    count, kills = 300, 2
    async with Client(server.url, first_delay=0.05) as client:
        id = (await client.create_run(project="web"))["id"]
        seen: list[Received] = []

        async def watch() -> None:
            async for received in client.follow(id, 0):
                seen.append(received)  # noqa: PERF401 - seen one by one

        async def publish() -> None:
            for n in range(count):
                await client.publish(id, [{"type": "log", "message": str(n)}])
            await client.publish(id, [{"type": "done", "status": "completed"}])

        tasks = [asyncio.create_task(watch()), asyncio.create_task(publish())]
        for n in range(1, kills + 1):
            await until(lambda: len(seen) >= n * count // (kills + 1))  # noqa: B023
            await asyncio.to_thread(server.restart)
        await asyncio.gather(*tasks)
        stored = await collect(client.history(id))
    expected = [*map(str, range(count)), "done"]
    assert brief(stored) == expected
    assert brief(seen) == expected
    assert [event.seq for event in seen] == list(range(1, count + 2))
