"""One live list in this process: a workspace's, or a project's. For a viewer who is behind, the newest of a run counts.

What it tells is volatile, with latest-wins for each run: a viewer's place is the last change that it `heard`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import count, islice
from typing import Any, NamedTuple

from sentri_events.dialect import Dialect, Piece, pieces
from sentri_events.event import Event
from sentri_events.viewer import SHARED_CUTS, Lane, Sink, Viewer

SLICE = 128  # viewers that are written to before the loop may do something else
KEPT_BYTES = 1 << 20  # of the newest changes, for those who are behind
PAGES = 8  # of different lengths
log = logging.getLogger(__name__)


class Page(NamedTuple):
    """The newest runs, as the event that a list begins with; every change up to `heard` is in it.

    `begun` holds what streams that begin with it are sent, by what they asked for: it is made once for all of them.
    """

    heard: int
    json: bytes
    begun: dict[Any, bytes]


class Listing:
    """Its viewers, and the newest change of each run that one of them may lack. `left` is told of who leaves.

    `joining` counts those who are about to be viewers; `pages` are the beginnings that hold until the next change.
    """

    def __init__(self, workspace: str, project: str | None, left: Callable[[Viewer], None]) -> None:
        self.workspace = workspace
        self.project = project
        self.volatile_seen = 0
        self.viewers = 0
        self.joining = 0
        self.lanes: dict[Dialect, Lane] = {}
        self.pages: dict[int, asyncio.Task[Page]] = {}
        self._left = left
        self._latest: dict[str, tuple[int, Event]] = {}
        self._floor = 0

    @property
    def unused(self) -> bool:
        """Whether nobody follows or is about to."""
        return not self.viewers and not self.joining

    async def tell(self, events: Sequence[Event]) -> None:
        """These runs are other than they were: one event each, in their order."""
        for event in events:
            self.volatile_seen += 1
            self._latest.pop(event.run, None)
            self._latest[event.run] = (self.volatile_seen, event)
        self.pages.clear()
        written = count(1)
        for lane in list(self.lanes.values()):
            lane.cut.clear()
            for viewer in list(lane.live):
                if viewer.live:
                    self.advance(viewer)
                if next(written) % SLICE == 0:
                    await asyncio.sleep(0)
        room = KEPT_BYTES if sum(len(lane.live) for lane in self.lanes.values()) < self.viewers else 0
        size = sum(len(event.json) for _, event in self._latest.values())
        while size > room:
            self._floor, event = self._latest.pop(next(iter(self._latest)))
            size -= len(event.json)

    # Who follows

    def join(self, sink: Sink, dialect: Dialect) -> Viewer:
        """A viewer that has everything. It takes nothing before `advance`."""
        lane = self.lanes.get(dialect)
        if lane is None:
            lane = self.lanes[dialect] = Lane(dialect)
        lane.members += 1
        self.viewers += 1
        return Viewer(sink, self, lane, 0)

    def leave(self, viewer: Viewer) -> None:
        """Forget the viewer."""
        lane = viewer.lane
        self.fall_behind(viewer)
        viewer.channel = None
        lane.members -= 1
        self.viewers -= 1
        if not lane.members:
            del self.lanes[lane.dialect]
        self._left(viewer)

    def fall_behind(self, viewer: Viewer) -> None:
        """Its sink takes no more: it is told the newest when it does."""
        if viewer.live:
            viewer.live = False
            del viewer.lane.live[viewer]

    def advance(self, viewer: Viewer) -> None:
        """Tell the viewer what it has not heard, as far as its sink takes it; then it is live."""
        if viewer.heard < self._floor:  # of some runs the newest is not kept: it comes back and begins anew
            self.leave(viewer)
            viewer.sink.finish()
            return
        for piece in self._lacking(viewer):
            try:
                taken = piece.data is None or viewer.sink.write(piece.data)
            except Exception:  # of one sink: the others must not suffer
                log.exception("A viewer of a list is let go.")
                viewer.leave()
                return
            viewer.heard = piece.upto
            if not taken:
                self.fall_behind(viewer)
                return
        if viewer.channel is self:
            viewer.live = True
            viewer.lane.live[viewer] = None

    def _lacking(self, viewer: Viewer) -> list[Piece]:
        """What the viewer lacks; all who lack the same share it. `upto` is the number of a piece's last change."""
        cut, lacking = viewer.lane.cut, (viewer.heard, self.volatile_seen)
        if lacking not in cut:
            if len(cut) == SHARED_CUTS:
                del cut[next(iter(cut))]
            newer = [(number, event) for number, event in self._latest.values() if number > viewer.heard]
            numbers = iter([number for number, _ in newer])
            cut[lacking] = [
                piece._replace(upto=max(islice(numbers, piece.volatile)))
                for piece in pieces([event for _, event in newer], viewer.lane.dialect)
            ]
        return cut[lacking]
