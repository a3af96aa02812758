"""What of a run's past is at hand, so that a storm of returning viewers asks the store for each page once."""

from sentri_events.dialect import PIECE_BYTES
from sentri_events.event import Event

NEWEST_BYTES = 256 << 10
PAGES = 4


class Recent:
    """The newest events of a run without a hole between them, and a few pages that were read lately."""

    def __init__(self) -> None:
        self._newest: list[Event] = []
        self._bytes = 0
        self._pages: list[list[Event]] = []

    def take(self, event: Event) -> None:
        """The event after the newest. The older half is let go when all are over twice the bound."""
        self._newest.append(event)
        self._bytes += len(event.json)
        while self._bytes > 2 * NEWEST_BYTES and len(self._newest) > 1:
            half = len(self._newest) // 2
            self._bytes -= sum(len(old.json) for old in self._newest[:half])
            del self._newest[:half]

    def begin_anew(self) -> None:
        """The next event does not follow the newest."""
        self._newest, self._bytes = [], 0

    def keep(self, page: list[Event]) -> None:
        """A page from the store that others may want as well."""
        self._pages = [*self._pages[1 - PAGES :], page]

    def drop_pages(self) -> None:
        """Nobody is catching up."""
        self._pages.clear()

    def after(self, cursor: int) -> list[Event] | None:
        """As many events from `cursor + 1` on as make a piece, or None if that one is not at hand."""
        for page in (self._newest, *self._pages):
            if page and page[0].seq <= cursor + 1 <= page[-1].seq:
                return _piece(page, cursor + 1 - page[0].seq)
        return None


def _piece(page: list[Event], begin: int) -> list[Event]:
    end, size = begin + 1, len(page[begin].json)
    while end < len(page) and size + len(page[end].json) <= PIECE_BYTES:
        size += len(page[end].json)
        end += 1
    return page[begin:end]
