"""The page's files as they are served: small, kept for ever by browsers, with nothing that its policy forbids."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import httpx2
import pytest

from tests.embedded import Embedded
from tests.server_process import ServerProcess

WEB = Path(__file__).parent.parent / "sentri_events" / "web"
SOURCES = sorted(path for path in WEB.rglob("*") if path.suffix in (".js", ".css") and "vendor" not in path.parts)
LIMIT = 150_000  # bytes of the page with all that it loads, compressed
LINK = re.compile(r'(?:href|src)="([^"]+)"')


def names(html: str) -> list[str]:
    return [link for link in LINK.findall(html) if "static/" in link]


def of(path: Path) -> str:
    return str(path.relative_to(WEB))


@pytest.mark.parametrize("path", ["/", "/runs/RUN-1", "/runs/there.is-none"])
def test_the_page_names_all_that_it_loads(server: ServerProcess, path: str) -> None:
    """Caught: a module without its `modulepreload`, and links that are right at `/` only."""
    with httpx2.Client(base_url=server.url) as http:
        page = http.get(path)
        assert page.status_code == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["Cache-Control"] == "no-cache"
        links = names(page.text)
        loaded = {str(page.url.join(link)).partition("/static/")[2].partition("/")[2] for link in links}
        assert loaded == {of(path) for path in WEB.rglob("*") if path.suffix in (".js", ".css", ".svg")} - {"worker.js"}
        for link in links:
            assert http.get(page.url.join(link)).status_code == 200


def test_files_are_kept_for_ever_and_the_page_is_asked_for_again(server: ServerProcess) -> None:
    """Caught: no answer to If-None-Match, and a compressed file whose length is that of the other."""
    with httpx2.Client(base_url=server.url, headers={"Accept-Encoding": "gzip"}) as http:
        page = http.get("/")
        assert page.headers["Content-Encoding"] == "gzip"
        assert http.get("/", headers={"If-None-Match": page.headers["Etag"]}).status_code == 304
        link = next(link for link in names(page.text) if link.endswith("app.js"))
        script = http.get("/" + link)
        assert script.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert script.headers["Vary"] == "Accept-Encoding"
        plain = http.get("/" + link, headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        assert plain.text == script.text == (WEB / "app.js").read_text(encoding="utf-8")
        head = http.head("/" + link)
        assert head.status_code == 200
        assert head.headers["Content-Length"] == script.headers["Content-Length"]
        assert http.get("/" + link, headers={"If-None-Match": script.headers["Etag"]}).status_code == 304


@pytest.mark.parametrize(
    "path", ["/static/0000000000000000/app.js", "/static/{}/none.js", "/static/{}/../cli.py", "/static/{}/index.html"]
)
def test_what_is_no_file_of_this_page_is_not_found(server: ServerProcess, path: str) -> None:
    with httpx2.Client(base_url=server.url) as http:
        version = names(http.get("/").text)[0].split("/")[1]
        answer = http.get(path.format(version))
        assert answer.status_code == 404
        assert "immutable" not in answer.headers.get("Cache-Control", "")


def test_the_policy_allows_own_files_and_nothing_inline(server: ServerProcess) -> None:
    with httpx2.Client(base_url=server.url) as http:
        policy = http.get("/").headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"} < set(policy)
    assert "img-src 'self' data: blob:" in policy
    assert "unsafe" not in "".join(policy)


def test_the_page_lives_below_a_prefix(tmp_path: Path) -> None:
    with Embedded(tmp_path, "/deep/er") as application, httpx2.Client() as http:
        base = f"http://127.0.0.1:{application.port}/deep/er/"
        for path in ("", "runs/RUN-1"):
            page = http.get(base + path)
            for link in names(page.text):
                assert str(page.url.join(link)).startswith(base + "static/")
                assert http.get(page.url.join(link)).status_code == 200


def test_all_of_it_is_small() -> None:
    sizes = [
        len(gzip.compress(path.read_bytes())) for path in WEB.rglob("*") if path.suffix in (".js", ".css", ".html")
    ]
    assert sum(sizes) < LIMIT


def test_vendored_files_are_what_they_say() -> None:
    vendor = WEB / "vendor"
    entries = json.loads((vendor / "VENDOR.json").read_text(encoding="utf-8"))
    assert set(entries) == {path.name for path in vendor.glob("*.js")}
    for name, entry in entries.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == entry["sha256"]
        for licence in entry["licences"]:
            assert (vendor / licence).stat().st_size > 1000


@pytest.mark.parametrize("path", SOURCES, ids=of)
def test_a_file_opens_with_its_law(path: Path) -> None:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    assert re.fullmatch(r"// .+|/\* .+", first)


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".js"], ids=of)
def test_modules_find_each_other_by_relative_paths(path: Path) -> None:
    for name in re.findall(r'^(?:import|\} from) .*?"([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE):
        assert name.startswith(("./", "../"))
        assert (path.parent / name).is_file()
