"""The page's connection in a real browser: it goes on after everything, says how it stands, and stops at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import Tabs
from tests.browser_proxy import BrowserProxy
from tests.server_process import ServerProcess, wait_until
from tests.test_page import connection, emit

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[BrowserProxy]:
    with BrowserProxy(server.port) as proxy:
        yield proxy


def log(*numbers: int, more: str = "") -> list[dict[str, object]]:
    return [{"type": "log", "message": f"line {number}{more}"} for number in numbers]


def downloaded(page: Page) -> list[dict[str, Any]]:
    """Every event that the page holds, as its Events tab gives them away."""
    with page.expect_download() as download:
        page.click("text=Download as JSON lines")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def holds(page: Page, count: int) -> None:
    """Wait until the page has so many events."""
    page.locator("#tab-events", has_text=f"{count:,}").wait_for()


def test_a_restart_and_cuts_lose_nothing_and_double_nothing(
    server: ServerProcess, proxy: BrowserProxy, tabs: Tabs
) -> None:
    """Caught: a cursor that stays behind (everything twice), and a stream that begins at the head again (a gap)."""
    tabs.forgiven = ["net::ERR", "502"]
    run = server.make_run()
    emit(server, run, *log(*range(1000)))
    emit(server, run, *log(*range(1000, 1500)))
    page = tabs.open(f"{proxy.url}/runs/{run}?tab=events")
    connection(page, "live")
    emit(server, run, *log(1500, 1501))
    server.kill()
    page.wait_for_selector(r"text=/Reconnecting in \d+ s/")
    page.wait_for_selector("text=not known since")
    server.start()
    emit(server, run, *log(1502, 1503))
    connection(page, "live")
    holds(page, 1504)
    for number in range(1504, 1510):
        emit(server, run, *log(number))
        proxy.cut()
    emit(server, run, *log(1510), {"type": "done", "status": "completed"})
    connection(page, "finished")
    assert downloaded(page) == server.history(run)


def test_after_the_end_there_is_exactly_one_request_more(
    server: ServerProcess, proxy: BrowserProxy, tabs: Tabs
) -> None:
    """Caught: a page that takes the browser's reconnection after the end for a cut, and opens the stream again."""
    run = server.make_run()
    page = tabs.open(f"{proxy.url}/runs/{run}")
    connection(page, "live")
    before = len(proxy.asked("events"))
    emit(server, run, *log(1), {"type": "done", "status": "completed"})
    page.wait_for_selector('.connection[title="The server has said that nothing more will come."]')
    assert [exchange.status for exchange in proxy.asked("events")[before:]] == [204]


def test_a_finished_run_needs_no_stream(server: ServerProcess, proxy: BrowserProxy, tabs: Tabs) -> None:
    run = server.make_run()
    emit(server, run, *log(1), {"type": "done", "status": "completed"})
    page = tabs.open(f"{proxy.url}/runs/{run}")
    connection(page, "finished")
    assert proxy.asked("events", stream=True) == []


def test_two_tabs_share_one_stream(server: ServerProcess, proxy: BrowserProxy, tabs: Tabs) -> None:
    """Caught: a stream a tab, and a second tab that misses what came before it."""
    run = server.make_run()
    emit(server, run, *log(1, 2))
    first = tabs.open(f"{proxy.url}/runs/{run}?tab=events")
    connection(first, "live")
    emit(server, run, *log(3))
    second = tabs.open(f"{proxy.url}/runs/{run}?tab=events")
    connection(second, "live")
    emit(server, run, *log(4))
    for page in (first, second):
        holds(page, 4)
        assert downloaded(page) == server.history(run)
    assert len(proxy.asked("events", stream=True)) == 1
    first.close()
    emit(server, run, *log(5))
    holds(second, 5)
    assert len(proxy.asked("events", stream=True)) == 1


