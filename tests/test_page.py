"""The page in a real browser: the list of runs, and a run from its beginning to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import Tabs
from tests.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def emit(server: ServerProcess, run: str, *events: dict[str, object]) -> None:
    status, answer = server.request("POST", f"/api/v1/runs/{run}/events", list(events))
    assert status == 201, answer


def connection(page: Page, name: str) -> None:
    """Wait until the page says so of its connection."""
    page.wait_for_selector(f'.connection[data-state="{name}"]')


def test_an_empty_list_shows_how_to_start_and_then_the_first_run(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a list that is read once."""
    page = tabs.open(server.url)
    page.wait_for_selector("text=No runs yet")
    assert page.locator(".command code").count() == 3
    server.make_run("web", name="nightly")
    page.wait_for_selector(".run >> text=nightly")


def test_a_run_is_shown_from_its_past_to_its_end(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a page that shows only what comes after it was opened, and one that stays live after the end."""
    run = server.make_run("web", name="nightly", total=2)
    emit(server, run, {"type": "log", "message": "before"})
    page = tabs.open(f"{server.url}/runs/{run}?tab=log")
    page.wait_for_selector("text=before")
    connection(page, "live")
    emit(server, run, {"type": "log", "message": "after"})
    page.wait_for_selector("text=after")
    emit(server, run, {"type": "done", "status": "completed"})
    connection(page, "finished")
    page.wait_for_selector(".head >> text=completed")
