"""The timeline of a run in a real browser: where the tests stand on it, and how one looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import Tabs
from tests.server_process import ServerProcess, wait_until
from tests.test_page import connection, emit, result
from tests.test_page_log import module

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser
DONE: dict[str, object] = {"type": "done", "status": "failed"}
START = 1_800_000_000_000  # when the first test began, in milliseconds


def test(name: str, status: str, worker: str, begin: int, took: int) -> dict[str, Any]:
    return result(name, status, worker=worker, startedAt=START + begin, durationMs=took, error=f"{name} is broken")


test.__test__ = False  # type: ignore[attr-defined]

TESTS = [  # two workers for ten seconds
    test("one", "passed", "gw1", 0, 4000),
    test("two", "failed", "gw1", 4000, 6000),
    test("three", "passed", "gw2", 1000, 1000),
    test("four", "skipped", "gw2", 8000, 1000),
]


def shown(server: ServerProcess, tabs: Tabs, query: str = "") -> tuple[Page, Locator]:
    """A finished run's timeline, and its canvas."""
    run = server.make_run()
    emit(server, run, *TESTS, DONE)
    page = tabs.open(f"{server.url}/runs/{run}?tab=timeline{query}")
    connection(page, "finished")
    return page, page.get_by_role("application", name="Timeline")


def place(canvas: Locator, seconds: float, lane: int) -> tuple[float, float]:
    """Where a moment of a lane is on the canvas while all ten seconds are shown; workers' names have three letters."""
    box = canvas.bounding_box()
    assert box is not None
    gutter = 7.5 * 3 + 24
    return gutter + (box["width"] - gutter) * seconds / 10, 26 + 24 * lane + 5


def colour(canvas: Locator, seconds: float, lane: int) -> list[int]:
    x, y = place(canvas, seconds, lane)
    found: list[int] = canvas.evaluate(
        "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data.slice(0, 3)]", [x, y]
    )
    return found


def lanes(page: Page, *results: dict[str, Any]) -> Any:
    """What each worker's lanes hold, and how many tests ran side by side."""
    layout = module(page, "timeline-layout.js", "layOut", [one["result"] for one in results])
    return [(lane["worker"], [bar["id"] for bar in lane["bars"]]) for lane in layout["lanes"]], layout["side"]


