"""A finished run plays again in a real browser."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import Tabs
from tests.server_process import ServerProcess
from tests.test_page import connection, emit, result

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
# Every state of a run at every moment, by one player that goes on, one that begins anew, and the events up to then.
MOMENTS = """async ([document_, events]) => {
    const links = [...document.querySelectorAll("link[rel=modulepreload]")];
    const module = (name) => import(links.find(({ href }) => href.endsWith(`/${name}`)).href);
    const { Player } = await module("player.js");
    const { apply, beginning } = await module("run-state.js");
    const seen = ({ lines, results, counts, fields, events, tokens }) =>
        JSON.stringify([lines, [...results], counts, fields.status, fields.note, events.length, tokens]);
    const going = new Player(document_, events);
    const found = [];
    for (let at = 0; at <= 10_000; at += 500) {
        const plain = beginning(document_, events);
        const begin = Date.parse(document_.startedAt);
        const late = events.findIndex((entry) => Date.parse(entry.at) > begin + at);
        apply(plain, late === -1 ? events : events.slice(0, late));
        found.push([seen(going.seek(at)), seen(new Player(document_, events).seek(at)), seen(plain)]);
    }
    for (let at = 9_500; at >= 0; at -= 500) found.push([found[at / 500][0], seen(going.seek(at))]);
    return found;
}"""


def played(server: ServerProcess) -> str:
    """A run of 10 s: a message and a result each second but the eighth, and an update in its middle."""
    run = server.make_run(total=10, name="played")
    begin = datetime.fromisoformat(server.document(run)["startedAt"])
    events: list[dict[str, Any]] = []
    for second in (1, 2, 3, 4, 5, 6, 7, 9):
        at = (begin + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
        events.append({"type": "log", "message": f"second {second}\nand its half", "_at": at})
        events.append({**result(f"test {second}", "failed" if second % 3 == 0 else "passed"), "_at": at})
        if second == 5:
            events.append({"type": "update", "run": {"note": "half of it"}, "_at": at})
    at = (begin + timedelta(seconds=10)).isoformat().replace("+00:00", "Z")
    emit(server, run, *events, {"type": "done", "status": "failed", "_at": at})
    return run


def head(page: Page) -> list[str]:
    """Status, clock, and the numbers of what failed, passed, was skipped and is to come."""
    stand = page.locator(".stand")
    return [
        stand.locator(".status").inner_text().replace("\n", " "),
        stand.locator(".clock").inner_text(),
        *page.locator(".numbers dd").all_inner_texts(),
    ]


def test_the_page_at_a_second_is_as_it_was_then(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a clock that shows the last event's time, later lines, and a replay that cannot be linked to."""
    run = played(server)
    page = tabs.open(f"{server.url}/runs/{run}?tab=log&at=4.5")
    page.wait_for_selector(".replayed")
    assert head(page) == ["● running", "0:04", "1", "3", "0", "6"]
    assert page.locator(".log .text").all_inner_texts()[-2:] == ["second 4", "and its half"]
    assert "half of it" not in page.inner_text("main")
    scrubber = page.get_by_label("Moment")
    scrubber.press("End")
    page.wait_for_selector(".stand >> text=failed")
    assert head(page)[0] == "✕ failed"
    assert page.locator(".log .text").last.inner_text() == "and its half"
    scrubber.fill("7000")
    page.wait_for_selector(".head >> text=0:07")
    assert head(page) == ["● running", "0:07", "2", "5", "0", "3"]
    assert scrubber.get_attribute("aria-valuetext") == "0:07 of 0:10"
    scrubber.fill("8500")
    page.wait_for_selector(".head >> text=0:08")
    page.wait_for_url("**/*at=8.5*")
    page.reload()
    page.wait_for_selector(".replayed")
    assert head(page) == ["● running", "0:08", "2", "5", "0", "3"]
    page.get_by_role("button", name="End replay").click()
    page.wait_for_selector(".replay:not(.replayed)")
    assert head(page) == ["✕ failed", "10.0 s", "3", "5", "0", "2"]
    page.wait_for_url(lambda url: "at=" not in url)


def test_it_plays_pauses_and_stops_at_its_end(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a pause that goes on, an end that plays for ever, and one from which it does not begin anew."""
    run = played(server)
    page = tabs.open(f"{server.url}/runs/{run}")
    connection(page, "finished")
    page.get_by_label("Speed").select_option("5×")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_selector(".head >> text=running")
    page.wait_for_selector(".results >> text=test 3")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play", exact=True).wait_for()
    page.wait_for_url("**/*at=*")  # it is quiet
    stopped = page.get_by_label("Moment").input_value()
    assert 3000 <= float(stopped) < 9000
    page.get_by_label("Speed").select_option("30×")
    assert page.get_by_label("Moment").input_value() == stopped
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_selector(".stand >> text=failed")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    assert page.locator(".results .row").count() == 8
    page.get_by_label("Speed").select_option("1×")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_selector(".head >> text=running")
    assert page.locator(".results .row").count() < 3


def test_every_moment_is_the_same_however_one_comes_there(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a step back that keeps what came later."""
    run = played(server)
    page = tabs.open(server.url)
    for states in page.evaluate(MOMENTS, [server.document(run), server.history(run)]):
        assert len(set(states)) == 1


def test_a_run_that_still_runs_has_no_replay(server: ServerProcess, tabs: Tabs) -> None:
    """Caught: a replay that ends before the run does."""
    run = server.make_run()
    page = tabs.open(f"{server.url}/runs/{run}?at=1")
    connection(page, "live")
    assert page.get_by_role("region", name="Replay").count() == 0
    emit(server, run, {"type": "done", "status": "completed"})
    page.get_by_role("region", name="Replay").wait_for()
