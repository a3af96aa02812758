"""W12 and W13: how smooth the page stays while much comes into a run that is long already."""

from __future__ import annotations

import time
from base64 import b64encode
from pathlib import Path
from typing import Any

from tests.bench.hour import LINES, LIVE, RESULTS, SECONDS, post, serving
from tests.bench.judge import Column, Measure, Target, Workload
from tests.bench.load import Sample
from tests.bench.tab import opened

TURNS = 20  # a second, in which events are posted: also pictures a second
RATE = 200  # events a second
A_WHILE = 10  # seconds
AN_HOUR = SECONDS // TURNS  # seconds, for as many pictures as one a second are in an hour
FRAME = 33  # milliseconds: 30 a second


def watching(view: str, seconds: int = A_WHILE, rate: int = RATE, pictures: bool = False) -> Measure:
    """A tab sees everything that comes; `pictures` are those of the run's browser."""

    def measure(folder: Path) -> Sample:
        with serving(folder) as http, opened(str(http.base_url.join(f"/runs/{LIVE}?tab={view}"))) as tab:
            tab.connection("live")
            picture = tab.page.screenshot(type="jpeg", quality=70)
            tab.count_frames()
            worked, begun, memory = tab.busy(), time.monotonic(), [tab.megabytes()]
            for turn in range(seconds * TURNS):
                post(http, LIVE, [_coming(turn, number) for number in range(rate // TURNS)])
                if pictures:
                    post(http, LIVE, [_frame(picture, turn)], volatile=True)
                if turn % TURNS == 0:
                    memory.append(tab.megabytes())
                time.sleep(max(0.0, begun + (turn + 1) / TURNS - time.monotonic()))
            took = time.monotonic() - begun
            worked = tab.busy() - worked
            frames = tab.frames()
            tab.page.locator("#tab-events", has_text=f"{LINES + RESULTS + seconds * rate:,}").wait_for()
            if pictures:
                tab.page.wait_for_selector('figure canvas[width="1280"]')
        return {
            "rate": seconds * rate / took,
            "frames": len(frames) / took,
            "p95": frames[int(0.95 * len(frames))],
            "longest": frames[-1],
            "busy": 100 * worked / took,
            "memory": max(memory),
        }

    return measure


def _coming(turn: int, number: int) -> dict[str, Any]:
    """One of the events: of each turn the first is a result."""
    if number == 0:
        return {"type": "result", "result": {"testId": f"live {turn % 100}", "status": "passed", "durationMs": 5}}
    return {"type": "log", "message": f"live line {turn}-{number} \x1b[33mwith colour\x1b[0m and some more words"}


def _frame(picture: bytes, turn: int) -> dict[str, Any]:
    """Each another one, as the browser sees it: what follows the end of a JPEG is not drawn."""
    return {"type": "frame", "data": b64encode(picture + turn.to_bytes(4)).decode()}


COLUMNS = (
    Column("rate", "events/s"),
    Column("frames", "frames/s", ",.1f"),
    Column("p95", "frame p95 ms", ",.1f"),
    Column("longest", "longest frame ms", ",.1f"),
    Column("busy", "main thread %", ",.1f"),
    Column("memory", "most process MB"),
)
VIEWS = {
    "log": watching("log"),
    "results": watching("results"),
    "timeline": watching("timeline"),
    "log and pictures": watching("log", pictures=True),
}
CAST = "log and pictures"
W12 = Workload(
    "W12",
    f"the page while {RATE} events a second come into a run that has {LINES:,} lines and {RESULTS:,} results already; "
    f"pictures: {TURNS} a second",
    COLUMNS,
    VIEWS,
    [target for view in VIEWS for target in (Target("p95", FRAME, row=view), Target("memory", 300, row=view))],
    rounds=3,
)
W13 = Workload(
    "W13",
    f"a screencast of {AN_HOUR * TURNS:,} pictures in {AN_HOUR} s, with {TURNS} events a second, in such a run",
    COLUMNS,
    {CAST: watching("log", AN_HOUR, TURNS, pictures=True)},
    (Target("p95", FRAME, row=CAST), Target("memory", 300, row=CAST)),
    rounds=1,
    quick=1,
)
