"""Events as lines of text, with colours or without.

Of the escape sequences in an event only colours get through: a test's output cannot move our cursor, retitle the
window or reach the clipboard.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sentri_events.event import COUNTED_AS, COUNTS

EXIT_STATUS = {"completed": 0, "completed_empty": 0, "failed": 1, "aborted": 3, "interrupted": 3}
RED, GREEN, YELLOW, DIM, BOLD = "31", "32", "33", "2", "1"
OUTCOMES = {0: GREEN, 1: RED, 3: YELLOW}  # by exit status
LEVELS = {"error": RED, "warn": YELLOW, "warning": YELLOW, "debug": DIM}
GROUPS = {"passed": GREEN, "failed": RED, "skipped": YELLOW}
MAX_PAYLOAD = 2000

_CONTROL = re.compile(
    r"(\x1b\[[0-9;:]*m)"  # a colour
    r"|\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, links, the clipboard
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_LINE_END = re.compile(r"\r\n|[\r\n]")


def lines(event: Mapping[str, Any], colour: bool) -> list[str]:
    """The lines that show one event."""
    match event:
        case {"type": "log"}:
            style = LEVELS.get(str(event.get("level")), "")
            return [clean(line, colour, style) for line in _split(event.get("message"))]
        case {"type": "result", "result": dict(result)}:
            return _result(result, colour)
        case {"type": "done"}:
            status = str(event.get("status"))
            counts = ", ".join(f"{event[name]} {name}" for name in GROUPS if event.get(name))
            said = ": ".join(part for part in (counts, str(event.get("error") or "")) if part)
            style = OUTCOMES[EXIT_STATUS.get(status, 1)]
            first, *rest = _split(f"{status}: {said}" if said else status)
            return [clean(first, colour, style), *(clean(f"    {line}", colour) for line in rest)]
        case _:
            payload = json.dumps({key: value for key, value in event.items() if key != "type"}, ensure_ascii=False)
            if len(payload) > MAX_PAYLOAD:
                payload = f"{payload[:MAX_PAYLOAD]}… ({len(payload)} characters)"
            return [clean(f"{event.get('type')} {payload}", colour, DIM)]


def _result(result: Mapping[str, Any], colour: bool) -> list[str]:
    status, test, name = str(result.get("status")), str(result.get("testId")), str(result.get("testName") or "")
    took = result.get("durationMs")
    style = GROUPS.get(COUNTED_AS.get(status, ""), "")
    head = f"{clean(status.upper(), colour, style)} {clean(test if name in test else name, colour)}"
    error = _split(result["error"]) if result.get("error") else []
    timing = f" ({duration(took)})" if isinstance(took, int | float) else ""
    return [head + timing, *(clean(f"    {line}", colour) for line in error)]


def clean(text: str, colour: bool, style: str = "") -> str:
    """`text` without control characters, with its colours where `colour`; `style` dresses what has none of its own."""
    kept = _CONTROL.sub(lambda found: (found[1] or "") if colour else "", text)
    if "\x1b" in kept:
        return kept + "\x1b[0m"
    return paint(kept, style if colour else "")


def table(documents: Iterable[Mapping[str, Any]], colour: bool) -> Iterator[str]:
    """The lines of the list of runs. Times are local."""
    runs = list(documents)
    lines = Table(colour, runs)
    yield lines.head
    yield from map(lines.row, runs)


class Table:
    """The list of runs, in columns that are wide enough for `runs`, and for what is shown later from then on."""

    def __init__(self, colour: bool, runs: Iterable[Mapping[str, Any]]) -> None:
        self._colour = colour
        self._wide = [max(map(len, column)) for column in zip(_HEAD, *map(_cells, runs), strict=True)]

    @property
    def head(self) -> str:
        """The names of the columns."""
        return self._line(_HEAD)

    def row(self, run: Mapping[str, Any]) -> str:
        """A run as it is now."""
        return self._line(_cells(run))

    def _line(self, cells: Sequence[str]) -> str:
        self._wide = [max(size, len(cell)) for size, cell in zip(self._wide, cells, strict=True)]
        padded = [cell.ljust(size) for cell, size in zip(cells, self._wide, strict=True)]
        padded[3:7] = [cell.rjust(size) for cell, size in zip(cells[3:7], self._wide[3:7], strict=True)]
        if self._colour and cells[2] in EXIT_STATUS:
            padded[2] = paint(padded[2], OUTCOMES[EXIT_STATUS[cells[2]]])
        return "  ".join(padded).rstrip(" ")


_HEAD = ("RUN", "PROJECT", "STATUS", "PASSED", "FAILED", "SKIPPED", "TOTAL", "STARTED", "DURATION", "NAME")


def _cells(run: Mapping[str, Any]) -> tuple[str, ...]:
    started = datetime.fromisoformat(run["startedAt"]).astimezone()
    took = run.get("duration")
    if took is None:
        took = (datetime.now(started.tzinfo) - started).total_seconds() * 1000
    counts = (str(run.get(name) or 0) for name in COUNTS)
    at, name = f"{started:%Y-%m-%d %H:%M:%S}", " ".join(str(run.get("name") or "").split())
    return (run["id"], run["projectId"], run["status"], *counts, at, duration(took), clean(name, False))


def compact(document: Mapping[str, Any]) -> str:
    """JSON on one line."""
    return json.dumps(document, separators=(",", ":"))


def duration(milliseconds: float) -> str:
    """A length of time as people say it: 12ms, 3.4s, 5m06s, 2h03m."""
    if milliseconds < 999.5:
        return f"{milliseconds:.0f}ms"
    tenths = round(milliseconds / 100)
    if tenths < 600:
        return f"{tenths / 10:.1f}s"
    minutes, seconds = divmod(tenths // 10, 60)
    return f"{minutes}m{seconds:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def colour_wanted(no_color: bool) -> bool:
    """Whether standard output shall have colours: a terminal that can show them, and nobody asked for none."""
    return sys.stdout.isatty() and not no_color and not os.environ.get("NO_COLOR") and not is_dumb()


def is_dumb() -> bool:
    """Whether the terminal knows no escape sequences."""
    return os.environ.get("TERM", "dumb") == "dumb"


def paint(text: str, style: str) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if style and text else text


def _split(value: Any) -> list[str]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _LINE_END.split(text.removesuffix("\n").removesuffix("\r"))