def test_many_tabs_with_many_runs_share_one_stream(server: ServerProcess, proxy: BrowserProxy, tabs: Tabs) -> None:
    """A browser opens six connections to a host. Caught: a stream a run, which leaves the seventh tab waiting."""
    runs = [server.make_run(name=f"number {number}") for number in range(8)]
    pages = {run: tabs.open(f"{proxy.url}/runs/{run}?tab=events") for run in runs}
    listing = tabs.open(proxy.url)
    for run, page in pages.items():
        connection(page, "live")
        emit(server, run, *log(1), {"type": "done", "status": "completed"} if run == runs[0] else log(2)[0])
        holds(page, 2)
    listing.wait_for_selector(".run >> text=completed")
    for page in list(pages.values())[1:4]:
        page.close()
    for run in runs[4:]:
        emit(server, run, *log(3))
        holds(pages[run], 3)
        assert downloaded(pages[run]) == server.history(run)
    connection(pages[runs[0]], "finished")


@pytest.mark.parametrize("streams", ["refuse", "hold"])
def test_where_streams_do_not_get_through_the_page_asks(
    server: ServerProcess, proxy: BrowserProxy, tabs: Tabs, streams: str
) -> None:
    """Caught: a page that waits for a stream that never begins."""
    proxy.streams = streams
    run = server.make_run()
    page = tabs.open(f"{proxy.url}/runs/{run}?tab=events")
    connection(page, "polling")
    emit(server, run, *log(1))
    holds(page, 1)
    emit(server, run, *log(2), {"type": "done", "status": "failed"})
    connection(page, "finished")
    assert downloaded(page) == server.history(run)


def test_a_slow_reader_gets_everything(server: ServerProcess, proxy: BrowserProxy, tabs: Tabs) -> None:
    """12 MB while nothing is read: the server lets go of it, and it catches up."""
    run = server.make_run()
    page = tabs.open(f"{proxy.url}/runs/{run}?tab=events")
    connection(page, "live")
    proxy.pause(True)
    for first in range(0, 3000, 500):
        emit(server, run, *log(*range(first, first + 500), more=" " + 4000 * "x"))
    proxy.pause(False)
    emit(server, run, {"type": "done", "status": "completed"})
    connection(page, "finished")
    assert downloaded(page) == server.history(run)


def test_a_run_that_is_made_anew_under_its_id_begins_anew(
    server: ServerProcess, proxy: BrowserProxy, tabs: Tabs
) -> None:
    """Caught: the old run's events left standing beside the new one's."""
    tabs.forgiven = ["net::ERR", "502"]
    run = server.make_run(id="again")
    emit(server, run, *log(1, 2, 3))
    page = tabs.open(f"{proxy.url}/runs/{run}?tab=events")
    connection(page, "live")
    server.kill()
    for file in server.database.parent.glob("events.db*"):
        file.unlink()
    server.start()
    server.make_run(id="again")
    emit(server, run, *log(7))
    holds(page, 1)
    assert downloaded(page) == server.history(run)


def test_a_run_that_is_not_there_is_said_to_be_missing(server: ServerProcess, tabs: Tabs) -> None:
    tabs.forgiven = ["404"]
    page = tabs.open(f"{server.url}/runs/none")
    connection(page, "gone")
    page.wait_for_selector("text=There is no run none")


def test_the_stream_is_told_from_a_dead_one(server: ServerProcess, proxy: BrowserProxy, tabs: Tabs) -> None:
    """A stream that is open but brings nothing is found out. Caught: a page that trusts an open connection."""
    run = server.make_run()
    page = tabs.open(f"{proxy.url}/runs/{run}?tab=events")
    connection(page, "live")
    proxy.streams = "hold"
    emit(server, run, *log(1))
    wait_until(lambda: len(proxy.asked("events", stream=True)) > 1, "the page opens another stream", 30)
    proxy.streams = "pass"
    proxy.cut()
    holds(page, 1)
