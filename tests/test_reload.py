"""SIGHUP: secrets and log level are read again, and nobody who is connected notices."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from sentri_events.links import Links
from tests.raw import Stream, ask, data
from tests.server_process import ServerProcess, wait_until
from tests.test_fleet import children
from tests.tokens import OTHER_SECRET, SECRET, bearer, token

OLD, NEW = bearer(token(secret=SECRET)), bearer(token(secret=OTHER_SECRET))
TOGETHER = 20  # requests on new connections, of which each process of two gets some


class Reloaded:
    """A server that has its secret and its log level from files."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.secret, self.level, self.artifacts = folder / "secret", folder / "level", folder / "artifacts"
        self.secret.write_text(f"{SECRET}\n")
        self.level.write_text("info\n")
        self.artifacts.write_text("of-artifacts")
        files = {
            "JWT_SECRET_FILE": str(self.secret),
            "LOG_LEVEL_FILE": str(self.level),
            "ARTIFACT_SECRET_FILE": str(self.artifacts),
        }
        self.process = ServerProcess(folder, *options, env=files)

    def tell(self) -> None:
        os.kill(self.process.pid, signal.SIGHUP)

    def statuses(self, headers: dict[str, str]) -> set[int]:
        return {ask(self.process.port, "GET", "/api/v1/runs", headers=headers).status for _ in range(TOGETHER)}

    def said(self, words: str) -> bool:
        return words in self.process.log.read_text()


@pytest.fixture(params=[(), ("--processes", "2", "--redis-url", "redis://127.0.0.1:1")], ids=["one", "fleet"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reloaded]:
    reloaded = Reloaded(tmp_path, *request.param)
    try:
        reloaded.process.start()
        yield reloaded
    finally:
        reloaded.process.close()


def test_a_secret_is_replaced_while_streams_are_open(server: Reloaded) -> None:
    """In every process, also in one that is started later. Mutants caught: `Access.reload` keeps the tokens as they
    were; a fleet's parent does not read for those that are still to come; it does not tell its children."""
    qa = bearer(token(secret=SECRET, role="qa_lead"))
    process = server.process
    assert process.request("POST", "/api/v1/projects", {"id": "web"}, qa)[0] == 201
    run = process.request("POST", "/api/v1/runs", {"projectId": "web"}, qa)[1]["id"]
    assert (server.statuses(OLD), server.statuses(NEW)) == ({200}, {401})
    with Stream(process.port, run, headers=OLD) as viewer:
        viewer.block()
        server.secret.write_text(OTHER_SECRET)
        server.tell()
        wait_until(lambda: server.statuses(NEW) == {200}, "the new secret holds everywhere")
        assert server.statuses(OLD) == {401}
        qa = bearer(token(secret=OTHER_SECRET, role="qa_lead"))
        assert process.request("POST", f"/api/v1/runs/{run}/events", {"type": "x"}, qa)[0] == 201
        viewer.block()
    born = children(process)
    for victim in born:
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(children(process)) == len(born) and victim not in children(process), "it is replaced")  # noqa: B023
    if born:
        assert (server.statuses(NEW), server.statuses(OLD)) == ({200}, {401})


def test_links_are_signed_with_the_new_secret_also_on_streams_that_are_open(server: Reloaded) -> None:
    """Mutant caught: a stream keeps the links that it began with."""
    qa, process, link = bearer(token(role="qa_lead")), server.process, "/artifacts/x.png"
    assert process.request("POST", "/api/v1/projects", {"id": "web"}, qa)[0] == 201
    run = process.request("POST", "/api/v1/runs", {"projectId": "web"}, qa)[1]["id"]
    server.artifacts.write_text("another")

    def signed_anew() -> bool:
        shot = {"type": "screenshot", "screenshotPath": link}
        assert process.request("POST", f"/api/v1/runs/{run}/events", shot, qa)[0] == 201
        path, _, query = data(viewer.block())["screenshotPath"].partition("?")
        given = parse_qs(query)
        return Links("another", 1).opens(path, given["token"][0], given["exp"][0])

    with Stream(process.port, run, "snapshot=0", headers=qa) as viewer:
        viewer.block()
        assert not signed_anew()
        server.tell()
        wait_until(signed_anew, "the new secret signs")


def test_the_log_level_is_replaced(server: Reloaded) -> None:
    assert not server.said("DEBUG")
    server.level.write_text("debug")
    server.tell()
    wait_until(lambda: server.statuses(OLD) and server.said("DEBUG"), "it logs more")


@pytest.mark.parametrize("secret", ["", "too short"])
def test_what_cannot_be_right_changes_nothing(server: Reloaded, secret: str) -> None:
    """Above all, an empty file does not open the door. Mutant caught: the error is not caught, and the signal without
    effect but a traceback."""
    server.secret.write_text(secret)
    server.tell()
    wait_until(lambda: server.said("Nothing has changed: "), "it says why")
    assert (server.statuses(OLD), server.statuses(NEW), server.statuses({})) == ({200}, {401}, {401})
    assert not server.said("Traceback")
