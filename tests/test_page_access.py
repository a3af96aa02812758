"""The page for everybody: axe-core finds nothing on any view in both themes, and all of it works by the keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import Tabs
from tests.npm import install
from tests.server_process import ServerProcess
from tests.test_page import PICTURE, connection, emit, result, volatile

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.node]
HERE = Path(__file__).parent / "axe"
WIDTHS = {"wide": 1280, "phone": 390}


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(server: ServerProcess, browser: Browser, axe: str, scheme: str, width: str) -> None:
    """Caught: a grey that is too pale on white, a scrolling region that no key reaches, a select without a name."""
    with Tabs(browser, color_scheme=scheme, viewport={"width": WIDTHS[width], "height": 844}) as tabs:
        page = tabs.open(server.url)
        page.wait_for_selector("text=No runs yet")
        found = {"empty list": violations(page, axe)}
        old = server.make_run(name="monday")
        emit(server, old, result("a", "passed"), result("b", "failed"), {"type": "done", "status": "failed"})
        run = story(server)
        page.wait_for_selector(".run >> text=A whole story")
        connection(page, "live")
        found["list"] = violations(page, axe)
        for tab in ("results", "log", "timeline", "compare", "events"):
            page.goto(f"{server.url}/runs/{run}?tab={tab}&test=test_a.py::test_1")
            connection(page, "live")
            volatile(server, run, {"type": "frame", "data": PICTURE})
            volatile(server, run, {"type": "mouse", "x": 17})
            page.wait_for_selector("figure img")
            page.wait_for_selector(".volatile")
            if tab == "compare":
                page.wait_for_selector(".compared")
            found[tab] = violations(page, axe)
            assert sideways(page) <= 0, f"{tab} is wider than the window"
        emit(server, run, {"type": "done", "status": "failed", "error": "It broke."})
        connection(page, "finished")
        page.wait_for_selector(".replay")
        found["finished"] = violations(page, axe)
        assert {view: lines for view, lines in found.items() if lines} == {}


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
