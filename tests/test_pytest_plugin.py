"""The pytest plugin: real pytest processes in projects of their own, and what a real server then knows of the run."""

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.server_process import ServerProcess, wait_until

PYTEST = (sys.executable, "-m", "pytest", "-p", "no:tornado", "-p", "no:schemathesis", "-p", "no:cacheprovider")
BOUND = 60.0  # seconds for what takes one


def runs(server: ServerProcess) -> list[dict[str, Any]]:
    """The documents of all runs there are, newest first."""
    status, page = server.request("GET", "/api/v1/runs")
    assert status == 200, page
    return [server.document(run["id"]) for run in page["data"]]


def the_run(server: ServerProcess) -> dict[str, Any]:
    """The document of the one run there is."""
    (run,) = runs(server)
    return run


def the_events(server: ServerProcess) -> list[dict[str, Any]]:
    """Everything that was published about the one run there is."""
    return [event["event"] for event in server.history(the_run(server)["id"])]


class Project:
    """Somebody's project: files, and pytest in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("pytest.ini", "[pytest]\n")

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(textwrap.dedent(text))

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """pytest in a process group of its own, as a terminal starts it, and none of our own settings around it."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SENTRI_", "PYTEST_", "COV_"))}
        return subprocess.Popen(
            [*PYTEST, *arguments],
            cwd=self.root,
            env={**kept, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def pytest(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Its exit status and its output."""
        return finished(self.start(*arguments, **environment))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "web"
    root.mkdir()
    return Project(root)


def finished(process: "subprocess.Popen[str]") -> tuple[int, str]:
    try:
        output, _ = process.communicate(timeout=BOUND)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output


def statuses(run: dict[str, Any]) -> dict[str, str]:
    return {result["testId"].partition("::")[2]: result["status"] for result in run["results"]}


def assert_agrees(run: dict[str, Any], xml: Path) -> None:
    """The run document, its results, and pytest's own JUnit XML name the same numbers."""
    suite = ElementTree.parse(xml).getroot().find("testsuite")
    assert suite is not None
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    expected = {"total": total, "failed": failed, "skipped": skipped, "passed": total - failed - skipped}
    assert {key: run[key] for key in expected} == expected
    counted = Counter(result["status"] for result in run["results"])
    assert run["passed"] == counted["passed"] + counted["xpassed"]
    assert run["failed"] == counted["failed"] + counted["error"]
    assert run["skipped"] == counted["skipped"] + counted["xfailed"]


ALL_KINDS = """
    import pytest

    @pytest.fixture
    def broken():
        raise RuntimeError("the fixture broke")

    @pytest.fixture
    def breaks_later():
        yield
        raise RuntimeError("the teardown broke")

    def test_passed(): pass
    def test_failed(): assert "lemon" == "melon", "not the same fruit"
    @pytest.mark.skip(reason="not today")
    def test_skipped(): pass
    def test_skips_itself(): pytest.skip("not here")
    def test_error(broken): pass
    def test_teardown_error(breaks_later): pass
    @pytest.mark.xfail(reason="known bug")
    def test_xfailed(): assert 0
    @pytest.mark.xfail(run=False)
    def test_xfail_not_run(): assert 0
    @pytest.mark.xfail(reason="fixed by now")
    def test_xpassed(): pass
    @pytest.mark.xfail(strict=True, reason="must fail")
    def test_strict_xfail(): pass
    class TestNested:
        @pytest.mark.parametrize("value", ["a::b", "c"])
        def test_parametrized(self, value): pass
"""
ALL_STATUSES = {
    "test_passed": "passed",
    "test_failed": "failed",
    "test_skipped": "skipped",
    "test_skips_itself": "skipped",
    "test_error": "error",
    "test_teardown_error": "error",
    "test_xfailed": "xfailed",
    "test_xfail_not_run": "xfailed",
    "test_xpassed": "xpassed",
    "test_strict_xfail": "failed",
    "TestNested::test_parametrized[a::b]": "passed",
    "TestNested::test_parametrized[c]": "passed",
}


def test_every_status(server: ServerProcess, project: Project) -> None:
    project.write("test_kinds.py", ALL_KINDS)
    project.write("test_module_skip.py", 'import pytest\npytest.importorskip("no_such_module_anywhere")')
    before = time.time()
    code, output = project.pytest("--sentri-url", server.url, "--sentri-project", "shop", "--junitxml=report.xml")
    assert code == 1
    run = the_run(server)
    assert statuses(run) == {**ALL_STATUSES, "": "skipped"}
    assert_agrees(run, project.root / "report.xml")
    assert run["projectId"] == "shop"
    assert run["type"] == "test_run"
    assert run["status"] == "failed"
    assert run["testQueue"] == [{"id": f"test_kinds.py::{name}", "name": name} for name in ALL_STATUSES]
    assert f"sentri-events: publishing to {server.url}, project shop" in output
    assert output.count(f"run {run['id']}, {server.url}/api/v1/runs/{run['id']}/events") == 1

    results = {result["testName"]: result for result in run["results"]}
    assert results["test_failed"]["testId"] == "test_kinds.py::test_failed"
    assert "def test_failed()" in results["test_failed"]["error"]
    assert "AssertionError: not the same fruit" in results["test_failed"]["error"]
    assert "the fixture broke" in results["test_error"]["error"]
    assert "the teardown broke" in results["test_teardown_error"]["error"]
    assert "[XPASS(strict)] must fail" in results["test_strict_xfail"]["error"]
    assert results["test_skipped"]["reason"] == "not today"
    assert results["test_skips_itself"]["reason"] == "not here"
    assert results["test_xfailed"]["reason"] == "known bug"
    assert results["test_xpassed"]["reason"] == "fixed by now"
    assert [name for name, result in results.items() if "error" in result] == [
        "test_failed",
        "test_error",
        "test_teardown_error",
        "test_strict_xfail",
    ]
    for name in ALL_STATUSES:
        assert before * 1000 - 1 <= results[name]["startedAt"] <= time.time() * 1000 + 1
        assert isinstance(results[name]["durationMs"], int)
        assert "worker" not in results[name]

    events = the_events(server)
    assert Counter(event["type"] for event in events)["result"] == len(ALL_STATUSES) + 1  # one each
    assert events[-1] == {
        "type": "done",
        "status": "failed",
        "passed": 4,
        "failed": 4,
        "skipped": 5,
        "total": 13,
        "exitStatus": 1,
    }


def test_both_phases_of_a_test_that_fails_twice_are_told(server: ServerProcess, project: Project) -> None:
    project.write(
        "test_twice.py",
        """
        import pytest

        @pytest.fixture
        def breaks_later():
            yield
            raise RuntimeError("the teardown broke")

        def test_twice(breaks_later): assert 0, "the call broke"
        """,
    )
    project.pytest("--sentri-url", server.url)
    (result,) = the_run(server)["results"]
    assert result["status"] == "failed"
    assert result["error"].index("the call broke") < result["error"].index("the teardown broke")


def test_a_passing_run(server: ServerProcess, project: Project) -> None:
    project.write("test_slow.py", "import time\ndef test_slow(): time.sleep(0.05)\ndef test_other(): pass")
    code, _ = project.pytest("--sentri-url", server.url, "-k", "slow and not other", "--junitxml=report.xml")
    assert code == 0
    run = the_run(server)
    assert (run["status"], run["projectId"], run["name"]) == ("completed", "web", "pytest")
    assert statuses(run) == {"test_slow": "passed"}
    assert run["total"] == 1  # what is deselected does not count
    assert_agrees(run, project.root / "report.xml")
    assert run["results"][0]["durationMs"] >= 50
    assert the_events(server)[-1]["exitStatus"] == 0


def test_output_and_warnings_are_logs(server: ServerProcess, project: Project) -> None:
    project.write(
        "test_talks.py",
        """
        import logging, sys, warnings
        import pytest

        print("while collecting")

        @pytest.fixture
        def talks():
            print("setting up")
            yield
            print("tearing down")

        def test_talks(talks):
            print("to stdout\\nin two lines")
            print("to stderr \\udcff\\u2028", file=sys.stderr)
            logging.getLogger("shop").warning("to the log")
            warnings.warn("old thing", DeprecationWarning)

        def test_long():
            for number in range(30000): print(f"line {number}")
        """,
    )
    code, _ = project.pytest("--sentri-url", server.url, PYTHONIOENCODING="utf-8:surrogateescape")
    assert code == 0
    logs = [event for event in the_events(server) if event["type"] == "log"]
    mine = [
        (log["message"], log["level"], log.get("section"))
        for log in logs
        if log.get("testId") == "test_talks.py::test_talks"
    ]
    messages = [message for message, _, _ in mine]
    assert ("setting up", "info", "Captured stdout setup") in mine
    assert ("to stdout\nin two lines", "info", "Captured stdout call") in mine
    assert ("tearing down", "info", "Captured stdout teardown") in mine
    (stderr,) = (log for log in mine if log[2] == "Captured stderr call")
    assert stderr[0].startswith("to stderr")
    assert stderr[1] == "error"
    (logged,) = (log for log in mine if log[2] == "Captured log call")
    assert "to the log" in logged[0]
    (warned,) = (log for log in mine if log[1] == "warn")
    assert re.fullmatch(r".*test_talks\.py:\d+: DeprecationWarning: old thing", warned[0])
    assert len(messages) == len(set(messages)), "something was told twice"
    assert ("while collecting", "test_talks.py") in [(log["message"], log.get("testId")) for log in logs]

    pieces = [log["message"] for log in logs if log.get("testId") == "test_talks.py::test_long"]
    assert "\n".join(pieces).splitlines() == [f"line {number}" for number in range(30000)]
    assert max(map(len, pieces)) <= 64 * 1024
    types = [event["type"] for event in the_events(server)]
    assert types.index("result") > types.index("log"), "what a test says comes before how it ended"


def test_long_errors_are_cut_and_the_run_stays_whole(server: ServerProcess, project: Project) -> None:
    project.write("test_long.py", 'def test_long(): raise ValueError("begin" + "\\U0001f34b" * 2_000_000 + "end")')
    code, output = project.pytest("--sentri-url", server.url, "--sentri-strict", "--tb=short")
    assert code == 1
    assert "not published whole" not in output
    (result,) = the_run(server)["results"]
    assert "ValueError: begin" in result["error"]
    assert result["error"].endswith("end")
    assert "characters left out" in result["error"]


SLOW = """
    import time
    import pytest

    @pytest.mark.parametrize("number", range(200))
    def test_slow(number):
        time.sleep(0.1)
        assert number, "the first one fails"
"""


def first_result(server: ServerProcess) -> bool:
    return any(run["results"] for run in runs(server))


def test_results_come_while_the_tests_run_and_ctrl_c_aborts(server: ServerProcess, project: Project) -> None:
    project.write("test_slow.py", SLOW)
    process = project.start("--sentri-url", server.url, "--junitxml=report.xml")
    wait_until(lambda: first_result(server), "there is a result")
    assert process.poll() is None
    assert the_run(server)["status"] == "running"
    assert the_run(server)["total"] == 200
    process.send_signal(signal.SIGINT)
    code, output = finished(process)
    assert code == 2
    run = the_run(server)
    assert run["status"] == "aborted"
    assert run["total"] == 200
    assert run["failed"] == 1
    assert 1 <= run["failed"] + run["passed"] == len(run["results"]) < 200
    assert the_events(server)[-1]["exitStatus"] == 2
    assert run["id"] in output
    suite = ElementTree.parse(project.root / "report.xml").getroot().find("testsuite")
    assert suite is not None
    assert int(suite.attrib["tests"]) == len(run["results"])


def test_what_a_test_said_before_ctrl_c_hit_its_teardown_counts(server: ServerProcess, project: Project) -> None:
    project.write(
        "test_interrupted.py",
        """
        import pytest

        @pytest.fixture
        def interrupted():
            yield
            raise KeyboardInterrupt

        def test_passes(interrupted): pass
        """,
    )
    code, _ = project.pytest("--sentri-url", server.url, "--junitxml=report.xml")
    assert code == 2
    run = the_run(server)
    assert (run["status"], statuses(run)) == ("aborted", {"test_passes": "passed"})
    assert_agrees(run, project.root / "report.xml")


def test_xdist_publishes_one_run(server: ServerProcess, project: Project) -> None:
    project.write("test_kinds.py", ALL_KINDS)
    project.write(
        "test_more.py",
        """
        import time, warnings
        import pytest

        @pytest.mark.parametrize("number", range(20))
        def test_more(number):
            print("says", number)
            warnings.warn(f"warns {number}")
            time.sleep(0.02)
        """,
    )
    code, output = project.pytest("-n", "2", "--junitxml=report.xml", "-k", "not more[19]", SENTRI_URL=server.url)
    assert code == 1
    run = the_run(server)
    assert statuses(run) == {**ALL_STATUSES, **{f"test_more[{number}]": "passed" for number in range(19)}}
    assert_agrees(run, project.root / "report.xml")
    assert run["status"] == "failed"
    assert run["total"] == len(run["testQueue"]) == len(ALL_STATUSES) + 19
    assert {test["id"] for test in run["testQueue"]} == {result["testId"] for result in run["results"]}
    assert {result["worker"] for result in run["results"]} == {"gw0", "gw1"}
    logs = Counter(event["message"] for event in the_events(server) if event["type"] == "log" and "section" in event)
    assert logs == Counter(f"says {number}" for number in range(19))
    warned = [event["message"] for event in the_events(server) if event.get("level") == "warn"]
    assert len([message for message in warned if "warns" in message]) == 19
    assert output.count(run["id"]) == 2  # the id and the link


def test_xdist_ctrl_c(server: ServerProcess, project: Project) -> None:
    project.write("test_slow.py", SLOW)
    process = project.start("--sentri-url", server.url, "-n", "2")
    wait_until(lambda: first_result(server), "there is a result")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    code, _ = finished(process)
    assert code == 2
    run = the_run(server)
    assert (run["status"], run["total"]) == ("aborted", 200)
    assert 0 < len(run["results"]) < 200


def test_xdist_worker_that_crashes(server: ServerProcess, project: Project) -> None:
    project.write("test_crash.py", "import os\ndef test_crash(): os._exit(9)\ndef test_fine(): pass")
    code, _ = project.pytest("--sentri-url", server.url, "-n", "1", "--junitxml=report.xml")
    assert code == 1
    run = the_run(server)
    assert list(statuses(run).items()) == [("test_crash", "error"), ("test_fine", "passed")]  # each as it ends
    assert_agrees(run, project.root / "report.xml")
    assert "crashed while running" in next(result["error"] for result in run["results"] if "error" in result)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_collection_error(server: ServerProcess, project: Project, workers: tuple[str, ...]) -> None:
    project.write("test_broken.py", "import no_such_module_anywhere")
    project.write("test_fine.py", "def test_fine(): pass")
    code, _ = project.pytest("--sentri-url", server.url, "--junitxml=report.xml", *workers)
    run = the_run(server)
    done = the_events(server)[-1]
    assert run["status"] == "failed"
    assert done["exitStatus"] == code != 0
    broken = next(result for result in run["results"] if result["testId"] == "test_broken.py")
    assert broken["status"] == "error"
    assert "no_such_module_anywhere" in broken["error"]
    assert run["total"] == 2
    assert run["failed"] == 1
    if not workers:
        assert code == 2
        assert "1 error" in run["error"]


def test_collection_errors_that_do_not_stop_it(server: ServerProcess, project: Project) -> None:
    project.write("test_broken.py", "import no_such_module_anywhere")
    project.write("test_fine.py", "def test_fine(): pass")
    project.pytest("--sentri-url", server.url, "--junitxml=report.xml", "--continue-on-collection-errors")
    run = the_run(server)
    assert {result["testId"]: result["status"] for result in run["results"]} == {
        "test_broken.py": "error",
        "test_fine.py::test_fine": "passed",
    }
    assert_agrees(run, project.root / "report.xml")


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_stopping_at_the_first_failure(server: ServerProcess, project: Project, workers: tuple[str, ...]) -> None:
    project.write("test_three.py", "def test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pass")
    project.pytest("--sentri-url", server.url, "-x", *workers)
    run = the_run(server)
    assert run["status"] == "failed"
    assert run["error"] == "stopping after 1 failures"
    assert statuses(run) == {"test_a": "passed", "test_b": "failed"}
    assert (run["passed"], run["failed"], run["skipped"], run["total"]) == (1, 1, 0, 3)


@pytest.mark.parametrize("arguments", [(), ("-k", "nothing_of_that_name"), ("-n", "1")])
def test_no_tests(server: ServerProcess, project: Project, arguments: tuple[str, ...]) -> None:
    if "-k" in arguments:
        project.write("test_one.py", "def test_one(): pass")
    code, _ = project.pytest("--sentri-url", server.url, *arguments)
    assert code == 5
    run = the_run(server)
    assert (run["status"], run["total"], run["testQueue"]) == ("completed_empty", 0, [])


def test_refused_arguments(server: ServerProcess, project: Project) -> None:
    code, _ = project.pytest("--sentri-url", server.url, "no_such_file.py")
    assert code == 4
    run = the_run(server)
    assert run["status"] == "failed"
    assert "no_such_file.py" in run["error"]
    assert run["name"] == "pytest no_such_file.py"
    assert the_events(server)[-1]["exitStatus"] == 4


def test_internal_error(server: ServerProcess, project: Project) -> None:
    project.write("test_one.py", "def test_one(): pass")
    project.write("conftest.py", "def pytest_runtest_logstart(): raise LookupError('a plugin broke')")
    code, _ = project.pytest("--sentri-url", server.url)
    assert code == 3
    run = the_run(server)
    assert run["status"] == "failed"
    assert "LookupError: a plugin broke" in run["error"]


def test_pytest_exit_aborts(server: ServerProcess, project: Project) -> None:
    project.write(
        "test_exit.py", "import pytest\ndef test_a(): pass\ndef test_b(): pytest.exit('enough')\ndef test_c(): pass"
    )
    code, _ = project.pytest("--sentri-url", server.url)
    assert code == 2
    run = the_run(server)
    assert (run["status"], run["error"], statuses(run)) == ("aborted", "enough", {"test_a": "passed"})


def test_the_exit_status_is_the_last_one(server: ServerProcess, project: Project) -> None:
    """Plugins change it while the session ends (pytest's own --max-warnings does): `done` says what the shell sees."""
    project.write("test_one.py", "def test_one(): pass")
    project.write(
        "conftest.py",
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_sessionfinish(session):
            try:
                return (yield)
            finally:
                session.exitstatus = 17
        """,
    )
    code, _ = project.pytest("--sentri-url", server.url)
    assert code == 17
    assert the_events(server)[-1]["exitStatus"] == 17
    assert (the_run(server)["status"], the_run(server)["error"]) == ("failed", "pytest exited with status 17")


@pytest.mark.parametrize("with_teardowns", [False, True])
def test_reruns(server: ServerProcess, project: Project, with_teardowns: bool) -> None:
    """The ways of pytest-rerunfailures: an attempt that is repeated is reported as "rerun", 16.7 adds its teardown."""
    project.write(
        "test_flaky.py",
        """
        import pathlib, time

        tries = []
        def test_flaky():
            tries.append(1)
            print("try", len(tries))
            pathlib.Path(f"try{len(tries)}").write_text(str(time.time()))
            assert len(tries) > 2
        """,
    )
    project.write(
        "conftest.py",
        f"""
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            for attempt in range(3):
                again = False
                for report in runtestprotocol(item, nextitem=nextitem, log=False):
                    if report.failed and attempt < 2:
                        report.outcome, again = "rerun", True
                    elif again and not {with_teardowns}:
                        continue
                    item.ihook.pytest_runtest_logreport(report=report)
                if not again:
                    return True
        """,
    )
    code, _ = project.pytest("--sentri-url", server.url, "--junitxml=report.xml")
    assert code == 0
    run = the_run(server)
    assert statuses(run) == {"test_flaky": "passed"}
    assert_agrees(run, project.root / "report.xml")
    assert "error" not in run["results"][0]
    assert run["results"][0]["startedAt"] >= float((project.root / "try2").read_text()) * 1000 - 1  # the last attempt's
    events = the_events(server)
    told = [event["message"] for event in events if event["type"] == "log" and "section" in event]
    assert told == ["try 1", "try 2", "try 3"]
    again = [event["message"] for event in events if event["type"] == "log" and event["level"] == "warn"]
    assert len(again) == 2
    assert all(message.startswith("rerun: test_flaky\n") and "assert len(tries) > 2" in message for message in again)


@pytest.mark.parametrize("more", [(), ("-p", "no:terminal")], ids=["terminal", "no terminal"])
def test_subtests_belong_to_their_test(server: ServerProcess, project: Project, more: tuple[str, ...]) -> None:
    project.write(
        "test_sub.py",
        """
        import pytest

        def test_sub(subtests):
            for number in range(4):
                with subtests.test(number=number):
                    print("same words")
                    if number == 1: pytest.skip("not this one")
                    assert number != 2, "two is wrong"

        def test_sub_skip(subtests):
            with subtests.test(): pytest.skip("only a part")
        """,
    )
    project.pytest("--sentri-url", server.url, *more)
    run = the_run(server)
    assert statuses(run) == {"test_sub": "failed", "test_sub_skip": "passed"}
    assert "two is wrong" in run["results"][0]["error"]
    assert "reason" not in run["results"][1]
    assert len([event for event in the_events(server) if event.get("message") == "same words"]) == 4


def test_collect_only_publishes_nothing(server: ServerProcess, project: Project) -> None:
    project.write("test_one.py", "def test_one(): pass")
    for arguments in (("--collect-only",), ("--fixtures",), ("--help",), ("--collect-only", "-n", "1")):
        code, _ = project.pytest("--sentri-url", server.url, *arguments)
        assert code == 0
    assert runs(server) == []


def test_quiet_and_without_a_terminal(server: ServerProcess, project: Project) -> None:
    project.write("test_one.py", "def test_one(): pass")
    assert project.pytest("--sentri-url", server.url, "-p", "no:terminal", "-W", "error") == (0, "")
    code, output = project.pytest("--sentri-url", server.url, "-q", "-W", "error")
    assert code == 0
    assert "publishing to" not in output
    assert [run["status"] for run in runs(server)] == ["completed", "completed"]
    assert runs(server)[0]["id"] in output


def test_last_failed(server: ServerProcess, project: Project) -> None:
    project.write("test_two.py", "def test_a(): pass\ndef test_b(): assert 0")
    cache = ("-p", "cacheprovider")
    project.pytest("--sentri-url", server.url, *cache)
    project.pytest("--sentri-url", server.url, *cache, "--lf")
    newest = runs(server)[0]
    assert (newest["total"], statuses(newest)) == (1, {"test_b": "failed"})


def test_settings(server: ServerProcess, project: Project) -> None:
    """Off without a URL; command line before environment before configuration file; an empty option switches it off."""
    project.write("test_one.py", "def test_one(): pass")

    def published(*arguments: str, **environment: str) -> list[str]:
        before = len(runs(server))
        code, output = project.pytest(*arguments, **environment)
        assert code == 0, output
        new = runs(server)[: len(runs(server)) - before]
        assert ("sentri-events: " in output) == bool(new)
        return [run["projectId"] for run in new]

    assert published() == []
    assert published(SENTRI_EVENTS_URL=server.url, SENTRI_PROJECT="env") == []
    assert published(SENTRI_URL=server.url, SENTRI_PROJECT="env") == ["env"]
    assert published("--sentri-project", "option", SENTRI_URL=server.url, SENTRI_PROJECT="env") == ["option"]
    assert published(SENTRI_URL="") == []
    project.write("pytest.ini", f"[pytest]\nsentri_url = {server.url}\nsentri_project = ini\nsentri_strict = true\n")
    assert published() == ["ini"]
    assert published(SENTRI_PROJECT="env") == ["env"]
    assert published(SENTRI_URL="", SENTRI_PROJECT="") == ["ini"]
    assert published("--sentri-url=") == []


def test_wrong_settings_are_refused(project: Project) -> None:
    project.write("test_one.py", "def test_one(): pass")
    code, output = project.pytest("--sentri-url", "ftp://127.0.0.1")
    assert code == 4
    assert "must look like http://127.0.0.1:8000" in output
    code, output = project.pytest(SENTRI_URL="http://127.0.0.1:1", SENTRI_STRICT="perhaps")
    assert code == 4
    assert "SENTRI_STRICT must be true or false, not 'perhaps'." in output


def test_a_pytest_inside_a_test_is_no_run_of_its_own(server: ServerProcess, project: Project) -> None:
    project.write("conftest.py", 'pytest_plugins = ["pytester"]')
    project.write(
        "test_outer.py",
        """
        def test_inline(pytester):
            pytester.makepyfile("def test_inner(): pass")
            pytester.runpytest_inprocess().assert_outcomes(passed=1)

        def test_subprocess(pytester):
            pytester.makepyfile("def test_inner(): pass")
            pytester.runpytest_subprocess().assert_outcomes(passed=1)
        """,
    )
    code, output = project.pytest(SENTRI_URL=server.url)
    assert code == 0, output
    assert statuses(the_run(server)) == {"test_inline": "passed", "test_subprocess": "passed"}


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port where connections are refused: it is bound, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


SENTENCE = "the run was not published whole"


def test_a_server_that_is_away_changes_nothing(project: Project, nobody: str) -> None:
    project.write("test_two.py", "def test_a(): pass\ndef test_b(): pass")
    code, output = project.pytest("--sentri-url", nobody)
    assert code == 0
    assert output.count(SENTENCE) == 1
    assert nobody in output
    code, output = project.pytest("--sentri-url", nobody, "-p", "no:terminal")
    assert code == 0
    assert output.count(SENTENCE) == 1
    project.write("test_two.py", "def test_a(): pass\ndef test_b(): assert 0")
    assert project.pytest("--sentri-url", nobody)[0] == 1


def test_strict(project: Project, nobody: str) -> None:
    project.write("test_one.py", "def test_one(): pass")
    for arguments, environment in (
        (("--sentri-strict",), {}),
        ((), {"SENTRI_STRICT": "1"}),
        (("-o", "sentri_strict=true"), {}),
    ):
        code, output = project.pytest("--sentri-url", nobody, *arguments, **environment)
        assert code == 1
        assert output.count(SENTENCE) == 1
        assert "--sentri-strict" in output
    assert project.pytest("--sentri-url", nobody, "--sentri-strict", "-k", "nothing_of_that_name")[0] == 5


def test_a_server_that_never_answers_is_not_waited_for_long(project: Project) -> None:
    """The kernel takes the connection, and nobody ever reads from it: the end is bounded all the same."""
    project.write("test_one.py", "def test_one(): pass")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        code, output = project.pytest("--sentri-url", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert code == 0
    assert output.count(SENTENCE) == 1


def test_a_server_that_is_killed_and_comes_back(server: ServerProcess, project: Project) -> None:
    project.write(
        "test_many.py",
        """
        import pathlib, time
        import pytest

        @pytest.mark.parametrize("number", range(60))
        def test_many(number):
            print("says", number)
            if number == 50:  # hold the run until the server is back
                while not pathlib.Path("back").exists(): time.sleep(0.01)
            time.sleep(0.02)
        """,
    )
    process = project.start("--sentri-url", server.url, "--sentri-strict", "--junitxml=report.xml")
    wait_until(lambda: first_result(server), "there is a result")
    server.restart()
    (project.root / "back").touch()
    code, output = finished(process)
    assert code == 0, output
    run = the_run(server)
    assert run["status"] == "completed"
    assert_agrees(run, project.root / "report.xml")
    history = server.history(run["id"])
    times = [datetime.fromisoformat(each["at"]) for each in history if each["event"]["type"] == "result"]
    assert min(later - sooner for sooner, later in pairwise(times)) > timedelta(milliseconds=15), "when it happened"
    events = [each["event"] for each in history]
    results = [event["result"]["testId"] for event in events if event["type"] == "result"]
    assert results == [f"test_many.py::test_many[{number}]" for number in range(60)]
    assert [event["message"] for event in events if event["type"] == "log"] == [
        f"says {number}" for number in range(60)
    ]


GUARDS = {
    "sockets": """
        class Guarded(socket.socket):
            def __new__(cls, *arguments, **named):
                raise RuntimeError("A test tried to use socket.socket.")
        monkeypatch.setattr(socket, "socket", Guarded)
    """,
    "http": """
        def recorded(*arguments, **named):
            raise LookupError("There is no such request in the cassette.")
        monkeypatch.setattr(http.client, "HTTPConnection", recorded)
    """,
}


@pytest.mark.parametrize("guard", GUARDS)
def test_tests_that_forbid_or_record_the_network(server: ServerProcess, project: Project, guard: str) -> None:
    """As pytest-socket and vcrpy do while a test runs: it is published all the same, and they never hear of us."""
    project.write(
        "test_guarded.py",
        """
        import http.client, socket, time
        import pytest

        @pytest.fixture(autouse=True)
        def guard(monkeypatch):
"""
        + textwrap.indent(textwrap.dedent(GUARDS[guard]), "            ")
        + """
        @pytest.mark.parametrize("number", range(10))
        def test_guarded(number): time.sleep(0.1)
        """,
    )
    code, output = project.pytest("--sentri-url", server.url, "--sentri-strict", "-W", "error")
    assert code == 0, output
    assert the_run(server)["passed"] == 10


def test_large_collections_are_announced_as_far_as_they_fit(server: ServerProcess, project: Project) -> None:
    project.write(
        "test_large.py",
        """
        import pytest

        @pytest.mark.parametrize("number", range(2000), ids=lambda number: f"{number:04}" + "x" * 1000)
        def test_large(number): pass
        """,
    )
    code, output = project.pytest("--sentri-url", server.url, "--sentri-strict", "-q", "--maxfail=1")
    assert code == 0, output
    run = the_run(server)
    assert (run["total"], run["passed"]) == (2000, 2000)
    assert 900 < len(run["testQueue"]) < 2000


def test_the_plugin_is_light() -> None:
    """Every pytest run of whoever installed the package pays for this import."""
    heavy = ("json", "http.client", "ssl", "sentri_events.publisher", "sentri_events.errors", "tornado", "click")
    program = f"import sys, sentri_events.pytest_plugin; print([name for name in {heavy} if name in sys.modules])"
    bare = f"import sys, pytest; print([name for name in {heavy} if name in sys.modules])"
    ours, theirs = (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
        for text in (program, bare)
    )
    assert ours == theirs
