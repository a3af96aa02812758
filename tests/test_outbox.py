"""Events on their way from a runner's thread to the server: batches, repetitions, losses; against a server that
misbehaves as told, and against none."""

import asyncio
import threading

import pytest

from sentri_events import outbox
from sentri_events.publisher import Run
from tests.scripted import Request, Step, Wire, answer, gated, scripted, until, unused_url
from tests.test_publisher import Inbox, close, start

MADE = answer(201, {"id": "R"})


async def test_what_waits_goes_in_batches() -> None:
    """While the server thinks about the run, everything else gathers; order and bounds are kept."""
    inbox = Inbox()
    made, go = gated(MADE)
    async with scripted(made, otherwise=inbox) as server:
        run = start(server.url, interval=60.0)
        for n in range(2_500):
            run.log(str(n))
        big = "x" * (1 << 20)
        for n in range(5):
            run.emit("page", {"n": n, "text": big})
        go.set()
        await until(lambda: len(inbox.events) >= 2_000)  # a whole batch does not wait for its time
        assert await close(run)
    logs = [event for event in inbox.events if event["type"] == "log"]
    assert [event["message"] for event in logs] == [str(n) for n in range(2_500)]
    assert [event["n"] for event in inbox.events[2_500:]] == list(range(5))
    assert [len(batch) for batch in inbox.batches[:2]] == [1000, 1000]
    assert all(len(request.body) <= 4 << 20 for request in server.requests)
    assert len(inbox.batches) == 4


async def test_events_of_many_threads_all_arrive_each_threads_in_order() -> None:
    inbox = Inbox()

    def chatter(run: Run, name: int) -> None:
        for n in range(500):
            run.emit("step", {"thread": name, "n": n})

    async with scripted(otherwise=inbox) as server:
        run = start(server.url, interval=0.01)
        await asyncio.gather(*(asyncio.to_thread(chatter, run, name) for name in range(8)))
        assert await close(run)
    for name in range(8):
        assert [event["n"] for event in inbox.events if event["thread"] == name] == list(range(500))


