"""Through a real nginx as Debian ships it, with buffering left on: what `X-Accel-Buffering: no` is for.

Caught a server that does not send that header (nginx kept every event until the run ended).
"""

import asyncio
import http.client
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sentri_events.client import Client
from tests.server_process import ServerProcess, wait_until

pytestmark = pytest.mark.debian

CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            {more}
        }}
    }}
}}
"""
HTTP_1_0 = ""
HTTP_1_1 = "proxy_http_version 1.1; proxy_set_header Connection '';"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path, "--heartbeat", "0.2")
    try:
        yield process.start()
    finally:
        process.close()


@pytest.fixture(params=[HTTP_1_0, HTTP_1_1], ids=["http-1.0", "http-1.1"])
def port(request: pytest.FixtureRequest, server: ServerProcess, tmp_path: Path) -> Iterator[int]:
    """The port of an nginx in front of the server; `more` is what its operator wrote."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "nginx is missing; scripts/test --all installs it"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not enter the test's folder
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(folder=tmp_path, user=user, port=address[1], upstream=server.url, more=request.param)
    )
    log = tmp_path / "nginx.log"
    nginx = subprocess.Popen([program, "-p", tmp_path, "-c", configuration, "-e", log])
    try:
        wait_until(lambda: nginx.poll() is not None or _answers(address), "nginx listens")
        assert nginx.poll() is None, log.read_text()
        yield address[1]
    finally:
        nginx.terminate()
        nginx.wait(20)


def _answers(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def test_events_and_heartbeats_arrive_while_the_run_goes_on(server: ServerProcess, port: int) -> None:
    run = server.make_run()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", f"/api/v1/runs/{run}/events")
        with connection.getresponse() as stream:
            assert stream.headers["Content-Type"] == "text/event-stream"
            line_with(stream, b'data: {"type":"snapshot"')
            for number in range(3):
                server.request("POST", f"/api/v1/runs/{run}/events", {"type": "log", "message": f"line {number}"})
                assert line_with(stream, b"data: ") == b'data: {"type":"log","message":"line %d"}\n' % number
                line_with(stream, b": heartbeat")
            server.request("POST", f"/api/v1/runs/{run}/events", {"type": "done", "status": "completed"})
            line_with(stream, b'data: {"type":"done"')
            assert stream.read() in (b"", b"\n")


def line_with(stream: http.client.HTTPResponse, text: bytes) -> bytes:
    """The next line that holds `text`."""
    while text not in (line := stream.readline()):
        assert line, f"the stream ended without {text!r}"
    return line


async def test_a_viewer_resumes_when_the_server_behind_it_restarts(server: ServerProcess, port: int) -> None:
    """Meanwhile nginx answers 502 in the server's place."""
    run = server.make_run()
    async with Client(f"http://127.0.0.1:{port}", first_delay=0.05) as client:
        stream = client.follow(run, 0)
        log = {"type": "log", "message": "before"}
        await asyncio.to_thread(server.request, "POST", f"/api/v1/runs/{run}/events", log)
        seen = [(await anext(stream)).seq]
        await asyncio.to_thread(server.restart)
        await client.publish(run, [{"type": "log", "message": "after"}, {"type": "done", "status": "completed"}])
        seen += [received.seq async for received in stream]
    assert seen == [1, 2, 3]
