"""The handlers in one's own Tornado application, with TLS of its own; the hub in one's own Python."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import AsyncIOLoop

from sentri_events.errors import NotFound
from sentri_events.event import Event
from sentri_events.position import read_position
from sentri_events.server import open_hub
from sentri_events.settings import Settings
from tests.embedded import Embedded
from tests.raw import HEARTBEAT, Connection, Head, Stream, ask, data, id_of, lines, request
from tests.server_process import wait_until

# A key and a certificate of its own for `localhost`, good until 2126: nothing but these tests trusts it.
PAIR = Path(__file__).parent / "tls.pem"
DONE = {"type": "done", "status": "completed"}


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Embedded]:
    with Embedded(tmp_path, heartbeat=0.2) as embedded:
        yield embedded


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Embedded]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PAIR)
    with Embedded(tmp_path, ssl_options=context, heartbeat=0.2, stall_timeout=1.0) as embedded:
        yield embedded


@pytest.fixture(scope="module")
def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(PAIR))


async def make(application: Embedded) -> str:
    answer = await application.hub.create_run("default", "web", {}, make_project=True)
    return str(data(b"data: " + answer.json)["id"])


async def publish(application: Embedded, run: str, *events: dict[str, Any]) -> None:
    await application.hub.publish("default", run, application.hub.drafts(list(events)))


def viewers(application: Embedded) -> int:
    return application.ask(lambda: application.hub.viewers)


def registered(application: Embedded) -> int:
    """How many descriptors the application's loop listens to for Tornado."""
    return application.ask(lambda: len(cast("AsyncIOLoop", IOLoop.current()).handlers))


# One's own application


@pytest.mark.parametrize("prefix", ["", "/sentri", "/a.b/c+d"])
def test_routes_live_below_a_prefix_beside_the_application_s_own(tmp_path: Path, prefix: str) -> None:
    """Caught: a prefix that is taken for a regular expression."""
    with Embedded(tmp_path, prefix) as application:
        port, api = application.port, f"{prefix}/api/v1"
        assert ask(port, "GET", "/mine").body == b"mine"
        run = ask(port, "POST", f"{api}/runs", {"projectId": "web"}).json["id"]
        assert ask(port, "POST", f"{api}/runs/{run}/events", {"type": "log", "message": "hi"}).status == 201
        moved = ask(port, "GET", f"{prefix}/api/runs/{run}?logs=1")
        assert (moved.status, moved.headers["location"]) == (308, f"{api}/runs/{run}?logs=1")
        assert ask(port, "GET", moved.headers["location"]).json["logs"] == ["hi"]
        assert ask(port, "GET", f"{prefix}/health").json == {"status": "alive"}
        assert ask(port, "GET", f"{api}/nothing").body == b'{"error":"not found"}'
        if prefix:
            assert ask(port, "GET", f"/api/v1/runs/{run}").status == 404
            assert ask(port, "GET", f"{prefix.replace('.', 'x')}x/health").status == 404


def test_artifacts_are_served_below_the_prefix(tmp_path: Path) -> None:
    """By the links that events hold, which know no prefix. Mutant caught: the whole path is what was signed."""
    (tmp_path / "a.txt").write_text("served")
    with Embedded(tmp_path, "/deep/er", artifacts=str(tmp_path), artifact_secret="artifact-secret") as application:
        document = {"projectId": "web", "tracePath": "/artifacts/a.txt"}
        link = ask(application.port, "POST", "/deep/er/api/v1/runs", document).json["tracePath"]
        assert ask(application.port, "GET", f"/deep/er{link}").body == b"served"
        assert ask(application.port, "GET", f"/deep/er{link}0").status == 401


def test_tornado_s_own_log_has_no_query(application: Embedded, caplog: pytest.LogCaptureFixture) -> None:
    """CWE-532: what an application logs that leaves it to Tornado."""
    with caplog.at_level("INFO", "tornado.access"):
        assert ask(application.port, "GET", "/api/v1/runs/none?token=abc").status == 404
        wait_until(lambda: caplog.messages, "it is logged")
    assert caplog.messages[0].startswith("404 GET /api/v1/runs/none (127.0.0.1)")


def test_streams_are_kept_where_the_application_can_see_them(application: Embedded) -> None:
    run = application.call(make(application))
    with Stream(application.port, run) as one, Stream(application.port, run) as two:
        one.block(), two.block()
        assert application.ask(lambda: len(application.streams.open)) == 2
        application.ask(application.hub.audience.send_all_away)
        assert [len(one.rest()), len(two.rest())] == [1, 1], "when to come back"
    wait_until(lambda: not application.ask(lambda: application.streams.open), "both are closed")


