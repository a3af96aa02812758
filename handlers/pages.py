"""The page: one HTML file for `/` and `/runs/{id}`, and what it loads, from memory.

Every file's URL holds one digest of them all, so that browsers may keep them for ever, and the modules find each other
by relative paths. The page names them relatively too: it works below any prefix, also one that only a proxy knows.
"""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from sentri_events.access import Access
from sentri_events.errors import NotFound
from sentri_events.handlers.files import Asset, FileHandler, digest
from sentri_events.hub import Hub

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
KINDS = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"


class Pages:
    """The page's files, read once. `page(depth)` is the HTML for a path that many folders below the server's root."""

    def __init__(self) -> None:
        bodies = dict(sorted(_read(files("sentri_events") / "web", "")))
        html = bodies.pop("index.html").decode()
        self.version = digest(b"".join(b"%b\0%b\0" % (name.encode(), body) for name, body in bodies.items()))
        self._assets = {name: _asset(name, body) for name, body in bodies.items()}
        modules = [name for name in bodies if name.endswith(".js") and name != "worker.js"]
        self._pages = [_asset(".html", self._fill(html, modules, "../" * depth).encode()) for depth in (0, 1)]

    def page(self, depth: int) -> Asset:
        """The HTML."""
        return self._pages[depth]

    def asset(self, version: str, name: str) -> Asset:
        """A file by its name. Raises `NotFound`, also for another version of it."""
        if version != self.version or name not in self._assets:
            raise NotFound
        return self._assets[name]

    def _fill(self, html: str, modules: list[str], root: str) -> str:
        base = f"{root}static/{self.version}"
        links = "\n".join(f'    <link rel="modulepreload" href="{base}/{name}">' for name in modules)
        return html.replace("    {{modules}}", links).replace("{{static}}", base)


class _PageFileHandler(FileHandler):
    policy = POLICY

    def initialize(self, hub: Hub, access: Access, pages: Pages) -> None:  # type: ignore[override]
        """`pages` holds the files."""
        super().initialize(hub, access)
        self.pages = pages


class PageHandler(_PageFileHandler):
    """`/` and `/runs/{id}`: what they show is the page's own affair."""

    def get(self, run: str | None = None) -> None:
        """The page."""
        self.send(self.pages.page(0 if run is None else 1), "no-cache")

    head = get


class AssetHandler(_PageFileHandler):
    """`/static/{digest}/{name}`."""

    def get(self, version: str, name: str) -> None:
        """One file."""
        self.send(self.pages.asset(version, name), FOR_EVER)

    head = get


def _read(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif any(entry.name.endswith(suffix) for suffix in KINDS):
            yield prefix + entry.name, entry.read_bytes()


def _asset(name: str, body: bytes) -> Asset:
    return Asset(body, f"{KINDS[name[name.rindex('.') :]]}; charset=utf-8")
