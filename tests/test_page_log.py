"""The log of a run in a real browser: long ones, live ones, what is searched for, and colours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import Tabs
from tests.server_process import ServerProcess
from tests.test_page import connection, emit

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
DONE: dict[str, object] = {"type": "done", "status": "completed"}
Colour = tuple[int, ...]


def log(message: str, level: str = "info", **more: object) -> dict[str, object]:
    return {"type": "log", "message": message, "level": level, **more}


def numbered(first: int, last: int) -> str:
    return "\n".join(f"this is line {number}" for number in range(first, last + 1))


def in_sight(page: Page) -> list[str]:
    """The texts of the lines between the log's upper and lower edge."""
    texts: list[str] = page.evaluate(
        """() => {
            const box = document.querySelector(".log").getBoundingClientRect();
            const seen = (line) => {
                const { top, bottom } = line.getBoundingClientRect();
                return bottom > box.top + 1 && top < box.bottom - 1;
            };
            const lines = [...document.querySelectorAll(".log .line")].filter(seen);
            return lines.map((line) => line.lastElementChild.textContent);
        }"""
    )
    return texts


def line(page: Page, text: str) -> None:
    """Wait until a line with exactly this text is drawn, within the log's edges."""
    page.locator(".log .text").get_by_text(text, exact=True).wait_for()


def module(page: Page, path: str, name: str, *arguments: object) -> Any:
    """What a function of one of the page's modules gives."""
    return page.evaluate(
        """async ([path, name, given]) => {
            const links = [...document.querySelectorAll("link[rel=modulepreload]")];
            const link = links.find(({ href }) => href.endsWith(`/${path}`));
            return (await import(link.href))[name](...given);
        }""",
        [path, name, list(arguments)],
    )


