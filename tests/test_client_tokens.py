"""How our clients say who they are: a token from the environment or a file, and a new one from that file in time."""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from sentri_events import publisher
from sentri_events.client import Client
from sentri_events.errors import ClientError
from sentri_events.wire import Credentials
from tests.commands import environment
from tests.commands import run as command
from tests.scripted import answer, scripted
from tests.server_process import ServerProcess
from tests.test_terms import ENV, QA, make_run, revoke, say, serving
from tests.tokens import bearer, runner, token

TOKEN, FILE = "SENTRI_EVENTS_TOKEN", "SENTRI_EVENTS_TOKEN_FILE"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (TOKEN, FILE):
        monkeypatch.delenv(name, raising=False)


def test_where_a_token_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file, other = tmp_path / "token", tmp_path / "other"
    file.write_text(" in.a.file\n")
    other.write_text("in.another")
    assert Credentials().header == {}
    monkeypatch.setenv(FILE, str(other))
    assert Credentials().header == bearer("in.another")
    monkeypatch.setenv(TOKEN, "in.the.environment")
    assert Credentials().header == bearer("in.the.environment")
    assert Credentials(file=str(file)).header == bearer("in.a.file")
    assert Credentials("a.b-c_~+/=", str(file)).header == bearer("a.b-c_~+/=")


def test_what_is_no_token(tmp_path: Path) -> None:
    for text in ("", "a b", "a\nb", "é"):
        with pytest.raises(ClientError, match="visible ASCII"):
            Credentials(text)
        (tmp_path / "token").write_text(text)
        with pytest.raises(ClientError, match="visible ASCII"):
            Credentials(file=str(tmp_path / "token"))
    with pytest.raises(ClientError, match=r"cannot be read from .*/none: No such file"):
        Credentials(file=str(tmp_path / "none"))


def test_a_file_may_be_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    credentials = Credentials(file=str(file))
    assert not credentials.renew()
    for nothing in ("", "a b"):
        file.write_text(nothing)
        assert not credentials.renew()
    file.unlink()
    assert not credentials.renew()
    assert credentials.header == bearer("old")
    file.write_text("new")
    assert credentials.renew()
    assert credentials.header == bearer("new")
    assert not Credentials("given").renew()
    assert "new" not in repr(credentials)


async def test_a_request_that_is_not_believed_is_repeated_with_the_new_token(tmp_path: Path) -> None:
    """With the same key. Mutant: repeated without an end while the server says 401."""
    file = tmp_path / "token"
    file.write_text("old")
    refused = answer(401, {"error": "Authentication required."})
    good = answer(201, {"runId": "R"})
    async with scripted(refused, good, refused) as server, Client(server.url, token_file=str(file)) as client:
        file.write_text("new")
        await client.publish("R", [{"type": "x"}], key="mine")
        with pytest.raises(ClientError, match="Authentication required"):
            await client.publish("R", [{"type": "x"}])
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer old",
        "Bearer new",
        "Bearer new",
    ]
    assert [request.headers["idempotency-key"] for request in server.requests[:2]] == ["mine", "mine"]


async def test_whoever_follows_goes_on_with_the_new_token(tmp_path: Path) -> None:
    """Nothing is lost or seen twice, whether the token ended or was revoked."""
    server = ServerProcess(tmp_path, env=ENV)
    file = tmp_path / "token"
    with serving(server):
        run = await asyncio.to_thread(make_run, server)
        file.write_text(token(exp=int(time.time()) + 4))
        seen: list[str] = []
        async with (
            Client(server.url, token_file=str(file), first_delay=0.05) as client,
            aclosing(client.follow(run, 0)) as events,
        ):
            for number in range(3):
                await asyncio.to_thread(say, server, run, str(number))
                seen.append((await anext(events)).event["message"])
                old = file.read_text()
                file.write_text(token(jti=f"j{number}"))  # in place of the first, which ends by itself
                if number:
                    await asyncio.to_thread(revoke, server, stdin=old)
        assert seen == ["0", "1", "2"]


async def test_whoever_follows_without_a_new_token_is_told(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, env=ENV)
    with serving(server):
        run = await asyncio.to_thread(make_run, server)
        text = token(exp=int(time.time()) + 2)
        async with Client(server.url, token=text, first_delay=0.05) as client:
            with pytest.raises(ClientError, match=r"Authentication required\."):
                [_ async for _ in client.follow(run)]


async def test_a_runner_publishes_with_its_token_and_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`publisher.run` and `exec`, with a token that may nothing else."""
    server = ServerProcess(tmp_path, env=ENV)
    file = tmp_path / "token"
    monkeypatch.setenv(FILE, str(file))
    with serving(server):
        assert server.request("POST", "/api/v1/projects", {"id": "web"}, QA)[0] == 201
        file.write_text(runner("web", exp=int(time.time()) + 1, jti="short"))
        run = publisher.run(project="web", url=server.url)
        run.log("one")
        assert await asyncio.to_thread(run.wait_id, 10) is not None
        await asyncio.to_thread(revoke, server, "short")
        file.write_text(runner("web"))
        run.log("two")
        run.done("completed")
        assert await asyncio.to_thread(run.close)
        status, document = server.request("GET", f"/api/v1/runs/{run.id}", headers=QA)
        assert (status, document["logs"], document["status"]) == (200, ["one", "two"], "completed")


def test_commands_say_who_they_are(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, env=ENV)
    with serving(server):
        assert server.request("POST", "/api/v1/projects", {"id": "web"}, QA)[0] == 201
        url = ("--url", server.url)
        file = tmp_path / "token"
        file.write_text(token(role="qa_lead"))
        by_file = ("--token-file", str(file))
        assert command("exec", "--project", "web", *url, *by_file, "--", "echo", "hi")[0] == 0
        status, out, _ = command("runs", "--json", *url, *by_file)
        (run,) = map(json.loads, out.splitlines())
        assert (status, run["status"]) == (0, "completed")
        by_environment = {TOKEN: token()}
        assert command("tail", run["id"], *url, env=by_environment)[0] == 0
        assert command("replay", run["id"], "--speed", "max", *url, env=by_environment)[0] == 0
        status, out, error = command("runs", *url)
        assert (status, out) == (1, "")
        assert error == "Error: Authentication required. Say who you are: SENTRI_EVENTS_TOKEN, or --token-file.\n"
        status, out, error = command("emit", run["id"], "x", *url, env=by_environment)
        assert (status, out, error) == (1, "", "Error: This takes the role qa_lead.\n")


def test_pytest_says_who_it_is(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, env=ENV)
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    with serving(server):
        assert server.request("POST", "/api/v1/projects", {"id": "web"}, QA)[0] == 201
        run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--sentri-url", server.url]
        run += ["--sentri-project", "web", "--sentri-strict", str(tmp_path)]
        for text, status, sentence in (
            (runner("web"), 0, "sentri-events: run RUN-1, "),
            (runner("other"), 1, "not found"),
            ("a b", 4, "visible ASCII"),
        ):
            done = subprocess.run(
                run, cwd=tmp_path, env=environment(**{TOKEN: text}), capture_output=True, text=True, check=False
            )
            assert (done.returncode, sentence in done.stdout + done.stderr) == (status, True), done.stdout + done.stderr
            assert text not in done.stdout + done.stderr
