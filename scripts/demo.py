"""The tests of a well-known project, published, watched live and replayed, while the server is killed in the middle.

Fetches the project from PyPI, and compares what pytest counted with what everyone else saw; exits with 1 if it differs.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from xml.etree import ElementTree

CLONE = Path(__file__).parent.parent
# With what their tests need besides pytest. The second is for when the first cannot be had.
PROJECTS: dict[str, list[str]] = {"click==8.5.1": [], "attrs==26.1.0": ["hypothesis", "cloudpickle"]}
LONGEST = 600  # seconds for all of it
TERMINAL = sys.stdout.isatty()
BOLD, RED, GREEN = "1", "1;31", "1;32"
COUNTED = {"passed": "passed", "xpassed": "passed", "skipped": "skipped", "xfailed": "skipped"}


class Failed(Exception):
    """Why the demonstration cannot go on."""


class Numbers(NamedTuple):
    """What one witness tells of a run; None where it cannot know."""

    passed: int
    failed: int
    skipped: int
    tests: int
    events: int | None = None
    test_by_test: str | None = None  # a digest of every test's status


def demonstrate(stack: ExitStack) -> bool:
    """Whether all witnesses tell the same."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sentri-events-demo-")))
    name, tests, python = fetch_any(folder)
    server = Server(folder, stack)
    server.start()

    publishing = ("--sentri-url", server.url, "--sentri-project", name)
    say(f"$ pytest {' '.join(publishing)}", BOLD)
    junit, words = folder / "junit.xml", folder / "pytest.log"
    with words.open("wb") as out:
        command = (str(python), "-m", "pytest", *publishing, f"--junitxml={junit}", "-p", "no:cacheprovider")
        pytest = start(stack, command, cwd=tests, stdout=out, stderr=out)
    document = until(lambda: server.get(f"/runs?project={name}")["data"], "the run begins", pytest)[0]
    run, total = document["id"], document["total"]

    say(f"$ sentri-events tail {run}", BOLD)
    shown = start(stack, cli("tail", run, "--types", "done", "--url", server.url))
    tail = Tail(start(stack, cli("tail", run, "--json", "--url", server.url), stdout=subprocess.PIPE))
    until(lambda: 3 * len(tail.statuses) > total, "a third of the results is in", pytest)
    server.kill()
    killed = time.monotonic()
    say(f"kill -9 of the server when {len(tail.statuses)} of {total} results were in", RED, above="\n")
    server.start()
    if pytest.poll() is not None:
        raise Failed("The tests were over before the server was back: nothing was shown.")
    say(f"the server is back after {time.monotonic() - killed:.1f} s", GREEN)
    pytest.wait()
    shown.wait()
    say("pytest says: " + words.read_text().strip().splitlines()[-1].strip("= "))

    again = ("replay", run, "--speed", "max", "--into", f"{name}-again")
    say(f"$ sentri-events {' '.join(again)}", BOLD)
    copy = subprocess.run(cli(*again, "--url", server.url), stdout=subprocess.PIPE, text=True).stdout.strip()
    say(copy)

    numbers = read_junit(junit), read_document(server, run), tail.numbers(), read_document(server, copy)
    return compare(("pytest's JUnit XML", "run document", "live tail", "replayed run"), numbers)


def fetch_any(folder: Path) -> tuple[str, Path, Path]:
    """A project that can be had: its name, the folder of its sources, and a Python that has what its tests need."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run((sys.executable, "-m", "venv", folder / "venv"), check=True)
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    for project, needs in PROJECTS.items():
        say(f"Fetching {project} with its tests from PyPI ...")
        name = project.partition("==")[0]
        sources = ("download", "--no-deps", "--no-binary", ":all:", "--dest", folder / name, project)
        try:
            subprocess.run((*pip, *sources), check=True)
            (archive,) = folder.glob(f"{name}/*.tar.gz")
            shutil.unpack_archive(archive, folder / name)
            (tests,) = folder.glob(f"{name}/*/tests")
            subprocess.run((*pip, "install", "pytest", *needs, "--editable", CLONE, tests.parent), check=True)
        except (subprocess.CalledProcessError, ValueError) as error:
            say(f"That did not work: {error}", RED)
        else:
            return name, tests.parent, python
    raise Failed("No project could be fetched.")


class Server:
    """`sentri-events serve` on a port that stays its own when it is killed and started again."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.port, self.url = 0, ""
        self._database, self._log, self._stack = folder / "events.db", folder / "server.log", stack

    def start(self) -> None:
        with self._log.open("wb") as out:
            command = cli("serve", "--port", str(self.port), "--database", f"sqlite:///{self._database}")
            self._process = start(self._stack, command, stdout=out, stderr=out)
        until(lambda: "try, in another" in self._log.read_text(), "the server listens", self._process)
        self.url = self._log.read_text().partition("listens on ")[2].split()[0]
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def get(self, path: str) -> Any:
        with closing(HTTPConnection("127.0.0.1", self.port)) as connection:
            connection.request("GET", f"/api/v1{path}", headers={"Accept": "application/json"})
            return json.load(connection.getresponse())


