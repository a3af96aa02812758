"""The contract that every backend keeps: it carries events between processes, and may lose, repeat or reorder them.

The store is the truth (law 1); a backend only says early what the store would say late.
"""

from typing import Protocol

from sentri_events.event import Event


class Receiver(Protocol):
    """Whom a backend tells. Both methods are called on the event loop and must not block."""

    def deliver(self, event: Event) -> None:
        """An event that another process published. It may come late, twice, or not at all."""

    def missed(self) -> None:
        """Anything may have passed by: look at the store."""


class Backend(Protocol):
    """Carries events to every process that listens. Keeps nothing. At most once, in any order.

    `trouble` says why other processes do not hear us, or None. `shared` is False where there are no other processes.
    """

    trouble: str | None
    shared: bool

    async def start(self, receiver: Receiver) -> None:
        """Begin to listen. Does not fail because the transport is away: that is `trouble`."""

    def publish(self, event: Event) -> None:
        """Tell the others. Returns at once and never raises: the store has the event already, this is only the bell.

        The caller has told its own viewers; a backend does not bring an event back to where it came from.
        """

    async def subscribe(self, run: str) -> None:
        """Returns when every later event of the run will come, or when the transport is away: then `missed` is called
        once it is back. The caller subscribes to a run once until it unsubscribes."""

    async def unsubscribe(self, run: str) -> None:
        """Events of the run need not come any more."""

    async def close(self) -> None:
        """Let go of the transport; nothing is delivered afterwards."""
