"""The contract that every backend keeps: it carries events between processes, and may lose, repeat or reorder them.

The store is the truth (law 1); a backend only says early what the store would say late.
"""

from collections.abc import Mapping
from typing import Protocol

from sentri_events.event import Event


class Receiver(Protocol):
    """Whom a backend tells. Its methods are called on the event loop and must not block."""

    def deliver(self, event: Event) -> None:
        """An event that another process published. It may come late, twice, or not at all.

        One without a number (seq 0) is volatile. Its epoch is empty, for what is not stored has no place in a run; and
        if it is a `done`, it comes from the original, which numbers nothing: it is to be stored through `publish`.
        """

    def hint(self, run: str, epoch: str, seq: int) -> None:
        """An event of that number is stored, and does not come by itself: too large, or lost on its way."""

    def rang(self, workspace: str) -> None:
        """Something has changed in that workspace, and the store says what. It may come for nothing, or not at all."""

    def spent(self, who: str, requests: int) -> None:
        """Another process has granted that caller so many requests, of those that count against a bound."""

    def missed(self) -> None:
        """Anything may have passed by, of any run: look at the store."""


class Backend(Protocol):
    """Carries events to every process that listens. Keeps nothing. At most once, in any order."""

    @property
    def trouble(self) -> str | None:
        """Why other processes may not hear us, nor we them; a sentence without secrets. None when all is well."""

    @property
    def shared(self) -> bool:
        """Whether there may be other processes."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What has happened since the start, by name: the same names at all times."""

    async def start(self, receiver: Receiver) -> None:
        """Begin to listen. Does not fail because the transport is away: that is `trouble`."""

    def publish(self, event: Event) -> None:
        """Tell the others. Returns at once and never raises: the store has the event already, this is only the bell.

        The caller has told its own viewers; a backend does not bring an event back to where it came from.
        """

    async def subscribe(self, run: str) -> None:
        """Returns when every later event of the run will come, or when the transport is away or slow: then `missed` is
        called once they will. The caller subscribes to a run once until it unsubscribes."""

    async def unsubscribe(self, run: str) -> None:
        """Events of the run need not come any more."""

    def ring(self, workspace: str) -> None:
        """Tell the others that something has changed in that workspace. Returns at once and never raises."""

    async def listen(self, workspace: str) -> None:
        """From now on what others `ring` for that workspace comes. The caller listens once until it ignores it."""

    def ignore(self, workspace: str) -> None:
        """It need not come any more."""

    def spend(self, requests: Mapping[str, int]) -> None:
        """Tell the others how many requests of each caller were granted here. Returns at once and never raises."""

    async def close(self) -> None:
        """Let go of the transport; nothing is delivered afterwards."""
