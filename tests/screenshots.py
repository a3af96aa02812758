"""`scripts/screenshots`: the pictures of the page in docs/page, from a real server that is told a shop's tests."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from tests.browser import chromium
from tests.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).parent.parent / "docs" / "page"
AREAS = {
    "cart": ("adds_an_item", "removes_an_item", "merges_after_login", "keeps_quantities", "survives_a_restart"),
    "checkout": (
        "charges_once",
        "refuses_an_expired_card",
        "applies_a_voucher",
        "retries_a_timeout",
        "sends_a_receipt",
    ),
    "search": ("finds_a_typo", "ranks_exact_first", "pages", "filters_by_price", "is_fast_enough"),
    "account": ("signs_up", "resets_a_password", "locks_after_five", "exports_data", "deletes_everything"),
}
CASES = ("", "[guest]", "[member]", "[mobile]")
TESTS = [
    f"tests/test_{area}.py::test_{name}{case}" for area, names in AREAS.items() for name in names for case in CASES
]
TRACEBACK = """    def test_charges_once(shop, card):
        order = shop.order(cart=[BOOK, MUG], card=card)
        with shop.gateway.slow(seconds=3):
            order.pay()
            order.pay()  # the customer is impatient
>       assert shop.gateway.charges(card) == [order.total]
E       AssertionError: assert [Money('24.80'), Money('24.80')] == [Money('24.80')]
E         Left contains one more item: Money('24.80')
E         Use -v to get more diff

tests/test_checkout.py:41: AssertionError"""
OUTPUT = (
    "\x1b[2mGET\x1b[0m /cart \x1b[32m200\x1b[0m 14 ms",
    "\x1b[2mPOST\x1b[0m /orders \x1b[32m201\x1b[0m 48 ms",
    "\x1b[2mPOST\x1b[0m /orders/7/pay \x1b[33m202\x1b[0m 3012 ms",
    "gateway: charged \x1b[1m24.80 EUR\x1b[0m",
)
FAILING = {"tests/test_checkout.py::test_charges_once[guest]", "tests/test_search.py::test_is_fast_enough[mobile]"}


class Told:
    """A run of the shop's tests, told to a server as if it had begun some time ago."""

    def __init__(self, server: ServerProcess, began: datetime, project: str, name: str, seed: int) -> None:
        self._server = server
        self._began = began
        self._random = Random(seed)
        queue = [{"id": test, "name": test.partition("::")[2]} for test in TESTS]
        fields: dict[str, Any] = {"startedAt": stamp(began), "branch": "main", "commit": "9f1c2ab"}
        self.id = server.make_run(project, name=name, total=len(TESTS), testQueue=queue, **fields)

    def tell(self, tests: int, failing: set[str], status: str | None = None) -> None:
        """So many tests on four workers, and the end if there is one."""
        events = sorted(self._events(TESTS[:tests], failing), key=lambda event: str(event["_at"]))
        for start in range(0, len(events), 500):
            self._post(events[start : start + 500])
        if status is not None:
            self._post([{"type": "done", "status": status, "_at": events[-1]["_at"]}])

    def _post(self, events: list[dict[str, Any]]) -> None:
        answer = self._server.request("POST", f"/api/v1/runs/{self.id}/events", events)
        assert answer[0] == 201, answer

    def _events(self, tests: list[str], failing: set[str]) -> Iterator[dict[str, Any]]:
        free = {f"gw{number}": self._began + timedelta(seconds=1) for number in range(4)}
        for test in tests:
            worker = min(free, key=lambda name: free[name])
            seconds = self._random.lognormvariate(0.2, 0.9) * (4 if "slow" in test or "timeout" in test else 1)
            start, end = free[worker], free[worker] + timedelta(seconds=seconds)
            free[worker] = end + timedelta(seconds=0.1)
            for number, text in enumerate(OUTPUT):
                at = start + (end - start) * (number + 1) / (len(OUTPUT) + 1)
                yield {"type": "log", "message": text, "level": "info", "testId": test, "_at": stamp(at)}
            result: dict[str, Any] = {"testId": test, "testName": test.partition("::")[2], "status": "passed"}
            if test in failing:
                result |= {"status": "failed", "error": TRACEBACK}
                line = "gateway: charged twice for one order"
                yield {"type": "log", "message": line, "level": "error", "testId": test, "_at": stamp(end)}
            elif "exports" in test and "mobile" in test:
                result |= {"status": "skipped", "reason": "There is no export on phones."}
            times = {"durationMs": round(1000 * seconds), "startedAt": round(1000 * start.timestamp())}
            yield {"type": "result", "result": {**result, **times, "worker": worker}, "_at": stamp(end)}


def stamp(time: datetime) -> str:
    """As the protocol writes times."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tell_all(server: ServerProcess) -> tuple[str, str]:
    """A morning of runs. Returns one that has failed, and one that runs."""
    now = datetime.now(UTC)
    past = (
        (190, "shop", "nightly", set[str](), "completed"),
        (130, "api", "contract tests", set[str](), "completed"),
        (95, "shop", "main · 4ab9c01", set[str](), "completed"),
        (70, "crawler", "sitemap", set[str](), "interrupted"),
        (52, "shop", "main · 77e0d3f", {"tests/test_search.py::test_is_fast_enough[mobile]"}, "failed"),
        (41, "api", "contract tests", set[str](), "aborted"),
        (26, "shop", "main · 9f1c2ab", FAILING, "failed"),
    )
    failed = ""
    for number, (minutes, project, name, failing, status) in enumerate(past):
        run = Told(server, now - timedelta(minutes=minutes), project, name, number)
        run.tell(len(TESTS) // 2 if status in ("aborted", "interrupted") else len(TESTS), failing, status)
        failed = run.id
    Told(server, now - timedelta(seconds=25), "api", "contract tests", 8).tell(39, set())
    live = Told(server, now - timedelta(seconds=31), "shop", "main · c81d55e", 9)
    live.tell(52, {"tests/test_checkout.py::test_charges_once[guest]"})
    return failed, live.id


def main() -> None:
    """Make all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        server = ServerProcess(Path(folder)).start()
        try:
            failed, live = tell_all(server)
            run = f"{server.url}/runs/{failed}"
            shoot(browser, "list", server.url, ".run")
            shoot(browser, "live", f"{server.url}/runs/{live}?tab=log", '.connection[data-state="live"]')
            test = "tests/test_checkout.py::test_charges_once[guest]"
            shoot(browser, "failed", f"{run}?test={test}", "text=AssertionError")
            shoot(browser, "timeline", f"{run}?tab=timeline", ".replay")
            shoot(browser, "replay", f"{run}?tab=results&at=20", ".replay")
            shoot(browser, "compare", f"{run}?tab=compare", ".compared", color_scheme="light")
            phone = {"viewport": {"width": 390, "height": 760}}
            shoot(browser, "phone-list", server.url, ".run", **phone)
            shoot(browser, "phone", f"{run}?test={test}", "text=AssertionError", **phone)
        finally:
            server.close()


def shoot(browser: Browser, name: str, url: str, ready: str, **options: Any) -> None:
    """One picture, when `ready` is there and nothing moves any more."""
    chosen = {"viewport": {"width": 1280, "height": 760}, "color_scheme": "dark", "reduced_motion": "reduce", **options}
    context = browser.new_context(**chosen)
    page: Page = context.new_page()
    page.goto(url)
    page.wait_for_selector(ready)
    time.sleep(0.7)  # pictures of what is still being drawn are no use
    page.screenshot(path=FOLDER / f"{name}.png")
    context.close()


if __name__ == "__main__":
    main()
