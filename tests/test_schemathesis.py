"""schemathesis asks a real server all that its description allows, and what it forbids, in every role.

Nothing of it may be a 5xx, an answer that is not described, or one that its schema does not allow.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from sentri_events.handlers.pages import Pages
from tests.description import FILE
from tests.server_process import ServerProcess
from tests.tokens import SECRET, bearer, runner, token

ROOT = Path(__file__).parent.parent
ADMIN = token(role="admin", lifetime=3600)
FEW = ("--phases", "examples,fuzzing", "--max-examples", "5")
ALL = ("--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--exclude-checks", "ignored_auth")
ROLES: dict[str, tuple[str, Mapping[str, str], Sequence[str]]] = {
    "nobody is asked": ("", {}, ALL),
    "admin": (SECRET, bearer(ADMIN), FEW),
    "qa_lead": (SECRET, bearer(token(role="qa_lead", lifetime=3600)), FEW),
    "viewer, with history": (SECRET, {**bearer(token(lifetime=3600)), "Accept": "application/json"}, FEW),
    "runner": (SECRET, bearer(runner("web", lifetime=3600)), FEW),
    "no token": (SECRET, {}, FEW),
}


@pytest.fixture
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with that secret, and what `schemathesis.toml` names."""
    (tmp_path / "login.png").write_bytes(b"a picture, more or less")
    options: tuple[str, ...] = ("--artifacts", str(tmp_path)) if not request.param else ()
    options += ("--stream-lifetime", "1", "--heartbeat", "0.1")  # so no stream is waited for, whatever it has to tell
    server = ServerProcess(tmp_path, *options, env={"JWT_SECRET": request.param})
    try:
        server.start()
        assert server.request("POST", "/api/v1/projects", {"id": "web"}, bearer(ADMIN))[0] == 201
        log = {"type": "log", "message": "hello"}
        for run in ("ended", "RUN-1", *(f"run-{number}" for number in range(10))):
            assert server.request("POST", "/api/v1/runs", {"id": run, "projectId": "web"}, bearer(ADMIN))[0] == 201
            assert server.request("POST", f"/api/v1/runs/{run}/events", log, bearer(ADMIN))[0] == 201
        done = {"type": "done", "status": "completed"}
        assert server.request("POST", "/api/v1/runs/ended/events", done, bearer(ADMIN))[0] == 201
        yield server
    finally:
        server.close()


@pytest.mark.parametrize(("asked", "headers", "options"), ROLES.values(), ids=list(ROLES), indirect=["asked"])
def test_nothing_is_answered_that_is_not_described(
    asked: ServerProcess, headers: Mapping[str, str], options: Sequence[str], tmp_path: Path
) -> None:
    """Mutants: a description without a 404, of a number that is text; a server that answers 500 to an empty body."""
    given = {"VERSION": Pages().version, "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
            *("--config-file", str(ROOT / "tests" / "schemathesis.toml")),
            *("run", str(FILE), "--url", asked.url, *options),
            *(word for name, value in headers.items() for word in ("--header", f"{name}: {value}")),
        ],
        cwd=tmp_path,
        env={**os.environ, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert re.search(r"Tested: (\d+)", done.stdout), done.stdout