def test_tests_that_ran_at_once_lie_in_lanes_of_their_worker(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: gw10 before gw2, and a lane more where times are rounded to milliseconds."""
    page = tabs.open(server.url)
    assert lanes(page, *TESTS) == ([("gw1", ["one", "two"]), ("gw2", ["three", "four"])], 2)
    many = [test(f"{worker}", "passed", f"gw{worker}", 0, 10) for worker in (10, 2)]
    assert lanes(page, *many)[0] == [("gw2", ["2"]), ("gw10", ["10"])]
    rounded = [test("a", "passed", "", 0, 101), test("b", "passed", "", 100, 50), test("c", "passed", "", 140, 50)]
    assert lanes(page, *rounded) == ([("", ["a", "b"]), ("", ["c"])], 2)
    without = {"type": "result", "result": {"testId": "d", "status": "passed", "durationMs": 30, "at": START + 50}}
    assert lanes(page, test("a", "passed", "", 0, 20), without) == ([("", ["a", "d"])], 1)


def test_it_shows_who_ran_what_when(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: colours that stay those of the theme in which it was drawn."""
    page, canvas = shown(server, tabs)
    tabs.forgiven.append("willReadFrequently")  # of the canvas, by this test
    assert page.locator("#timeline-summary").inner_text() == "4 tests on 2 workers in 10.0 s, up to 2 side by side"
    coloured(page, canvas)
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme: Light").click()
    coloured(page, canvas)
    page.get_by_role("button", name="Theme: Dark").click()
    coloured(page, canvas)
    page.emulate_media(color_scheme="dark")
    coloured(page, canvas)


def coloured(page: Page, canvas: Locator) -> None:
    """Wait until each test has the colour that the legend gives to what became of it."""
    legend = """() => ["good", "bad", "dim"].map((kind) => {
        const { backgroundColor } = getComputedStyle(document.querySelector(`.swatch.${kind}`));
        return backgroundColor.match(/\\d+/g).map(Number);
    })"""

    def right() -> bool:
        swatches = good, bad, dim = page.evaluate(legend)
        drawn = [colour(canvas, *at) for at in ((3, 0), (7, 0), (1.5, 1), (8.9, 1))]
        return drawn == [good, bad, good, dim] and colour(canvas, 5, 1) not in swatches

    wait_until(right, "the tests have the legend's colours")


def test_it_is_gone_through_by_keyboard(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: keys that go to a test that is out of sight and leave it there."""
    page, canvas = shown(server, tabs)
    tip = page.locator(".tip")
    canvas.focus()
    for key, name in (
        ("ArrowRight", "one"),
        ("ArrowRight", "two"),
        ("ArrowDown", "four"),
        ("ArrowLeft", "three"),
        ("ArrowUp", "one"),
        ("End", "two"),
    ):
        page.keyboard.press(key)
        tip.get_by_text(name, exact=True).wait_for()
    assert "6.0 s from 0:04 on gw1" in tip.inner_text()
    page.keyboard.press("Enter")
    page.locator(".chosen .traceback").get_by_text("two is broken").wait_for()
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.wait_for_url("**/*zoom=3.750-6.250*")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    tip.get_by_text("three", exact=True).wait_for()
    page.wait_for_url("**/*zoom=0.250-2.750*")
    page.keyboard.press("0")
    page.wait_for_url(lambda url: "zoom" not in url)
    page.get_by_role("link", name="In the results").click()
    page.wait_for_selector(".results .row.open >> text=two")


def test_it_is_zoomed_moved_and_pointed_at(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a zoom that moves what is below the pointer, and a drag that opens a test."""
    page, canvas = shown(server, tabs)
    box = canvas.bounding_box()
    assert box is not None

    def move(seconds: float, lane: int) -> None:
        x, y = place(canvas, seconds, lane)
        page.mouse.move(box["x"] + x, box["y"] + y)

    tip = page.locator(".tip")
    move(1.5, 1)
    tip.get_by_text("three", exact=True).wait_for()
    move(5, 1)
    tip.get_by_text("three", exact=True).wait_for(state="detached")
    move(8, 0)
    page.keyboard.down("Control")
    for _ in range(4):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_url("**/*zoom=*")
    begin, end = map(float, page.url.partition("zoom=")[2].split("-"))
    assert end - begin < 5
    assert abs((8 - begin) / (end - begin) - 0.8) < 0.01
    again = tabs.open(page.url)
    again.get_by_role("button", name="All", exact=True).click()
    again.wait_for_url(lambda url: "zoom" not in url)
    page.mouse.down()
    move(9, 0)
    page.mouse.up()
    page.wait_for_url(lambda url: f"zoom={begin:.3f}" not in url)
    assert abs(float(page.url.partition("zoom=")[2].split("-")[0]) - (begin - (end - begin) / 10)) < 0.05
    assert page.locator(".chosen").count() == 0
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(".chosen >> text=two is broken")


def test_the_slowest_are_told_and_it_grows_live(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: those that came first called the slowest, and a timeline drawn once."""
    run = server.make_run()
    emit(server, run, *TESTS)
    page = tabs.open(f"{server.url}/runs/{run}?tab=timeline")
    slowest = page.locator(".slowest .name")
    slowest.first.wait_for()
    assert slowest.all_inner_texts() == ["two", "one", "three", "four"]
    emit(server, run, *(test(f"more {number}", "passed", "gw3", 0, 100 * number) for number in range(45, 60)))
    page.wait_for_selector(".slowest >> text=more 59")
    assert slowest.all_inner_texts() == ["two", *(f"more {number}" for number in range(59, 50, -1))]
    page.get_by_role("button", name="two").click()
    page.wait_for_selector(".chosen >> text=two is broken")
