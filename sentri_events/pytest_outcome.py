"""What pytest's reports of one test come to: its `result`, and the output that is new in each report."""

from __future__ import annotations  # users' pytest may be older than some of the types named here

from collections.abc import Iterator
from typing import Any

import pytest

# Characters of one text. As JSON a character takes 12 bytes at most, and the server takes events of 1 MiB.
LONGEST_TEXT = 64 * 1024
FAILED = ("failed", "error")


class Outcome:
    """One test from its first report to its last."""

    __slots__ = ("errors", "id", "reason", "seconds", "sections", "started", "status", "worker")

    def __init__(self, id: str, worker: str | None) -> None:
        self.id = id
        self.worker = worker
        self.sections: list[tuple[str, str]] = []
        self.reset()

    def reset(self) -> None:
        """It runs again from its beginning. Its output stays known: pytest repeats it in the reports that follow."""
        self.status = ""
        self.started = 0.0
        self.seconds = 0.0
        self.errors: list[str] = []
        self.reason = ""

    def output(self, report: pytest.TestReport | pytest.CollectReport) -> list[tuple[str, str]]:
        """The captured sections that are new in this report: each report repeats those of the test's earlier ones."""
        sections = report.sections
        new = 0
        for known, section in zip(self.sections, sections, strict=False):
            if known != section:
                break
            new += 1
        if not _is_subtest(report):  # its own output is in no later report
            self.sections = sections
        return sections[new:]

    def add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Take a report in. What failed once stays failed; else the later phase speaks."""
        if not self.started:
            self.started = getattr(report, "start", 0.0)
        whole = not _is_subtest(report)
        if whole:
            self.seconds += getattr(report, "duration", 0.0)
        if report.outcome == "failed":
            self.errors.append(report.longreprtext)
            if self.status not in FAILED:
                self.status = "failed" if report.when == "call" else "error"
        elif whole and (report.when == "call" or report.outcome == "skipped") and self.status not in FAILED:
            expected = getattr(report, "wasxfail", None)  # the reason of an xfail, "" where it has none
            if expected is not None:
                self.status = "xfailed" if report.outcome == "skipped" else "xpassed"
                self.reason = str(expected).removeprefix("reason: ")
            else:
                self.status = report.outcome
                if isinstance(report.longrepr, tuple):
                    self.reason = str(report.longrepr[-1]).removeprefix("Skipped: ")

    def result(self) -> dict[str, Any]:
        """The payload of its `result` event (protocol, section 3)."""
        result: dict[str, Any] = {
            "testId": self.id,
            "testName": name(self.id),
            "status": self.status,
            "durationMs": round(self.seconds * 1000),
        }
        if self.started:
            result["startedAt"] = round(self.started * 1000)
        if self.errors:
            result["error"] = shortened("\n\n".join(self.errors))
        if self.reason:
            result["reason"] = shortened(self.reason)
        if self.worker:
            result["worker"] = self.worker
        return result


def _is_subtest(report: pytest.TestReport | pytest.CollectReport) -> bool:
    return hasattr(report, "context")  # SubtestReport, of pytest 9 and of the plugin pytest-subtests before it


def name(test_id: str) -> str:
    """The test's name within its file."""
    return test_id.partition("::")[2] or test_id


def shortened(text: str) -> str:
    """A traceback says most at its two ends."""
    left_out = len(text) - LONGEST_TEXT
    if left_out <= 0:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]}\n[... {left_out} characters left out ...]\n{text[-half:]}"


def pieces(text: str) -> Iterator[str]:
    """Captured output in pieces that fit into an event, cut at ends of lines where there are any."""
    start, end = 0, len(text.rstrip("\n"))
    while start < end:
        cut = end
        if end - start > LONGEST_TEXT:
            cut = text.rfind("\n", start, start + LONGEST_TEXT) + 1 or start + LONGEST_TEXT
        yield text[start:cut].rstrip("\n")
        start = cut