async def test_a_post_is_repeated_with_the_same_key_and_body() -> None:
    async def cut(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")

    inbox = Inbox()
    run_troubles: list[Step] = [b"", answer(503), MADE]
    troubles: list[Step] = [b"", answer(429), cut, answer(502), b"garbage\r\n\r\n", answer(503), answer(504)]
    async with scripted(*run_troubles, *troubles, otherwise=inbox) as server:
        said: list[str] = []
        run = start(server.url, said.append)
        await asyncio.to_thread(run.wait_id, 10)
        run.log("x")
        await until(lambda: inbox.events)
        run.log("y")
        assert await close(run)
    made, sent, last = server.requests[:3], server.requests[3:-1], server.requests[-1]
    assert len({(request.target, request.headers["idempotency-key"], request.body) for request in made}) == 1
    assert len({(request.target, request.headers["idempotency-key"], request.body) for request in sent}) == 1
    assert len({request.headers["idempotency-key"] for request in (made[0], sent[0], last)}) == 3
    assert inbox.brief == ["x", "y"]
    assert (run.problem, run.lost, len(said)) == (None, 0, 1)


async def test_retry_after_is_kept_but_closing_tries_at_once() -> None:
    inbox = Inbox()
    async with scripted(answer(503, {"error": "later"}, retry_after="3600"), otherwise=inbox) as server:
        run = start(server.url)
        run.log("x")
        assert await asyncio.to_thread(run.wait_id, 0.3) is None
        assert len(server.requests) == 1
        assert await close(run)
    assert inbox.brief == ["x"]


async def test_a_busy_server_is_not_pressed_by_who_closes() -> None:
    def busy(request: Request) -> bytes:
        return answer(503, {"error": "later"}, retry_after="3600")

    async with scripted(otherwise=busy) as server:
        run = start(server.url)
        run.log("x")
        assert not await close(run, timeout=0.2)
    assert len(server.requests) <= 2


async def test_a_server_that_answered_once_is_waited_for() -> None:
    inbox = Inbox()
    async with scripted(MADE, answer(201), b"", b"", otherwise=inbox) as server:
        run = start(server.url, interval=60.0)
        run.log("at once")
        await until(lambda: len(server.requests) == 2)
        run.log("when its time comes, or the run closes")
        assert await close(run)
    assert inbox.brief == ["when its time comes, or the run closes"]


async def test_of_a_refused_batch_only_the_bad_events_are_lost() -> None:
    inbox = Inbox()
    made, go = gated(MADE)
    said: list[str] = []
    words = [str(n) for n in range(300)]
    for place in (0, 17, 18, 299):
        words[place] = "bad"
    async with scripted(made, otherwise=inbox) as server:
        run = start(server.url, said.append)
        for word in words:
            run.log(word)
        go.set()
        assert not await close(run)
        run.log("late")
    assert inbox.brief == [word for word in words if word != "bad"]
    assert (run.lost, run.problem) == (5, "bad is not good")
    assert said == ["bad is not good", "The run is closed."]
    assert len(server.requests) < 100  # one by one would be 300


async def test_a_server_error_costs_one_batch() -> None:
    """Its outcome is unknown: sent in another form, its events could be stored twice."""
    inbox = Inbox()
    made, go = gated(MADE)
    async with scripted(made, answer(500), otherwise=inbox) as server:
        run = start(server.url)
        run.log("w")
        run.log("x")
        go.set()
        await until(lambda: run.lost)
        run.log("y")
        assert not await close(run)
    assert (inbox.brief, run.lost, run.problem) == (["y"], 2, "The server answered 500.")


@pytest.mark.parametrize("status", [401, 403, 404, 409])
async def test_when_the_run_is_over_the_rest_is_given_up(status: int) -> None:
    said: list[str] = []
    async with scripted(MADE, answer(status, {"error": "over"})) as server:
        run = start(server.url, said.append)
        run.log("x")
        await until(lambda: run.problem)
        lost = run.lost
        run.log("y")
        run.log("z")
        assert not await close(run)
    assert (run.lost, run.problem) == (lost + 2, "over")
    assert said == ["over"]


@pytest.mark.parametrize(
    ("refusal", "problem"),
    [
        (answer(422, {"error": "A run needs a projectId."}), "A run needs a projectId."),
        (answer(401, {"error": "Authentication required."}), "Authentication required."),
        (answer(404), "The server answered 404."),
        (answer(404, {"error": "not found"}), "The run is not made: its project is not found."),
        (answer(301, location="/elsewhere"), "The server answered 301."),
        (answer(200, b"<html>"), "does not answer as a sentri-events server does."),
        (answer(200, []), "does not answer as a sentri-events server does."),
    ],
)
async def test_a_run_that_cannot_be_made(refusal: bytes, problem: str) -> None:
    async with scripted(refusal) as server:
        run = start(server.url)
        assert await asyncio.to_thread(run.wait_id, 10) is None
        assert run.problem is not None
        assert run.problem.endswith(problem)
        run.log("x")
        assert not await close(run)
        assert (run.lost, run.link) == (1, None)


async def test_no_server_is_said_once_and_holds_nobody_up() -> None:
    said: list[str] = []
    url = unused_url()
    run = start(url, said.append)
    for n in range(100):
        run.log(str(n))
    await until(lambda: said)
    assert run.lost == 0
    assert not await close(run, timeout=60)
    assert not await close(run)
    assert run.lost == 100
    assert said == [f"{url} cannot be reached: Connection refused. Trying again; events wait here meanwhile."]
    assert run.problem == f"{url} cannot be reached: Connection refused."
    assert run.wait_id(60) is None


async def test_a_server_without_tls_is_not_spoken_to_in_the_open() -> None:
    async with scripted() as server:
        run = start(server.url.replace("http", "https"), token="secret")
        assert not await close(run)
    assert server.requests == []
    assert run.problem is not None
    assert "cannot be reached" in run.problem


async def test_a_server_that_comes_later_gets_everything() -> None:
    url = unused_url()
    said: list[str] = []
    run = start(url, said.append)
    run.log("early")
    await until(lambda: said)
    inbox = Inbox()
    async with scripted(otherwise=inbox, port=int(url.rpartition(":")[2])):
        run.done("completed")
        assert await close(run)
    assert inbox.brief == ["early", "done"]


async def test_closing_waits_no_longer_than_it_is_told() -> None:
    taken, go = gated(answer(201))
    async with scripted(MADE, taken) as server:
        run = start(server.url)
        run.log("x")
        await until(lambda: len(server.requests) == 2)
        run.log("y")
        assert not await close(run, timeout=0.1)
        lost = run.lost, run.problem
        assert lost == (2, f"{server.url} did not answer for all events in the 0.1 s it was given.")
        go.set()  # too late, and harmless
        await until(lambda: "sentri-events" not in {thread.name for thread in threading.enumerate()})
    assert (run.lost, run.problem) == lost
    assert len(server.requests) == 2


async def test_a_run_that_says_nothing_says_that_it_is_alive() -> None:
    inbox = Inbox()
    async with scripted(MADE, answer(204), answer(500), otherwise=inbox) as server:
        run = start(server.url, alive=0.01)
        await until(lambda: len(server.requests) > 3)
        run.log("x")
        assert await close(run)
    targets = [request.target for request in server.requests]
    assert targets[0] == "/api/v1/runs"
    assert targets[-1] == "/api/v1/runs/R/events"
    assert set(targets[1:-1]) == {"/api/v1/runs/R/alive"}
    assert (run.problem, inbox.brief) == (None, ["x"])


async def test_a_run_that_ended_elsewhere_is_noticed_without_an_event() -> None:
    async with scripted(MADE, answer(404, {"error": "not found"})) as server:
        run = start(server.url, alive=0.01)
        await until(lambda: run.problem)
        assert (run.problem, run.lost) == ("not found", 0)
        assert not await close(run)


async def test_what_waits_is_bounded_but_done_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 1_000)
    inbox = Inbox()
    made, go = gated(MADE)
    said: list[str] = []
    async with scripted(made, otherwise=inbox) as server:
        run = start(server.url, said.append)
        for n in range(100):
            run.log(str(n))
        kept = 100 - run.lost
        assert 0 < kept < 20
        run.done("completed")
        go.set()
        await until(lambda: len(inbox.events) == kept + 1)
        run.log("room again")
        assert not await close(run)
    assert inbox.brief == [*map(str, range(kept)), "done", "room again"]
    assert said == [run.problem] == ["More events wait for the server than are kept in memory."]


