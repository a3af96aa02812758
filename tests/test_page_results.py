"""The results of a run in a real browser: their order, what one chooses of them, and what each opens to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import Tabs
from tests.server_process import ServerProcess
from tests.test_page import PICTURE, connection, emit, result

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
DONE: dict[str, object] = {"type": "done", "status": "failed"}
TRACEBACK = """def test_it():
>       assert answer == 42
E       assert 41 == 42

tests/test_it.py:7: AssertionError"""


def names(page: Page) -> list[str]:
    """The tests of the rows that are drawn."""
    found: list[str] = page.locator('.results .row [role="cell"]:nth-child(2) > :first-child').all_inner_texts()
    return found


def open_row(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_selector(".results .opened")


def test_failed_ones_come_first_and_what_is_to_come_last(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: rows as they came, and a test of the queue that stays to come when its result is there."""
    queue = [{"id": f"t{number}", "name": f"test {number}"} for number in range(6)]
    run = server.make_run(total=6, testQueue=queue)
    emit(server, run, result("t0", "passed"), result("t1", "skipped"), result("t2", "odd"), result("t3", "error"))
    page = tabs.open(f"{server.url}/runs/{run}")
    connection(page, "live")
    assert names(page) == ["t3", "t2", "t0", "t1", "test 4", "test 5"]
    assert page.locator(".results .row").last.inner_text().split("\n")[:2] == ["·", "to go"]
    emit(server, run, result("t4", "failed", testName="the fourth"))
    page.wait_for_selector(".results >> text=the fourth")
    assert names(page) == ["t3", "the fourth", "t2", "t0", "t1", "test 5"]
    emit(server, run, DONE)
    page.wait_for_selector(".results >> text=not run")


def test_they_are_sorted_filtered_and_linked_to(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: rows without a value that come first, and an order that is not in the address."""
    run = server.make_run(testQueue=["never"])
    for number, status, time in (("a", "passed", 300), ("b", "failed", 100), ("c", "passed", 200)):
        emit(server, run, result(f"web::{number}", status, durationMs=time))
    page = tabs.open(f"{server.url}/runs/{run}")
    connection(page, "live")
    page.get_by_role("button", name="Duration").click()
    page.wait_for_selector('[aria-sort="descending"]')
    assert names(page) == ["web::a", "web::c", "web::b", "never"]
    page.get_by_role("button", name="Duration").click()
    page.wait_for_selector('[aria-sort="ascending"]')
    again = tabs.open(page.url)
    again.wait_for_selector('[aria-sort="ascending"]')
    assert names(again) == ["web::b", "web::c", "web::a", "never"]
    again.get_by_role("button", name="Duration").click()
    again.locator("[aria-sort]").wait_for(state="detached")
    assert names(again) == ["web::b", "web::a", "web::c", "never"]
    again.get_by_role("button", name="passed 2").click()
    again.get_by_label("Filter").fill("C web")
    again.locator(".results .row").nth(1).wait_for(state="detached")
    assert names(again) == ["web::c"]


def test_a_result_opens_to_all_that_is_known_of_it(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: another test's lines, a field that the page does not know left out, a picture's text as text."""
    run = server.make_run()
    more = {
        "screenshot": PICTURE,
        "videoPath": "/artifacts/film.webm",
        "browser": {"name": "chromium"},
        "retryCount": 2,
    }
    emit(
        server,
        run,
        {"type": "log", "message": "mine\n\x1b[31mand mine\x1b[0m", "testId": "web::it"},
        {"type": "log", "message": "another's", "testId": "web::other"},
        {"type": "screenshot", "testId": "web::it", "screenshotPath": "/artifacts/late.zip"},
        result("web::it", "failed", testName="it", error=TRACEBACK, **more),
        result("web::other", "skipped", reason="no GPU"),
        DONE,
    )
    page = tabs.open(f"{server.url}/runs/{run}")
    tabs.forgiven.append("404")  # there is no film
    connection(page, "finished")
    assert page.locator(".gist").all_inner_texts() == ["assert 41 == 42", "no GPU"]
    open_row(page, "it")
    opened = page.locator(".opened")
    assert opened.locator(".traceback").inner_text().rstrip() == TRACEBACK
    assert opened.locator(".traceback .bad").inner_text().rstrip() == "E       assert 41 == 42"
    assert opened.locator(".own-log > div").all_inner_texts() == ["mine", "and mine"]
    assert opened.locator("dt").all_inner_texts() == ["browser", "retryCount"]
    assert opened.locator("img").get_attribute("src") == f"data:image/jpeg;base64,{PICTURE}"
    assert opened.locator(".artifacts a").all_inner_texts() == ["video: film.webm", "screenshot: late.zip"]
    assert "test=web%3A%3Ait" in page.url
    opened.get_by_role("link", name="In the log").click()
    page.wait_for_selector(".log .current >> text=mine")
    page.go_back()
    opened.wait_for()
    page.keyboard.press("Tab")
    page.get_by_role("button", name="it", exact=True).press("Escape")
    opened.wait_for(state="detached")


def test_five_thousand_are_gone_through_by_keyboard(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: all rows drawn, keys that end at the last row drawn, and a link that stays at the top."""
    run = server.make_run()
    tests = [result(f"test {number}", "passed", durationMs=number) for number in range(5000)]
    for first in range(0, 5000, 1000):
        emit(server, run, *tests[first : first + 1000])
    emit(server, run, DONE)
    page = tabs.open(f"{server.url}/runs/{run}")
    connection(page, "finished")
    assert page.locator(".results .row").count() < 60
    page.get_by_role("button", name="test 0", exact=True).focus()
    focused = page.locator("button:focus")
    for _ in range(60):
        page.keyboard.press("ArrowDown")
    focused.get_by_text("test 60", exact=True).wait_for()
    page.keyboard.press("End")
    focused.get_by_text("test 4999", exact=True).wait_for()
    page.keyboard.press("ArrowUp")
    focused.get_by_text("test 4998", exact=True).wait_for()
    page.keyboard.press("Enter")
    page.wait_for_selector(".opened")
    assert focused.inner_text() == "test 4998"
    again = tabs.open(f"{server.url}/runs/{run}?test=test+2500")
    connection(again, "finished")
    again.wait_for_selector(".row.open >> text=test 2500")
    top = "document.querySelector('.row.open button')?.getBoundingClientRect().y"
    again.wait_for_function(f"80 < {top} && {top} < 700")  # also where it was drawn before all was read


def test_the_row_that_is_opened_stays_where_it_is(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a row that jumps away under the pointer when the one above it closes."""
    run = server.make_run()
    emit(server, run, *(result(f"test {number}", "failed", error="broken\n" * 20) for number in range(20)), DONE)
    page = tabs.open(f"{server.url}/runs/{run}?test=test+2")
    page.wait_for_selector(".row.open >> text=test 2")
    connection(page, "finished")
    other = page.get_by_role("button", name="test 6", exact=True)
    other.scroll_into_view_if_needed()
    before = other.bounding_box()
    other.click()
    page.wait_for_selector(".row.open >> text=test 6")
    after = other.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 1
