"""What a browser lets pages do: CORS, writes that another site forged, and the headers that keep an answer harmless."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded import Embedded
from tests.raw import Stream, ask
from tests.server_process import ServerProcess
from tests.tokens import SECRET, bearer, token

APP, EVIL = "https://app.example.org", "https://evil.example"
COOKIE = {"Cookie": f"access_token={token(role='admin')}"}
RUNS = "/api/v1/runs"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(
        tmp_path_factory.mktemp("origins"), env={"JWT_SECRET": SECRET, "CORS_ORIGIN": f"http://x:1, {APP}"}
    )
    try:
        server.start()
        assert server.request("POST", "/api/v1/projects", {"id": "web"}, bearer(token(role="admin")))[0] == 201
        assert server.request("POST", RUNS, {"projectId": "web", "id": "r"}, bearer(token(role="admin")))[0] == 201
        yield server
    finally:
        server.close()


def write(server: ServerProcess, **headers: str) -> int:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(server.port, "POST", RUNS, {"projectId": "web"}, {**COOKIE, **given}).status


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_an_allowed_page_may_read_every_answer(guarded: ServerProcess, method: str) -> None:
    """Refusals too, or it could not tell why. Mutant: an error forgot the headers of the answer."""
    for path in (RUNS, f"{RUNS}/r", f"{RUNS}/none", "/nothing"):
        answer = ask(guarded.port, method, path, b"{" if method == "POST" else b"", {"Origin": APP})
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"].startswith("Origin")


def test_an_allowed_page_may_follow_a_run(guarded: ServerProcess) -> None:
    with Stream(guarded.port, "r", headers={**COOKIE, "Origin": APP}) as stream:
        assert stream.head.headers["access-control-allow-origin"] == APP
        assert stream.head.headers["vary"] == "Origin, Accept"


@pytest.mark.parametrize("origin", [EVIL, f"{APP}.evil.example", f"{APP}:444", "null", APP.upper(), ""])
def test_no_other_page_may(guarded: ServerProcess, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        answer = ask(guarded.port, method, RUNS, headers={**COOKIE, "Origin": origin})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["vary"] == "Origin"


def test_a_preflight_says_what_may_be_sent(guarded: ServerProcess) -> None:
    """Nobody is asked who he is: a browser sends no credentials with it."""
    asked = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = ask(guarded.port, "OPTIONS", f"{RUNS}/r/events", headers=asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-methods"] == answer.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    assert {"Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"} <= set(
        answer.headers["access-control-allow-headers"].split(", ")
    )
    assert answer.headers["access-control-allow-origin"] == APP


def test_without_a_list_no_page_may(server: ServerProcess) -> None:
    answer = ask(server.port, "GET", RUNS, headers={"Origin": APP})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert ask(server.port, "OPTIONS", RUNS, headers={"Origin": APP}).status == 405


def test_a_write_with_a_cookie_shows_that_no_other_site_made_it(guarded: ServerProcess) -> None:
    """CWE-352. Mutant: a cookie without any word of the browser was enough."""
    assert write(guarded) == 403
    assert write(guarded, Origin=EVIL) == 403
    assert write(guarded, Origin="null") == 403
    assert write(guarded, Origin="https://[") == 403
    assert write(guarded, Origin=EVIL, Sec_Fetch_Site="cross-site") == 403
    assert write(guarded, Sec_Fetch_Site="same-site") == 403
    assert write(guarded, Origin="http://localhost") == 201  # the Host of the test's requests
    assert write(guarded, Origin=APP, Sec_Fetch_Site="cross-site") == 201
    assert write(guarded, Sec_Fetch_Site="same-origin") == 201


def test_the_originals_double_submit_will_do(guarded: ServerProcess) -> None:
    """Mutant: two that are both empty were the same."""
    both = COOKIE["Cookie"] + "; _csrf="
    assert write(guarded, Cookie=both + "abc", X_CSRF_Token="abc") == 201
    assert write(guarded, Cookie=both + "abc", X_CSRF_Token="abd") == 403
    assert write(guarded, Cookie=both, X_CSRF_Token="") == 403
    assert write(guarded, X_CSRF_Token="abc") == 403


def test_a_token_that_no_browser_adds_needs_no_such_proof(guarded: ServerProcess) -> None:
    headers = {**bearer(token(role="admin")), "Origin": EVIL}
    assert ask(guarded.port, "POST", RUNS, {"projectId": "web"}, headers).status == 201


def test_a_page_elsewhere_cannot_write_to_a_server_that_asks_nobody(server: ServerProcess) -> None:
    """Whoever develops with the server on his machine also reads the web."""
    for headers, status in (({}, 201), ({"Origin": "http://localhost"}, 201), ({"Origin": EVIL}, 403)):
        assert ask(server.port, "POST", RUNS, {"projectId": "web"}, headers).status == status
    assert ask(server.port, "POST", RUNS, {"projectId": "web"}, {"Sec-Fetch-Site": "cross-site"}).status == 403


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_a_name_that_is_made_to_lead_here_opens_nothing(server: ServerProcess, host: str) -> None:
    """CWE-350, DNS rebinding: to the browser that page and this server are one. Mutant: no look at `Host`."""
    asked = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    for method, path, body in (("GET", RUNS, b""), ("POST", RUNS, {"projectId": "web"}), ("GET", "/metrics", b"")):
        answer = ask(server.port, method, path, body, asked)
        assert (answer.status, "--insecure" in answer.error) == (403, True)


@pytest.mark.parametrize("host", ["localhost:9", "LOCALHOST", "web.localhost", "127.0.0.1:9", "[::1]:9", "192.0.2.7"])
def test_this_machine_s_own_names_are_answered(server: ServerProcess, host: str) -> None:
    assert ask(server.port, "GET", RUNS, headers={"Host": host}).status == 200


def test_where_callers_are_asked_or_it_is_said_any_name_will_do(tmp_path: Path, guarded: ServerProcess) -> None:
    named = {"Host": "ci.example"}
    assert ask(guarded.port, "GET", RUNS, headers={**named, **bearer(token())}).status == 200
    server = ServerProcess(tmp_path, "--insecure")
    try:
        assert ask(server.start().port, "GET", RUNS, headers=named).status == 200
    finally:
        server.close()
    with Embedded(tmp_path) as application:
        assert ask(application.port, "GET", RUNS, headers=named).status == 200


@pytest.mark.parametrize("path", [RUNS, f"{RUNS}/r", f"{RUNS}/none", "/health", "/nothing", "/api/runs/r"])
def test_no_answer_is_a_page(guarded: ServerProcess, path: str) -> None:
    """CWE-693, CWE-525: nothing in it is run, framed, guessed at, or kept."""
    for headers in (COOKIE, {}):
        answer = ask(guarded.port, "GET", path, headers=headers)
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
