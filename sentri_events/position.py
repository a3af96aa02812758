"""Where a viewer stands in a run, as text: `<epoch>.<seq>`, or a bare `<seq>` (protocol, section 2)."""

import re
from typing import NamedTuple

from sentri_events.store_read import Head

_WELL_FORMED = re.compile(r"(?:([a-z0-9]{6,16})\.)?([0-9]{1,40})")


class Position(NamedTuple):
    """The last event that a viewer has. `epoch` is None if it did not say; `seq` is -1 if it cannot be read."""

    epoch: str | None
    seq: int

    def objection(self, head: Head) -> str | None:
        """Why the viewer cannot go on from here: `malformed`, `epoch`, `future`, `trimmed`, or None if it can."""
        if self.seq < 0:
            return "malformed"
        if self.epoch is not None and self.epoch != head.epoch:
            return "epoch"
        if self.seq > head.head:
            return "future"
        return "trimmed" if self.seq < head.floor else None


def read_position(text: str | None) -> Position | None:
    """The position that `text` means; None where there is none, that is: a new viewer."""
    if not text:
        return None
    match = _WELL_FORMED.fullmatch(text)
    return Position(match[1], int(match[2])) if match else Position(None, -1)


def write_position(epoch: str, seq: int) -> str:
    """The id of an event: free of characters that CORS does not let through in `Last-Event-ID`."""
    return f"{epoch}.{seq}"
