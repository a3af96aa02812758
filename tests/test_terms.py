"""Authority is continuous (promise P12): an open stream ends when its token does, wherever that was said."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sentri_events.store import Store
from tests.embedded import Embedded
from tests.raw import Connection, Stream, ask, data, id_of, request
from tests.server_process import ServerProcess
from tests.tokens import SECRET, bearer, token

ENV = {"JWT_SECRET": SECRET}
QA = bearer(token(role="qa_lead"))
SOON = 2.5  # seconds: two, and what a busy machine takes to notice


@contextmanager
def serving(*servers: ServerProcess) -> Iterator[None]:
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.close)
            server.start()
        yield


def make_run(server: ServerProcess) -> str:
    project = f"p{uuid.uuid4().hex}"
    assert server.request("POST", "/api/v1/projects", {"id": project}, QA)[0] == 201
    status, run = server.request("POST", "/api/v1/runs", {"projectId": project}, QA)
    assert status == 201
    return str(run["id"])


def say(server: ServerProcess, run: str, message: str) -> None:
    assert server.request("POST", f"/api/v1/runs/{run}/events", {"type": "log", "message": message}, QA)[0] == 201


def revoke(server: ServerProcess, *arguments: str, stdin: str = "") -> str:
    command = [sys.executable, "-m", "sentri_events", "token", "revoke", *arguments]
    command += ["--database", f"sqlite:///{server.database}"]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


def following(server: ServerProcess, run: str, text: str) -> Stream:
    """A stream that has its snapshot."""
    stream = Stream(server.port, run, headers=bearer(text))
    assert stream.head.status == 200
    stream.block()
    return stream


def test_a_stream_ends_with_its_token_and_a_new_one_goes_on(server: ServerProcess, tmp_path: Path) -> None:
    """Mutant: the position of the new stream's first event was the end of the old one's, less one."""
    server = ServerProcess(tmp_path, env=ENV)
    with serving(server):
        run = make_run(server)
        ends = int(time.time()) + 2
        with following(server, run, token(exp=ends)) as stream, following(server, run, token(exp=ends + 600)) as other:
            say(server, run, "one")
            position = id_of(stream.block()) or ""
            assert stream.rest() == [b": token expired\n\n"]
            assert ends <= time.time() < ends + SOON
            say(server, run, "two")
            assert [data(block)["message"] for block in other.blocks(2)] == ["one", "two"]
        again = {**bearer(token()), "Last-Event-ID": position}
        with Stream(server.port, run, headers=again) as stream:
            assert data(stream.block())["message"] == "two"


def test_a_stream_ends_when_its_token_is_revoked(tmp_path: Path) -> None:
    """On every instance, without a Redis; others of the same caller go on; it holds after a restart.

    Mutants: the list was read once, at the start; a revoked token still opened what needs no stream.
    """
    first, second = ServerProcess(tmp_path, env=ENV), ServerProcess(tmp_path, env=ENV)
    with serving(first, second):
        run = make_run(first)
        lost, kept = token(jti="lost"), token(jti="kept")
        with ExitStack() as stack:
            ending = [stack.enter_context(following(server, run, lost)) for server in (first, second, second)]
            going_on = stack.enter_context(following(second, run, kept))
            assert revoke(first, stdin=lost) == "lost is revoked."
            began = time.monotonic()
            for stream in ending:
                assert stream.rest() == [b": token revoked\n\n"]
            assert time.monotonic() - began < SOON
            say(second, run, "on")
            assert data(going_on.block())["message"] == "on"
        for server in (first, second):
            assert ask(server.port, "GET", f"/api/v1/runs/{run}", headers=bearer(lost)).status == 401
            assert ask(server.port, "GET", f"/api/v1/runs/{run}", headers=bearer(kept)).status == 200
        second.restart()
        assert ask(second.port, "GET", f"/api/v1/runs/{run}", headers=bearer(lost)).status == 401


def test_a_token_can_be_revoked_by_its_name(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, env=ENV)
    with serving(server):
        run = make_run(server)
        with following(server, run, token(jti="j-1")) as stream:
            assert revoke(server, "j-1", "--for", "1h") == "j-1 is revoked."
            assert stream.rest() == [b": token revoked\n\n"]


def test_a_held_back_page_is_not_given_to_whoever_lost_his_token(tmp_path: Path) -> None:
    """Mutant: who waited was asked when he came, and not when he was answered."""
    server = ServerProcess(tmp_path, env=ENV)
    with serving(server):
        run = make_run(server)
        text = token(jti="lost")
        headers = {**bearer(text), "Accept": "application/json"}
        with Stream(server.port, run, headers=bearer(text)) as stream:
            stream.block()
            with Connection(server.port) as waiting:
                waiting.send(request("GET", f"/api/v1/runs/{run}/events?after=0&wait=30", headers))
                revoke(server, stdin=text)
                assert stream.rest() == [b": token revoked\n\n"]
                say(server, run, "not for you")
                assert waiting.answer().status == 401


async def test_the_list_forgets_what_has_ended(tmp_path: Path) -> None:
    """In the store; numbers go on, so that whoever looks for newer ones finds them."""
    store = Store(f"sqlite:///{tmp_path}/events.db")
    await store.open()
    now = store.clock()
    await store.revoke("over", now - 1)
    await store.revoke("a", now + 60_000)
    await store.revoke("a", now + 60_000)
    await store.revoke("b", now + 60_000)
    rows = await store.revocations(0)
    assert [jti for _, jti, _ in rows] == ["a", "b"]
    assert await store.revocations(rows[0][0]) == rows[1:]
    await store.close()


@pytest.mark.parametrize("number", [1, 200])
def test_nothing_is_kept_of_streams_that_have_gone(tmp_path: Path, number: int) -> None:
    """Mutant: a stream that its client closed stayed on the list until its token's end."""
    with Embedded(tmp_path, jwt_secret=SECRET) as server:
        headers = bearer(token(role="qa_lead"))
        assert ask(server.port, "POST", "/api/v1/projects", {"id": "web"}, headers).status == 201
        assert ask(server.port, "POST", "/api/v1/runs", {"projectId": "web", "id": "r"}, headers).status == 201
        terms = server.streams.terms
        assert terms is not None
        for count in range(number):
            with Stream(server.port, "r", headers=bearer(token(jti=f"j{count}", lifetime=60 + count))) as stream:
                stream.block()
        end = time.monotonic() + 20
        while server.ask(lambda: len(server.streams.open)) and time.monotonic() < end:
            time.sleep(0.01)
        assert server.ask(lambda: (terms._ending, terms._holding, terms._watch.is_running())) == ({}, {}, False)
