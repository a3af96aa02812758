"""Events in, from any thread; batches out to the server, in order, from one thread that nobody waits for.

A line leaves the queue when the server has answered for it, or when it is given up; then it is counted.
"""

import itertools
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import quote

from sentri_events.post import NO_ANSWER, Answer, Server
from sentri_events.wire import NDJSON, PASSING, pause, sentence

MOST_WAITING = 64 << 20

_MOST_EVENTS = 1_000  # the server's bound for a batch
_MOST_BYTES = 4 << 20  # half of the server's bound for a body
_RUN_IS_OVER = frozenset({401, 403, 404, 409})  # nothing more of this run will be taken


class Outbox:
    """Makes the run that `document` describes, then delivers what is put in. Raises nothing for the server's sake.

    `interval`: the least seconds between two posts, unless a whole batch waits or the box closes. `first_delay`:
    seconds before a post is repeated for the first time. `alive`: seconds without a post after which the server is
    told that we are still here.

    `id` is the run's, None until the server gave it. `lost` counts what was given up, `problem` is the first reason
    for it. `say` gets a sentence for each kind of trouble, once.
    """

    def __init__(
        self,
        server: Server,
        document: bytes,
        say: Callable[[str], None] | None = None,
        *,
        interval: float = 0.25,
        first_delay: float = 0.5,
        alive: float = 30.0,
    ) -> None:
        self.server = server
        self.id: str | None = None
        self.problem: str | None = None
        self.lost = 0
        self._named = threading.Event()  # there is an id, or never will be
        self._document = document
        self._say = say
        self._interval, self._first_delay, self._alive = interval, first_delay, alive
        self._process = os.getpid()
        self._changed = threading.Condition()  # guards all below
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._batch = _MOST_EVENTS
        self._next_post = self._next_alive = 0.0  # by the monotonic clock
        self._answered = self._closing = False
        self._over: tuple[object, str] | None = None  # why nothing is taken any more: kind of trouble, sentence
        self._said: set[object] = set()
        self._thread = threading.Thread(target=self._work, name="sentri-events", daemon=True)
        self._thread.start()

    def put(self, line: bytes, vital: bool = False) -> None:
        """Take a line, or count it as lost: when the box is over or full. A vital one is taken when it is full, too."""
        if self._forked():
            self.lost += 1
            return
        with self._changed:
            over = self._over
            full = self._bytes + len(line) > MOST_WAITING and not vital
            if not over and not full:
                self._lines.append(line)
                self._bytes += len(line)
                if len(self._lines) == 1 or self._whole_batch():
                    self._changed.notify_all()
                return
        self.lose(1, *(over or ("full", "More events wait for the server than are kept in memory.")))

    def lose(self, count: int, kind: object, why: str) -> None:
        """Count events that were given up. What is said of one `kind` of trouble is said once."""
        with self._changed:
            self.lost += count
            self.problem = self.problem or why
        self._tell(kind, why)

    def wait_id(self, timeout: float) -> str | None:
        """The run's id, as soon as the server gave it; None after `timeout` seconds, or if it never will."""
        if not self._forked():
            self._named.wait(timeout)
        return self.id

    def close(self, timeout: float) -> bool:
        """Wait until all is answered, `timeout` seconds at most, and give up the rest. True if there was no problem."""
        if not self._forked():
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(timeout)
            self._give_up("late", f"{self.server.url} did not answer for all events in the {timeout:g} s it was given.")
        return self.problem is None

    def _work(self) -> None:
        try:
            if self._make():
                while (lines := self._take()) is not None:
                    self._send(lines)
        finally:
            self._give_up("broken", "The thread that publishes has stopped.")
            self._named.set()

    def _make(self) -> bool:
        answer = self._deliver("/runs", self._document, "application/json")
        if answer is None:
            return False
        try:
            self.id = str(json.loads(answer.body)["id"])
        except (ValueError, KeyError, TypeError):
            why = f"{self.server.url} does not answer as a sentri-events server does."
            if answer.status >= 300:
                said = sentence(answer.status, answer.body)
                why = f"The run is not made: {'its project is not found.' if said == 'not found' else said}"
            self._give_up(answer.status, why)
            return False
        self._next_alive = time.monotonic() + self._alive
        self._named.set()
        return True

    def _take(self) -> list[bytes] | None:
        """Wait for the next batch. An empty one: it is time to say that we are alive. None: there will be no more."""
        with self._changed:
            while self._over is None:
                now = time.monotonic()
                if self._lines:
                    due = self._next_post
                    if self._closing or self._whole_batch() or now >= due:
                        return self._front()
                elif self._closing:
                    self._over = "closed", "The run is closed."
                    break
                else:
                    due = self._next_alive
                    if now >= due:
                        return []
                self._changed.wait(due - now)
            return None

    def _whole_batch(self) -> bool:
        return len(self._lines) >= self._batch or self._bytes >= _MOST_BYTES

    def _front(self) -> list[bytes]:
        lines: list[bytes] = []
        room = _MOST_BYTES
        for line in itertools.islice(self._lines, self._batch):
            room -= len(line) + 1
            if lines and room < 0:
                break
            lines.append(line)
        return lines

    def _send(self, lines: list[bytes]) -> None:
        """Deliver a batch. One that is refused is halved until what is wrong with it stands alone, and is given up."""
        run = f"/runs/{quote(self.id or '')}"
        answer = self._deliver(f"{run}/events" if lines else f"{run}/alive", b"\n".join(lines), NDJSON)
        now = time.monotonic()
        self._next_post, self._next_alive = now + self._interval, now + self._alive
        if answer is None:
            return
        if answer.status in _RUN_IS_OVER:
            self._give_up(answer.status, sentence(answer.status, answer.body))
        elif 400 <= answer.status < 500 and len(lines) > 1:
            self._batch = len(lines) // 2
        else:
            self._remove(len(lines))
            if lines and answer.status >= 300:
                self.lose(len(lines), answer.status, sentence(answer.status, answer.body))

    def _deliver(self, path: str, body: bytes, content_type: str) -> Answer | None:
        """POST it, again and again with the same key, until the answer is definite; None when all is given up."""
        key = os.urandom(16).hex()
        failures = 0
        while self._over is None:
            closing = self._closing
            least = 0.0
            try:
                answer = self.server.post(path, body, content_type, key)
            except NO_ANSWER as error:
                why = getattr(error, "strerror", None) or str(error) or type(error).__name__
                trouble = f"{self.server.url} cannot be reached: {why}."
            else:
                self._answered = True
                if answer.status not in PASSING:
                    return answer
                trouble, least = sentence(answer.status, answer.body), answer.retry_after
            if self._closing and not self._answered:
                self._give_up("away", trouble)
                break
            self._tell("away", f"{trouble} Trying again; events wait here meanwhile.")
            self._rest(pause(failures, self._first_delay, least), closing)
            failures += 1
        return None

    def _rest(self, seconds: float, closing: bool) -> None:
        """Wait, unless the box closes meanwhile (what waits is tried at once then) or is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._over is not None or self._closing != closing, seconds)

    def _remove(self, count: int) -> None:
        """The first lines are done with. After a batch that was halved, larger ones may be tried again."""
        with self._changed:
            if self._over is None:
                for _ in range(count):
                    self._bytes -= len(self._lines.popleft())
            self._batch = min(self._batch * 2, _MOST_EVENTS)

    def _give_up(self, kind: object, why: str) -> None:
        """Take nothing any more; what waits is lost. Of several reasons the first one stands."""
        with self._changed:
            if self._over is not None:
                return
            self._over = kind, why
            left = len(self._lines)
            self._lines.clear()
            self._changed.notify_all()
        self.lose(left, kind, why)

    def _tell(self, kind: object, what: str) -> None:
        with self._changed:
            new = kind not in self._said
            self._said.add(kind)
        if new and self._say is not None:
            self._say(what)

    def _forked(self) -> bool:
        """In a child of the process that made this, the thread is missing, and it may have been holding the lock."""
        if os.getpid() == self._process:
            return False
        self.problem = "The run is published by the process that this one was forked from."
        return True
