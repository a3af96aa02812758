"""Files from memory, the same for everyone: with an ETag, and compressed for who takes that."""

import gzip
import hashlib
from functools import cached_property

from sentri_events.handlers.base import BaseHandler


class Asset:
    """One file as it is sent; compressed when it is first asked for, and then never again."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self.body = body
        self.content_type = content_type
        self.digest = digest(body)

    @cached_property
    def gzipped(self) -> bytes:
        """With the time left out: every instance sends the same bytes."""
        return gzip.compress(self.body, mtime=0)


class FileHandler(BaseHandler):
    """Nobody is asked who they are."""

    reads = None

    def send(self, asset: Asset, caching: str) -> None:
        """The file, or 304 for who has it."""
        self.set_header("Content-Type", asset.content_type)
        self.set_header("Cache-Control", caching)
        self.vary("Accept-Encoding")
        self.set_header("Etag", f'W/"{asset.digest}"')
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
        elif "gzip" in self.header("Accept-Encoding"):
            self.set_header("Content-Encoding", "gzip")
            self.finish(asset.gzipped)
        else:
            self.finish(asset.body)


def digest(body: bytes) -> str:
    """Another one for other bytes."""
    return hashlib.sha256(body).hexdigest()[:16]
