"""Artifacts: links are signed wherever the original signs them, and never stored so; files are for who has one."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from sentri_events.dialect import StreamDialect, pieces
from sentri_events.errors import SettingsError
from sentri_events.event import Event, encode
from sentri_events.links import Links
from sentri_events.settings import Settings
from tests.raw import Answer, Stream, ask, data
from tests.server_process import ServerProcess
from tests.tokens import SECRET

KEY = "artifact-secret"
SHOT = "/artifacts/screenshots/RUN-1-step0.png"
END = 4102444800000
VECTOR = "x00XPt-4BHcQREnaKaCn3OmQUsPHm__azZvJIhsbq4E"
DIFF = {"status": "x", "baselinePath": "/artifacts/baselines/b.png", "diffPath": "/artifacts/diffs/d.png"}
RESULT = {
    "testId": "t",
    "status": "passed",
    "screenshotPath": SHOT,
    "videoPath": "/artifacts/videos/v.webm",
    "visualDiff": DIFF,
    "stepCaptures": [{"step": 1, "screenshotPath": "/artifacts/screenshots/s.png", "visualDiff": DIFF}],
    "url": SHOT,
    "error": None,
}
FIELDS: dict[str, Any] = {
    "tracePath": "/artifacts/traces/t.zip",
    "videoSegments": ["/artifacts/videos/1.webm", None, "elsewhere"],
}
SIGNED_OF_RESULT = 7  # all its links but `url`


def found(value: Any) -> list[str]:
    """All texts in it that begin as a link does."""
    if isinstance(value, dict):
        return [link for inner in value.values() for link in found(inner)]
    if isinstance(value, list):
        return [link for inner in value for link in found(inner)]
    return [value] if isinstance(value, str) and value.startswith("/artifacts/") else []


def signed(value: Any) -> int:
    """How many links in it are signed, each as it should be."""
    links = [link for link in found(value) if "?" in link]
    for link in links:
        parts = urlsplit(link)
        query = parse_qs(parts.query, strict_parsing=True)
        assert list(query) == ["token", "exp"]
        assert Links(KEY, 1).opens(parts.path, query["token"][0], query["exp"][0])
        assert abs(int(query["exp"][0]) - time.time() * 1000 - 3_600_000) < 60_000
    return len(links)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    for name in ("screenshots", "videos", "odd"):
        (folder / name).mkdir()
    (folder / "screenshots" / "RUN-1-step0.png").write_bytes(b"\x89PNG" + bytes(range(256)))
    (folder / "videos" / "v.webm").write_bytes(b"0123456789")
    (folder / "odd" / "page.html").write_text("<script>alert(1)</script>")
    (folder / "odd" / "a b.txt").write_text("space")
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "odd" / "link.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "odd" / "up").symlink_to(folder.parent)
    (folder / "odd" / "inside.webm").symlink_to(folder / "videos" / "v.webm")
    os.mkfifo(folder / "odd" / "pipe")
    return folder


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[ServerProcess]:
    """A server that signs, with one run of one result."""
    env = {"ARTIFACT_SECRET": KEY, "SENTRI_EVENTS_ARTIFACTS": str(folder)}
    server = ServerProcess(tmp_path_factory.mktemp("keeper"), env=env)
    try:
        server.start()
        made = ask(server.port, "POST", "/api/v1/runs", {"projectId": "web", "id": "r", **FIELDS})
        assert (made.status, signed(made.json)) == (201, 2)
        post(server, {"type": "result", "result": RESULT}, {"type": "x", "screenshotPath": SHOT})
        yield server
    finally:
        server.close()


def post(server: ServerProcess, *events: dict[str, Any], run: str = "r") -> None:
    assert ask(server.port, "POST", f"/api/v1/runs/{run}/events", list(events)).status in (201, 202)


def get(server: ServerProcess, path: str, method: str = "GET", **headers: str) -> Answer:
    """A file, by a link that is good."""
    return ask(server.port, method, Links(KEY, 60_000).sign(path), headers=headers)


def test_the_originals_vector() -> None:
    assert Links(KEY, 0, lambda: END).sign(SHOT) == f"{SHOT}?token={VECTOR}&exp={END}"
    assert Links(KEY, 0, lambda: END).opens(SHOT, VECTOR, str(END))
    assert not Links(KEY, 0, lambda: END + 1).opens(SHOT, VECTOR, str(END))


def test_what_is_signed_is_what_the_original_signs() -> None:
    """Whatever else looks like a link stays as it is."""
    links = Links(KEY, 0, lambda: END)
    document = encode({**FIELDS, "results": [RESULT], "logs": [f'"screenshotPath":"{SHOT}"'], "videoPath": None})
    shown = json.loads(links.document(document))
    assert shown["tracePath"] == f"{FIELDS['tracePath']}?{urlsplit(links.sign(str(FIELDS['tracePath']))).query}"
    assert [link if link is None else "?" in link for link in shown["videoSegments"]] == [True, None, False]
    (result,) = shown["results"]
    assert (result["url"], result["error"], shown["videoPath"]) == (SHOT, None, None)
    assert shown["logs"] == [f'"screenshotPath":"{SHOT}"']
    assert len([link for link in found(result) if "?" in link]) == SIGNED_OF_RESULT
    paths: list[Any] = ["", "https://x/artifacts/x.png", f"{SHOT}?token=other", 'a"b', "/artifacts/\n", 7, None, []]
    for path in paths:
        same = encode({"screenshotPath": path, "videoSegments": [path], "x": SHOT})
        assert links.document(same) == same
    assert links.event("log", document) == document


@pytest.mark.parametrize("name", ["é.png", "снимок 1.png", "\U0001f389.png", "plain.png"])
def test_a_name_of_any_alphabet_is_signed_and_opened(keeper: ServerProcess, folder: Path, name: str) -> None:
    """Mutant: only what JSON does not escape."""
    (folder / "odd" / name).write_bytes(name.encode())
    run, link = f"r{len(name.encode())}", f"/artifacts/odd/{name}"
    fields = {"tracePath": link, "videoSegments": ['"', link]}
    made = ask(keeper.port, "POST", "/api/v1/runs", {"projectId": "web", "id": run, **fields}).json
    assert signed(made) == 2
    for shown in (made["tracePath"], made["videoSegments"][1]):
        path, _, query = shown.partition("?")
        assert (path, ask(keeper.port, "GET", f"{quote(path)}?{query}").body) == (link, name.encode())


def test_every_way_out(keeper: ServerProcess) -> None:
    """Run document, snapshot, live, replayed and merged events, history. Mutant: history as it is stored."""
    assert signed(keeper.document("r")) == SIGNED_OF_RESULT + 2
    (row, other) = keeper.history("r")
    assert (signed(row), signed(other)) == (SIGNED_OF_RESULT, 0)
    with Stream(keeper.port, "r", "meta=1") as live, Stream(keeper.port, "r", "lastEventId=0") as replayed:
        assert signed(data(live.block())) == SIGNED_OF_RESULT + 2
        assert signed(data(replayed.block())) == SIGNED_OF_RESULT
        post(keeper, {"type": "screenshot", "testId": "t", "screenshotPath": SHOT})
        assert [signed(data(block)) for block in replayed.blocks(2)] == [0, 1]
        assert signed(data(live.block())) == 1
        post(keeper, {"type": "snapshot", "run": {"results": [RESULT]}}, {"type": "update", "run": FIELDS})
        assert [signed(data(block)) for block in live.blocks(2)] == [SIGNED_OF_RESULT, 2]


def test_nothing_is_stored_signed(keeper: ServerProcess) -> None:
    with sqlite3.connect(f"file:{keeper.database}?mode=ro", uri=True) as database:
        for table in ("event", "result", "field", "key"):
            for row in database.execute(f"SELECT * FROM {table}"):
                assert "token=" not in str(row)
                assert "exp=" not in str(row)


def test_an_event_is_signed_once_for_all_who_share_it() -> None:
    signatures = []

    class Counting(Links):
        def sign(self, path: str) -> str:
            signatures.append(path)
            return super().sign(path)

    event = Event("r", "epoch1", 1, 0, "screenshot", encode({"type": "screenshot", "screenshotPath": SHOT}))
    links = Counting(KEY, 1000)
    (piece,) = pieces([event], StreamDialect(links=links))
    assert signatures == [SHOT]
    assert b"?token=" in piece.data
    assert StreamDialect(links=links) == StreamDialect(links=links) != StreamDialect()


def test_without_a_secret_nothing_is_signed(server: ServerProcess) -> None:
    run = server.make_run(**FIELDS)
    post(server, {"type": "result", "result": RESULT}, run=run)
    assert signed(server.document(run)) == signed(server.history(run)) == 0
    assert ask(server.port, "GET", SHOT).error == "not found"


def test_a_file_with_the_originals_headers(keeper: ServerProcess) -> None:
    answer = get(keeper, SHOT)
    assert (answer.status, answer.body[:4], len(answer.body)) == (200, b"\x89PNG", 260)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    head = get(keeper, SHOT, "HEAD")
    assert (head.status, head.headers["content-length"]) == (200, "260")
    assert get(keeper, "/artifacts/videos/v.webm").headers["content-type"] == "video/webm"
    assert get(keeper, "/artifacts/odd/page.html").headers["content-type"] == "application/octet-stream"
    assert get(keeper, "/artifacts/odd/inside.webm").body == b"0123456789"


def test_the_link_that_is_shown_opens_the_file(keeper: ServerProcess) -> None:
    link = keeper.document("r")["results"][0]["screenshotPath"]
    assert ask(keeper.port, "GET", link).status == 200
    spaced = Links(KEY, 60_000).sign("/artifacts/odd/a b.txt").replace(" ", "%20")
    assert ask(keeper.port, "GET", spaced).body == b"space"


@pytest.mark.parametrize(
    ("given", "status", "part", "body"),
    [
        ("bytes=0-3", 206, "bytes 0-3/10", b"0123"),
        ("bytes=7-", 206, "bytes 7-9/10", b"789"),
        ("bytes=-2", 206, "bytes 8-9/10", b"89"),
        ("bytes=5-999", 206, "bytes 5-9/10", b"56789"),
        ("bytes=0-", 200, None, b"0123456789"),
        ("bytes=10-", 416, "bytes */10", b""),
        ("nonsense", 200, None, b"0123456789"),
    ],
)
def test_parts_of_a_file(keeper: ServerProcess, given: str, status: int, part: str | None, body: bytes) -> None:
    answer = get(keeper, "/artifacts/videos/v.webm", Range=given)
    assert (answer.status, answer.headers.get("content-range"), answer.body) == (status, part, body)


def test_no_file_without_its_own_link(keeper: ServerProcess) -> None:
    """CWE-639, CWE-613. Mutant: the path was not a part of what is signed."""
    good = urlsplit(Links(KEY, 60_000).sign(SHOT)).query
    over = urlsplit(Links(KEY, -1).sign(SHOT)).query
    forged = urlsplit(Links("other", 60_000).sign(SHOT)).query
    later = good.partition("&exp=")[0] + f"&exp={END}"
    for query in (
        "",
        "?",
        f"?{over}",
        f"?{forged}",
        f"?{later}",
        f"?{good}0",
        "?token=&exp=",
        "?exp=9",
        f"?{good[:-3]}x",
    ):
        answer = ask(keeper.port, "GET", SHOT + query)
        assert (answer.status, answer.body) == (401, b'{"error":"Invalid or expired artifact token."}')
    assert ask(keeper.port, "GET", f"/artifacts/videos/v.webm?{good}").status == 401
    assert ask(keeper.port, "GET", f"{SHOT}?{good}").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/artifacts/../secret.txt",
        "/artifacts/odd/../../secret.txt",
        "/artifacts/%2e%2e/secret.txt",
        "/artifacts//etc/passwd",
        "/artifacts/..%2fsecret.txt",
        "/artifacts/odd/link.txt",
        "/artifacts/odd/up/secret.txt",
        "/artifacts/odd/pipe",
        "/artifacts/odd",
        "/artifacts/",
        "/artifacts/none.png",
        "/artifacts/odd/%00",
        "/artifacts/%ff",
        "/artifacts/a/b/c",
    ],
)
def test_no_way_out_of_the_folder(keeper: ServerProcess, path: str) -> None:
    """CWE-22, CWE-59: although the link is good. All of it is missing, to the byte."""
    answer = get(keeper, path)
    assert (answer.status, answer.body) == (404, b'{"error":"not found"}')


def test_a_folder_takes_a_secret_where_callers_are_asked() -> None:
    Settings(artifacts="/tmp")
    Settings(artifacts="/tmp", jwt_secret=SECRET, artifact_secret=KEY)
    with pytest.raises(SettingsError, match="ARTIFACT_SECRET"):
        Settings(artifacts="/tmp", jwt_secret=SECRET)
