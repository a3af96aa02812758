"""`sentri-events exec`: real commands, a real server, real signals and terminals."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentri_events.output import MAX_LINE, Lines
from tests.commands import PROGRAM, Terminal, environment, run, start
from tests.server_process import ServerProcess, wait_until

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
# Prints for 40 s at least, should nobody stop it.
NOISE = "(n=800; while [ $n -gt 0 ]; do n=$((n-1)); echo noise; sleep 0.05; done)"
# Says which signals come, and at the end how often each came; the wakeup descriptor counts also those that arrive
# faster than Python handles them.
LISTENER = """
import collections, os, signal, sys
ours, theirs = os.pipe()
os.set_blocking(theirs, False)
signal.set_wakeup_fd(theirs)
for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2"):
    signal.signal(getattr(signal, "SIG" + name), lambda number, frame: print("heard", number))
print("ready")
sys.stdin.readline()
os.close(theirs)
print("counts", sorted(collections.Counter(os.read(ours, 1000)).items()))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    try:
        yield process.start()
    finally:
        process.close()


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project of the test's own, so that it finds its run."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


def only_run(server: ServerProcess, project: str) -> dict[str, Any]:
    status, page = server.request("GET", f"/api/v1/runs?project={project}")
    assert status == 200
    [summary] = page["data"]
    return server.document(summary["id"])


def events(server: ServerProcess, project: str) -> list[dict[str, Any]]:
    return [row["event"] for row in server.history(only_run(server, project)["id"])]


def logs(server: ServerProcess, project: str) -> list[tuple[str, str]]:
    return [(event["level"], event["message"]) for event in events(server, project) if event["type"] == "log"]


def arguments(server: ServerProcess, project: str, *command: str) -> list[str]:
    return ["exec", "--url", server.url, "--project", project, "--", *command]


def test_lines_are_published_and_shown(server: ServerProcess, project: str) -> None:
    script = "echo one; echo bad >&2; echo; printf two"
    status, out, error = run(*arguments(server, project, "sh", "-c", script))
    assert (status, out, error) == (0, "one\n\ntwo", "bad\n")
    assert sorted(logs(server, project)) == [("error", "bad"), ("info", ""), ("info", "one"), ("info", "two")]
    document = only_run(server, project)
    assert document["status"] == "completed"
    assert document["name"] == f"sh -c '{script}'"
    assert events(server, project)[-1] == {"type": "done", "status": "completed", "exitStatus": 0}


def test_the_exit_status_is_the_commands_own(server: ServerProcess, project: str) -> None:
    assert run("exec", "--url", server.url, "--project", project, "--name", "mine", "sh", "-c", "exit 3")[0] == 3
    document = only_run(server, project)
    assert document["name"] == "mine"
    assert events(server, project)[-1] == {
        "type": "done",
        "status": "failed",
        "exitStatus": 3,
        "error": "The command exited with status 3.",
    }


@pytest.mark.parametrize(("command", "status", "why"), [("no-such-command", 127, "not found"), ("/", 126, "denied")])
def test_a_command_that_cannot_start(server: ServerProcess, project: str, command: str, status: int, why: str) -> None:
    code, out, error = run(*arguments(server, project, command))
    assert (code, out) == (status, "")
    assert error.startswith(f"Error: {command} ")
    assert why in error
    assert error.count("\n") == 1
    document = only_run(server, project)
    assert (document["status"], events(server, project)[-1]["exitStatus"]) == ("failed", status)