def test_no_event_waits_until_the_one_before_is_acknowledged(application: Embedded) -> None:
    """Nagle's algorithm, which is on in a server of Tornado's. Caught: the socket as it comes."""
    run = application.call(make(application))
    with Stream(application.port, run) as stream:
        stream.block()
        (sink,) = application.ask(lambda: list(application.streams.open))
        assert sink._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize("how", ["close", "reset", "half", "at once", "in the request", "in the body"])
def test_a_client_that_goes_is_let_go(application: Embedded, how: str) -> None:
    """P14 in the small, without waiting for a heartbeat.

    Caught: a reader that is not added to the loop; a handler that waits for its body for ever.
    """
    run = application.call(make(application))
    before, tasks = registered(application), application.ask(lambda: len(asyncio.all_tasks()))
    for _ in range(20):
        with Connection(application.port) as client:
            asked = request("POST" if how == "in the body" else "GET", f"/api/v1/runs/{run}/events", body=b"{}")
            client.send(asked[:-1] if how == "in the body" else asked[:-4] if how == "in the request" else asked)
            if how in ("close", "reset", "half"):
                Head.read(client)
            if how == "half":
                client.socket.shutdown(socket.SHUT_WR)
                client.rest()
            if how == "reset":
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_until(lambda: viewers(application) == 0, "the hub has no viewer")
    wait_until(lambda: not application.ask(lambda: application.streams.open), "no stream is open")
    wait_until(lambda: registered(application) == before, "no descriptor is left")
    wait_until(lambda: application.ask(lambda: len(asyncio.all_tasks())) == tasks, "no task is left")


def page(application: Embedded, run: str) -> Connection:
    """A request for a page of history that waits."""
    client = Connection(application.port)
    client.send(request("GET", f"/api/v1/runs/{run}/events?wait=30", {"Accept": "application/json"}))
    wait_until(lambda: viewers(application) == 1, "the request waits")
    return client


def test_who_waits_for_a_page_and_goes_is_let_go(application: Embedded) -> None:
    """Long before its time. Caught: a wait that nobody cuts short."""
    run = application.call(make(application))
    page(application, run).socket.close()
    wait_until(lambda: viewers(application) == 0, "the hub has no viewer")


def test_who_waits_for_a_page_is_answered_when_followers_are_sent_away(application: Embedded) -> None:
    run = application.call(make(application))
    with page(application, run) as client:
        application.ask(lambda: setattr(application.hub, "stopping", True))
        application.ask(application.hub.audience.send_all_away)
        answer = client.answer()
        assert (answer.status, answer.json["events"], answer.json["head"]) == (200, [], 0)


