"""Projects over HTTP (protocol, section 4). Their runs are listed in test_runs.py."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.raw import Answer, ask
from tests.server_process import ServerProcess

PROJECTS = "/api/v1/projects"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the whole file; what it logs is judged at the end."""
    process = ServerProcess(tmp_path_factory.mktemp("projects"))
    try:
        yield process.start()
        log = process.log.read_text()
        assert "Traceback" not in log, log
        assert " ERROR " not in log, log
    finally:
        process.close()


def make(server: ServerProcess, body: Any) -> Answer:
    return ask(server.port, "POST", PROJECTS, body)


def test_a_project_is_made_and_read(server: ServerProcess) -> None:
    for given in ({}, {"name": "Shop é"}, {"id": "shop", "name": None}, {"id": "a.b-c_D", "name": "", "other": 1}):
        answer = make(server, given)
        assert answer.status == 201
        project = answer.json
        assert list(project) == ["id", "workspaceId", "name", "createdAt"]
        assert project["workspaceId"] == "default"
        assert project["name"] == given.get("name")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", project["createdAt"])
        assert project["id"] == given["id"] if "id" in given else re.fullmatch(r"PRJ-\d+", project["id"])
        assert ask(server.port, "GET", f"{PROJECTS}/{project['id']}").body == answer.body
        assert project in ask(server.port, "GET", PROJECTS).json["data"]
        assert ask(server.port, "GET", f"{PROJECTS}/{project['id']}/runs").json == {"data": [], "next": None}


def test_an_id_is_taken_once(server: ServerProcess) -> None:
    """Numbers that somebody took are passed over. Caught: a made id that is taken, as a 500."""
    taken = make(server, {}).json["id"]
    answer = make(server, {"id": taken})
    assert (answer.status, taken in answer.error) == (409, True)
    number = int(taken.removeprefix("PRJ-"))
    for ahead in range(number + 1, number + 4):
        assert make(server, {"id": f"PRJ-{ahead}"}).status == 201
    assert make(server, {}).json["id"] == f"PRJ-{number + 4}"


def test_the_first_run_makes_its_project(server: ServerProcess) -> None:
    """In dev mode."""
    assert ask(server.port, "GET", f"{PROJECTS}/new").body == b'{"error":"not found"}'
    assert ask(server.port, "GET", f"{PROJECTS}/new/runs").body == b'{"error":"not found"}'
    run = server.make_run("new")
    assert ask(server.port, "GET", f"{PROJECTS}/new").json["name"] is None
    assert [one["id"] for one in ask(server.port, "GET", f"{PROJECTS}/new/runs").json["data"]] == [run]
    assert make(server, {"id": "new"}).status == 409


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b""),
        (400, b"nonsense"),
        (400, b"[]"),
        (400, b'"shop"'),
        (422, b'{"id":""}'),
        (422, b'{"id":5}'),
        (422, b'{"id":"a b"}'),
        (422, b'{"id":"' + b"x" * 129 + b'"}'),
        (422, b'{"name":5}'),
        (422, b'{"name":["a"]}'),
    ],
)
def test_a_project_that_is_none_is_refused_and_not_made(server: ServerProcess, status: int, body: bytes) -> None:
    before = ask(server.port, "GET", PROJECTS).body
    answer = make(server, body)
    assert answer.status == status
    assert answer.error.endswith(".")
    assert ask(server.port, "GET", PROJECTS).body == before


def test_projects_that_are_made_at_once(server: ServerProcess) -> None:
    answers: list[Answer] = []
    go = threading.Barrier(8)

    def create(number: int) -> None:
        go.wait()
        answers.append(make(server, {"id": "contended"} if number % 2 else {}))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [201] * 5 + [409] * 3
    ids = [answer.json["id"] for answer in answers if answer.status == 201]
    assert len(set(ids)) == 5
