"""Where events are shown: a pipe, one JSON document a line; or a terminal, with a status line below that is drawn anew.

Both show the durable events, each once and in order. What is not an event goes to standard error.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TextIO

from sentri_events.client import Received
from sentri_events.event import COUNTED_AS, COUNTS
from sentri_events.render import BOLD, GREEN, GROUPS, RED, colour_wanted, compact, is_dumb, lines, paint

PREFIXES = ("36", "35", "34", "33", "32")
MAX_BAR = 40
RESETS = {
    "epoch": "this is another run of the same name",
    "future": "it has not come that far",
    "trimmed": "its older events were removed",
}


class View(Protocol):
    """Where `tail` and `replay` show what they get."""

    def show(self, received: Received) -> None:
        """One event, in the order of its run; volatile ones are left out."""

    def note(self, sentence: str) -> None:
        """Something that is not an event, on standard error."""

    def draw(self) -> None:
        """Draw what stands below the lines, for the terminal's present width."""

    def close(self) -> None:
        """Leave the terminal as a prompt expects it."""


class Ndjson:
    """One event a line: `{"run", "seq", "at", "event"}`, as the HTTP API's pages of history name them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, received: Received) -> None:
        if received.type == "reset":
            self.note(reset_sentence(received))
        elif received.seq is not None:
            document = {"run": received.run, "seq": received.seq, "at": received.at, "event": received.event}
            self._out.write(compact(document) + "\n")
            self._out.flush()

    def note(self, sentence: str) -> None:
        sys.stderr.write(f"{sentence}\n")

    def draw(self) -> None:
        pass

    def close(self) -> None:
        pass


class Terminal:
    """Lines for people. With `bar`, a status line with the progress of all its runs stays below them.

    `documents` are the documents of the runs, by id. `begun` says that the events come from a place in the middle of
    a run, so that its counts begin where the document stands.
    """

    def __init__(
        self,
        out: TextIO,
        documents: Mapping[str, Mapping[str, Any]],
        *,
        colour: bool,
        bar: bool,
        types: Sequence[str] = (),
        begun: bool = False,
    ) -> None:
        self._out = out
        self._colour = colour
        self._bar = bar
        self._types = types
        self._tallies = {run: Tally(document, begun=begun) for run, document in documents.items()}
        self._stale: set[str] = set()
        wide = max(map(len, documents), default=0)
        self._prefixes = {
            run: paint(f"{run:<{wide}} | ", PREFIXES[number % len(PREFIXES)] if colour else "")
            for number, run in enumerate(documents)
            if len(documents) > 1
        }

    def show(self, received: Received) -> None:
        run = received.run
        if received.type == "reset":
            self._stale.add(run)
            self.note(reset_sentence(received))
        elif received.type == "snapshot" and run in self._stale:
            self._stale.remove(run)
            self._tallies[run] = Tally(received.event["run"], begun=True)
            self.draw()
        elif received.seq is not None:
            self._tallies[run].fold(received.event)
            wanted = not self._types or received.type in self._types or received.type == "done"
            prefix = self._prefixes.get(run, "")
            self._write(prefix + line for line in (lines(received.event, self._colour) if wanted else ()))

    def note(self, sentence: str) -> None:
        if self._bar:
            self._out.write("\r\x1b[K")
            self._out.flush()
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()
        self.draw()

    def draw(self) -> None:
        self._write([])

    def close(self) -> None:
        if self._bar:
            self._bar = False
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _write(self, shown: Iterable[str]) -> None:
        text = "".join(f"{line}\n" for line in shown)
        if self._bar:
            # One write: whatever else prints to this terminal finds either the old picture or the new one.
            text = f"\r\x1b[K{text}{status_line(self._tallies, _columns(self._out) - 1, self._colour)}"
        if text:
            self._out.write(text)
            self._out.flush()


def open_view(
    documents: Mapping[str, Mapping[str, Any]],
    *,
    as_json: bool,
    no_color: bool,
    types: Sequence[str] = (),
    begun: bool = False,
) -> View:
    """What suits standard output; see `Terminal` for the arguments."""
    if as_json:
        return Ndjson(sys.stdout)
    bar = sys.stdout.isatty() and not is_dumb()
    return Terminal(sys.stdout, documents, colour=colour_wanted(no_color), bar=bar, types=types, begun=begun)


def begin(view: View) -> None:
    """Draw it, and again whenever the terminal changes its width; in a running event loop."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, view.draw)
    view.draw()


class Tally:
    """How far a run is: the newest status of each test, unless the producer set the counts itself."""

    def __init__(self, document: Mapping[str, Any] | None = None, *, begun: bool = False) -> None:
        self._tests: dict[str, str | None] = {}
        self._set: dict[str, int] = {}
        self._counted = dict.fromkeys(COUNTS, 0)
        if document is not None and begun:
            for result in document.get("results") or ():
                self.fold({"type": "result", "result": result})
            self._take({name: document.get(name) for name in COUNTS if document.get(name) != self[name]})
        elif document is not None:
            self._take({"total": document.get("total")})

    def __getitem__(self, name: str) -> int:
        if name == "total":
            return max(self._set.get(name, 0), self._counted[name])
        return self._set.get(name, self._counted[name])

    def fold(self, event: Mapping[str, Any]) -> None:
        """Take in the run's next event."""
        match event:
            case {"type": "result", "result": {"testId": str(test)} as result}:
                group = COUNTED_AS.get(str(result.get("status")))
                if test in self._tests:
                    self._count(self._tests[test], -1)
                else:
                    self._counted["total"] += 1
                self._tests[test] = group
                self._count(group, 1)
            case {"type": "update", "run": dict(fields)}:
                self._take(fields)
            case {"type": "done"}:
                self._take(event)

    def _count(self, group: str | None, step: int) -> None:
        if group is not None:
            self._counted[group] += step

    def _take(self, fields: Mapping[str, Any]) -> None:
        self._set.update({name: fields[name] for name in COUNTS if isinstance(fields.get(name), int)})


def status_line(tallies: Mapping[str, Tally], width: int, colour: bool) -> str:
    """How far all these runs are, in at most `width` columns."""
    label = next(iter(tallies)) if len(tallies) == 1 else f"{len(tallies)} runs"
    counts = {name: sum(tally[name] for tally in tallies.values()) for name in COUNTS}
    done, total = sum(counts[name] for name in GROUPS), counts["total"]
    parts = [(label, BOLD), (f"{done}/{total}" if total else "running", "")]
    parts += [(f"{counts[name]} {name}", style) for name, style in GROUPS.items() if counts[name] or name != "skipped"]
    if not total:
        del parts[2:]
    room = min(MAX_BAR, width - sum(len(text) + 2 for text, _ in parts) - 4)
    if total and room >= 8:
        full = room * min(done, total) // total
        parts.insert(1, (f"[{'#' * full}{'.' * (room - full)}]", RED if counts["failed"] else GREEN))
    shown = ""
    for text, style in parts:
        fitting = text[: max(width, 0)]
        width -= len(fitting) + 2
        shown += paint(fitting, style if colour else "") + ("  " if width > 0 else "")
    return shown.rstrip(" ")


def reset_sentence(received: Received) -> str:
    """What a `reset` means for whoever reads along."""
    reason = str(received.event.get("reason"))
    return f"Warning: {received.run}: {RESETS.get(reason, reason)}; what follows begins at its present state."


def _columns(out: TextIO) -> int:
    return os.get_terminal_size(out.fileno()).columns or 80
