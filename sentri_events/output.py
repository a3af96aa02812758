"""What a command prints: shown at once, byte for byte, and cut into lines of text for whoever watches."""

import codecs
import os
import select
import selectors
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

MAX_LINE = 64 * 1024  # characters; with every one escaped that is still a publishable event
READ = 64 * 1024
QUIET = 0.25  # seconds without output, after the command has ended, until a background process is left alone
LINGER = 2.0  # seconds that we listen to a background process which never falls quiet


class Stream(NamedTuple):
    """One output of the command: its two ends, where it is shown, and the level of its lines."""

    ours: int
    theirs: int
    target: int
    level: str


class Output(threading.Thread):
    """Shows and publishes what the command prints, from one thread, in the order in which it is read."""

    def __init__(self, streams: Sequence[Stream], log: Callable[[str, str], None]) -> None:
        super().__init__(name="sentri-events-output", daemon=True)
        self._selector = selectors.DefaultSelector()
        self._lines = {stream: Lines(log, stream.level) for stream in streams}
        self._ended, self._end = os.pipe()
        for stream in streams:
            self._selector.register(stream.ours, selectors.EVENT_READ, stream)
        self._selector.register(self._ended, selectors.EVENT_READ)

    def finish(self) -> None:
        """The command has ended: returns when all that it printed is shown and handed on."""
        os.close(self._end)
        self.join()

    def run(self) -> None:
        last = None
        while self._lines:
            ready = self._selector.select(None if last is None else QUIET)
            if last is not None and (not ready or time.monotonic() > last):
                break
            for key, _ in ready:
                if key.data is None:
                    self._selector.unregister(self._ended)
                    last = time.monotonic() + LINGER
                else:
                    self._read(key.data)
        for stream in list(self._lines):
            self._close(stream)
        self._selector.close()
        os.close(self._ended)

    def _read(self, stream: Stream) -> None:
        try:
            data = os.read(stream.ours, READ)
        except OSError:  # EIO: the last process has closed this terminal
            data = b""
        if data and _show(stream.target, data):
            self._lines[stream].feed(data)
        else:
            # Where nobody reads our output any more, the command shall notice as it would without us.
            self._close(stream)

    def _close(self, stream: Stream) -> None:
        self._selector.unregister(stream.ours)
        os.close(stream.ours)
        self._lines.pop(stream).end()


def _show(target: int, data: bytes) -> bool:
    """Write all of it; False when whoever read `target` has gone."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(target, rest) :]
        except BlockingIOError:  # the command shares our terminal and may have made it non-blocking
            select.select([], [target], [])
        except OSError:
            return False
    return True


class Lines:
    """Cuts bytes into lines of text. A line that was drawn several times (`\\r`) counts as it last stood."""

    def __init__(self, log: Callable[[str, str], None], level: str) -> None:
        self._log = log
        self._level = level
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        *whole, rest = (self._rest + self._decode(data)).split("\n")
        for line in whole:
            self._publish(_last_drawn(line.rstrip("\r")))
        # A \r at the very end may be the first half of a line end.
        kept = rest.rstrip("\r")
        rest = _last_drawn(kept) + rest[len(kept) :]
        while len(rest) > MAX_LINE:
            self._log(rest[:MAX_LINE], self._level)
            rest = rest[MAX_LINE:]
        self._rest = rest

    def end(self) -> None:
        """Publish the line that was left without an end."""
        rest = self._rest + self._decode(b"", True)
        if rest:
            self._publish(_last_drawn(rest.rstrip("\r")))
        self._rest = ""

    def _publish(self, line: str) -> None:
        for start in range(0, max(len(line), 1), MAX_LINE):
            self._log(line[start : start + MAX_LINE], self._level)


def _last_drawn(line: str) -> str:
    return line.rpartition("\r")[2]
