"""The page in a real browser: the list of runs, and a run from its beginning to its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.browser import Tabs
from tests.screenshots import stamp
from tests.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURE = (  # a JPEG of one grey dot
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////"
    "wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AN//Z"
)
pytestmark = pytest.mark.browser


def emit(server: ServerProcess, run: str, *events: dict[str, object]) -> None:
    status, answer = server.request("POST", f"/api/v1/runs/{run}/events", list(events))
    assert status == 201, answer


def volatile(server: ServerProcess, run: str, event: dict[str, object]) -> None:
    status, answer = server.request("POST", f"/api/v1/runs/{run}/events?volatile=true", event)
    assert status == 202, answer


def result(test: str, status: str, **more: object) -> dict[str, object]:
    return {"type": "result", "result": {"testId": test, "status": status, **more}}


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


def test_the_head_shows_how_a_run_stands(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a title and an icon that stay as they were, and fields that the page does not know left out."""
    run = server.make_run("web", name="nightly", total=4, tracePath="/artifacts/trace.zip", ci={"job": 12})
    page = tabs.open(f"{server.url}/runs/{run}")
    connection(page, "live")
    icon = page.get_attribute("link[rel=icon]", "href")
    emit(server, run, result("a", "passed"), result("b", "failed"))
    page.wait_for_selector('.numbers >> text="2"')
    assert page.locator(".numbers div").all_inner_texts() == ["failed\n1", "passed\n1", "skipped\n0", "to go\n2"]
    assert page.title() == "50 % 1 failed · nightly"
    assert page.get_attribute("link[rel=icon]", "href") != icon
    assert page.get_by_role("progressbar").get_attribute("aria-valuetext") == "2 of 4 done, 1 failed"
    assert (
        page.get_by_role("link", name="trace: trace.zip").get_attribute("href") == f"{server.url}/artifacts/trace.zip"
    )
    page.click("text=More about this run")
    page.wait_for_selector('dd >> text="job": 12')
    emit(server, run, {"type": "done", "status": "failed", "error": "The machine is on fire."})
    page.wait_for_selector(".error >> text=The machine is on fire.")
    assert page.title() == "✕ 1 failed · nightly"


def test_what_remains_is_estimated_as_long_as_its_pace_holds(server: ServerProcess, tabs: Tabs) -> None:
    """A second for each of five tests, and three to go. Caught: "about 0:00 to go" for as long as it still takes."""
    begin = datetime.now(UTC) - timedelta(seconds=5)
    run = server.make_run(total=8, startedAt=stamp(begin))
    for second in range(1, 6):
        emit(server, run, {**result(f"test {second}", "passed"), "_at": stamp(begin + timedelta(seconds=second))})
    page = tabs.open(f"{server.url}/runs/{run}")
    page.wait_for_selector(".head >> text=/about 0:0[123] to go/")
    page.locator(".head >> text=about").wait_for(state="detached")
    assert page.locator(".numbers div").last.inner_text() == "to go\n3"


def test_what_changes_is_said_to_screen_readers(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a sentence for what was there when the page was opened, and none for the end."""
    run = server.make_run()
    emit(server, run, result("old", "failed"))
    page = tabs.open(f"{server.url}/runs/{run}")
    connection(page, "live")
    said = page.locator("[aria-live=polite]")
    assert said.inner_text() == ""
    emit(server, run, result("a", "error", testName="the gateway"), result("b", "passed"))
    said.get_by_text("2 failed, last the gateway.").wait_for()
    emit(server, run, {"type": "done", "status": "failed"})
    said.get_by_text("The run has ended: failed. 1 passed, 2 failed.").wait_for()


def test_pictures_words_and_unknown_events_are_shown_as_they_come(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: an unknown type that is dropped, and a picture that outlives its run."""
    run = server.make_run()
    page = tabs.open(f"{server.url}/runs/{run}?tab=events")
    connection(page, "live")
    emit(server, run, {"type": "llm_token", "token": "once "}, {"type": "llm_token", "token": "upon"})
    page.wait_for_selector(".tokens >> text=once upon")
    volatile(server, run, {"type": "frame", "data": PICTURE})
    page.wait_for_selector('figure canvas[width="1"]')
    dot = "[...document.querySelector('figure canvas').getContext('2d').getImageData(0, 0, 1, 1).data]"
    red, green, blue, alpha = page.evaluate(dot)
    assert red == green == blue
    assert alpha == 255
    page.wait_for_selector("figcaption >> text=now")
    page.wait_for_selector(r"figcaption >> text=/[2-9]\.\d s old/")
    volatile(server, run, {"type": "mouse", "x": 17})
    page.click("summary >> text=mouse")
    page.wait_for_selector('.volatile pre >> text="x": 17')
    emit(server, run, {"type": "weird", "why": "not"})
    page.click("summary >> text=weird")
    page.locator(".raw pre").get_by_text('"why": "not"').wait_for()
    emit(server, run, {"type": "done", "status": "completed"})
    connection(page, "finished")
    assert page.locator("figure").count() == 0
