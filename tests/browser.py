"""A real Chromium (Debian's), and tabs in it that fail their test for whatever the browser complains about."""

from __future__ import annotations  # Playwright is installed where these tests run, and only there

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

NAMES = ("chromium-headless-shell", "chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, from `with` to its end. While it is open no other event loop can run in this thread."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program, "These tests take a Chromium: scripts/debian chromium-headless-shell"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            browser.close()


class Tabs:
    """One browser profile: its tabs share cookies, storage and workers. At its end there must be no complaint.

    Complaints are errors in the console, which includes breaches of the content security policy, and exceptions.
    `forgiven` holds parts of those that the test itself has brought about.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.forgiven: list[str] = []
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.context.set_default_timeout(20_000)
        self.context.on("console", lambda message: self._hear(message.type, message.text))
        self.context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def open(self, url: str) -> Page:
        """A new tab."""
        page = self.context.new_page()
        page.goto(url)
        return page

    def __enter__(self) -> Tabs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.context.close()
        if error is None:
            assert [text for text in self.complaints if not any(part in text for part in self.forgiven)] == []