def test_a_page_is_whole_whatever_happens_while_it_is_read(
    application: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something is published or trimmed between the look at the head and the reading.

    Caught: a page that goes past its own head; a hole that nobody is told of.
    """
    run = application.call(make(application))
    application.call(publish(application, run, *({"type": "x", "n": number} for number in range(1, 6))))
    store = application.hub.store
    after = store.after

    def ask_while(work: Callable[[], Coroutine[Any, Any, None]]) -> Any:
        async def late(*args: Any) -> list[Event]:
            monkeypatch.setattr(store, "after", after)
            await work()
            return await after(*args)

        monkeypatch.setattr(store, "after", late)
        path = f"/api/v1/runs/{run}/events?after=2"
        return ask(application.port, "GET", path, headers={"Accept": "application/json"}).json

    published = ask_while(lambda: publish(application, run, DONE))
    assert [event["seq"] for event in published["events"]] == [3, 4, 5]
    assert (published["head"], published["ended"], "reset" in published) == (5, False, False)
    trimmed = ask_while(lambda: store.trim(run, 4))
    assert [event["seq"] for event in trimmed["events"]] == [5, 6]
    assert (trimmed["head"], trimmed["ended"], trimmed["reset"]) == (6, True, "trimmed")


# TLS


def tls_request(application: Embedded, trust: ssl.SSLContext, data: bytes) -> Connection:
    client = Connection(application.port, trust)
    client.send(data)
    return client


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_stream_over_tls_from_its_beginning_to_its_end(secure: Embedded, trust: ssl.SSLContext, version: str) -> None:
    """The end is said in TLS too: a reader that takes a cut for an error (`suppress_ragged_eofs=False`) sees none.

    Caught: an end without TLS's own leave.
    """
    run = secure.call(make(secure))
    with Stream(secure.port, run, version=version, tls=trust) as viewer:
        assert id_of(viewer.block()) is not None
        while not viewer.heartbeats:
            assert viewer.next() == HEARTBEAT
        events = [{"type": "log", "message": str(number)} for number in range(100)]
        secure.call(publish(secure, run, *events, DONE))
        assert [data(block) for block in viewer.rest()] == [*events, DONE]
    wait_until(lambda: not secure.ask(lambda: secure.streams.open), "the stream is closed")


def test_viewers_over_tls_come_and_go_on_the_same_descriptors(secure: Embedded, trust: ssl.SSLContext) -> None:
    """Caught: a viewer that is not let go when its IOStream has closed itself."""
    run = secure.call(make(secure))
    for _ in range(30):
        with Stream(secure.port, run, tls=trust) as viewer:
            viewer.block()
    wait_until(lambda: viewers(secure) == 0, "the hub has no viewer")
    with Stream(secure.port, run, tls=trust) as viewer:
        viewer.block()
        secure.call(publish(secure, run, DONE))
        assert len(viewer.rest()) == 1


def test_a_slow_reader_over_tls_gets_everything(secure: Embedded, trust: ssl.SSLContext) -> None:
    """It is sent more than all the buffers between hold. Caught: a backlog that never ends."""
    run = secure.call(make(secure))
    events = [{"type": "log", "message": f"{number} " + "x" * 50_000} for number in range(400)]
    with Stream(secure.port, run, "snapshot=0", tls=trust) as viewer:
        viewer.block()
        for start in range(0, len(events), 20):
            secure.call(publish(secure, run, *events[start : start + 20]))
        secure.call(publish(secure, run, DONE))
        assert [data(block)["message"][:5] for block in viewer.blocks(len(events))] == [
            event["message"][:5] for event in events
        ]
        assert [data(block) for block in viewer.rest()] == [DONE]


def test_a_reader_over_tls_that_takes_nothing_is_cut(secure: Embedded, trust: ssl.SSLContext) -> None:
    """And its descriptor is free. Caught: one that stays registered with the loop after its socket is closed."""
    run = secure.call(make(secure))
    before = registered(secure)
    with Stream(secure.port, run, "snapshot=0", tls=trust) as viewer:
        viewer.block()
        for _ in range(10):
            secure.call(publish(secure, run, *[{"type": "log", "message": "x" * 100_000}] * 20))
        wait_until(lambda: viewers(secure) == 0, "it is cut after the stall timeout")
        wait_until(lambda: not secure.ask(lambda: secure.streams.open), "its stream is closed")
        assert registered(secure) == before


def test_garbage_on_a_stream_over_tls_is_ignored(secure: Embedded, trust: ssl.SSLContext) -> None:
    run = secure.call(make(secure))
    path = f"/api/v1/runs/{run}/events"
    with Connection(secure.port, trust) as client:
        client.send(request("GET", path, version="1.0") + request("GET", "/health"))
        Head.read(client)
        for _ in range(50):
            client.send(b"garbage \x00\xff" * 10_000)
        secure.call(publish(secure, run, DONE))
        body = client.rest()
    assert body.replace(HEARTBEAT, b"").endswith(b'data: {"type":"done","status":"completed"}\n\n')
    assert b"alive" not in body


@pytest.mark.parametrize("how", ["close", "abrupt"])
def test_a_client_over_tls_that_goes_is_let_go(secure: Embedded, trust: ssl.SSLContext, how: str) -> None:
    run = secure.call(make(secure))
    for _ in range(10):
        with Stream(secure.port, run, tls=trust) as viewer:
            viewer.block()
            if how == "abrupt":
                viewer.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_until(lambda: viewers(secure) == 0, "the hub has no viewer")
    wait_until(lambda: not secure.ask(lambda: secure.streams.open), "no stream is open")


# One's own Python


async def test_a_hub_publishes_and_follows_without_a_server(tmp_path: Path) -> None:
    """Both verbs, and the position to go on from."""
    settings = Settings(database=f"sqlite:///{tmp_path / 'events.db'}")
    events = [{"type": "log", "message": str(number)} for number in range(3)]
    async with open_hub(settings) as hub:
        run = str(data(b"data: " + (await hub.create_run("default", "web", {}, make_project=True)).json)["id"])
        await hub.publish("default", run, hub.drafts(events))
        seen = []
        async for event in hub.events("default", run):
            seen.append(event)
            if event.type == "snapshot":
                await hub.publish("default", run, hub.drafts([{"type": "x"}, {"type": "frame"}, DONE]))
        assert [(event.type, event.seq) for event in seen] == [("snapshot", 0), ("x", 4), ("frame", 0), ("done", 5)]
        again = [event.seq async for event in hub.events("default", run, read_position("2"))]
        assert again == [3, 4, 5]
        at_the_end = read_position(f"{seen[-1].epoch}.5")
        assert [event async for event in hub.events("default", run, at_the_end)] == []
        with pytest.raises(NotFound):
            _ = [event async for event in hub.events("default", "nobody")]
        with pytest.raises(NotFound):
            _ = [event async for event in hub.events("other", run)]


def test_lines_are_what_a_reader_of_them_reads() -> None:
    assert lines([{"a": 1}, {"b": 2}]) == b'{"a": 1}\n{"b": 2}\n'