def test_killed_by_a_signal_that_nobody_passed_on(server: ServerProcess, project: str) -> None:
    assert run(*arguments(server, project, "sh", "-c", "kill -KILL $$"))[0] == 128 + 9
    done = events(server, project)[-1]
    assert (done["status"], done["error"]) == ("failed", "The command was killed by SIGKILL.")


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_passed_on_that_ends_the_command(server: ServerProcess, project: str, number: signal.Signals) -> None:
    with start(*arguments(server, project, "sh", "-c", "echo ready; exec sleep 60")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(20) == 128 + number
        process.communicate()
    done = events(server, project)[-1]
    assert (done["status"], done["exitStatus"]) == ("aborted", 128 + number)
    assert number.name in done["error"]


@pytest.mark.parametrize("number", [*ENDING, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_arrives_once(server: ServerProcess, project: str, number: signal.Signals) -> None:
    with start(*arguments(server, project, sys.executable, "-c", LISTENER)) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"heard {number:d}\n".encode()
        out, _ = process.communicate(b"\n", timeout=20)
        assert out == f"counts [({number:d}, 1)]\n".encode()
        assert process.returncode == 0
    assert only_run(server, project)["status"] == "completed"


def test_the_keyboards_signal_arrives_once(server: ServerProcess, project: str) -> None:
    """Caught a mutant that passes on what the terminal has sent to the command already."""
    with Terminal(*PROGRAM, *arguments(server, project, sys.executable, "-c", LISTENER)) as terminal:
        terminal.until("ready")
        terminal.type("\x03")
        terminal.until("heard 2")
        terminal.type("\n")
        terminal.until(r"counts \[\(2, 1\)\]")
        assert terminal.end() == 0


def test_at_a_terminal_other_signals_are_passed_on(server: ServerProcess, project: str) -> None:
    with Terminal(*PROGRAM, *arguments(server, project, sys.executable, "-c", LISTENER)) as terminal:
        terminal.until("ready")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until("heard 2")
        terminal.type("\n")
        terminal.until(r"counts \[\(2, 1\)\]")
        assert terminal.end() == 0


def test_ctrl_c_aborts(server: ServerProcess, project: str) -> None:
    with Terminal(*PROGRAM, *arguments(server, project, "sh", "-c", "echo ready; exec sleep 60")) as terminal:
        terminal.until("ready")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert only_run(server, project)["status"] == "aborted"


def test_a_terminal_stays_one(server: ServerProcess, project: str) -> None:
    script = (
        "import os, signal, sys\n"
        "print(os.isatty(0), os.isatty(1), os.isatty(2), os.get_terminal_size(1).columns)\n"
        "print('\\x1b[31mred\\x1b[0m'); print('bad', file=sys.stderr)\n"
        "signal.signal(signal.SIGWINCH, lambda *_: print('now', os.get_terminal_size(2).columns, flush=True))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
    )
    command = arguments(server, project, sys.executable, "-c", script)
    with Terminal(*PROGRAM, *command, columns=77) as terminal:
        shown = terminal.until("ready\r\n")
        assert b"True True True 77\r\n\x1b[31mred\x1b[0m\r\n" in shown
        assert b"\r\r\n" not in shown
        assert only_run(server, project)["id"].encode() in shown
        terminal.process.send_signal(signal.SIGWINCH)  # to exec alone
        terminal.until("now 77\r\n")
        terminal.resize(24, 55)
        terminal.until("now 55\r\n")
        terminal.type("\n")
        assert terminal.end() == 0
    published = logs(server, project)
    assert ("info", "\x1b[31mred\x1b[0m") in published
    assert ("error", "bad") in published


def test_each_output_is_a_terminal_or_not_by_itself(server: ServerProcess, project: str) -> None:
    ours, theirs = os.openpty()
    script = "import os; print(os.isatty(1), os.isatty(2))"
    with start(*arguments(server, project, sys.executable, "-c", script), stderr=theirs) as process:
        os.close(theirs)
        out, _ = process.communicate(timeout=20)
    os.close(ours)
    assert out == b"False True\n"


def test_a_prompt_is_shown_at_once(server: ServerProcess, project: str) -> None:
    script = "printf 'Name? '; read name; echo hello $name"
    with start(*arguments(server, project, "sh", "-c", script)) as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"Name? "
        out, _ = process.communicate(b"Ada\n", timeout=20)
        assert out == b"hello Ada\n"
    assert logs(server, project) == [("info", "Name? hello Ada")]


def test_bytes_that_are_no_text(server: ServerProcess, project: str) -> None:
    with start(*arguments(server, project, "printf", r"a\377b\342\202\254\n\303")) as process:
        out, _ = process.communicate(timeout=20)
    assert out == b"a\xffb\xe2\x82\xac\n\xc3"
    assert logs(server, project) == [("info", "a�b€"), ("info", "�")]


def test_much_output_in_order(server: ServerProcess, project: str) -> None:
    status, out, _ = run(*arguments(server, project, "seq", "20000"))
    assert status == 0
    assert out.split() == [str(number) for number in range(1, 20001)]
    assert [message for _, message in logs(server, project)] == out.split()


def test_a_long_line_is_cut(server: ServerProcess, project: str) -> None:
    script = f"import sys; sys.stdout.write('x' * {MAX_LINE * 3 + 5} + '\\n')"
    _, out, _ = run(*arguments(server, project, sys.executable, "-c", script))
    assert len(out) == MAX_LINE * 3 + 6
    assert [len(message) for _, message in logs(server, project)] == [MAX_LINE] * 3 + [5]


def test_a_server_that_is_away_changes_nothing() -> None:
    with start("exec", "--url", "http://127.0.0.1:9", "--project", "web", "sh", "-c", "echo one; exit 4") as process:
        out, error = process.communicate(timeout=40)
    assert (process.returncode, out) == (4, b"one\n")
    assert error.count(b"\n") == 1
    assert b"127.0.0.1:9" in error


def test_a_server_that_restarts_loses_nothing(server: ServerProcess, project: str) -> None:
    script = "echo before; read _; echo between; read _; echo after"
    with start(*arguments(server, project, "sh", "-c", script)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"before\n"
        wait_until(lambda: server.request("GET", f"/api/v1/runs?project={project}")[1]["data"], "the run")
        server.kill()
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"between\n"
        server.start()
        process.communicate(b"\n", timeout=40)
        assert process.returncode == 0
    assert [message for _, message in logs(server, project)] == ["before", "between", "after"]


def test_a_background_process_does_not_hold_us(server: ServerProcess, project: str) -> None:
    with start(*arguments(server, project, "sh", "-c", "sleep 300 & echo $!; echo started")) as process:
        assert process.stdout is not None
        background = int(process.stdout.readline())
        try:
            assert process.wait(30) == 0
        finally:
            os.kill(background, signal.SIGKILL)
        assert process.stdout.read() == b"started\n"
    assert [message for _, message in logs(server, project)] == [str(background), "started"]


def test_a_background_process_that_never_falls_quiet(server: ServerProcess, project: str) -> None:
    script = f"{NOISE} & echo started $!"
    with start(*arguments(server, project, "sh", "-c", script)) as process:
        assert process.wait(30) == 0
        assert process.stdout is not None
        shown = process.stdout.read().decode().splitlines()
    [started] = [line for line in shown if line.startswith("started")]
    wait_until(lambda: not _is_running(int(started.split()[1])), "its own SIGPIPE ends it, as in a pipeline")


def test_a_signal_after_the_command_has_ended(server: ServerProcess, project: str) -> None:
    """Caught a mutant that left it pending, to kill us before the run's `done` was published."""
    script = f"{NOISE} & echo started"
    with start(*arguments(server, project, "sh", "-c", script)) as process:
        assert process.stdout is not None
        assert b"started\n" in iter(process.stdout.readline, b"")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: not children.read_text(), "the command has ended")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert only_run(server, project)["status"] == "completed"


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nobody_reads_our_output_any_more(server: ServerProcess, project: str) -> None:
    with start(*arguments(server, project, "yes")) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"y\ny\n"
        process.stdout.close()
        assert process.wait(30) == 128 + signal.SIGPIPE
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert only_run(server, project)["status"] == "failed"


def test_an_ignored_sigchld_does_not_hang_us(server: ServerProcess, project: str) -> None:
    become = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", become, *PROGRAM, *arguments(server, project, "sh", "-c", "exit 5")]
    assert subprocess.run(command, env=environment(), timeout=30, check=False).returncode == 5


def test_the_run_began_when_the_command_did(tmp_path: Path) -> None:
    """Also where the server hears of it later."""
    server = ServerProcess(tmp_path)
    try:
        server.start().kill()
        with start(*arguments(server, "web", "sh", "-c", "echo ready; read _")) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            ready = datetime.now(UTC)
            server.start()
            process.communicate(b"\n", timeout=40)
        assert datetime.fromisoformat(only_run(server, "web")["startedAt"]) <= ready
    finally:
        server.close()


def cut(pieces: list[bytes]) -> list[str]:
    found: list[str] = []
    lines = Lines(lambda text, level: found.append(text), "info")
    for piece in pieces:
        lines.feed(piece)
    lines.end()
    return found


@pytest.mark.parametrize(
    ("printed", "published"),
    [
        (b"one\r\ntwo\n", ["one", "two"]),
        (b"10%\r50%\r100%\n", ["100%"]),
        (b"10%\r50%\r", ["50%"]),
        (b"a\r\r\nb", ["a", "b"]),
        (b"\n\n", ["", ""]),
        (b"", []),
    ],
)
def test_what_a_line_is(printed: bytes, published: list[str]) -> None:
    assert cut([printed]) == published
    assert cut([bytes([byte]) for byte in printed]) == published


@given(st.lists(st.binary(max_size=8) | st.sampled_from([b"\r", b"\n", b"\r\n", "€".encode(), b"x\ry"])))
def test_lines_do_not_depend_on_the_reads(pieces: list[bytes]) -> None:
    assert cut(pieces) == cut([b"".join(pieces)])


def test_an_endless_progress_bar_takes_no_memory() -> None:
    found: list[str] = []
    lines = Lines(lambda text, level: found.append(text), "info")
    for number in range(100_000):
        lines.feed(b"\r%d%%" % number)
    assert len(lines._rest) < 10
    lines.end()
    assert found == ["99999%"]
