"""Signing in, in a real browser: by a cookie or a pasted token, which ends in mid-stream, and is in no URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Tabs
from tests.browser_proxy import BrowserProxy
from tests.server_process import ServerProcess
from tests.test_page import connection
from tests.test_page_connection import downloaded, holds, log
from tests.tokens import SECRET, bearer, token

pytestmark = pytest.mark.browser
RUNNER = bearer(token(role="qa_lead"))


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that asks everybody who they are, with a run `ours` in a project."""
    server = ServerProcess(tmp_path, env={"JWT_SECRET": SECRET})
    try:
        server.start()
        admin = bearer(token(role="admin"))
        assert server.request("POST", "/api/v1/projects", {"id": "web"}, admin)[0] == 201
        assert server.request("POST", "/api/v1/runs", {"projectId": "web", "id": "ours"}, RUNNER)[0] == 201
        yield server
    finally:
        server.close()


@pytest.fixture
def proxy(guarded: ServerProcess) -> Iterator[BrowserProxy]:
    """Asked for before the tabs, it is there until they are closed."""
    with BrowserProxy(guarded.port) as proxy:
        yield proxy


def emit(server: ServerProcess, *events: dict[str, object]) -> None:
    status, answer = server.request("POST", "/api/v1/runs/ours/events", list(events), RUNNER)
    assert status == 201, answer


def stored(server: ServerProcess) -> list[dict[str, Any]]:
    headers = {**RUNNER, "Accept": "application/json"}
    status, page = server.request("GET", "/api/v1/runs/ours/events?after=0", headers=headers)
    assert status == 200
    return list(page["events"])


def test_a_pasted_token_that_expires_and_is_followed_by_another(
    guarded: ServerProcess, proxy: BrowserProxy, tabs: Tabs
) -> None:
    """Caught: a page that says "running" after its token's end, and one whose stream begins at the head again."""
    tabs.forgiven = ["401"]
    page = tabs.open(f"{proxy.url}/runs/ours?tab=events")
    connection(page, "signed out")
    page.get_by_label("Token").fill(token(lifetime=4))
    page.keyboard.press("Enter")
    connection(page, "live")
    emit(guarded, *log(1))
    holds(page, 1)
    connection(page, "signed out")
    page.wait_for_selector("text=not known since")
    emit(guarded, *log(2))
    page.get_by_label("Token").fill(token())
    page.get_by_role("button", name="Sign in").click()
    connection(page, "live")
    assert page.locator(".sign-in").count() == 0
    emit(guarded, *log(3), {"type": "done", "status": "completed"})
    connection(page, "finished")
    assert downloaded(page) == stored(guarded)
    asked = " ".join(exchange.path for exchange in proxy.exchanges)
    assert "token=" not in asked
    assert "ticket=" in asked
    page.get_by_role("button", name="Sign out").click()
    page.goto(proxy.url)
    connection(page, "signed out")


def test_a_cookie_is_enough_and_may_be_renewed_elsewhere(guarded: ServerProcess, tabs: Tabs) -> None:
    """Caught: a page that has to be loaded again."""
    tabs.forgiven = ["401"]

    def cookie(lifetime: float) -> None:
        value = token(lifetime=lifetime)
        tabs.context.add_cookies([{"name": "access_token", "value": value, "url": guarded.url, "httpOnly": True}])

    cookie(4)
    page = tabs.open(f"{guarded.url}/runs/ours?tab=events")
    connection(page, "live")
    emit(guarded, *log(1))
    holds(page, 1)
    connection(page, "signed out")
    emit(guarded, *log(2))
    cookie(600)
    page.evaluate("dispatchEvent(new Event('focus'))")
    connection(page, "live")
    holds(page, 2)
    page.goto(guarded.url)
    page.wait_for_selector(".run >> text=ours")
    connection(page, "live")


def test_somebody_else_s_run_is_missing(guarded: ServerProcess, tabs: Tabs) -> None:
    tabs.forgiven = ["404"]
    value = token("WS-2")
    tabs.context.add_cookies([{"name": "access_token", "value": value, "url": guarded.url}])
    page = tabs.open(f"{guarded.url}/runs/ours")
    connection(page, "gone")
