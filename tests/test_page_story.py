"""The whole story in a real browser: a pytest run through the plugin, watched live over a kill of the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import Tabs
from tests.browser_proxy import BrowserProxy
from tests.server_process import ServerProcess
from tests.test_page import connection
from tests.test_page_connection import downloaded, holds
from tests.test_pytest_plugin import Project, finished

pytestmark = pytest.mark.browser
TESTS = 60
FILE = f"""
    import time
    import pytest

    @pytest.mark.parametrize("number", range({TESTS}))
    def test_one(number):
        time.sleep(0.05)
        print(f"line one of {{number}}\\nline two of {{number}}")
        assert number % 10, "every tenth fails"
"""


def test_a_pytest_run_is_watched_from_list_to_end_over_a_kill_of_the_server(
    server: ServerProcess, tabs: Tabs, tmp_path: Path
) -> None:
    """Line by line what the store has, in the tab that was there all the time and in one that came late.

    Caught: a stream that goes on at the head after the restart, which leaves out what the plugin kept meanwhile.
    """
    tabs.forgiven = ["net::ERR", "502"]
    (tmp_path / "web").mkdir()
    project = Project(tmp_path / "web")
    project.write("test_web.py", FILE)
    with BrowserProxy(server.port) as proxy:
        page = tabs.open(proxy.url)
        page.wait_for_selector("text=No runs yet")
        process = project.start("--sentri-url", server.url, "--sentri-project", "web")
        page.click(".run >> text=pytest")
        page.evaluate("window.sameDocument = true")
        page.click("#tab-events")
        page.wait_for_selector(".numbers .good")
        server.kill()
        connection(page, "reconnecting")
        page.wait_for_selector("text=not known since")
        server.start()
        connection(page, "live")
        late = tabs.open(page.url)
        status, output = finished(process)
        assert status == 1, output
        (run,) = [run["id"] for run in server.request("GET", "/api/v1/runs")[1]["data"]]
        history = server.history(run)
        for tab in (page, late):
            connection(tab, "finished")
            holds(tab, len(history))
            assert downloaded(tab) == history
            assert tab.locator(".numbers div").all_inner_texts() == [
                f"failed\n{TESTS // 10}",
                f"passed\n{TESTS - TESTS // 10}",
                "skipped\n0",
                "not run\n0",
            ]
        assert page.evaluate("window.sameDocument")
    messages = [entry["event"]["message"] for entry in history if entry["event"]["type"] == "log"]
    assert len([text for text in messages if text.startswith("line one")]) == TESTS
