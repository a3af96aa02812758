"""No token, ticket or secret is in a log, an answer, a metric or a `repr` (CWE-209, CWE-532)."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentri_events.access import Access, Credential
from sentri_events.client import Client
from sentri_events.jwks import Keys
from sentri_events.links import Links
from sentri_events.post import Server
from sentri_events.settings import Settings
from sentri_events.store import Store
from sentri_events.tickets import Tickets
from sentri_events.tokens import Tokens
from sentri_events.wire import Credentials
from tests.commands import run
from tests.raw import Connection, Stream, ask
from tests.server_process import ServerProcess, wait_until
from tests.test_terms import revoke
from tests.tokens import OTHER_SECRET, SECRET, bearer, token

ARTIFACTS, METRICS = "the-artifact-secret", "the-metrics-token"
ENV = {"JWT_SECRET": SECRET, "ARTIFACT_SECRET": ARTIFACTS, "SENTRI_EVENTS_METRICS_TOKEN": METRICS, "LOG_LEVEL": "debug"}


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that says all that it can, as text or as JSON."""
    server = ServerProcess(tmp_path, "--artifacts", str(tmp_path), env=ENV)
    try:
        yield server.start()
    finally:
        server.close()


def raw(server: ServerProcess, data: bytes) -> bytes:
    """All that comes back, whatever was sent."""
    with Connection(server.port) as connection:
        connection.send(data)
        connection.socket.settimeout(2)
        try:
            return connection.rest()
        except OSError:
            return b""


def test_nothing_leaks(talkative: ServerProcess) -> None:
    """Mutant: a request logged with its query, and without the mask of `logs`; each alone is not enough."""
    server, port = talkative, talkative.port
    good, over, foreign = token(role="admin", jti="j"), token(lifetime=-9), token(secret=OTHER_SECRET)
    heard: list[bytes] = []
    assert ask(port, "POST", "/api/v1/projects", {"id": "web"}, bearer(good)).status == 201
    assert ask(port, "POST", "/api/v1/runs", {"projectId": "web", "id": "r"}, bearer(good)).status == 201
    path = "/api/v1/runs/r/events"
    ticket = str(ask(port, "POST", "/api/v1/tickets", {"path": path}, bearer(good)).json["ticket"])
    link = Links(ARTIFACTS, 60_000).sign("/artifacts/x.png")
    of_link = link.partition("token=")[2].partition("&")[0]
    for text in (good, over, foreign, ticket, METRICS, "broken." + good):
        for where, headers in (
            (path, {"Cookie": f"access_token={text}", "Accept": "application/json"}),
            (f"{path}?logs=x", bearer(text)),
            (f"/api/v1/runs?token={text}&limit=x", {}),
            (f"/api/v1/runs/none?token={text}", {}),
            (f"/api/v1/runs?ticket={text}", {}),
            (f"/nothing?token={text}", {}),
            (f"/api/v1/admin/streams?token={text}", {}),
            (f"/metrics?token={text}", {}),
            (f"/artifacts/x.png?token={text}&exp=9", {}),
        ):
            for method in ("GET", "POST", "DELETE"):
                answer = ask(port, method, where, b"{" if method == "POST" else b"", headers)
                heard.append(answer.body)
                heard.append(json.dumps(answer.headers).encode())
        lines = (
            f"GET {path}?token={text} HTTP/1.1\r\nAuthorization Bearer {text}\r\n\r\n",
            f"GET {path} {text}\r\n\r\n",
            f"POST {path}?token={text} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{text}\r\n",
        )
        heard += [raw(server, line.encode()) for line in lines]
    heard.append(ask(port, "GET", link).body)
    for query in (f"token={good}", f"ticket={ticket}"):
        with Stream(port, "r", query) as stream:
            stream.block()
            heard.append(ask(port, "GET", "/api/v1/admin/streams", headers=bearer(good)).body)
    with Stream(port, "r", f"token={good}") as stream:
        stream.block()
        revoke(server, stdin=good)
        stream.rest()
    fresh = bearer(token(role="admin"))
    heard.append(ask(port, "GET", "/metrics", headers=fresh).body)
    heard.append(ask(port, "GET", "/metrics", headers=bearer(METRICS)).body)
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: "read again" in server.log.read_text(), "the secrets are read again")
    with Stream(port, "r", headers=fresh) as stream:
        stream.block()
        assert server.stop() == 0
    words = server.log.read_bytes() + b"".join(heard)
    assert b"/api/v1/runs/r/events" in words
    for secret in (good, over, foreign, ticket, SECRET, OTHER_SECRET, ARTIFACTS, METRICS, of_link, token(role="admin")):
        for shown in (secret, secret.rpartition(".")[2]):
            assert shown.encode() not in words, f"{secret[:9]}… in {_around(words, shown.encode())!r}"


def _around(words: bytes, shown: bytes) -> bytes:
    place = words.index(shown)
    return words[max(0, place - 80) : place + 10]


def test_nothing_is_in_a_repr(tmp_path: Path) -> None:
    """What a traceback or a debugger shows. Mutant: a credential that was a plain tuple."""
    text = token()
    file = tmp_path / "token"
    file.write_text(text)
    settings = Settings(jwt_secret=SECRET, artifact_secret=ARTIFACTS, metrics_token=METRICS)
    store = Store(f"sqlite:///{tmp_path}/none.db")
    access = Access(settings, store)
    things = [
        settings, access, Credential(text, url=f"/x?ticket={text}"), Tokens(settings), Tokens(settings).read(text),
        Tickets([SECRET], store), Links(ARTIFACTS, 1), Keys("https://id.example.org"), Credentials(file=str(file)),
        Server("http://x", text), Client("http://x", token=text),
    ]  # fmt: skip
    for thing in things:
        shown = f"{thing!r} {thing}"
        for secret in (text, SECRET, ARTIFACTS, METRICS):
            assert secret not in shown
            assert secret.rpartition(".")[2] not in shown


def test_no_secret_is_an_argument() -> None:
    """`ps` shows those. The one way to give a token to a command is a file or the environment."""
    commands: tuple[list[str], ...] = ([], ["token", "mint"], ["token", "revoke"], ["tail"], ["exec"])
    shown = "".join(run(*words, "--help")[1] for words in commands)
    assert "--token " not in shown
    assert "--secret" not in shown
