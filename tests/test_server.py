"""Starting and stopping a real server."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sentri_events.access import check_exposure, is_loopback
from sentri_events.errors import SettingsError
from sentri_events.settings import Settings
from tests.server_process import ServerProcess
from tests.test_slow_viewers import EVENT, Reader, post, readers


def test_the_first_lines_say_where_and_what_next(server: ServerProcess) -> None:
    lines = server.log.read_text().splitlines()
    assert f"sentri-events listens on {server.url}" in lines
    assert f"its data is in {server.database}" in lines
    command = next(line for line in lines if "sentri-events exec" in line)
    assert f"--url {server.url}" in command


def test_sigterm_ends_open_streams_and_they_resume_after_the_restart(tmp_path: Path) -> None:
    """The end is a proper one, within the grace, with status 0; a viewer that takes nothing cannot hold it up."""
    server = ServerProcess(tmp_path, "--grace", "2")
    server.start()
    try:
        run = server.make_run()
        viewers = [Reader(server, run) for _ in range(30)]
        stuck = Reader(server, run, small=True)
        with readers(*viewers, stuck):
            for _ in range(80):
                post(server, run, {"type": "log", "message": EVENT})
            for viewer in viewers:
                while len(viewer.seqs) < 80:
                    assert viewer.read()
            assert server.stop() == 0
            for viewer in viewers:
                viewer.read_to_end()
                assert viewer.seqs == list(range(1, 81))
            server.start()
            again = [Reader(server, run, position=len(viewer.seqs)) for viewer in viewers]
            with readers(*again):
                post(server, run, {"type": "done", "status": "completed"})
                for viewer in again:
                    viewer.read_to_end()
                    assert viewer.seqs == [81]
    finally:
        server.close()


def test_a_chunked_stream_ends_with_its_last_chunk(server: ServerProcess) -> None:
    """Without it a client could not tell the end from a cut."""
    run = server.make_run()
    with socket.create_connection(("127.0.0.1", server.port), 20) as viewer:
        viewer.sendall(f"GET /api/v1/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = viewer.recv(65536)
        assert b"Transfer-Encoding: chunked" in received
        assert server.stop() == 0
        while data := viewer.recv(65536):
            received += data
        assert received.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "0.0.0.0"], "--insecure"),
        (["--database", "sqlite:////no/such/folder/events.db"], "does not exist"),
        (["--database", "sqlite://"], "sqlite:///sentri-events.db"),
        (["--database", "mysql://x/y"], "must be a URL"),
        (["--redis-url", "gopher://x"], "gopher"),
        (["--heartbeat", "never"], "must be a number"),
        (["--host", "256.1.1.1", "--insecure"], "cannot be listened on"),
    ],
)
def test_what_it_cannot_start_with_is_one_sentence(tmp_path: Path, options: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "sentri_events", "serve", "--port", "0"]
    if "--database" not in options:
        command += ["--database", f"sqlite:///{tmp_path}/events.db"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_port_that_is_taken_is_one_sentence(server: ServerProcess, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "sentri_events", "serve", "--port", str(server.port)),
            *("--database", f"sqlite:///{tmp_path}/other.db"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, "Address already in use" in done.stderr) == (2, True)


def test_it_listens_on_ipv6(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, "--host", "::1")
    try:
        server.start()
        assert server.url.startswith("http://[::1]:")
        assert server.request("GET", "/health") == (200, {"status": "alive"})
    finally:
        server.close()


def test_only_loopback_is_open_to_everyone() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    for host in ("0.0.0.0", "::", "192.168.1.1", "example.org", ""):
        assert not is_loopback(host)
        with pytest.raises(SettingsError, match="insecure"):
            check_exposure(Settings(host=host))
        check_exposure(Settings(host=host, insecure=True))
