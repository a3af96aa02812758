"""A real server in a process of its own, which a test may kill, restart and read the words of."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

READY_SECONDS = 20
PROCESSES = 3  # of a fleet


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first true value of `condition`; fails the test if there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds:g} s: {what}")


class ServerProcess:
    """`python -m sentri_events serve` on a free port that stays its own over restarts.

    `program` stands in for `-m sentri_events`, where something must be so before it runs.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "sentri_events"),
    ) -> None:
        self.database = folder / "events.db"
        self.log = folder / "server.log"
        self.port = 0
        self.url = ""
        self._options = options
        self._program = program
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "ServerProcess":
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *self._program,
                    *("serve", "--port", str(self.port)),
                    *("--database", f"sqlite:///{self.database}", *self._options),
                ],
                stdout=log,
                stderr=log,
                env=self._env,
            )
        text = wait_until(lambda: self._listening(begin), "the server listens", READY_SECONDS)
        self.url = text.partition("listens on ")[2].split()[0]
        self.port = int(self.url.rpartition(":")[2])
        return self

    def _listening(self, begin: int) -> str:
        assert self._process is not None
        text = self.log.read_bytes()[begin:].decode()
        assert self._process.poll() is None, f"the server ended at its start: {text}"
        return text if "try, in another terminal" in text else ""

    def kill(self) -> None:
        """kill -9"""
        self._end(lambda: os.kill(self.pid, signal.SIGKILL))

    def stop(self, tell: Callable[[], None] | None = None) -> int:
        """SIGTERM, or what `tell` sends; returns the exit status."""
        return self._end(tell or (lambda: os.kill(self.pid, signal.SIGTERM)))

    def restart(self) -> None:
        self.kill()
        self.start()

    def _end(self, tell: Callable[[], None]) -> int:
        assert self._process is not None
        tell()
        status = self._process.wait(30)
        self._process = None
        return status

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and decoded JSON (None where there is no body)."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, dict(headers or {}), method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                text, status = response.read(), response.status
        except urllib.error.HTTPError as error:
            with error:
                text, status = error.read(), error.code
        return status, json.loads(text) if text else None

    def make_run(self, project: str = "web", **fields: Any) -> str:
        status, run = self.request("POST", "/api/v1/runs", {"projectId": project, **fields})
        assert status == 201, run
        return str(run["id"])

    def document(self, run: str) -> dict[str, Any]:
        status, document = self.request("GET", f"/api/v1/runs/{run}")
        assert status == 200, document
        return dict(document)

    def history(self, run: str) -> list[dict[str, Any]]:
        """All stored events of the run: `{seq, at, event}` each."""
        events: list[dict[str, Any]] = []
        while True:
            after = events[-1]["seq"] if events else 0
            path = f"/api/v1/runs/{run}/events?after={after}"
            status, page = self.request("GET", path, headers={"Accept": "application/json"})
            assert status == 200, page
            events += page["events"]
            if not page["events"]:
                return events
