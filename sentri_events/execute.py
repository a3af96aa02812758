"""A command as a run: what it prints is shown at once, byte for byte, and published line by line.

The command stays in our session and process group, with our standard input: the keyboard's signals, job control and
password prompts reach it as they would without us. What it leaves in the background does not keep us waiting.
"""

import os
import shlex
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sentri_events import publisher
from sentri_events.output import Output, Stream

ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
WATCHED = ENDING | {signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCHLD}
NOT_EXECUTABLE, NOT_FOUND = 126, 127  # the shells' exit statuses
MAX_NAME = 200
ANNOUNCE = 2.0  # seconds that the command may have to wait for its run's id, on a terminal
SI_KERNEL = 0x80


def execute(
    command: Sequence[str],
    *,
    project: str,
    name: str | None,
    url: str | None,
    say: Callable[[str], None],
    token_file: str | None = None,
) -> int:
    """Run `command` as a run of `project`; `say` gets what we have to tell the user. Returns our own exit status.

    That is the command's own, 128 + n where signal n killed it, 127 where it was not found, 126 where it cannot be
    executed; whether the server could be reached makes no difference to it.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started us may have had it ignored
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)  # before the publisher's thread begins, which inherits it
    title = name or shlex.join(command)[:MAX_NAME]
    begun = datetime.now(UTC).isoformat()
    troubled = threading.Event()

    def tell(trouble: str) -> None:
        troubled.set()
        say(f"Warning: {trouble}")

    run = publisher.run(
        project=project, url=url, token_file=token_file, name=title, type="command", say=tell, startedAt=begun
    )
    if os.isatty(2):
        _announce(run, say, troubled)
    streams = [_open(1, "info"), _open(2, "error")]
    try:
        child = os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, stream.theirs, stream.target) for stream in streams],
            setsigmask=mask,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores them
        )
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        sentence = f"{command[0]} was not found." if missing else f"{command[0]} cannot be executed: {error.strerror}."
        say(f"Error: {sentence}")
        run.log(sentence, "error")
        status = NOT_FOUND if missing else NOT_EXECUTABLE
        run.done("failed", exitStatus=status, error=sentence)
    else:
        for stream in streams:
            os.close(stream.theirs)
        output = Output(streams, run.log)
        output.start()
        code, asked = _attend(child, streams)
        output.finish()
        status = code if code >= 0 else 128 - code
        outcome, reason = _outcome(code, asked)
        run.done(outcome, exitStatus=status, **reason)
    for late in signal.sigpending() & WATCHED:
        signal.sigwait({late})  # meant for the command, which is gone
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        run.close()
    except KeyboardInterrupt:
        say("Warning: interrupted before every event was published.")
    return status


def _announce(run: publisher.Run, say: Callable[[str], None], troubled: threading.Event) -> None:
    """Say which run it is, before the command prints anything, where the server answers soon."""
    last = time.monotonic() + ANNOUNCE
    while not run.wait_id(0.02) and not troubled.is_set() and time.monotonic() < last:
        pass
    if run.id:
        say(f"Run {run.id}: {run.link}")


def _open(target: int, level: str) -> Stream:
    """A terminal where `target` is one, so that the command uses colours; else a pipe."""
    if not os.isatty(target):
        return Stream(*os.pipe(), target, level)
    ours, theirs = os.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST  # the real terminal turns \n into \r\n; twice would not be byte for byte
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    termios.tcsetwinsize(ours, termios.tcgetwinsize(target))
    return Stream(ours, theirs, target, level)


def _attend(child: int, streams: Sequence[Stream]) -> tuple[int, set[int]]:
    """Pass signals on until the command ends: (its exit code, negative for a signal; the signals that ask to end)."""
    asked: set[int] = set()
    while True:
        number, keyboard = _next_signal()
        if number == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status), asked
            continue
        if number in ENDING:
            asked.add(number)
        if number == signal.SIGWINCH:
            for stream in streams:
                if os.isatty(stream.target):
                    termios.tcsetwinsize(stream.ours, termios.tcgetwinsize(stream.target))
        elif keyboard:
            continue  # the terminal has sent it to the whole process group; twice would kill who tidies up after one
        os.kill(child, number)


def _next_signal() -> tuple[int, bool]:
    """The next signal for us, and whether it came from the terminal.

    macOS does not say where from: there INT and QUIT count as the terminal's while we are its foreground job.
    """
    if sys.platform != "darwin":
        info = signal.sigwaitinfo(WATCHED)
        return info.si_signo, info.si_code == SI_KERNEL
    number = signal.sigwait(WATCHED)
    return number, number in (signal.SIGINT, signal.SIGQUIT) and os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()


def _outcome(code: int, asked: set[int]) -> tuple[str, dict[str, str]]:
    """How the run ended, and its `error`."""
    if code == 0:
        return "completed", {}
    if asked:
        by = -code if -code in asked else min(asked)
        return "aborted", {"error": f"The command was ended by {_signal_name(by)}."}
    how = f"exited with status {code}" if code > 0 else f"was killed by {_signal_name(-code)}"
    return "failed", {"error": f"The command {how}."}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
