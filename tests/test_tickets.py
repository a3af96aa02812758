"""Tickets: one stream's URL for a while, on every instance, and nothing else."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from sentri_events.caller import VIEWER, Caller
from sentri_events.errors import Conflict, Unauthorized
from sentri_events.store import Store
from sentri_events.tickets import AUDIENCE, FIRST_USE, Tickets, digest
from tests.raw import Answer, Connection, Head, Stream, ask, data, id_of, request
from tests.server_process import ServerProcess
from tests.test_terms import ENV, QA, make_run, revoke, say, serving
from tests.tokens import IN_2100, OTHER_SECRET, SECRET, bearer, runner, token

URL = "/api/v1/runs/r/events?logs=1"
CALLER = Caller("WS-1", "admin", "somebody", expires=IN_2100, jti="j")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two instances on one store."""
    folder = tmp_path_factory.mktemp("tickets")
    first, second = ServerProcess(folder, env=ENV), ServerProcess(folder, env=ENV)
    with serving(first, second):
        yield first, second


def buy(server: ServerProcess, path: Any, by: str | None = None) -> Answer:
    return ask(server.port, "POST", "/api/v1/tickets", {"path": path}, bearer(by or token()))


def ticket(server: ServerProcess, path: str, by: str | None = None) -> str:
    answer = buy(server, path, by)
    assert (answer.status, list(answer.json)) == (201, ["ticket"])
    return str(answer.json["ticket"])


def status(server: ServerProcess, path: str) -> int:
    with Connection(server.port) as connection:
        connection.send(request("HEAD", path))
        return Head.read(connection).status


def test_a_ticket_opens_its_stream_on_every_instance_and_opens_it_again(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    first, second = pair
    run = make_run(first)
    paid = ticket(first, f"/api/v1/runs/{run}/events?logs=10&named=0")
    with Stream(second.port, run, f"ticket={paid}&named=0&logs=10") as stream:
        stream.block()
        say(second, run, "one")
        position = id_of(stream.block()) or ""
    say(second, run, "two")
    for server in pair:
        with Stream(server.port, run, f"logs=10&named=0&ticket={paid}", {"Last-Event-ID": position}) as stream:
            assert data(stream.block())["message"] == "two"
        with Stream(server.port, run, f"logs=10&named=0&ticket={paid}&lastEventId={position}") as stream:
            assert data(stream.block())["message"] == "two"


def test_a_ticket_opens_nothing_else(pair: tuple[ServerProcess, ServerProcess]) -> None:
    """Mutant: the query was not a part of what it is for."""
    server, _ = pair
    run, other = make_run(server), make_run(server)
    path = f"/api/v1/runs/{run}/events"
    paid = ticket(server, f"{path}?logs=10")
    for where in (path, f"{path}?logs=11", f"/api/v1/runs/{other}/events?logs=10", f"/api/v1/runs/{run}?logs=10"):
        mark = "&" if "?" in where else "?"
        assert status(server, f"{where}{mark}ticket={paid}") == 401
    assert status(server, f"{path}?logs=10&ticket={paid}") == 200
    assert ask(server.port, "POST", f"{path}?logs=10&ticket={paid}", {"type": "x"}).status == 401
    for headers, query in ((bearer(paid), ""), ({"Cookie": f"access_token={paid}"}, ""), ({}, f"&token={paid}")):
        assert ask(server.port, "GET", f"{path}?logs=10{query}", headers=headers).status == 401
    assert status(server, f"{path}?logs=10&ticket={token()}") == 401


def test_a_ticket_shows_no_more_than_its_owner_sees(pair: tuple[ServerProcess, ServerProcess]) -> None:
    server, _ = pair
    run = make_run(server)
    path = f"/api/v1/runs/{run}/events"
    assert status(server, f"{path}?ticket={ticket(server, path, token('WS-2'))}") == 404
    assert buy(server, path, runner("web")).status == 403
    assert ask(server.port, "POST", "/api/v1/tickets", {"path": path}).status == 401


def test_streams_of_a_ticket_end_with_the_token_that_it_was_made_for(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    server, second = pair
    run = make_run(server)
    path = f"/api/v1/runs/{run}/events"
    lost = token(jti="lost-owner")
    revoked = ticket(server, path, lost)
    ending = ticket(server, path, token(exp=int(time.time()) + 2))
    with Stream(second.port, run, f"ticket={revoked}") as first, Stream(server.port, run, f"ticket={ending}") as other:
        first.block()
        other.block()
        revoke(server, stdin=lost)
        assert first.rest() == [b": token revoked\n\n"]
        assert other.rest() == [b": token expired\n\n"]
    for used_up in (revoked, ending):
        assert status(server, f"{path}?ticket={used_up}") == 401


def test_a_live_list_takes_a_ticket_too(pair: tuple[ServerProcess, ServerProcess]) -> None:
    server, _ = pair
    lost = token(jti="lost-list")
    paid = ticket(server, "/api/v1/workspace/events", lost)
    with Connection(server.port) as connection:
        connection.send(request("GET", f"/api/v1/workspace/events?ticket={paid}", version="1.0"))
        assert Head.read(connection).status == 200
        connection.until(b"\n\n")
        revoke(server, stdin=lost)
        assert connection.rest().endswith(b": token revoked\n\n")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (None, 422),
        ("", 422),
        (7, 422),
        ("/api/v1/runs/r", 422),
        ("api/v1/runs/r/events", 422),
        ("/api/v1/runs/r?x=/events", 422),
        ("/events\n", 422),
        (f"/{'x' * 2048}/events", 422),
    ],
)
def test_what_a_ticket_can_be_for(pair: tuple[ServerProcess, ServerProcess], path: Any, answer: int) -> None:
    assert buy(pair[0], path).status == answer
    assert ask(pair[0].port, "POST", "/api/v1/tickets", b"[]", QA).status == 400