class Tail:
    """What a `sentri-events tail --json` prints, as it comes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.statuses: dict[str, str] = {}
        self._out, self._seqs = process.stdout, list[int]()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._out is not None
        for line in self._out:
            received = json.loads(line)
            self._seqs.append(received["seq"])
            if received["event"]["type"] == "result":
                result = received["event"]["result"]
                self.statuses[result["testId"]] = result["status"]

    def numbers(self) -> Numbers:
        """When it has ended."""
        self._thread.join()
        if self._seqs != list(range(1, len(self._seqs) + 1)):
            raise Failed("The live tail lost, repeated or reordered events.")
        return count(self.statuses, len(self._seqs))


def count(statuses: Mapping[str, str], events: int) -> Numbers:
    groups = [COUNTED.get(status, "failed") for status in statuses.values()]
    digest = hashlib.sha256(json.dumps(sorted(statuses.items())).encode()).hexdigest()
    passed, failed, skipped = (groups.count(group) for group in ("passed", "failed", "skipped"))
    return Numbers(passed, failed, skipped, len(statuses), events, digest[:8])


def read_document(server: Server, run: str) -> Numbers:
    document, head = server.get(f"/runs/{run}"), server.get(f"/runs/{run}/events?limit=1")["head"]
    digest = count({result["testId"]: result["status"] for result in document["results"]}, head).test_by_test
    passed, failed, skipped, total = (document[name] for name in ("passed", "failed", "skipped", "total"))
    return Numbers(passed, failed, skipped, total, head, digest)


def read_junit(path: Path) -> Numbers:
    suite = next(ElementTree.parse(path).iter("testsuite"))
    tests, failures, errors, skipped = (int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped"))
    return Numbers(tests - failures - errors - skipped, failures + errors, skipped, tests)


def compare(witnesses: Sequence[str], numbers: Sequence[Numbers]) -> bool:
    """Print the numbers as a table; whether they are the same."""
    wide = max(map(len, Numbers._fields))
    say("\n" + " " * wide + "".join(f"  {title:>18}" for title in witnesses), BOLD)
    same = True
    for field, *values in zip(Numbers._fields, *numbers, strict=True):
        equal = len({value for value in values if value is not None}) == 1
        same &= equal
        row = "".join(f"  {'-' if value is None else value:>18}" for value in values)
        say(f"{field.replace('_', ' '):<{wide}}{row}", "" if equal else RED)
    return same


def cli(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "sentri_events", *arguments)


def start(stack: ExitStack, command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """A process that ends with the demonstration at the latest."""
    process = subprocess.Popen(command, **options)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def until(condition: Callable[[], Any], what: str, process: "subprocess.Popen[bytes]") -> Any:
    """The first true value of `condition`, which must come while `process` lives."""
    while not (value := condition()):
        if process.poll() is not None:
            raise Failed(f"A process ended before this was so: {what}.")
        time.sleep(0.02)
    return value


def say(text: str, style: str = "", above: str = "\r\x1b[K") -> None:
    """A line; on a terminal in place of the status line of `tail`, which draws itself anew, or under it."""
    if TERMINAL:
        text = above + (text if os.environ.get("NO_COLOR") or not style else f"\x1b[{style}m{text}\x1b[0m")
    sys.stdout.write(f"{text}\n")  # in one, because `tail` writes there too
    sys.stdout.flush()


def give_up(_number: int, _frame: FrameType | None) -> None:
    raise Failed(f"Stopped; {LONGEST} s are the most that it may take.")


def main() -> int:
    begun = time.monotonic()
    for name in ("SENTRI_URL", "SENTRI_PROJECT", "SENTRI_STRICT", "PYTEST_ADDOPTS"):
        os.environ.pop(name, None)  # they are for the user's own tests
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, give_up)
    signal.alarm(LONGEST)
    try:
        with ExitStack() as stack:
            same = demonstrate(stack)
    except Failed as error:
        say(str(error), RED)
        return 1
    say(
        f"\n{'The same everywhere.' if same else 'They differ.'} ({time.monotonic() - begun:.0f} s)",
        GREEN if same else RED,
    )
    return not same


if __name__ == "__main__":
    sys.exit(main())
