"""`sentri-events tail`: a real server that is killed and restarted, real terminals, real signals."""

import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.commands import PROGRAM, Terminal, picture, run, start
from tests.server_process import ServerProcess, wait_until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    try:
        yield process.start()
    finally:
        process.close()


def post(server: ServerProcess, name: str, *events: dict[str, Any], query: str = "") -> None:
    status, answer = server.request("POST", f"/api/v1/runs/{name}/events{query}", list(events))
    assert status in (201, 202), answer


def log(message: str, **more: Any) -> dict[str, Any]:
    return {"type": "log", "message": message, **more}


def result(test: str, status: str) -> dict[str, Any]:
    return {"type": "result", "result": {"testId": test, "status": status}}


def done(status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"type": "done", "status": status, **more}


@pytest.mark.parametrize(
    ("status", "exit_status"),
    [("completed", 0), ("completed_empty", 0), ("failed", 1), ("aborted", 3), ("interrupted", 3)],
)
def test_exit_status(shared: ServerProcess, status: str, exit_status: int) -> None:
    name = shared.make_run()
    post(shared, name, log("one"), done(status))
    assert run("tail", name, "--url", shared.url) == (exit_status, f"one\n{status}\n", "")
    # Of a run that had ended, with nothing left to see:
    assert run("tail", name, "--since", "2", "--url", shared.url) == (exit_status, "", "")


def test_an_unknown_run(shared: ServerProcess) -> None:
    name = shared.make_run()
    expected = (2, "", f"Error: There is no run NONE on {shared.url}.\n")
    assert run("tail", name, "NONE", "--url", shared.url) == expected


def test_live(shared: ServerProcess) -> None:
    name = shared.make_run()
    post(shared, name, log("early"))
    with start("tail", name, "--url", shared.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"early\n"
        post(shared, name, {"type": "frame", "data": "…"})
        post(shared, name, {"type": "step"}, query="?volatile=true")
        post(shared, name, log("late"))
        assert process.stdout.readline() == b"late\n"
        post(shared, name, done())
        assert process.wait(20) == 0


def test_since_and_types(shared: ServerProcess) -> None:
    name = shared.make_run()
    post(shared, name, log("one"), result("a", "passed"), log("two"), done())
    options = ("--url", shared.url)
    assert run("tail", name, "--since", "1", *options)[1] == "PASSED a\ntwo\ncompleted\n"
    assert run("tail", name, "--types", "log", *options)[1] == "one\ntwo\ncompleted\n"
    assert run("tail", name, "--types", "result, step", *options)[1] == "PASSED a\ncompleted\n"
    seqs = [
        json.loads(line)["seq"] for line in run("tail", name, "--json", "--types", "result", *options)[1].splitlines()
    ]
    assert seqs == [2, 4]
    status, out, error = run("tail", name, "--since", "99", *options)
    assert (status, out) == (0, "completed\n")
    assert error.startswith(f"Warning: {name}: it has not come that far;")


def test_several_runs(shared: ServerProcess) -> None:
    first, second = shared.make_run(id="A"), shared.make_run(id="LONGER")
    with start("tail", first, second, first, "--url", shared.url) as process:
        assert process.stdout is not None
        for name in (first, second, first):
            post(shared, name, log(f"from {name}"))
            assert process.stdout.readline().decode() == f"{name:<6} | from {name}\n"
        post(shared, second, done("aborted"))
        assert process.stdout.readline() == b"LONGER | aborted\n"
        assert process.poll() is None
        post(shared, first, done("failed"))
        assert process.wait(20) == 3


def test_json_is_the_exact_set_of_durable_events(server: ServerProcess, tmp_path: Path) -> None:
    """Publishers go on while the server is killed and restarted: each event is shown once, and in order."""
    names = [server.make_run(), server.make_run()]

    def publish(name: str) -> None:
        for number in range(150):
            _insist(server, name, log(str(number)), f"{name}-{number}")
        _insist(server, name, done(), f"{name}-done")

    publishers = [threading.Thread(target=publish, args=(name,)) for name in names]
    out = tmp_path / "shown"
    with out.open("wb") as file, start("tail", *names, "--json", "--url", server.url, stdout=file) as process:
        for publisher in publishers:
            publisher.start()
        wait_until(lambda: out.stat().st_size, "the first line")
        for share in (30, 70, 110):
            wait_until(partial(_is_beyond, server, names[0], share), "some events")
            server.restart()
        for publisher in publishers:
            publisher.join(60)
            assert not publisher.is_alive()
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, b"")
    shown = [json.loads(line) for line in out.read_bytes().splitlines()]
    for name in names:
        stored = [{"run": name, **row} for row in server.history(name)]
        assert [document for document in shown if document["run"] == name] == stored
        assert [row["event"].get("message") for row in stored] == [*map(str, range(150)), None]


def _is_beyond(server: ServerProcess, name: str, seq: int) -> bool:
    headers = {"Accept": "application/json"}
    return bool(server.request("GET", f"/api/v1/runs/{name}/events?limit=1", headers=headers)[1]["head"] > seq)


def _insist(server: ServerProcess, name: str, event: dict[str, Any], key: str) -> None:
    def published() -> bool:
        try:
            return server.request("POST", f"/api/v1/runs/{name}/events", event, {"Idempotency-Key": key})[0] == 201
        except OSError:  # it is being restarted
            return False

    wait_until(published, f"{key} is stored", 60)


