"""What is too much is refused with its sentence, counted by its bound, and costs nobody else anything."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from sentri_events.audience import HERE
from sentri_events.errors import SettingsError, TooMany
from sentri_events.handlers.streaming import OVERLOADED
from sentri_events.limits import BURST, DEBT, KNOWN, Limits, neighbourhood
from sentri_events.settings import Settings
from tests.embedded import Embedded
from tests.raw import Answer, Connection, Head, Stream, ask, data, request
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess, wait_until
from tests.test_goodbye import delay, raw_blocks
from tests.test_metrics import scrape
from tests.test_slow_viewers import EVENT, open_sockets, post
from tests.tokens import SECRET, bearer, token

LOCAL = "127.0.0.1"
BROWSER = {"Accept": "text/event-stream", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"}


def at(address: str) -> dict[str, str]:
    """A request that a proxy passes on for that address."""
    return {"X-Forwarded-For": address}


def refused(application: Embedded, limit: str) -> int:
    """How often that bound was met."""
    return application.ask(lambda: application.hub.meter.refused[limit])


def make(application: Embedded, run: str = "R") -> str:
    answer = ask(application.port, "POST", "/api/v1/runs", {"projectId": "web", "id": run})
    assert answer.status == 201, answer
    return f"/api/v1/runs/{run}/events"


def too_many(answer: Answer, sentence: str) -> None:
    assert answer.status == 429
    assert answer.error == sentence
    assert int(answer.headers["retry-after"]) >= 1


# Size


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Embedded]:
    bounds: dict[str, Any] = {
        "max_url_bytes": 1024,
        "max_header_bytes": 1024,
        "max_batch_events": 2,
        "max_event_bytes": 1024,
    }
    with Embedded(tmp_path, max_body_bytes=2048, **bounds) as application:
        yield application


@pytest.mark.parametrize(
    ("limit", "status", "sentence", "path", "headers", "body"),
    [
        ("url_bytes", 414, "A path and its query may have 1024 bytes.", "?types=" + "x" * 1024, {}, b"{}"),
        ("header_bytes", 431, "Headers may have 1024 bytes.", "", {"X-Long": "x" * 1000}, b"{}"),
        ("batch_events", 413, "A batch may hold 2 events, not 3.", "", {}, b"[{},{},{}]"),
        ("event_bytes", 413, "An event may have 1024 bytes, not", "", {}, b'{"type":"x","d":"%b"}' % (b"x" * 1024)),
        ("body_bytes", 413, "A body may have 2048 bytes.", "", {}, b" " * 2049),
    ],
)
def test_what_is_too_long_is_refused(
    small: Embedded, limit: str, status: int, sentence: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    """And what is just as long as it may be is not: see test_publish. Mutant caught: all are counted as one."""
    events = make(small)
    assert refused(small, limit) == 0
    answer = ask(small.port, "POST", events + path, body, headers)
    assert answer.status == status
    assert answer.error.startswith(sentence)
    assert refused(small, limit) == 1
    assert ask(small.port, "GET", events, headers={"Accept": "application/json"}).json["head"] == 0


def test_a_url_and_headers_that_just_fit(small: Embedded) -> None:
    events = make(small)
    room = 1024 - len(f"{events}?x=")
    assert ask(small.port, "POST", f"{events}?x={'y' * room}", {"type": "x"}).status == 201
    assert ask(small.port, "POST", f"{events}?x={'y' * (room + 1)}", {"type": "x"}).status == 414
    sent = len("Host: localhost\r\nContent-Length: 12\r\nX-Long: \r\n")
    assert ask(small.port, "POST", events, {"type": "x"}, {"X-Long": "y" * (1024 - sent)}).status == 201
    assert ask(small.port, "POST", events, {"type": "x"}, {"X-Long": "y" * (1025 - sent)}).status == 431


# Streams


@pytest.mark.parametrize(
    ("limit", "sentence", "ours", "theirs"),
    [
        ("streams", "There are 3 streams already, and no more are allowed.", ("R", "192.0.2.1"), None),
        (
            "streams_per_run",
            "There are 3 streams of this run already, and no more are allowed.",
            ("R", "192.0.2.1"),
            ("S", "192.0.2.1"),
        ),
        (
            "streams_per_address",
            "There are 3 streams of your address already, and no more are allowed.",
            ("R", "2001:db8::1"),
            ("R", "2001:db8:0:1::1"),
        ),
    ],
)
def test_streams_have_their_bounds(
    tmp_path: Path, limit: str, sentence: str, ours: tuple[str, str], theirs: tuple[str, str] | None
) -> None:
    """The fourth is refused, whoever is not meant is not, and a place that is left is free again. Long polls count.

    Mutants caught: a stream that ends keeps its place; one that is refused takes some; 204 and 404 do."""
    bound: dict[str, Any] = {f"max_{limit}": 3}
    with Embedded(tmp_path, trusted_proxies=LOCAL, **bound) as application:
        make(application, "R"), make(application, "S")
        run, address = ours
        path = f"/api/v1/runs/{run}/events"
        for _ in range(5):
            assert ask(application.port, "GET", "/api/v1/runs/none/events", headers=at(address)).status == 404
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(Stream(application.port, run, headers=at(address))).block()
            for _ in range(3):
                too_many(ask(application.port, "GET", path, headers=at(address)), sentence)
            poll = {"Accept": "application/json", **at(address)}
            too_many(ask(application.port, "GET", f"{path}?wait=1", headers=poll), sentence)
            assert refused(application, limit) == 4
            assert ask(application.port, "GET", path, headers=poll).status == 200, "a page is no stream"
            if theirs is not None:
                stack.enter_context(Stream(application.port, theirs[0], headers=at(theirs[1]))).block()
        wait_until(lambda: not application.ask(lambda: application.hub.limits._places), "all have left")
        with Stream(application.port, run, headers=at(address)) as again:
            again.block()


def test_several_runs_on_one_stream_take_a_place_with_each(tmp_path: Path) -> None:
    """Caught: a way around the bound of a run; a refused stream that keeps some of its places."""
    with Embedded(tmp_path, max_streams_per_run=1) as application:
        make(application, "R"), make(application, "S")
        sentence = "There are 1 streams of this run already, and no more are allowed."
        with Stream(application.port, "R") as stream:
            stream.block()
            too_many(ask(application.port, "GET", "/api/v1/events?run=S&run=R"), sentence)
        wait_until(lambda: not application.ask(lambda: application.hub.limits._places), "all have left")
        with Stream(application.port, "", "run=S&run=R", path="/api/v1/events") as stream:
            stream.blocks(2)
            for run in ("R", "S"):
                too_many(ask(application.port, "GET", f"/api/v1/runs/{run}/events"), sentence)


def test_what_streams_begin_with_is_kept_once_whatever_they_ask_for(tmp_path: Path) -> None:
    """P10. Caught: a copy for every list of types that a stranger thinks of."""
    with Embedded(tmp_path) as application, ExitStack() as stack:
        make(application, "R")
        for number in range(20):
            for path in ("/api/v1/workspace/events?", "/api/v1/events?run=R&", "/api/v1/runs/R/events?"):
                query = f"{path}types=a{number}"
                stack.enter_context(Stream(application.port, "", path=query)).block()

        def kept() -> list[int]:
            (watched,) = application.hub._lists._watched.values()
            tasks: list[asyncio.Task[Any]] = [*application.hub._channels["R"]._snapshots.values()]
            for listing in watched.listings.values():
                tasks += listing.pages.values()
            return [len(task.result().begun) for task in tasks]

        assert application.ask(kept) == [2, 1]


def test_callers_have_a_bound(tmp_path: Path) -> None:
    """By who they are, wherever they come from and with whatever token. The live lists are streams, too."""
    server = ServerProcess(tmp_path, "--max-streams-per-caller", "2", env={"JWT_SECRET": SECRET})
    try:
        server.start()
        ann, bob = (bearer(token(role="qa_lead", sub=name)) for name in ("ann", "bob"))
        other = bearer(token(workspace="WS-2", sub="ann"))
        assert server.request("POST", "/api/v1/projects", {"id": "web"}, ann)[0] == 201
        run = server.request("POST", "/api/v1/runs", {"projectId": "web"}, ann)[1]["id"]
        with Stream(server.port, run, headers=ann) as one, Connection(server.port) as two:
            one.block()
            two.send(request("GET", "/api/v1/workspace/events", ann))
            assert Head.read(two).status == 200
            sentence = "There are 2 streams of yours already, and no more are allowed."
            again = bearer(token(role="viewer", sub="ann", jti="another"))
            for path in (f"/api/v1/runs/{run}/events", "/api/v1/workspace/events", "/api/v1/projects/web/events"):
                too_many(ask(server.port, "GET", path, headers=again), sentence)
            for headers, path in ((bob, f"/api/v1/runs/{run}/events"), (other, "/api/v1/workspace/events")):
                with Connection(server.port) as more:
                    more.send(request("GET", path, headers))
                    assert Head.read(more).status == 200
    finally:
        server.close()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_event_source_is_told_on_a_stream(tmp_path: Path, version: str) -> None:
    """Any status but 200 would be its end: `retry`, one event without an id, and the end. Mutants caught: it is told
    429; every client is told so; what it is told on counts as a stream."""
    with Embedded(tmp_path, max_streams=1) as application:
        path = make(application)
        with Stream(application.port, "R") as only:
            only.block()
            for _ in range(3):
                with Stream(application.port, "R", headers=BROWSER, version=version) as late:
                    assert late.head.status == 200
                    assert late.head.headers["content-type"] == "text/event-stream"
                    (block,) = raw_blocks(late) if version == "1.1" else [late.connection.rest()]
                    told, event = block.split(b"\n", 1)
                    assert OVERLOADED[0] <= delay(told + b"\n\n") <= OVERLOADED[1]
                    assert event == b'data: {"type":"overloaded"}\n\n'
            assert refused(application, "streams") == 3
            for headers in ({**BROWSER, "Accept": "*/*"}, {**BROWSER, "User-Agent": "curl/8"}, {}):
                assert ask(application.port, "GET", path, headers=headers).status == 429
        wait_until(lambda: not application.ask(lambda: application.hub.limits._places), "all have left")


def test_an_old_stream_ends_and_goes_on_elsewhere(tmp_path: Path) -> None:
    """With a `retry` that moves no id, and nothing lost. Mutant caught: `beat` does not look."""
    with Embedded(tmp_path, stream_lifetime=1.0, heartbeat=0.1) as application:
        path = make(application)
        ask(application.port, "POST", path, {"type": "x", "n": 1})
        with Stream(application.port, "R", "lastEventId=0") as viewer:
            first, last = viewer.rest()
            assert data(first) == {"type": "x", "n": 1}
            assert HERE[0] <= delay(last) <= HERE[1]
        ask(application.port, "POST", path, [{"type": "x", "n": 2}, {"type": "done", "status": "completed"}])
        with Stream(application.port, "R", "lastEventId=1") as viewer:
            assert [data(block)["type"] for block in viewer.rest()] == ["x", "done"]


def test_streams_that_began_together_do_not_end_together(tmp_path: Path) -> None:
    """Mutants caught: all live equally long; one lives longer than is said."""
    with Embedded(tmp_path, stream_lifetime=1000) as application, ExitStack() as stack:
        make(application)
        for _ in range(50):
            stack.enter_context(Stream(application.port, "R")).block()
        lives = application.ask(lambda: [one._until - one._began for one in application.streams.open])
        assert len(set(lives)) == 50
        assert 750 <= min(lives) < max(lives) - 50 < 950


# Requests a second


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_caller_has_so_many_requests_a_second(tmp_path: Path) -> None:
    """After a burst. Mutants caught: all callers share a bucket; a bucket that was full long ago holds more."""
    clock = Clock()
    limits = Limits(Settings(max_requests_per_second=10), clock)

    def granted(who: str, most: int = 100) -> int:
        for number in range(most):
            try:
                limits.spend(who)
            except TooMany:
                return number
        return most

    assert granted("ann") == 10 * BURST
    assert granted("bob", 3) == 3
    clock.now = 0.5
    assert granted("ann") == 5
    clock.now = 1000
    assert granted("ann") == 10 * BURST
    for number in range(KNOWN):
        limits.spend(str(number))
    assert len(limits._buckets) == KNOWN


def test_what_others_have_granted_counts_and_is_paid_back() -> None:
    """Mutants caught: it counts for nobody; what is beyond the bound is forgotten; nonsense locks out for ever."""
    clock = Clock()
    limits = Limits(Settings(max_requests_per_second=10), clock)
    limits.spent("ann", 35)  # of which 20 were there
    limits.spend("bob")
    for moment, seconds in ((0.0, 2), (1.0, 1)):
        clock.now = moment
        with pytest.raises(TooMany) as refusal:
            limits.spend("ann")
        assert refusal.value.retry_after == seconds
    clock.now = 1.6
    limits.spend("ann")
    limits.spent("ann", 1 << 30)
    clock.now += DEBT + 0.1
    limits.spend("ann")


def spend_all(application: Embedded, address: str) -> int:
    """How many requests of that address are granted there."""
    answers = (ask(application.port, "POST", "/api/v1/projects", {}, at(address)).status for _ in range(1000))
    return sum(1 for _ in takewhile(lambda status: status == 201, answers))


def stop_the_clock(*applications: Embedded) -> None:
    """So that nobody is given more as time goes by."""
    for application in applications:
        application.ask(lambda limits=application.hub.limits: setattr(limits, "_clock", lambda: 1e9))  # type: ignore[misc]


def test_requests_are_counted_for_the_whole_fleet_also_when_redis_has_died(tmp_path: Path, redis: RedisServer) -> None:
    """Two instances, one Redis. While it is away each counts for itself, and refuses and waits no more than before.

    Mutants caught: `start` does not `share`; what was spent is told twice; what could not be told is told later."""
    options: dict[str, Any] = {"redis_url": redis.url, "trusted_proxies": LOCAL, "max_requests_per_second": 10}
    most = int(10 * BURST)
    with Embedded(tmp_path, **options) as one, Embedded(tmp_path, **options) as other:
        stop_the_clock(one, other)

        def left(application: Embedded, address: str) -> float:
            return application.ask(lambda: application.hub.limits._bucket(address).tokens)

        for _ in range(5):
            assert ask(one.port, "POST", "/api/v1/projects", {}, at("192.0.2.1")).status == 201
        wait_until(lambda: left(other, "192.0.2.1") == most - 5, "the other is told")
        assert spend_all(other, "192.0.2.1") == most - 5
        wait_until(lambda: left(one, "192.0.2.1") == 0, "so is the first")
        too_many(
            ask(one.port, "POST", "/api/v1/projects", {}, at("192.0.2.1")),
            "More than 10 requests a second of one caller that write something.",
        )
        assert refused(one, "requests_per_second") == 1
        assert left(other, "192.0.2.2") == most, "nobody else pays for it"

        redis.stop()
        assert spend_all(one, "192.0.2.3") == most
        redis.resume()
        asyncio.run(redis.kill())
        for each in (one, other):
            wait_until(lambda each=each: each.ask(lambda: each.hub.backend.trouble), "it is known to be away")  # type: ignore[misc]
        assert spend_all(one, "192.0.2.4") == most
        assert spend_all(other, "192.0.2.4") == most
        for each in (one, other):
            wait_until(lambda each=each: not each.ask(lambda: each.hub.limits._untold), "it has tried to tell")  # type: ignore[misc]

        asyncio.run(redis.start())
        for each in (one, other):
            wait_until(lambda each=each: each.ask(lambda: each.hub.backend.trouble) is None, "it is back")  # type: ignore[misc]
        for number, (near, far) in enumerate(((one, other), (other, one)), 5):
            assert spend_all(near, f"192.0.2.{number}") == most
            wait_until(lambda far=far, number=number: left(far, f"192.0.2.{number}") == 0, "it is told again")  # type: ignore[misc]
        assert left(one, "192.0.2.4") == left(other, "192.0.2.4") == 0, "what could not be told is not told later"


def test_publishing_too_fast_is_refused_before_the_body_is_read(tmp_path: Path) -> None:
    """By caller; reading is not counted. Mutant caught: `prepare` does not ask."""
    server = ServerProcess(tmp_path, "--max-requests-per-second", "1", env={"JWT_SECRET": SECRET})
    try:
        server.start()
        ann, bob = (bearer(token(role="qa_lead", sub=name)) for name in ("ann", "bob"))
        while (answer := ask(server.port, "POST", "/api/v1/projects", {}, ann)).status == 201:
            pass
        too_many(answer, "More than 1 requests a second of one caller that write something.")
        with Connection(server.port) as connection:
            connection.send(request("POST", "/api/v1/projects", {**ann, "Content-Length": "100"}))
            assert connection.answer().status == 429
        assert ask(server.port, "POST", "/api/v1/projects", {}, bob).status == 201
        assert {ask(server.port, "GET", "/api/v1/projects", headers=ann).status for _ in range(10)} == {200}
    finally:
        server.close()


def test_where_nobody_is_asked_addresses_are_counted_but_not_this_machine(tmp_path: Path) -> None:
    with Embedded(tmp_path, trusted_proxies=LOCAL, max_requests_per_second=1) as application:
        statuses = [ask(application.port, "POST", "/api/v1/projects", {}, at("192.0.2.9")).status for _ in range(10)]
        assert 429 in statuses
        assert {ask(application.port, "POST", "/api/v1/projects", {}).status for _ in range(10)} == {201}
        assert ask(application.port, "POST", "/api/v1/projects", {}, at("192.0.2.10")).status == 201


# Whose request it is


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        ("", "10.0.0.1", "192.0.2.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.2", "192.0.2.1", "10.0.0.2"),
        ("10.0.0.0/8", "10.1.2.3", "198.51.100.7, 192.0.2.1, 10.9.9.9", "192.0.2.1"),
        ("10.0.0.0/8", "10.1.2.3", "", "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", "10.0.0.9", "10.0.0.9"),
        ("10.0.0.0/8", "10.1.2.3", "192.0.2.1, what?", "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", "192.0.2.1\t,10.0.0.9 ", "192.0.2.1"),
        ("::1, fd00::/8", "::1", "2001:DB8::1, fd00::2", "2001:db8::1"),
    ],
)
def test_a_forwarded_address_is_believed_of_proxies_alone(
    proxies: str, peer: str, forwarded: str, address: str
) -> None:
    """Mutants caught: the first of the list is taken, which anyone can put there; who the peer is does not matter."""
    assert Limits(Settings(trusted_proxies=proxies)).address(peer, forwarded) == address


def test_proxies_that_are_no_addresses_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"--trusted-proxies .* takes addresses and networks: "):
        Settings(trusted_proxies="proxy.example.org")
    assert Settings(trusted_proxies=" 10.0.0.1, fd00::/8,").proxies == (ip_network("10.0.0.1"), ip_network("fd00::/8"))


def test_neighbours() -> None:
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert neighbourhood(address) == ""
    assert neighbourhood("192.0.2.1") == "192.0.2.1"
    assert neighbourhood("::ffff:192.0.2.1") == "192.0.2.1"
    assert neighbourhood("2001:db8::1%eth0") == neighbourhood("2001:db8::ffff") == "2001:db8::/64"
    assert neighbourhood("2001:db8:0:1::1") != neighbourhood("2001:db8::1")


# Connections and time


def test_where_no_descriptor_is_left_who_comes_is_hung_up_on(tmp_path: Path) -> None:
    """And whoever is there is still served. Mutant caught: without `Listener` accepting fails, again and again."""
    few = 400
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({few}, {few}));"
    run_module = "import runpy; runpy.run_module('sentri_events', run_name='__main__', alter_sys=True)"
    server = ServerProcess(tmp_path, program=("-c", limit + run_module))
    try:
        run = server.start().make_run()
        with Stream(server.port, run) as viewer, ExitStack() as stack:
            viewer.block()
            kept = [stack.enter_context(Connection(server.port)) for _ in range(2 * few)]
            wait_until(lambda: b"" in [_peek(one) for one in kept], "some are hung up on")
            assert 100 < open_sockets(server) < few
            kept[0].send(request("POST", f"/api/v1/runs/{run}/events", body=b'{"type":"x"}'))
            assert kept[0].answer().status == 201
            assert data(viewer.block()) == {"type": "x"}
        wait_until(lambda: open_sockets(server) == 0, "all have left")
        assert server.request("GET", "/health")[0] == 200
        assert "Too many open files" not in server.log.read_text()
    finally:
        server.close()


@pytest.mark.parametrize(
    "beginning", [b"GET /hea", request("POST", "/api/v1/projects", {"Content-Length": "100"}) + b"{"]
)
def test_a_request_that_comes_too_slowly_is_told_so_and_counted(tmp_path: Path, beginning: bytes) -> None:
    """An idle connection is closed without a word, and is nobody's mistake. See also test_attacks.

    Mutants caught: idle ones are counted; the sentence is left out."""
    server = ServerProcess(tmp_path, "--request-timeout", "0.3")
    try:
        server.start()
        with Connection(server.port) as idle, Connection(server.port) as kept, Connection(server.port) as slow:
            kept.send(request("GET", "/health"))
            assert kept.answer().status == 200
            slow.send(beginning)
            answer = slow.answer()
            assert (answer.status, answer.error) == (408, "A request must come within 0.3 seconds.")
            for connection in (idle, kept, slow):
                assert connection.rest() == b""
        assert scrape(server.port)['refused_requests_total{reason="request_timeout"}'] == 1
    finally:
        server.close()


PAGES = 20


def test_an_answer_that_nobody_reads_is_not_kept(tmp_path: Path) -> None:
    """Pages of history, on a connection that takes nothing of them, and on another that takes them bit by bit, for
    longer than nothing may be taken. Mutants caught: nobody looks; whoever is still written to is cut."""
    server = ServerProcess(tmp_path, "--stall-timeout", "2")
    try:
        run = server.start().make_run()
        for _ in range(40):
            post(server, run, {"type": "log", "message": EVENT})
        page = request("GET", f"/api/v1/runs/{run}/events", {"Accept": "application/json"})
        with Connection(server.port) as reader, Connection(server.port) as stuck:
            for connection in (reader, stuck):
                connection.send(page * PAGES)
            taken = 0
            while not scrape(server.port)['refused_requests_total{reason="stall_timeout"}']:
                taken += len(reader.exactly(1 << 13))
            with pytest.raises(ConnectionResetError):
                stuck.rest()
            reader.exactly(PAGES * 40 * len(EVENT) - taken)
        assert scrape(server.port)['refused_requests_total{reason="stall_timeout"}'] == 1
    finally:
        server.close()


def _peek(connection: Connection) -> bytes | None:
    connection.socket.setblocking(False)
    try:
        return connection.socket.recv(1)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""
    finally:
        connection.socket.settimeout(20)
