"""A tab of a real Chromium, and what that counts of it: its main thread, its frames, its memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import kit
from tests.bench.load import Flawed
from tests.browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATIENCE = 60_000  # milliseconds
# The times between two frames, as the page's own clock has them.
FRAMES = """() => {
    globalThis.frames = [];
    let before = performance.now();
    const frame = (now) => {
        globalThis.frames.push(now - before);
        before = now;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}"""


class Tab:
    """`page` is Playwright's."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable")

    def connection(self, name: str) -> None:
        """Wait until the page says so of its connection."""
        self.page.wait_for_selector(f'.connection[data-state="{name}"]')

    def count_frames(self) -> None:
        """From now on."""
        self.page.evaluate(FRAMES)

    def frames(self) -> list[float]:
        """Milliseconds between two frames, the shortest first."""
        return sorted(self.page.evaluate("globalThis.frames"))

    def busy(self) -> float:
        """Seconds for which its main thread has worked."""
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    def megabytes(self) -> float:
        """Memory of the process that draws it: of those of this browser, the one that has most.

        Its own: the browser's program, which all processes share, is not counted.
        """
        mine = [found for found in Path("/proc").glob("[0-9]*") if _renders(found) and os.getpid() in _above(found)]
        return max(_status(found, "RssAnon") + _status(found, "RssShmem") for found in mine) / 1000


@contextmanager
def opened(url: str) -> Iterator[Tab]:
    """In a browser of its own, which has nothing in its cache. Raises `Flawed` for what does not come in time."""
    kit.debian("chromium-headless-shell")
    from playwright.sync_api import Error

    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE)
        try:
            page.goto(url)
            yield Tab(page)
        except Error as error:
            raise Flawed(f"the page: {error.message.splitlines()[0]}") from error


def _renders(process: Path) -> bool:
    try:
        return b"--type=renderer" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def _above(process: Path) -> Iterator[int]:
    """The processes that started it, and those that started them."""
    pid = int(process.name)
    while pid > 1:
        pid = _status(Path(f"/proc/{pid}"), "PPid")
        yield pid


def _status(process: Path, name: str) -> int:
    """A number of its status; 0 if it has ended."""
    try:
        text = (process / "status").read_text()
    except OSError:
        return 0
    return int(text.partition(f"{name}:")[2].split()[0])
