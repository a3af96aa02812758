"""The list of runs in a real browser: live, filtered, paged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser import Tabs
from tests.server_process import ServerProcess
from tests.test_page import connection, emit, result

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def names(page: Page) -> list[str]:
    found: list[str] = page.locator(".run .name").all_inner_texts()
    return found


def shows(page: Page, *wanted: str) -> None:
    """Wait until these runs are shown, in this order."""
    from playwright.sync_api import expect

    expect(page.locator(".run .name")).to_have_text(list(wanted))


def test_runs_come_progress_and_end_without_a_reload(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a row that keeps its first counts, and a new run at the end of the list."""
    server.make_run("web", name="first")
    page = tabs.open(server.url)
    shows(page, "first")
    run = server.make_run("api", name="second", total=4)
    shows(page, "second", "first")
    row = page.locator(".run").first
    row.get_by_text("running").wait_for()
    row.get_by_text(re.compile(r"0:0\d")).wait_for()
    emit(server, run, result("a", "passed"), result("b", "failed"), result("c", "skipped"))
    for words in ("1 failed", "1 passed", "1 skipped", "1 to go"):
        row.get_by_text(words).wait_for()
    emit(server, run, {"type": "done", "status": "failed"})
    row.locator(".status", has_text="failed").wait_for()
    row.get_by_text("1 not run").wait_for()


def test_the_address_keeps_the_filter(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a filter that a reload or a new run forgets."""
    for number in range(4):
        run = server.make_run(["web", "api"][number % 2], name=f"nightly {number}")
        if number < 2:
            emit(server, run, {"type": "done", "status": "failed"})
    page = tabs.open(server.url)
    shows(page, "nightly 3", "nightly 2", "nightly 1", "nightly 0")
    page.get_by_label("Project").select_option("api")
    shows(page, "nightly 3", "nightly 1")
    page.get_by_label("Status").select_option("failed")
    shows(page, "nightly 1")
    page.get_by_label("Status").select_option("")
    page.get_by_label("Text").fill("3")
    shows(page, "nightly 3")
    assert page.url == f"{server.url}/?project=api&text=3"
    server.make_run("web", name="nightly 33")
    server.make_run("api", name="nightly 34")
    shows(page, "nightly 34", "nightly 3")
    page.reload()
    shows(page, "nightly 34", "nightly 3")
    page.get_by_label("Text").fill("nothing has this")
    page.wait_for_selector("text=No run fits the filter.")


def test_older_runs_come_by_scrolling_and_by_a_filter(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a list that ends after its first page, and a filter that knows only what is shown."""
    for number in range(70):
        server.make_run(name=f"run {number}")
    page = tabs.open(server.url)
    page.wait_for_selector(".run >> text=run 69")
    assert len(names(page)) < 70
    with page.expect_request("**/api/v1/runs?text=RUN+1&*"):
        page.get_by_label("Text").fill("RUN 1")
    shows(page, *(f"run {number}" for number in reversed((1, *range(10, 20)))))
    page.get_by_label("Text").fill("")
    page.wait_for_selector(".run >> text=run 69")
    page.mouse.move(600, 400)
    while page.locator('.run .name >> text="run 0"').count() == 0:
        page.mouse.wheel(0, 4000)
    assert names(page) == [f"run {number}" for number in reversed(range(70))]


def test_it_goes_on_after_a_restart(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a clock that ticks for a run that nobody hears of, and an end in the meantime that is not told."""
    tabs.forgiven = ["net::ERR"]
    run = server.make_run(name="nightly")
    page = tabs.open(server.url)
    connection(page, "live")
    server.kill()
    connection(page, "reconnecting")
    stopped = page.locator(".run .time").inner_text()
    page.wait_for_selector(r"text=/Reconnecting in \d+ s|Reconnecting …/")
    server.start()
    assert page.locator(".run .time").inner_text() == stopped
    emit(server, run, {"type": "done", "status": "completed"})
    server.make_run(name="morning")
    shows(page, "morning", "nightly")
    page.locator(".run", has_text="nightly").get_by_text("completed").wait_for()


def test_a_run_is_opened_and_left_again(server: ServerProcess, tabs: Tabs) -> None:
    """By the keyboard, and back by the browser's own button."""
    run = server.make_run(name="nightly")
    page = tabs.open(server.url)
    page.get_by_role("link", name="nightly").focus()
    page.keyboard.press("Enter")
    connection(page, "live")
    assert page.url == f"{server.url}/runs/{run}"
    page.go_back()
    shows(page, "nightly")


def test_the_commands_can_be_copied(server: ServerProcess, tabs: Tabs) -> None:
    tabs.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = tabs.open(server.url)
    page.get_by_role("button", name="Copy: Your tests, with pytest").click()
    page.wait_for_selector("text=Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"pytest --sentri-url {server.url} --sentri-project demo"
