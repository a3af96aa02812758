"""Several server processes on one machine: the parent binds and forks, and restarts a child that dies.

The parent serves nothing and holds nothing but the listening sockets, so there is little in it that could fail.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

SHORT_LIFE = 1.0  # seconds: a child that lives less is not replaced at once
PAUSE = 1.0
log = logging.getLogger(__name__)


class Fleet:
    """`count` children that run `child` and exit with its status.

    `child` is given what to call when it serves, a descriptor that becomes readable when the parent is no more, and its
    place among them, from 0: who is started instead of a dead one has the dead one's. It stops at SIGTERM, however
    often that comes: Ctrl-C and systemd tell the children as well as the parent. The second signal that the parent is
    given kills them. At SIGHUP `reload` is called, in the parent, and the children are told.
    """

    def __init__(
        self, count: int, child: Callable[[Callable[[], None], int, int], int], reload: Callable[[], None]
    ) -> None:
        self._count = count
        self._child = child
        self._reload = reload
        self._lifeline = os.pipe()
        self._born: dict[int, tuple[float, int]] = {}
        self._stopping = False

    def run(self, ready: Callable[[], None]) -> int:
        """Returns when a signal has ended all children: 0 if each ended in order. `ready` is called when all serve."""
        read, write = os.pipe()
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._read_again}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            for place in range(self._count):
                self._fork(place, write)
            os.close(write)
            if self._all_ready(read):
                ready()
            elif not self._stopping:  # what one of them cannot start with, the next cannot either
                self._stop()
            return self._watch()
        finally:
            os.close(read)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _fork(self, place: int, ready: int | None) -> None:
        child = os.fork()
        if child:
            self._born[child] = time.monotonic(), place
            if self._stopping:  # the signal came before there was this child to pass it to
                os.kill(child, signal.SIGTERM)
            return
        status = 1
        orphaned, parent_end = self._lifeline
        os.close(parent_end)
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C it hears by its parent
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it has something to read again
            status = self._child(lambda: _say_ready(ready), orphaned, place)
        except Exception as error:  # noqa: BLE001  a child must not go on as a second parent
            log.error("A server process cannot start: %s", error)
        finally:
            os._exit(status)

    def _all_ready(self, read: int) -> bool:
        waiting = self._count
        while waiting:
            told = os.read(read, waiting)
            if not told:  # every child has closed its end: none is left that could become ready
                return False
            waiting -= len(told)
        return True

    def _watch(self) -> int:
        worst = 0
        while self._born:
            child, state = os.wait()
            if child not in self._born:  # a helper that was started beside the servers
                continue
            born, place = self._born.pop(child)
            age = time.monotonic() - born
            status = os.waitstatus_to_exitcode(state)
            if self._stopping:
                worst = max(worst, abs(status))
                continue
            log.error("Server process %d ended with %d after %.1f s; another one takes its place.", child, status, age)
            if age < SHORT_LIFE:
                time.sleep(PAUSE)
            if not self._stopping:
                self._fork(place, None)
        return worst

    def _stop(self, *signal_given: object) -> None:
        number = signal.SIGKILL if self._stopping else signal.SIGTERM
        self._stopping = True  # before the children are told: another signal may come meanwhile
        self._tell(number)

    def _read_again(self, *signal_given: object) -> None:
        self._reload()  # for the children that are still to come
        self._tell(signal.SIGHUP)

    def _tell(self, number: int) -> None:
        for child in self._born:
            with suppress(ProcessLookupError):  # it was waited for in this very moment
                os.kill(child, number)


def _say_ready(pipe: int | None) -> None:
    if pipe is not None:
        os.write(pipe, b".")
        os.close(pipe)
