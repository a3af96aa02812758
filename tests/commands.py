"""Our commands as a user starts them: real processes, on pipes or on a terminal of their own."""

import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from typing import Any

PROGRAM = (sys.executable, "-m", "sentri_events")
# Makes standard input the terminal that Ctrl-C comes from, and becomes the command.
_ON_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)

# A shell starts its background jobs with the first two ignored, nohup what it starts with the third; what we start
# would inherit that.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def environment(**more: str) -> dict[str, str]:
    """Ours, without what would change how a command behaves."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SENTRI_", "NO_COLOR"))}
    return {**kept, "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1", **more}


def start(*arguments: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
    """`sentri-events` with these arguments, on pipes."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*PROGRAM, *arguments], env=environment(**(env or {})), **pipes)


def run(*arguments: str, given: bytes = b"", env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `sentri-events` with these arguments."""
    with start(*arguments, env=env) as process:
        out, error = process.communicate(given, timeout=60)
        return process.returncode, out.decode(), error.decode()


class Terminal:
    """A command on a terminal of its own, which a test types into, reads and resizes. A context manager."""

    def __init__(self, *command: str, rows: int = 24, columns: int = 80, env: Mapping[str, str] | None = None) -> None:
        self.ours, theirs = os.openpty()
        termios.tcsetwinsize(self.ours, (rows, columns))
        self.shown = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(**(env or {})),
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.ours)

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.ours, (rows, columns))

    def until(self, pattern: str, seconds: float = 20.0) -> bytes:
        """Read until `pattern` (a regular expression) was shown; returns all that was shown so far."""
        self._read(lambda: re.search(pattern.encode(), self.shown) is not None, pattern, seconds)
        return self.shown

    def end(self, seconds: float = 20.0) -> int:
        """Read until the command has ended; returns its exit status."""
        self._read(lambda: False, "the end", seconds)
        return self.process.wait(10)

    def read_some(self) -> int:
        """Take what is there now; returns how many bytes were shown so far."""
        while select.select([self.ours], [], [], 0.05)[0]:
            self.shown += os.read(self.ours, 65536)
        return len(self.shown)

    def _read(self, found: Any, what: str, seconds: float) -> None:
        last = time.monotonic() + seconds
        while not found():
            if not select.select([self.ours], [], [], max(0.0, last - time.monotonic()))[0]:
                raise AssertionError(f"not within {seconds:g} s: {what}; shown: {self.shown!r}")
            try:
                data = os.read(self.ours, 65536)
            except OSError:  # nobody holds the other side any more
                data = b""
            if not data:
                if what == "the end":
                    return
                raise AssertionError(f"the command ended before {what}; shown: {self.shown!r}")
            self.shown += data


def picture(shown: bytes) -> list[str]:
    """The lines that a terminal of endless width shows, last the one with the cursor; colours are left out."""
    lines, column = [""], 0
    for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|[^\x1b]", shown.decode()):
        if part == "\r":
            column = 0
        elif part == "\n":
            lines.append("")
            column = 0
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif part.startswith("\x1b"):
            assert part.endswith("m"), part
        else:
            lines[-1] = lines[-1][:column].ljust(column) + part + lines[-1][column + 1 :]
            column += 1
    return lines
