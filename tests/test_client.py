"""The asynchronous client, but for its streams: against a server that misbehaves as told, and against ours."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from sentri_events.client import Client, Received, run
from sentri_events.errors import ClientError, Invalid
from sentri_events.publisher import run as publisher_run
from tests.scripted import Request, Step, Wire, answer, scripted, unused_url
from tests.server_process import ServerProcess
from tests.test_follow import EPOCH, SOON, brief, collect


async def test_publish() -> None:
    numbers = {"runId": "R", "epoch": EPOCH, "first": 1, "last": 2}
    async with scripted(answer(201, numbers)) as server, Client(server.url, token="t0k.en") as client:
        events: list[dict[str, Any]] = [
            {"type": "log", "message": "é\u2028\udc80"},
            {"type": "result", "result": {"testId": "a"}},
        ]
        assert await client.publish("R", events) == numbers
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/api/v1/runs/R/events")
    assert request.headers["content-type"] == "application/x-ndjson"
    assert request.headers["authorization"] == "Bearer t0k.en"
    assert request.body.split(b"\n") == [
        b'{"type":"log","message":"\\u00e9\\u2028\\ufffd"}',
        b'{"type":"result","result":{"testId":"a"}}',
    ]


@pytest.mark.parametrize("key", [None, "mine"])
async def test_publishing_is_repeated_with_the_same_key_and_body(key: str | None) -> None:
    async def cut(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")

    troubles: list[Step] = [b"", answer(503), cut, answer(429), answer(502), answer(504)]
    async with (
        scripted(*troubles, answer(201, {"runId": "R"}), answer(202, {"runId": "R"})) as server,
        Client(server.url, first_delay=SOON) as client,
    ):
        await client.publish("R", [{"type": "log", "message": "x"}], key=key)
        *repeated, last = [(request.headers["idempotency-key"], request.body) for request in server.requests]
        assert repeated == [last] * len(troubles)
        assert key in (None, last[0])
        await client.publish("R", [{"type": "log", "message": "x"}])
        assert server.requests[-1].headers["idempotency-key"] != last[0]


async def test_making_a_run_is_repeated_too() -> None:
    async with scripted(b"", answer(201, {"id": "R"})) as server, Client(server.url, first_delay=SOON) as client:
        assert await client.create_run(project="web", name="n", total=3) == {"id": "R"}
    first, second = server.requests
    assert json.loads(second.body) == {"projectId": "web", "name": "n", "total": 3}
    assert (first.target, first.headers["idempotency-key"]) == ("/api/v1/runs", second.headers["idempotency-key"])


async def test_publishing_is_given_up_in_time() -> None:
    async with Client(unused_url(), patience=0.1, first_delay=SOON) as client:
        with pytest.raises(ClientError, match="cannot be reached") as away:
            await client.publish("R", [])
    assert away.value.status == 503
    async with (
        scripted(answer(429, {"error": "slow down"}, retry_after="3600")) as server,
        Client(server.url) as client,
    ):
        with pytest.raises(ClientError, match=r"^slow down$") as busy:
            await client.publish("R", [])
    assert busy.value.status == 429


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 500])
async def test_a_refused_batch_is_not_repeated(status: int) -> None:
    async with scripted(answer(status, {"error": "because"})) as server, Client(server.url) as client:
        with pytest.raises(ClientError, match=r"^because$") as refusal:
            await client.publish("R", [{}])
    assert refusal.value.status == status


@pytest.mark.parametrize("event", [{"n": float("nan")}, {("a", "b"): 1}])
async def test_what_is_no_json_is_not_sent(event: dict[Any, Any]) -> None:
    async with scripted() as server, Client(server.url) as client:
        with pytest.raises(Invalid, match="cannot be written as JSON"):
            await client.publish("R", [event])
    assert server.requests == []


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirected_post_keeps_method_body_and_key(status: int) -> None:
    async with (
        scripted(answer(201, {"runId": "R"})) as home,
        scripted(answer(status, location=f"{home.url}/there")) as server,
        Client(server.url, token="secret") as client,
    ):
        await client.publish("R", [{"type": "log", "message": "x"}], key="mine")
    (request,) = home.requests
    assert (request.method, request.target) == ("POST", "/there")
    assert (request.body, request.headers["idempotency-key"]) == (b'{"type":"log","message":"x"}', "mine")
    assert "authorization" not in request.headers  # it was meant for the other server


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_turns_a_post_into_a_get_is_no_success(status: int) -> None:
    steps = answer(status, location="/elsewhere"), answer(200, {"runId": "R"})
    async with scripted(*steps) as server, Client(server.url) as client:
        with pytest.raises(ClientError, match=r"has moved to http.*/elsewhere") as moved:
            await client.publish("R", [{"type": "log", "message": "x"}])
    assert moved.value.status == status


@pytest.mark.parametrize("location", ["/api/v1/runs/R", "ftp://127.0.0.1/"])
async def test_redirects_that_lead_nowhere(location: str) -> None:
    async with (
        scripted(otherwise=lambda request: answer(307, location=location)) as server,
        Client(server.url) as client,
    ):
        for call in (client.run("R"), client.publish("R", [])):
            with pytest.raises(ClientError, match="cannot be reached"):
                await call
    assert len(server.requests) <= 2 * 21  # one way to the end each, and no second one


async def test_a_server_without_tls_is_not_spoken_to_in_the_open() -> None:
    async with scripted() as server, Client(server.url.replace("http", "https"), token="secret") as client:
        with pytest.raises(ClientError, match="cannot be reached"):
            await client.run("R")
    assert server.requests == []


async def test_abort_and_alive() -> None:
    async with scripted(answer(201, {"runId": "R"}), answer(204)) as server, Client(server.url) as client:
        await client.abort("R")
        await client.alive("R")
    targets = [(request.method, request.target) for request in server.requests]
    assert targets == [("POST", "/api/v1/runs/R/abort"), ("POST", "/api/v1/runs/R/alive")]


async def test_pages_of_history() -> None:
    def page(request: Request) -> bytes:
        after = int(request.target.partition("after=")[2].partition("&")[0].rpartition(".")[2])
        rows = [{"seq": seq, "at": "T", "event": {"type": "log", "message": str(seq)}} for seq in range(1, 6)]
        return answer(200, {"epoch": EPOCH, "events": rows[after : after + 2], "head": 5, "ended": False})

    async with scripted(otherwise=page) as server, Client(server.url) as client:
        received = await collect(client.history("R"))
        assert brief(received) == ["1", "2", "3", "4", "5"]
        assert received[4] == Received("R", "log", {"type": "log", "message": "5"}, 5, "T", f"{EPOCH}.5")
        queries = [request.target.partition("?")[2] for request in server.requests]
        assert queries == [f"after={after}&limit=1000" for after in ("0", f"{EPOCH}.2", f"{EPOCH}.4")]
        assert server.requests[0].headers["accept"] == "application/json"
        assert brief(await collect(client.history("R", after=1, until=4))) == ["2", "3", "4"]
        asked = len(server.requests)
        assert brief(await collect(client.history("R", after=4, until=4))) == []
        assert len(server.requests) == asked
        assert brief(await collect(client.history("R", after=5))) == []


async def test_history_that_has_begun_outlives_a_restart_of_the_server() -> None:
    """A long replay must not die between two pages; a first page that does not come is told at once."""

    def page(seq: int) -> bytes:
        rows = [{"seq": seq, "at": "T", "event": {"type": "log", "message": str(seq)}}]
        return answer(200, {"epoch": EPOCH, "events": rows, "head": 2, "ended": False})

    away = answer(503, {"error": "It starts."})
    async with scripted(page(1), away, away, page(2)) as server, Client(server.url, first_delay=0.01) as client:
        assert brief(await collect(client.history("R"))) == ["1", "2"]
    async with scripted(away) as server, Client(server.url) as client:
        with pytest.raises(ClientError, match="It starts"):
            await collect(client.history("R"))


async def test_history_tells_what_is_missing() -> None:
    rows = [{"seq": 8, "at": "T", "event": {"type": "log", "message": "8"}}]
    page = {"epoch": EPOCH, "events": rows, "head": 8, "ended": True, "reset": "trimmed"}
    async with scripted(answer(200, page)) as server, Client(server.url) as client:
        received = await collect(client.history("R"))
    assert brief(received) == ["reset", "8"]
    assert received[0].event == {"type": "reset", "reason": "trimmed"}


async def test_pages_of_runs() -> None:
    pages = [{"data": [{"id": id}], "next": next} for id, next in (("C", "9"), ("B", "4"), ("A", None))]
    async with scripted(*(answer(200, page) for page in pages)) as server, Client(server.url) as client:
        assert [document["id"] async for document in client.runs(project="web", status="running")] == ["C", "B", "A"]
    queries = [request.target for request in server.requests]
    assert queries == [f"/api/v1/runs?project=web&status=running{more}" for more in ("", "&cursor=9", "&cursor=4")]


async def test_reading_is_tried_once() -> None:
    steps = answer(503, {"error": "away"}), answer(404, {"error": "not found"})
    async with scripted(*steps) as server, Client(server.url, first_delay=SOON) as client:
        with pytest.raises(ClientError, match=r"^away$"):
            await client.run("R")
        with pytest.raises(ClientError, match=r"^not found$") as missing:
            await client.run("R/../S")
    assert missing.value.status == 404
    assert server.requests[1].target == "/api/v1/runs/R%2F..%2FS"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b""])
async def test_another_kind_of_server_is_told_apart(body: bytes) -> None:
    async with scripted(otherwise=lambda request: answer(200, body)) as server, Client(server.url) as client:
        for call in (client.run("R"), client.publish("R", []), client.create_run(project="web")):
            with pytest.raises(ClientError, match="does not answer as a sentri-events server"):
                await call
        pages: list[AsyncGenerator[Any, None]] = [client.runs(), client.history("R")]
        for page in pages:
            with pytest.raises(ClientError, match="does not answer as a sentri-events server"):
                await anext(page)


async def test_a_server_on_this_machine_is_not_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", unused_url())
    monkeypatch.setenv("ALL_PROXY", unused_url())
    async with scripted(answer(200, {"id": "R"}), answer(200, {"id": "R"})) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            async with Client(url) as client:
                assert await client.run("R") == {"id": "R"}


def test_the_plain_face_is_at_hand() -> None:
    assert run is publisher_run


async def test_what_is_published_is_followed_and_stored(server: ServerProcess) -> None:
    async with Client(server.url) as client:
        document = await client.create_run(project="web", name="nightly", total=2)
        assert (document["status"], document["total"]) == ("running", 2)
        id = document["id"]
        async with aclosing(client.follow(id)) as events:
            assert (await anext(events)).event["run"]["name"] == "nightly"
            numbers = await client.publish(id, [{"type": "log", "message": "a"}, {"type": "log", "message": "b"}])
            assert (numbers["first"], numbers["last"]) == (1, 2)
            await client.alive(id)
            await client.publish(id, [{"type": "done", "status": "completed"}])
            live = await collect(events)
        assert brief(live) == ["a", "b", "done"]
        assert [event.seq for event in live] == [1, 2, 3]
        assert await collect(client.history(id)) == live
        assert await collect(client.follow(id, 0)) == live
        assert await collect(client.follow(id, live[0].position)) == live[1:]
        assert await collect(client.follow(id, live[-1].position)) == []
        assert brief(await collect(client.follow(id, types=["none"]))) == ["snapshot", "done"]
        assert brief(await collect(client.follow(id, "nothing.9"))) == ["reset", "snapshot", "done"]
        assert [document["id"] async for document in client.runs(project="web")] == [id]
        for call in (client.publish(id, [{"type": "log", "message": "late"}]), client.abort(id)):
            with pytest.raises(ClientError) as ended:
                await call
            assert ended.value.status == 409
        with pytest.raises(ClientError, match=r"^not found$"):
            await collect(client.follow("missing"))