def test_where_nobody_is_asked_a_page_need_not_know(server: ServerProcess) -> None:
    run = server.make_run()
    bought = ask(server.port, "POST", "/api/v1/tickets", {"path": f"/api/v1/runs/{run}/events"})
    with Stream(server.port, run, f"ticket={bought.json['ticket']}") as stream:
        stream.block()


async def test_it_must_be_used_in_time_once(tmp_path: Path) -> None:
    """By whichever instance. Mutants: every use had to be in time; the first need not be."""
    now = [time.time()]
    store = Store(f"sqlite:///{tmp_path}/events.db")
    await store.open()
    here, there = (Tickets([SECRET], store, lambda: now[0]) for _ in range(2))
    used, unused = here.mint(CALLER, URL), here.mint(CALLER, URL)
    now[0] += FIRST_USE - 1
    assert await here.read(used, URL) == Caller("WS-1", VIEWER, "somebody", None, CALLER.expires, "j")
    now[0] += 2
    for tickets in (here, there, Tickets([OTHER_SECRET, SECRET], store, lambda: now[0])):
        await tickets.read(used, URL)
        with pytest.raises(Unauthorized):
            await tickets.read(unused, URL)
    with pytest.raises(Unauthorized):
        await Tickets([OTHER_SECRET], store).read(used, URL)
    await store.close()


async def test_forged_tickets(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/events.db")
    await store.open()
    tickets = Tickets([SECRET], store)
    claims = jwt.decode(tickets.mint(CALLER, URL), SECRET, ["HS256"], audience=AUDIENCE)
    for change in (
        {"aud": "x"},
        {"exp": time.time() - 1},
        {"exp": None},
        {"jti": None},
        {"url": digest("/other/events")},
    ):
        forged = {name: value for name, value in {**claims, **change}.items() if value is not None}
        with pytest.raises(Unauthorized):
            await tickets.read(jwt.encode(forged, SECRET, "HS256"), URL)
    for text in (
        "",
        "x",
        "a.b.c",
        jwt.encode(claims, "", "none"),
        jwt.encode(claims, OTHER_SECRET, "HS256"),
        "é.é.é",
    ):
        with pytest.raises(Unauthorized):
            await tickets.read(text, URL)
    with pytest.raises(Conflict):
        Tickets([], store).mint(CALLER, URL)
    await store.close()


def test_an_address_is_the_same_however_it_is_written() -> None:
    assert digest("/a/b%2Dc/events?x=1&y=%20") == digest("/a/b-c/events?y=+&x=1&ticket=t&lastEventId=e.1")
    assert len({digest(url) for url in ("/a", "/a?x", "/a?x=1", "/a?x=1&x=1", "/a?x=2", "/b?x=1", "/a%3Fx=1")}) == 7
