"""What an operator asks and does by hand: who watches what, since when, how far behind; and the end of a stream."""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from sentri_events.access import Access
from sentri_events.caller import ADMIN
from sentri_events.channel import Channel
from sentri_events.errors import NotFound
from sentri_events.event import iso
from sentri_events.handlers.base import BaseHandler
from sentri_events.handlers.sockets import Socket, Streams
from sentri_events.hub import Hub
from sentri_events.merge import Merge
from sentri_events.siblings import Siblings
from sentri_events.viewer import Viewer

PAGE = 100
LONGEST_PAGE = 10_000


class AdminStreamsHandler(BaseHandler):
    """`/api/v1/admin/streams`: of the caller's workspace, of all processes of this server."""

    reads = writes = ADMIN

    def initialize(self, hub: Hub, access: Access, streams: Streams, siblings: Siblings) -> None:  # type: ignore[override]
        """`streams` are those of this process; `siblings` have the others."""
        super().initialize(hub, access)
        self.streams = streams
        self.siblings = siblings

    async def get(self) -> None:
        """The open streams, those first that are furthest behind; `total` says how many there are."""
        limit = max(1, self.number("limit", PAGE, LONGEST_PAGE))
        found = [_about(stream) for stream in self.own_streams()]
        total = len(found)
        for status, answer in await self.ask_siblings():
            if status == 200:
                found += answer["data"]
                total += answer["total"]
        found.sort(key=lambda about: (-about["behind"], about["since"], about["id"]))
        self.answer({"data": found[:limit], "total": total})

    def own_streams(self) -> Iterator[Socket]:
        """Those of this process that the caller may know of."""
        return (stream for stream in self.streams.open if stream.caller.workspace == self.workspace)

    async def ask_siblings(self) -> list[tuple[int, Any]]:
        """The same of the others, who then ask nobody."""
        if self.flag("here"):
            return []
        query = [(name, value) for name in self.request.query_arguments for value in self.get_query_arguments(name)]
        path = f"{self.request.path}?{urlencode([*query, ('here', '1')])}"
        return await self.siblings.ask(self.request.method or "", path, self.request.headers)


class AdminStreamHandler(AdminStreamsHandler):
    """`/api/v1/admin/streams/{id}`."""

    async def delete(self, id: str) -> None:
        """End it: 204. Its viewer may come back with its position, if it still has a token that is good."""
        own = next((stream for stream in self.own_streams() if _id(stream) == id), None)
        if own is None:
            if not any(status == 204 for status, _ in await self.ask_siblings()):
                raise NotFound
        elif own.viewer is not None:
            self.hub.audience.send_away(own.viewer)
        self.clear_header("Content-Type")
        self.set_status(204)

    get = BaseHandler._unimplemented_method  # type: ignore[assignment]


def _about(stream: Socket) -> dict[str, Any]:
    viewers = _viewers(stream)
    runs: list[dict[str, Any]] = [
        {"run": channel.run, "cursor": viewer.cursor, "head": channel.head}
        for viewer in viewers
        if isinstance(channel := viewer.channel, Channel)
    ]
    return {
        "id": _id(stream),
        "path": stream.client.path,
        "who": str(stream.caller),
        "address": stream.client.address,
        "since": iso(int(stream.since * 1000)),
        "state": "ending" if not viewers else "live" if all(viewer.live for viewer in viewers) else "behind",
        "runs": runs,
        "behind": sum(run["head"] - run["cursor"] for run in runs),
        "bytes": stream.sent,
    }


def _viewers(stream: Socket) -> list[Viewer]:
    """Who follows by it: one, or one for each of its runs."""
    viewer = stream.viewer
    followed = None if viewer is None else viewer.channel
    viewers = [part.viewer for part in followed.parts] if isinstance(followed, Merge) else [viewer]
    return [one for one in viewers if one is not None and one.channel is not None]


def _id(stream: Socket) -> str:
    """By the process, so that it is one's own among several, and names no other after a restart."""
    return f"{os.getpid()}-{stream.number}"
