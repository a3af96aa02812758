"""Two runs of a project beside each other, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import Tabs
from tests.server_process import ServerProcess
from tests.test_page import emit, result

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def compared(page: Page, title: str) -> list[str]:
    """The tests below a title."""
    found: list[str] = page.locator(".compared", has_text=title).locator("li .name").all_text_contents()
    return found


def test_what_differs_between_two_runs(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: an expected failure (xfailed) taken for a failure, and 1 ms instead of 2 called slower."""
    first, second = server.make_run(name="monday"), server.make_run(name="tuesday")
    before = {"broken": "passed", "same": "failed", "mended": "failed", "xfail": "passed", "slow": "passed"}
    after = {"broken": "error", "same": "failed", "mended": "xpassed", "xfail": "xfailed", "slow": "passed"}
    for run, statuses, slow in ((first, before, 100), (second, after, 400)):
        tests = [result(test, status, durationMs=slow) for test, status in statuses.items()]
        emit(server, run, *tests, result("quick", "passed", durationMs=slow // 100))
        emit(server, run, {"type": "done", "status": "failed"})
    emit(server, other := server.make_run("another", name="foreign"), {"type": "done", "status": "completed"})
    page = tabs.open(f"{server.url}/runs/{second}?tab=compare")
    page.wait_for_selector("text=Newly failing 1")
    assert compared(page, "Newly failing") == ["broken"]
    assert compared(page, "Newly passing") == ["mended"]
    assert compared(page, "Slower than before") == ["slow"]
    assert compared(page, "Still failing") == ["same"]
    choices = page.get_by_label("Compare with").locator("option").all_inner_texts()
    assert [choice.split()[1] for choice in choices] == [first]
    assert other not in " ".join(choices)
    page.get_by_role("link", name="broken").click()
    assert page.url == f"{server.url}/runs/{second}?tab=results&test=broken"


def test_a_run_that_still_runs_is_compared_as_it_goes(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a comparison that is made once."""
    first = server.make_run()
    emit(server, first, result("a", "passed"), {"type": "done", "status": "completed"})
    second = server.make_run()
    page = tabs.open(f"{server.url}/runs/{second}?tab=compare&with={first}")
    page.wait_for_selector("text=Newly failing 0")
    emit(server, second, result("a", "failed"))
    page.wait_for_selector("text=Newly failing 1")
