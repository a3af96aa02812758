"""`GET /artifacts/…`: files of one folder, for who has a signed link, with the original's headers and refusal.

Tornado serves ranges, and lets no path or symbolic link lead out of the folder.
"""

from pathlib import PurePath
from urllib.parse import unquote

from tornado.web import HTTPError, StaticFileHandler

from sentri_events.access import Access
from sentri_events.errors import NotFound, Unauthorized
from sentri_events.handlers.base import BaseHandler
from sentri_events.hub import Hub
from sentri_events.links import ROOT

# A browser runs nothing of these, and saves whatever is none of them.
KINDS = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".mp4": "video/mp4",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".zip": "application/zip",
}


class ArtifactHandler(BaseHandler, StaticFileHandler):
    """The link is what opens a file; where nobody is asked and no secret signs links, nothing is needed."""

    reads = None

    def initialize(self, hub: Hub, access: Access) -> None:  # type: ignore[override]
        """By the settings of the hub."""
        BaseHandler.initialize(self, hub, access)
        StaticFileHandler.initialize(self, hub.settings.artifacts)

    async def get(self, path: str, include_body: bool = True) -> None:
        """The file, or the part of it that `Range` names."""
        links = self.access.links
        if links is not None:
            token, end = (self.get_query_argument(name, "") for name in ("token", "exp"))
            said = self.request.path[self.request.path.index(ROOT) :]  # wherever our routes are mounted
            if not any(links.opens(one, token, end) for one in {said, unquote(said)}):
                raise Unauthorized("Invalid or expired artifact token.")
        if not self.hub.settings.artifacts or "\0" in path:
            raise NotFound
        try:
            await StaticFileHandler.get(self, path, include_body)
        except HTTPError:  # outside, a folder, or not there
            raise NotFound from None

    def get_content_type(self) -> str:
        """By the name alone."""
        return KINDS.get(PurePath(self.path).suffix.lower(), "application/octet-stream")

    def set_extra_headers(self, path: str) -> None:
        """The original's."""
        self.set_header("Cache-Control", "private, no-store")