async def test_after_closing_nothing_is_taken() -> None:
    inbox = Inbox()
    async with scripted(otherwise=inbox) as server:
        run = start(server.url)
        run.log("x")
        assert await close(run)
        run.log("late")
        assert (run.lost, run.problem) == (1, "The run is closed.")
        assert not await close(run)
    assert inbox.brief == ["x"]


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirected_post_keeps_its_body_and_key_but_not_the_token(status: int) -> None:
    inbox = Inbox()
    async with scripted(otherwise=inbox) as home:

        def away(request: Request) -> bytes:
            return answer(status, location=f"{home.url}{request.target}")

        async with scripted(answer(status, location="/api/v1/runs"), otherwise=away) as server:
            run = start(server.url, token="secret")
            run.log("x")
            assert await close(run)
    assert inbox.brief == ["x"]
    near, first = server.requests[:2]
    assert near.headers["authorization"] == first.headers["authorization"] == "Bearer secret"
    keys = [request.headers["idempotency-key"] for request in (near, first, home.requests[0])]
    assert keys == [keys[0]] * 3
    assert all("authorization" not in request.headers for request in home.requests)


@pytest.mark.parametrize("location", ["/api/v1/runs", "ftp://127.0.0.1/", "http://127.0.0.1:port/", "http://[/"])
async def test_redirects_that_lead_nowhere(location: str) -> None:
    async with scripted(otherwise=lambda request: answer(308, location=location)) as server:
        run = start(server.url)
        assert not await close(run)
    assert run.problem is not None