def test_of_a_hundred_thousand_lines_those_in_sight_are_drawn(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: all lines drawn, a list that stays at the rows it began with."""
    run = server.make_run()
    emit(server, run, *(log(numbered(first, first + 999)) for first in range(1, 100_001, 1000)), DONE)
    page = tabs.open(f"{server.url}/runs/{run}?tab=log")
    line(page, "this is line 100000")
    assert page.locator(".log .line").count() < 150
    page.locator(".log").press("Home")
    line(page, "this is line 1")
    page.evaluate("() => { const log = document.querySelector('.log'); log.scrollTop = log.scrollHeight / 2; }")
    line(page, "this is line 50000")
    page.wait_for_selector(".log .line >> nth=40")
    seen = [int(text.split()[-1]) for text in in_sight(page)]
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert len(seen) >= 15


def test_the_end_is_followed_until_one_scrolls_up(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a log that jumps to its end while somebody reads above."""
    run = server.make_run()
    emit(server, run, log(numbered(1, 500)))
    page = tabs.open(f"{server.url}/runs/{run}?tab=log")
    line(page, "this is line 500")
    emit(server, run, log(numbered(501, 600)))
    line(page, "this is line 600")
    assert in_sight(page)[-1] == "this is line 600"
    page.locator(".log").hover()
    page.mouse.wheel(0, -2000)
    button = page.get_by_role("button", name="To the end")
    button.wait_for()
    page.locator(".log").press("PageUp")
    page.wait_for_selector('.tabs >> text="600"')
    page.locator(".log .text").get_by_text("this is line 480", exact=True).wait_for()
    before = page.evaluate("() => document.querySelector('.log').scrollTop")
    emit(server, run, log("more\n" * 49 + "more", "warn"))
    page.wait_for_selector('.tabs >> text="650"')
    assert page.evaluate("() => document.querySelector('.log').scrollTop") <= before
    button.click()
    emit(server, run, log("the last"))
    line(page, "the last")
    assert in_sight(page)[-1] == "the last"
    assert button.count() == 0


def test_search_goes_from_match_to_match_and_can_be_linked_to(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: colours searched, too, and no way from the last match to the first."""
    run = server.make_run()
    emit(server, run, log(numbered(1, 400)), log("the \x1b[31mnee\x1b[32mdle\x1b[0m one"), log(numbered(402, 800)))
    emit(server, run, log("a NEEDLE and a needle"), log(numbered(802, 999)), DONE)
    page = tabs.open(f"{server.url}/runs/{run}?tab=log")
    line(page, "this is line 999")
    page.keyboard.press("/")
    page.keyboard.type("needle")
    page.wait_for_selector("text=2 found")
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector("text=2 of 2")
    line(page, "a NEEDLE and a needle")
    assert page.locator(".current mark").all_inner_texts() == ["NEEDLE", "needle"]
    page.keyboard.press("Enter")
    page.wait_for_selector("text=1 of 2")
    page.wait_for_selector(".current >> text=one")
    assert page.locator(".current mark").all_inner_texts() == ["nee", "dle"]
    assert "line=401" in page.url
    again = tabs.open(page.url)
    again.wait_for_selector(".current >> text=one")
    again.get_by_label("Line", exact=True).fill("42")
    again.keyboard.press("Enter")
    again.wait_for_selector(".current >> text=this is line 42")
    again.get_by_label("Line 44").click()
    assert again.url.endswith("line=44")


def test_levels_are_chosen_and_the_whole_is_downloaded(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: other names of levels that are not known, and a download of what is drawn."""
    run = server.make_run()
    emit(
        server,
        run,
        log(numbered(1, 300)),
        log("careful", "WARNING"),
        log("broken", "critical"),
        log("what", "odd"),
        DONE,
    )
    page = tabs.open(f"{server.url}/runs/{run}?tab=log")
    line(page, "what")
    page.get_by_label("Level").select_option("warnings and errors")
    page.wait_for_selector('.tabs >> text="303"')
    page.locator('.log .line[data-kind="info"]').first.wait_for(state="detached")
    assert page.locator(".log .text").all_inner_texts() == ["careful", "broken"]
    page.get_by_label("Level").select_option("errors")
    page.locator(".log .text >> text=careful").wait_for(state="detached")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == f"{run}.log"
    assert download.value.path().read_text() == numbered(1, 300) + "\ncareful\nbroken\nwhat\n"


def test_long_lines_are_wrapped_or_not(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: heights that stay those of wrapped lines, so that rows lie over each other."""
    run = server.make_run()
    emit(server, run, *(log(f"{number} " + "long " * 90) for number in range(50)), DONE)
    page = tabs.open(f"{server.url}/runs/{run}?tab=log")
    connection(page, "finished")
    page.locator(".log .text").get_by_text("49 long").wait_for()
    width = "() => { const log = document.querySelector('.log'); return log.scrollWidth - log.clientWidth; }"
    assert page.evaluate(width) == 0
    heights = "() => [...document.querySelectorAll('.log .row')].map((row) => row.offsetHeight)"
    assert min(page.evaluate(heights)) > 19
    page.get_by_label("Wrap").uncheck()
    page.wait_for_selector(".log:not(.wrapped)")
    assert page.evaluate(width) > 0
    assert set(page.evaluate(heights)) == {19}
    tall = "() => document.querySelector('.log .drawn').parentElement.offsetHeight"
    assert page.evaluate(tall) == 50 * 19


def test_colours_are_read_as_a_terminal_reads_them(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: colours that end with their line of a message, and sequences that are no colours left in the text."""
    run = server.make_run()
    emit(
        server,
        run,
        log("\x1b[1;31mred\nstill red\x1b[0m plain", testId="t.py::a", section="Captured stdout call"),
        DONE,
    )
    page = tabs.open(f"{server.url}/runs/{run}?tab=log")
    second = page.locator(".log .line").nth(1).locator(".text span")
    assert second.inner_text() == "still red"
    assert second.get_attribute("class") == "bold"
    assert page.locator(".log .line .text").nth(1).inner_text() == "still red plain"
    assert page.locator(".log .heading").all_inner_texts() == ["t.py::a Captured stdout call"]
    for text, shown in {
        "\x1b]0;title\x07\x1b[2K\x1b[1Aone": "one",
        "10 %\r50 %\r100 %\r": "100 %",
        "\x1b]8;;http://a.b\x1b\\link\x1b]8;;\x1b\\": "link",
        "a\x00b\x1b[": "ab",
        "\x1b[38;2;1;2;3;4mx": "x",
    }.items():
        assert module(page, "ansi.js", "plain", text) == shown
    ways = "38;2;9;8;7", "38:2::9:8:7", "38:2:9:8:7"
    same = [module(page, "ansi.js", "pieces", f"\x1b[{codes}mx") for codes in ways]
    assert same[0] == same[1] == same[2]
    assert module(page, "ansi.js", "pieces", "\x1b[7mx")[0]["className"] == "inverse"


def luminance(colour: Colour) -> float:
    shares = [value / 255 for value in colour]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: Colour, other: Colour) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_colour_can_be_read_in_both_themes(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: yellow on white as it is."""
    page = tabs.open(server.url)
    cards: list[Colour] = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme="light" if theme == "light" else "dark")
        card = page.evaluate(
            """() => {
                const probe = document.body.appendChild(document.createElement("i"));
                probe.style.color = "var(--card)";
                const { color } = getComputedStyle(probe);
                probe.remove();
                return color;
            }"""
        )
        cards.append(tuple(map(int, re.findall(r"\d+", card))))
    for number in range(256):
        style = module(page, "ansi.js", "pieces", f"\x1b[38;5;{number}mx")[0]["style"]
        found = [int(value) for value in re.findall(r"\d+", style["color"])]
        for colour, card in zip((tuple(found[:3]), tuple(found[3:])), cards, strict=True):
            assert contrast(colour, card) >= 4.5
        style = module(page, "ansi.js", "pieces", f"\x1b[31;48;5;{number}mx")[0]["style"]
        text, ground = (tuple(map(int, re.findall(r"\d+", style[name]))) for name in ("color", "backgroundColor"))
        assert contrast(text, ground) >= 4.5
