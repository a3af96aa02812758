"""`scripts/bench_page`: what the page weighs, how soon it shows a long run, how smooth it stays while one comes in."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from tests.browser import chromium
from tests.server_process import ServerProcess
from tests.test_page_files import names

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

LINES, RESULTS, MINUTES = 100_000, 5_000, 60
BATCH = 1000
RATE, SECONDS = 200, 10  # events a second, and for how long
# The time between two frames, as the page's own clock has it.
FRAMES = """() => {
  globalThis.frames = [];
  let before = performance.now();
  const frame = (now) => { globalThis.frames.push(now - before); before = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}"""
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
SINCE = "() => performance.now()"


def events(begin: float) -> Iterator[dict[str, Any]]:
    """An hour of tests: 20 lines and a result each, from four workers."""
    for number in range(RESULTS):
        end = begin + 60 * MINUTES * number / RESULTS
        test = f"tests/test_area_{number % 50}.py::test_case_{number}"
        for line in range(LINES // RESULTS):
            text = f"\x1b[2m{line:03d}\x1b[0m request {number}-{line} answered \x1b[32m200\x1b[0m in {line * 7 % 90} ms"
            yield {"type": "log", "message": text, "level": "info", "testId": test, "_at": stamp(end)}
        result = {
            "testId": test,
            "testName": test.partition("::")[2],
            "status": "failed" if number % 100 == 7 else "passed",
            "durationMs": 2500 + number % 400,
            "startedAt": round(1000 * (end - 2.5)),
            "worker": f"gw{number % 4}",
        }
        if result["status"] == "failed":
            result["error"] = "def test():\n>   assert 1 == 2\nE   AssertionError: assert 1 == 2\n" * 10
        yield {"type": "result", "result": result, "_at": stamp(end)}


def stamp(seconds: float) -> str:
    """As the protocol writes times."""
    whole, part = divmod(seconds, 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int(1000 * part):03d}Z"


def long_run(server: ServerProcess, ended: bool) -> str:
    """A run of an hour that is stored already."""
    begin = time.time() - 60 * MINUTES
    run = server.make_run("bench", name="an hour", total=RESULTS + 100, startedAt=stamp(begin))
    told = events(begin)
    while batch := list(islice(told, BATCH)):
        post(server, run, batch)
    if ended:
        post(server, run, [{"type": "done", "status": "failed"}])
    return run


def post(server: ServerProcess, run: str, batch: list[dict[str, Any]]) -> None:
    status, answer = server.request("POST", f"/api/v1/runs/{run}/events", batch)
    assert status == 201, answer


def weight(server: ServerProcess) -> int:
    """Bytes of the page with all that it loads, as they go over the wire."""
    with httpx2.Client(base_url=server.url, headers={"Accept-Encoding": "gzip"}) as http:
        page = http.get("/runs/RUN-1")
        answers = [page, *(http.get(page.url.join(link)) for link in {*names(page.text)})]
        return sum(int(answer.headers["Content-Length"]) for answer in answers)


def opening(browser: Browser, url: str) -> dict[str, float]:
    """Milliseconds to the first paint, to how the run stands, and to its last line; megabytes then."""
    page = browser.new_page()
    page.goto(url)
    page.wait_for_selector(".numbers")
    head = page.evaluate(SINCE)
    page.wait_for_selector('.connection[data-state="finished"]', timeout=60_000)
    page.get_by_text(f"request {RESULTS - 1}-{LINES // RESULTS - 1} answered").wait_for()
    last = page.evaluate(SINCE)
    figures = {"first paint ms": page.evaluate(PAINT), "head ms": head, "last line ms": last, **memory(page)}
    page.close()
    return figures


def smoothness(browser: Browser, server: ServerProcess, run: str, tab: str) -> dict[str, float]:
    """While 200 events a second come into a run that is long already: the frames, and the work of the main thread."""
    page = browser.new_page()
    page.goto(f"{server.url}/runs/{run}?tab={tab}")
    page.wait_for_selector('.connection[data-state="live"]', timeout=60_000)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.evaluate(FRAMES)
    before, begun = metrics(session), time.monotonic()
    for turn in range(SECONDS * 10):
        post(server, run, [coming(turn, number) for number in range(RATE // 10)])
        time.sleep(max(0.0, begun + (turn + 1) / 10 - time.monotonic()))
    took = time.monotonic() - begun
    after, frames = metrics(session), sorted(page.evaluate("() => globalThis.frames"))
    figures = {
        "events/s": RATE * SECONDS / took,
        "frames/s": len(frames) / took,
        "frame p50 ms": statistics.median(frames),
        "frame p95 ms": frames[int(0.95 * len(frames))],
        "frame max ms": frames[-1],
        "main thread %": 100 * (after["TaskDuration"] - before["TaskDuration"]) / took,
        "script %": 100 * (after["ScriptDuration"] - before["ScriptDuration"]) / took,
        **memory(page),
    }
    page.close()
    return figures


def coming(turn: int, number: int) -> dict[str, Any]:
    """One of the events that come in: every twentieth is a result."""
    if number % 20 == 0:
        return {"type": "result", "result": {"testId": f"live {turn % 100}", "status": "passed", "durationMs": 5}}
    return {"type": "log", "message": f"live line {turn}-{number} \x1b[33mwith colour\x1b[0m and some more words"}


def metrics(session: CDPSession) -> dict[str, float]:
    """What the browser counts of a tab."""
    return {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}


def memory(page: Page) -> dict[str, float]:
    """Megabytes of the tab's own objects after a collection, and of its whole process."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    return {"heap MB": metrics(session)["JSHeapUsedSize"] / 1e6, "process MB": largest_renderer() / 1e3}


def largest_renderer() -> int:
    """Resident kilobytes of the largest process that draws pages."""
    largest = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            status = (folder / "status").read_text()
        except OSError:
            continue
        if b"--type=renderer" in command:
            largest = max(largest, int(status.partition("VmRSS:")[2].split()[0]))
    return largest


def main() -> None:
    """Print it, and keep it where --json says."""
    parser = argparse.ArgumentParser(prog="scripts/bench_page", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        server = ServerProcess(Path(folder)).start()
        try:
            ended, live = long_run(server, ended=True), long_run(server, ended=False)
            figures["weight"] = {"KB": weight(server) / 1e3}
            show("weight", figures["weight"])
            figures["opening"] = opening(browser, f"{server.url}/runs/{ended}?tab=log")
            show(f"a finished run of {LINES:,} lines and {RESULTS:,} results", figures["opening"])
            for tab in ("log", "results", "timeline"):
                figures[tab] = smoothness(browser, server, live, tab)
                show(f"{RATE} events a second into such a run, {tab}", figures[tab])
        finally:
            server.close()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def show(what: str, figures: dict[str, float]) -> None:
    """A line of figures."""
    print(f"{what}: " + ", ".join(f"{name} {value:.1f}" for name, value in figures.items()), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
