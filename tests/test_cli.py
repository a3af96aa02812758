"""The command line: its options, its errors, and the commands that have no room of their own."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sentri_events import __version__, cli, wire
from sentri_events.event import FINAL_STATUSES
from sentri_events.options import Duration, url_option
from sentri_events.settings import SETTINGS
from tests.commands import PROGRAM, environment, run, start
from tests.server_process import ServerProcess, wait_until

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    try:
        yield process.start()
    finally:
        process.close()


def sentence(error: str) -> str:
    """The one sentence that standard error holds."""
    assert re.fullmatch(r"Error: [^\n]+[.?]\n", error), error
    return error


def test_help_and_version() -> None:
    assert run("--version") == (0, f"sentri-events {__version__}\n", "")
    for command in ([], ["serve"], ["exec"], ["tail"], ["replay"], ["emit"], ["runs"], ["db"], ["db", "prune"]):
        status, out, error = run(*command, "-h")
        assert (status, error) == (0, "")
        assert out.startswith(f"Usage: {' '.join(['sentri-events', *command])} [OPTIONS]")


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["tail"],
        ["tail", "RUN-1", "--since", "-1"],
        ["tail", "RUN-1", "--since", "x"],
        ["exec", "true"],
        ["exec", "--project", "web"],
        ["emit", "RUN-1"],
        ["emit", "RUN-1", "log", "{"],
        ["emit", "RUN-1", "log", "[]"],
        ["emit", "RUN-1", "log", '{"a":NaN}'],
        ["runs", "--status", "lost"],
        ["runs", "--limit", "0"],
        ["runs", "--url", "ftp://somewhere"],
        ["serve", "--nonsense"],
        ["serve", "--port", "many"],
        ["serve", "--port", "70000"],
        ["serve", "--database", "oracle://here"],
        ["serve", "--log-level", "loud"],
        ["db", "prune"],
        ["db", "prune", "--older-than", "30"],
        ["db", "prune", "--older-than", "-3d"],
        ["db", "check", "--database", "nowhere"],
    ],
)
def test_wrong_use_is_refused_with_a_sentence(arguments: list[str]) -> None:
    status, out, error = run(*arguments)
    assert (status, out) == (2, "")
    sentence(error)


def test_no_command_shows_the_help() -> None:
    status, out, error = run()
    assert (status, out) == (2, "")
    assert error.startswith("Usage: sentri-events [OPTIONS] COMMAND")


def test_each_setting_is_an_option_of_serve() -> None:
    parameters = {parameter.name: parameter for parameter in cli.serve.params}
    assert list(parameters) == [item.name for item in SETTINGS]
    out = _without_space(run("serve", "-h")[1])
    for item in SETTINGS:
        assert parameters[item.name].opts == [item.flag]
        assert parameters[item.name].envvar == item.env
        assert item.env in out
        assert _without_space(item.help) in out
        if item.default and item.kind is not bool:
            default = f"{item.default:g}" if item.kind is float else item.default
            assert _without_space(f"env var: {item.env}; default: {default}") in out


def _without_space(text: str) -> str:
    """Lines may be broken anywhere, also after a hyphen."""
    return "".join(text.split())


def test_a_setting_comes_from_its_option_or_its_variable(tmp_path: Path) -> None:
    wrong = {"SENTRI_EVENTS_HEARTBEAT": "often"}
    status, _, error = run("serve", env=wrong)
    assert (status, sentence(error)) == (2, error)
    assert "SENTRI_EVENTS_HEARTBEAT" in error
    server = ServerProcess(tmp_path, "--heartbeat", "3", env=wrong)
    server.start()  # the option wins
    assert server.stop() == 0


def test_serve_prints_where_it_is_at_once(server: ServerProcess) -> None:
    """Standard output is a file here: caught a mutant that does not flush."""
    said = server.log.read_text()
    assert f"listens on {server.url}" in said
    assert str(server.database) in said


def test_a_port_that_is_taken(server: ServerProcess, tmp_path: Path) -> None:
    status, out, error = run("serve", "--port", str(server.port), "--database", f"sqlite:///{tmp_path / 'a.db'}")
    assert (status, out) == (2, "")
    assert str(server.port) in sentence(error)


def test_what_is_written_twice_is_the_same() -> None:
    """These would cost an import at the start of every command."""
    assert ("running", *FINAL_STATUSES) == cli.STATUSES
    option = next(parameter for parameter in cli.runs.params if parameter.name == "url")
    assert option.default == wire.DEFAULT_URL
    assert callable(url_option)


def test_only_click_is_imported_to_begin_with() -> None:
    heavy = "('asyncio', 'tornado', 'peewee', 'httpx2', 'msgspec', 'http.client')"
    script = f"import sys, sentri_events.cli; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    assert shown == b"[]\n"


@pytest.mark.parametrize("program", [list(PROGRAM), [str(Path(sys.executable).with_name("sentri-events"))]])
def test_both_ways_to_start_it(program: list[str]) -> None:
    shown = subprocess.run([*program, "-h"], capture_output=True, check=True, env=environment()).stdout
    assert shown.startswith(b"Usage: sentri-events [OPTIONS]")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    status, out, _ = run(env={"_SENTRI_EVENTS_COMPLETE": f"{shell}_source"})
    assert status == 0
    assert "_SENTRI_EVENTS_COMPLETE" in out


def test_completion_completes() -> None:
    words = {"_SENTRI_EVENTS_COMPLETE": "bash_complete", "COMP_WORDS": "sentri-events ta", "COMP_CWORD": "1"}
    assert run(env=words)[:2] == (0, "plain,tail\n")


def test_docs_are_what_help_says() -> None:
    """Caught a mutant option that nobody had documented."""
    command = [sys.executable, str(ROOT / "scripts" / "cli_docs"), "--check"]
    assert subprocess.run(command, env=environment(COLUMNS="33"), capture_output=True, check=False).returncode == 0


def test_the_url_may_come_from_either_variable(server: ServerProcess) -> None:
    for name in ("SENTRI_EVENTS_URL", "SENTRI_URL"):
        assert run("runs", env={name: server.url})[0] == 0
    assert run("runs", env={"SENTRI_EVENTS_URL": server.url, "SENTRI_URL": "http://127.0.0.1:9"})[0] == 0
    status, out, error = run("runs", "--url", "http://127.0.0.1:9", env={"SENTRI_URL": server.url})
    assert (status, out) == (1, "")
    assert "http://127.0.0.1:9" in sentence(error)


# emit


def emitted(server: ServerProcess, name: str) -> list[dict[str, Any]]:
    return [row["event"] for row in server.history(name)]


def test_emit(server: ServerProcess) -> None:
    name = server.make_run()
    assert run("emit", name, "step", '{"n":1,"é":"é"}', "--url", server.url) == (0, "1\n", "")
    assert run("emit", name, "step", "--url", server.url) == (0, "2\n", "")
    assert run("emit", name, "frame", '{"data":"…"}', "--url", server.url) == (0, "", "")
    assert run("emit", name, "log", '{"type":"step"}', "--url", server.url) == (0, "3\n", "")
    assert emitted(server, name) == [{"type": "step", "n": 1, "é": "é"}, {"type": "step"}, {"type": "step"}]


def test_emit_refused(server: ServerProcess) -> None:
    name = server.make_run()
    status, out, error = run("emit", name, "result", "{}", "--url", server.url)
    assert (status, out) == (1, "")
    assert "testId" in error
    assert run("emit", name, "done", '{"status":"completed"}', "--url", server.url)[0] == 0
    status, _, error = run("emit", name, "log", '{"message":"late"}', "--url", server.url)
    assert status == 1
    assert "ended" in sentence(error)
    unknown = f"Error: There is no run NONE on {server.url}.\n"
    assert run("emit", "NONE", "log", "{}", "--url", server.url) == (2, "", unknown)
    assert run("emit", "NONE", "log", "-", "--url", server.url) == (2, "", unknown)


def test_emit_from_standard_input(server: ServerProcess) -> None:
    name = server.make_run()
    lines = [json.dumps({"message": str(number)}) for number in range(2345)]
    given = "\n\n".join([*lines, '{"type":"done","status":"completed"}']).encode()  # the last one without its end
    assert run("emit", name, "log", "-", "--url", server.url, given=given) == (0, "1-2346\n", "")
    messages = [event["message"] for event in emitted(server, name)[:-1]]
    assert messages == [str(number) for number in range(2345)]
    assert server.document(name)["status"] == "completed"


def test_emit_as_they_come(server: ServerProcess) -> None:
    name = server.make_run()
    with start("emit", name, "log", "-", "--url", server.url) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"message":"one"}\n{"mess')
        process.stdin.flush()
        wait_until(lambda: len(server.history(name)) == 1, "the whole line is published")
        process.stdin.write(b'age":"two"}\n')
        process.stdin.flush()
        wait_until(lambda: len(server.history(name)) == 2, "the other one, too")
        out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error) == (0, b"1-2\n", b"")


def test_emit_says_which_line_is_broken(server: ServerProcess) -> None:
    name = server.make_run()
    given = b'{"message":"one"}\n\n{"message":\n{"message":"never"}\n'
    status, out, error = run("emit", name, "log", "-", "--url", server.url, given=given)
    assert (status, out) == (2, "1\n")
    assert "Line 3: This is not JSON" in sentence(error)
    for broken in (b"[1]", b'"x"', b"\xff", b'{"a":Infinity}', b"[" * 100_000):
        status, out, error = run("emit", name, "log", "-", "--url", server.url, given=broken)
        assert (status, out) == (2, "")
        assert error.startswith("Error: Line 1: This ")
    assert len(emitted(server, name)) == 1


def test_emit_says_which_lines_are_refused(server: ServerProcess) -> None:
    name = server.make_run()
    given = b'{"result":{"testId":"a","status":"passed"}}\n{"result":{}}\n'
    status, out, error = run("emit", name, "result", "-", "--url", server.url, given=given)
    assert (status, out) == (1, "")
    assert error.startswith("Error: Lines 1 to 2: Event 2: ")
    assert emitted(server, name) == []


def test_emit_large_lines(server: ServerProcess, tmp_path: Path) -> None:
    name = server.make_run()
    file = tmp_path / "events"  # a file is read in larger pieces than a pipe
    file.write_bytes(b"".join(b'{"message":"%s"}\n' % ("é" * 160_000).encode() for _ in range(8)))
    with file.open("rb") as given, start("emit", name, "log", "-", "--url", server.url, stdin=given) as process:
        assert process.communicate(timeout=60) == (b"1-8\n", b"")
    status, _, error = run("emit", name, "log", "-", "--url", server.url, given=b"x" * (5 << 20))
    assert status == 2
    assert "longer than" in error


def test_emit_survives_a_restart(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    try:
        name = server.start().make_run()
        with start("emit", name, "log", "-", "--url", server.url) as process:
            assert process.stdin is not None
            process.stdin.write(b'{"message":"one"}\n')
            process.stdin.flush()
            wait_until(lambda: server.history(name), "the first event")
            server.kill()
            process.stdin.write(b'{"message":"two"}\n')
            process.stdin.flush()
            server.start()
            assert process.communicate(timeout=60) == (b"1-2\n", b"")
            assert process.returncode == 0
    finally:
        server.close()


def test_emit_ctrl_c(server: ServerProcess) -> None:
    name = server.make_run()
    with start("emit", name, "log", "-", "--url", server.url) as process:
        assert process.stdin is not None
        for number in (1, 2):
            process.stdin.write(b'{"message":"one"}\n')
            process.stdin.flush()
            wait_until(partial(_has_events, server, name, number), "the event")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.read() == b"\n"
        assert process.stdout.read() in (b"1-2\n", b"1\n")  # the answer to the second may not have come


def _has_events(server: ServerProcess, name: str, number: int) -> bool:
    return len(server.history(name)) == number


def test_emit_without_standard_input(server: ServerProcess) -> None:
    command = [*PROGRAM, "emit", server.make_run(), "log", "-", "--url", server.url]
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" 0<&-', "sh", *command], env=environment(), capture_output=True, check=False
    )
    assert ended.returncode == 1
    sentence(ended.stderr.decode())


# runs


def test_runs(server: ServerProcess) -> None:
    for number in range(3):
        server.make_run("listed", name=f"number {number}", total=number)
    assert server.request("POST", f"/api/v1/runs/{server.make_run('listed')}/abort")[0] in (200, 201, 202, 204)
    options = ("--url", server.url, "--project", "listed")
    status, out, error = run("runs", *options)
    assert (status, error) == (0, "")
    header, *rows = out.splitlines()
    assert header.startswith("RUN ")
    assert [row.split()[2] for row in rows] == ["aborted", "running", "running", "running"]
    assert [row.rpartition("  ")[2] for row in rows[1:]] == ["number 2", "number 1", "number 0"]
    assert len(run("runs", *options, "--limit", "2")[1].splitlines()) == 3
    assert len(run("runs", *options, "--status", "running")[1].splitlines()) == 4
    documents = [json.loads(line) for line in run("runs", *options, "--json", "--limit", "2")[1].splitlines()]
    assert [document["status"] for document in documents] == ["aborted", "running"]
    assert run("runs", "--url", server.url, "--project", "none", "--json") == (0, "", "")


def test_runs_beyond_a_page(server: ServerProcess) -> None:
    for _ in range(120):
        server.make_run("many")
    assert len(run("runs", "--url", server.url, "--project", "many", "--limit", "1000")[1].splitlines()) == 121


def test_runs_as_they_change(server: ServerProcess) -> None:
    """Each start and each end once, also over a restart of the server. Caught: the list shown again after a cut;
    progress as a line; an end that came while the connection was cut left out."""
    first = server.make_run("watched", name="first")
    with start("runs", "--watch", "--project", "watched", "--url", server.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"RUN ")
        assert process.stdout.readline().split()[:3] == [first.encode(), b"watched", b"running"]
        second = server.make_run("watched")
        assert process.stdout.readline().split()[0] == second.encode()
        server.restart()
        for run_id in (first, second):
            server.request("POST", f"/api/v1/runs/{run_id}/events", {"type": "result", "result": {"testId": "a"}})
            server.request("POST", f"/api/v1/runs/{run_id}/abort")
            assert process.stdout.readline().split()[:3] == [run_id.encode(), b"watched", b"aborted"]
        process.send_signal(signal.SIGINT)
        assert (process.wait(20), process.stdout.read()) == (130, b"")


def test_runs_as_they_change_in_json(server: ServerProcess) -> None:
    """One document a line, with progress, and of one status if so asked."""
    options = ("runs", "--watch", "--json", "--project", "watched-json", "--url", server.url)
    first = server.make_run("watched-json")
    with start(*options) as whole, start(*options, "--status", "aborted") as ended:
        assert whole.stdout is not None
        assert ended.stdout is not None
        assert json.loads(whole.stdout.readline())["id"] == first
        event = {"type": "result", "result": {"testId": "a", "status": "passed"}}
        server.request("POST", f"/api/v1/runs/{first}/events", event)
        assert json.loads(whole.stdout.readline())["passed"] == 1
        server.request("POST", f"/api/v1/runs/{first}/abort")
        assert json.loads(whole.stdout.readline()) == json.loads(ended.stdout.readline())
        for process in (whole, ended):
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
    status, out, error = run("runs", "--watch", "--project", "none", "--url", server.url)
    assert (status, out) == (2, "")
    assert sentence(error) == f"Error: There is no project none on {server.url}.\n"


# db


def test_db(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    url = ("--database", f"sqlite:///{path}")
    status, out, error = run("db", "check", *url)
    assert (status, out, error) == (2, "", f"Error: There is no database at {path}.\n")
    assert run("db", "prune", "--older-than", "1d", *url)[0] == 2
    assert not path.exists()
    status, out, _ = run("db", "upgrade", *url)
    assert status == 0
    assert "applied " in out
    assert run("db", "upgrade", *url)[:2] == (0, "The schema is up to date.\n")
    assert run("db", "check", env={"DATABASE_URL": url[1]})[:2] == (0, "The database is sound.\n")
    server = ServerProcess(tmp_path)
    try:
        server.start()
        ended, running = server.make_run(), server.make_run()
        server.request("POST", f"/api/v1/runs/{ended}/abort")
        assert run("db", "prune", "--older-than", "30d", *url)[:2] == (0, "0 runs removed.\n")
        assert run("db", "prune", "--older-than", "0s", *url)[:2] == (0, "1 run removed.\n")
        assert server.request("GET", f"/api/v1/runs/{ended}")[0] == 404
        assert server.document(running)["status"] == "running"
    finally:
        server.close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 4000)
    for extra in path.parent.glob("events.db-*"):
        extra.unlink()
    status, out, error = run("db", "check", *url)
    assert status == 1
    assert out or sentence(error)


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("45m", 2_700), ("90s", 90)])
def test_durations(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == seconds
