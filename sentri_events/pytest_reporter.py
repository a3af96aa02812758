"""One pytest session as one run: made when the tests are collected, a `result` as each test ends, `done` at the end.

The hooks only note what they hear. A thread makes events of it a few times a second: between two tests, where
nothing of it is in the processor's caches, the same work costs several times as much.
A server that is away never fails or hangs a test run, unless --sentri-strict says so, and then only after the tests.
"""

from __future__ import annotations  # users' pytest may be older than some of the types named here

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from sentri_events import publisher
from sentri_events.pytest_outcome import Outcome, name, pieces, shortened

if TYPE_CHECKING:
    import warnings

# Protocol, section 3: how the server counts the statuses. Ours must agree with it.
COUNTED = {
    "passed": "passed",
    "xpassed": "passed",
    "failed": "failed",
    "error": "failed",
    "skipped": "skipped",
    "xfailed": "skipped",
}
# Bytes of all node ids that are announced in `testQueue`, each twice; a request body holds 8 MiB.
LONGEST_QUEUE = 1 << 20
PAUSE = 0.2  # seconds in which the thread lets reports gather


class Reporter:
    """Hears what happens in one pytest session and publishes it as one run."""

    def __init__(self, config: pytest.Config, url: str, project: str, strict: bool) -> None:
        self.config = config
        self.url = url
        self.project = project
        self.strict = strict
        self.run: publisher.Run | None = None
        self.heard: deque[tuple[float, Callable[[Any], None], Any]] = deque()  # when, who takes it, what
        self.wake = threading.Event()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._publish, name="sentri-events pytest", daemon=True)
        self.session = False  # a session that runs tests, not --fixtures or --cache-show
        self.troubles: list[str] = []
        self.planned = 0
        self.at = 0.0  # when what is being published happened
        self.statuses: dict[str, str] = {}
        self.open: dict[tuple[str | None, str], Outcome] = {}
        self.error = ""  # why pytest itself gave up
        self.stopped: BaseException | None = None

    def pytest_report_header(self) -> str:
        return f"sentri-events: publishing to {self.url}, project {self.project}"

    # Collecting

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        self.session = True
        try:
            return (yield)
        except pytest.UsageError as error:
            self.error = "\n".join(map(str, error.args))
            raise

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self.session:
            self._start([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._start(ids)  # every worker collects the same tests: the first one says which

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self.planned += 1
        self._hear(self._collected, report)

    def _start(self, ids: Sequence[str]) -> None:
        if self.run is not None:
            return
        self.planned += len(ids)
        queue: list[dict[str, str]] = []
        room = LONGEST_QUEUE
        for test_id in ids:
            room -= len(test_id.encode("ascii", "backslashreplace"))
            if room < 0:
                break
            queue.append({"id": test_id, "name": name(test_id)})
        arguments = self.config.args if self.config.args_source is pytest.Config.ArgsSource.ARGS else []
        self.run = publisher.run(
            project=self.project,
            url=self.url,
            name=" ".join(["pytest", *arguments])[:200],
            total=self.planned,
            testQueue=queue,
            say=self.troubles.append,
        )
        self.thread.start()

    # Testing

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._hear(self._reported, report)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, nodeid: str) -> None:
        self._hear(self._warned, (warning_message, nodeid))

    def _hear(self, take: Callable[[Any], None], what: object) -> None:
        self.heard.append((time.time(), take, what))
        if not self.wake.is_set():
            self.wake.set()

    # Publishing, in the thread

    def _publish(self) -> None:
        over = False
        while not over:
            self.wake.wait()
            over = self.over.wait(PAUSE)
            self.wake.clear()
            while self.heard:
                self.at, take, what = self.heard.popleft()
                take(what)

    def _emit(self, type: str, payload: Mapping[str, Any]) -> None:
        assert self.run is not None
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.run.emit(type, {"_at": at, **payload})

    def _collected(self, report: pytest.CollectReport) -> None:
        """A module that cannot be collected, or skips itself, is a result, as it is in pytest's JUnit XML."""
        test = Outcome(report.nodeid or ".", None)
        self._output(test, report)
        if not report.passed:
            test.add(report)
            self._result(test)

    def _reported(self, report: pytest.TestReport) -> None:
        node = getattr(report, "node", None)  # set by xdist
        key = None if node is None else str(node.gateway.id), report.nodeid
        test = self.open.get(key)
        if test is None:
            test = self.open[key] = Outcome(key[1], key[0])
        if report.sections:
            self._output(test, report)
        if report.outcome not in ("passed", "failed", "skipped"):  # pytest-rerunfailures: it will be run again
            self._log(f"{report.outcome}: {name(test.id)}\n{shortened(report.longreprtext)}", "warn", test.id)
            test.reset()
            return
        test.add(report)
        if report.when not in ("setup", "call"):  # teardown, or the word "???" when an xdist worker crashed
            if test.status:
                self._end(key)
            else:  # of an attempt that is repeated, or under --setup-only
                test.reset()

    def _output(self, test: Outcome, report: pytest.TestReport | pytest.CollectReport) -> None:
        for section, content in test.output(report):
            level = "error" if section.startswith("Captured stderr") else "info"
            for piece in pieces(content):
                self._log(piece, level, test.id, section=section)

    def _warned(self, warning: tuple[warnings.WarningMessage, str]) -> None:
        warning_message, test_id = warning
        where = f"{warning_message.filename}:{warning_message.lineno}"
        text = f"{where}: {warning_message.category.__name__}: {warning_message.message}"
        self._log(shortened(text), "warn", test_id)

    def _log(self, message: str, level: str, test_id: str, **more: str) -> None:
        payload = {"message": message, "level": level, **more}
        if test_id:
            payload["testId"] = test_id
        self._emit("log", payload)

    def _end(self, key: tuple[str | None, str]) -> None:
        test = self.open.pop(key)
        if test.status:  # none: its call never came, as when Ctrl-C hit it or under --setup-only
            self._result(test)

    def _result(self, test: Outcome) -> None:
        self.statuses[test.id] = test.status
        self._emit("result", {"result": test.result()})

    # Ending

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.stopped = excinfo.value

    def pytest_internalerror(self, excrepr: object) -> None:
        self.error = str(excrepr)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        # The answer may be a moment behind a short run; from a server that is known to be away none is waited for.
        if self.run is not None and self.run.wait_id(0.0 if self.troubles else 0.5):
            terminalreporter.write_line(f"sentri-events: run {self.run.id}, {self.run.link}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        # Outermost, because other plugins still change the exit status in this hook, the terminal's among them.
        try:
            return (yield)
        finally:
            if self.session:
                self._finish(session)

    def _finish(self, session: pytest.Session) -> None:
        self._start([])  # refused arguments, or xdist without a single worker: nothing was collected
        assert self.run is not None
        try:
            whole = self._end_run(self.run, session)
        except KeyboardInterrupt:  # whoever presses it again wants out, not a traceback
            whole = False
        if whole:
            return
        problem = self.run.problem or "it was not waited for until every event was answered"
        sentence = f"sentri-events: the run was not published whole: {problem}"
        if self.strict and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            sentence += " (an error because of --sentri-strict)"
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None:
            sys.stderr.write(sentence + "\n")
        else:
            terminal.write_line(sentence, yellow=True)

    def _end_run(self, run: publisher.Run, session: pytest.Session) -> bool:
        """Publish what is left, and `done`. True if all of the run was published."""
        self.over.set()
        self.wake.set()
        self.thread.join()
        for key in list(self.open):
            self._end(key)
        counts = {"passed": 0, "failed": 0, "skipped": 0, "total": max(self.planned, len(self.statuses))}
        for status in self.statuses.values():
            counts[COUNTED[status]] += 1
        status, error = self._ending(session, counts["failed"])
        fields: dict[str, Any] = {"error": shortened(error)} if error else {}
        run.done(status, **counts, exitStatus=int(session.exitstatus), **fields)
        return run.close()

    def _ending(self, session: pytest.Session, failed: int) -> tuple[str, str]:
        """The run's final status, and why it ended before its time."""
        code = int(session.exitstatus)
        stopped = self.stopped
        if code == pytest.ExitCode.OK:
            return "completed", ""
        if code == pytest.ExitCode.NO_TESTS_COLLECTED:
            return "completed_empty", ""
        if code == pytest.ExitCode.TESTS_FAILED:
            return "failed", session.shouldfail if isinstance(session.shouldfail, str) else ""
        # pytest and xdist stop themselves by subclasses of KeyboardInterrupt: errors while collecting, -x, --stepwise.
        by_itself = isinstance(stopped, KeyboardInterrupt) and type(stopped) is not KeyboardInterrupt
        if stopped is not None and not (by_itself and failed):
            return "aborted", str(stopped)
        return "failed", self.error or str(stopped or f"pytest exited with status {code}")