def test_plain_lines_across_a_restart(server: ServerProcess) -> None:
    name = server.make_run()
    post(server, name, log("one"))
    with start("tail", name, "--url", server.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        server.kill()
        server.start()
        post(server, name, log("two"), done("failed"))
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out, error) == (1, b"two\nfailed\n", b"")


def on_terminal(server: ServerProcess, *arguments: str, **options: Any) -> Terminal:
    return Terminal(*PROGRAM, "tail", *arguments, "--url", server.url, **options)


def test_the_status_line(shared: ServerProcess) -> None:
    name = shared.make_run(total=4)
    with on_terminal(shared, name, columns=100) as terminal:
        terminal.until(r"0/4.*0 passed.*0 failed")
        post(shared, name, log("hello"), result("a", "passed"), result("b", "failed"))
        terminal.until(r"2/4.*1 passed.*1 failed")
        *lines, status = picture(terminal.shown)
        assert lines == ["hello", "PASSED a", "FAILED b"]
        assert re.fullmatch(rf"{name}  \[#+\.+\]  2/4  1 passed  1 failed", status)
        assert len(re.findall("#", status)) == len(re.findall(r"\.", status))
        post(shared, name, log("\x1b[32mgreen"), result("b", "passed"), result("c", "skipped"), done("aborted"))
        assert terminal.end() == 3
        assert picture(terminal.shown) == [*lines, "green", "PASSED b", "SKIPPED c", "aborted", ""]
        assert b"\x1b[32mgreen\x1b[0m" in terminal.shown


def test_the_status_line_counts_what_is_not_shown(shared: ServerProcess) -> None:
    name = shared.make_run(total=4)
    with on_terminal(shared, name, "--types", "log") as terminal:
        post(shared, name, result("a", "passed"), {"type": "step"}, log("one"))
        terminal.until(r"1/4")
        terminal.until(r"one")
        post(shared, name, done())
        assert terminal.end() == 0
        assert picture(terminal.shown) == ["one", "completed", ""]


def test_the_status_line_of_several_runs_and_from_the_middle(shared: ServerProcess) -> None:
    names = [shared.make_run(total=3), shared.make_run(total=3)]
    for name in names:
        post(shared, name, result("a", "passed"), result("b", "failed"))
    with on_terminal(shared, *names, "--since", "2") as terminal:
        terminal.until(r"2 runs.*4/6.*2 passed.*2 failed")
        post(shared, names[0], result("c", "passed"))
        terminal.until(r"5/6.*3 passed.*2 failed")
        for name in names:
            post(shared, name, done())
        assert terminal.end() == 0


def test_the_status_line_never_wraps(shared: ServerProcess) -> None:
    name = shared.make_run(total=4)
    with on_terminal(shared, name, columns=60) as terminal:
        terminal.until("0/4")
        assert len(picture(terminal.shown)[-1]) <= 59
        before = len(terminal.shown)
        terminal.resize(24, 20)
        wait_until(lambda: terminal.read_some() > before + 5, "it is drawn again")
        assert 10 < len(picture(terminal.shown)[-1]) <= 19
        post(shared, name, log("x" * 50), done())
        assert terminal.end() == 0
        assert picture(terminal.shown)[0] == "x" * 50


@pytest.mark.parametrize(
    ("options", "env", "bar"),
    [
        (["--no-color"], {}, True),
        ([], {"NO_COLOR": "1"}, True),
        ([], {"TERM": "dumb"}, False),
        (["--json"], {}, False),
    ],
)
def test_no_colours(shared: ServerProcess, options: list[str], env: dict[str, str], bar: bool) -> None:
    name = shared.make_run(total=4)
    post(shared, name, log("\x1b[31mred\x1b[0m"), result("a", "failed"), done())
    with on_terminal(shared, name, *options, env=env) as terminal:
        assert terminal.end() == 0
        assert b"\x1b[3" not in terminal.shown
        assert (b"\x1b[K" in terminal.shown) == bar
        assert (b"\x1b" in terminal.shown) == bar


def test_no_escape_sequence_reaches_a_pipe(shared: ServerProcess) -> None:
    name = shared.make_run(total=4)
    post(shared, name, log("\x1b[31mred\x1b[0m\x1b[2J"), result("a", "failed"), done())
    assert run("tail", name, "--url", shared.url)[1] == "red\nFAILED a\ncompleted\n"


def test_ctrl_c(shared: ServerProcess) -> None:
    name = shared.make_run(total=4)
    with on_terminal(shared, name) as terminal:
        post(shared, name, log("one"))
        terminal.until("one")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert b"Traceback" not in terminal.shown
        assert picture(terminal.shown)[0] == "one"
        assert picture(terminal.shown)[-1] == ""
        assert "0/4" not in "".join(picture(terminal.shown))


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_nobody_reads_any_more(shared: ServerProcess, options: list[str]) -> None:
    name = shared.make_run()
    post(shared, name, *(log("x" * 1000) for _ in range(500)))
    with start("tail", name, *options, "--url", shared.url) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr.read() == b""


def test_no_server() -> None:
    status, out, error = run("tail", "RUN-1", "--url", "http://127.0.0.1:9")
    assert (status, out) == (1, "")
    assert re.fullmatch(r"Error: http://127\.0\.0\.1:9 cannot be reached: [^\n]+\n", error)


def test_a_locale_that_lacks_the_character(shared: ServerProcess) -> None:
    name = shared.make_run()
    post(shared, name, log("caf\u00e9"), done())
    assert run("tail", name, "--url", shared.url, env={"PYTHONIOENCODING": "ascii"}) == (0, "caf?\ncompleted\n", "")
