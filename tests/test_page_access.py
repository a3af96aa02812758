"""The page for everybody: axe-core finds nothing on any view in both themes, and all of it works by the keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import Tabs
from tests.npm import install
from tests.server_process import ServerProcess
from tests.test_page import PICTURE, connection, emit, result, volatile
from tests.tokens import SECRET

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.node]
TABS = ("results", "log", "timeline", "compare", "events")
HERE = Path(__file__).parent / "axe"
WINDOWS = {"light": ("light", 1280), "dark": ("dark", 1280), "phone": ("dark", 390)}
# Of the page as it is: what Tab must come to, and what it is at, with whether that can be seen.
REACHABLE = """() => {
    const all = document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']");
    const reached = (one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility();
    globalThis.marked = [...all].filter(reached);
    return globalThis.marked.length;
}"""
AT = """() => {
    const one = document.activeElement;
    const outlined = (pseudo) => getComputedStyle(one, pseudo).outlineStyle !== "none";
    return [globalThis.marked.indexOf(one), one.outerHTML.slice(0, 120), outlined(null) || outlined("::after")];
}"""


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest) -> str:
    """axe-core's source."""
    return (install(request.config, HERE) / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, axe: str) -> list[str]:
    """What axe-core finds, a line each."""
    page.evaluate(axe)
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:200]} {node['any'][:1] and node['any'][0]['message']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def sideways(page: Page) -> int:
    """How many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def window(browser: Browser, name: str) -> Tabs:
    scheme, width = WINDOWS[name]
    return Tabs(browser, color_scheme=scheme, viewport={"width": width, "height": 844})


@pytest.mark.parametrize("name", WINDOWS)
def test_axe_finds_nothing(server: ServerProcess, browser: Browser, axe: str, name: str) -> None:
    """Caught: a grey that is too pale on white, a scrolling region that no key reaches, a select without a name."""
    with window(browser, name) as tabs:
        page = tabs.open(server.url)
        page.wait_for_selector("text=No runs yet")
        found = {"empty list": violations(page, axe)}
        old = server.make_run(name="monday")
        emit(server, old, result("a", "passed"), result("b", "failed"), {"type": "done", "status": "failed"})
        run = story(server)
        page.wait_for_selector(".run >> text=A whole story")
        connection(page, "live")
        found["list"] = violations(page, axe)
        assert sideways(page) <= 0, "the list is wider than the window"
        for tab in TABS:
            page.goto(f"{server.url}/runs/{run}?tab={tab}&test=test_a.py::test_1&find=faint")
            connection(page, "live")
            volatile(server, run, {"type": "frame", "data": PICTURE})
            volatile(server, run, {"type": "mouse", "x": 17})
            page.wait_for_selector("figure canvas")
            page.wait_for_selector(".volatile")
            if tab == "compare":
                page.wait_for_selector(".compared")
            found[tab] = violations(page, axe)
            assert sideways(page) <= 0, f"{tab} is wider than the window"
        emit(server, run, {"type": "done", "status": "failed", "error": "It broke."})
        connection(page, "finished")
        page.wait_for_selector(".replay")
        found["finished"] = violations(page, axe)
        page.get_by_label("Moment").press("Home")
        page.wait_for_selector(".replayed")
        found["replay"] = violations(page, axe)
        assert sideways(page) <= 0, "the replay is wider than the window"
        page.goto(f"{server.url}/runs/none")
        connection(page, "gone")
        tabs.forgiven = ["404"]
        found["gone"] = violations(page, axe)
        assert {view: lines for view, lines in found.items() if lines} == {}


def test_axe_finds_nothing_where_one_signs_in(tmp_path: Path, browser: Browser, axe: str) -> None:
    server = ServerProcess(tmp_path, env={"JWT_SECRET": SECRET})
    try:
        server.start()
        for name in WINDOWS:
            with window(browser, name) as tabs:
                tabs.forgiven = ["401"]
                page = tabs.open(server.url)
                page.wait_for_selector(".sign-in")
                assert violations(page, axe) == []
                assert sideways(page) <= 0
    finally:
        server.close()


def test_tab_comes_to_everything_and_shows_where_it_is(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a row that only the pointer opens, and an outline that is taken away."""
    run = story(server)
    page = tabs.open(server.url)
    page.wait_for_selector(".run")
    all_reached(page)
    for tab in TABS:
        page.goto(f"{server.url}/runs/{run}?tab={tab}&test=test_a.py::test_1&find=faint")
        connection(page, "live")
        if tab == "compare":
            page.wait_for_selector("text=This is the first run")
        all_reached(page)
    page.locator("#tab-events").press("ArrowLeft")
    assert page.evaluate("document.activeElement.id") == "tab-compare"
    assert "tab=compare" in page.url


def all_reached(page: Page) -> None:
    page.mouse.click(0, 0)
    left = set(range(page.evaluate(REACHABLE)))
    for _ in range(len(left)):
        page.keyboard.press("Tab")
        number, what, seen = page.evaluate(AT)
        assert seen, f"nothing shows that this has the focus: {what}"
        left.discard(number)
    never = [page.evaluate("(number) => globalThis.marked[number].outerHTML", number) for number in left]
    assert never == []


def test_nothing_moves_for_whoever_wants_that(server: ServerProcess, browser: Browser) -> None:
    """Caught: a bar that grows smoothly all the same."""
    run = story(server)
    moves = "getComputedStyle(document.querySelector('.bar i')).transitionDuration"
    for wanted, took in (("no-preference", "0.3s"), ("reduce", "0s")):
        with Tabs(browser, reduced_motion=wanted) as tabs:
            page = tabs.open(f"{server.url}/runs/{run}")
            connection(page, "live")
            assert page.evaluate(moves) == took


def story(server: ServerProcess) -> str:
    """A run of which every view has something to show."""
    fields: dict[str, Any] = {"tracePath": "/artifacts/trace.zip", "ci": {"job": 12}}
    run = server.make_run(name="A whole story", total=30, testQueue=[{"id": "later", "name": "later"}], **fields)
    start = 1_800_000_000_000
    statuses = ("passed", "failed", "error", "skipped", "xfailed", "xpassed", "warning")
    emit(
        server,
        run,
        {"type": "log", "message": "plain \x1b[31mred\x1b[0m \x1b[1;93mbright\x1b[0m \x1b[38;5;200mpink\x1b[0m"},
        {"type": "log", "message": "\x1b[2mfaint\x1b[0m"},
        {"type": "log", "message": "an error", "level": "error", "testId": "test_a.py::test_1"},
        {"type": "log", "message": "a warning", "level": "warn"},
        {"type": "llm_token", "token": "words"},
        {"type": "weird", "x": 1},
        *(
            result(
                f"test_a.py::test_{number}",
                status,
                durationMs=100 * number,
                startedAt=start + 100 * number,
                error="E   assert 1 == 2" if status in ("failed", "error") else None,
                worker=f"gw{number % 2}",
            )
            for number, status in enumerate(statuses)
        ),
    )
    return run
