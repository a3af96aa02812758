"""`scripts/audit`, with an advisory service of our own in place of the real one."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("pip_audit", reason="scripts/check installs it")

AUDIT = Path(__file__).parent.parent / "scripts" / "audit"


class Service:
    """Answers as osv.dev does; `vulnerable` are the packages that it knows something about."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.vulnerable: set[str] = set()

    def answer(self, name: str) -> dict[str, object]:
        if name not in self.vulnerable:
            return {}
        fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}
        affected = {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [fixed]}
        return {"vulns": [{"id": f"X-{name}", "summary": "It is broken.", "affected": [affected]}]}


@pytest.fixture
def service() -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            body = json.dumps(known.answer(name)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known = Service(f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield known
        server.shutdown()
        thread.join()


def audit(url: str, folder: Path) -> tuple[int, str]:
    """The exit status of scripts/audit, and what it says."""
    options = ("--vulnerability-service", "osv", "--osv-url", url, "--cache-dir", str(folder))
    done = subprocess.run((sys.executable, AUDIT, *options), capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_it_fails_on_what_is_known_to_be_vulnerable(service: Service, tmp_path: Path) -> None:
    """Mutant: nothing is asked about but the one that is never installed."""
    service.vulnerable = {"pycrypto"}
    assert audit(service.url, tmp_path) == (0, "")
    service.vulnerable = {"pycrypto", "tornado"}
    assert audit(service.url, tmp_path) == (1, "tornado: X-tornado, fixed in 99. It is broken.\n")


def test_where_nobody_can_tell_it_says_so_and_fails_nothing(service: Service, tmp_path: Path) -> None:
    """Nobody there, and a service that knows nothing. Mutant: an answer without it is one."""
    for url in (service.url, "http://127.0.0.1:9/"):
        status, said = audit(url, tmp_path)
        assert status == 0
        assert said.startswith("NOT AUDITED: ")
