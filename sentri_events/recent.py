"""What of a run's past is at hand, so that a storm of returning viewers asks the store for each page once."""

from bisect import bisect_right
from collections.abc import Iterable

from sentri_events.dialect import PIECE_BYTES
from sentri_events.event import Event

NEWEST_BYTES = 256 << 10
PAGES = 4


class Recent:
    """The newest events of a run without a hole between them, and a few pages that were read lately."""

    def __init__(self) -> None:
        self._newest = _Stretch()
        self._pages: list[_Stretch] = []

    def take(self, event: Event) -> None:
        """The event after the newest. The older half is let go when all are over twice the bound."""
        self._newest.append(event)
        while self._newest.size > 2 * NEWEST_BYTES and len(self._newest.events) > 1:
            self._newest.drop_half()

    def begin_anew(self) -> None:
        """The next event does not follow the newest."""
        self._newest = _Stretch()

    def keep(self, page: list[Event]) -> None:
        """A page from the store that others may want as well."""
        self._pages = [*self._pages[1 - PAGES :], _Stretch(page)]

    def drop_pages(self) -> None:
        """Nobody is catching up."""
        self._pages.clear()

    def after(self, cursor: int) -> list[Event] | None:
        """As many events from `cursor + 1` on as make a piece, or None if that one is not at hand."""
        for stretch in (self._newest, *self._pages):
            piece = stretch.piece(cursor + 1)
            if piece is not None:
                return piece
        return None


class _Stretch:
    """Events without a hole between them. Where each ends is known: a storm asks for the same piece thousands of times,
    and none of them is counted anew."""

    __slots__ = ("_ends", "events")

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events: list[Event] = []
        self._ends: list[int] = []  # in bytes, from anywhere
        for event in events:
            self.append(event)

    @property
    def size(self) -> int:
        """Bytes of all."""
        return self._ends[-1] - self._ends[0] + len(self.events[0].json)

    def append(self, event: Event) -> None:
        self.events.append(event)
        self._ends.append(len(event.json) + (self._ends[-1] if self._ends else 0))

    def drop_half(self) -> None:
        half = len(self.events) // 2
        del self.events[:half], self._ends[:half]

    def piece(self, seq: int) -> list[Event] | None:
        """From event `seq` on at most `PIECE_BYTES`, or that one; None if it is not among them."""
        begin = seq - self.events[0].seq if self.events else -1
        if not 0 <= begin < len(self.events):
            return None
        most = self._ends[begin] - len(self.events[begin].json) + PIECE_BYTES
        return self.events[begin : max(begin + 1, bisect_right(self._ends, most, begin))]
