"""The backend of a single process: there is nobody else to tell."""

from collections.abc import Mapping

from sentri_events.backend import Receiver
from sentri_events.event import Event


class MemoryBackend:
    """Keeps the contract of `sentri_events.backend.Backend` for one process."""

    trouble: str | None = None
    shared = False
    counts: Mapping[str, int] = {}

    async def start(self, receiver: Receiver) -> None:
        """Nothing will ever come from elsewhere."""

    def publish(self, event: Event) -> None:
        """The only process has told its own viewers already."""

    async def subscribe(self, run: str) -> None:
        """Nothing to wait for."""

    async def unsubscribe(self, run: str) -> None:
        """Nothing to stop."""

    def ring(self, workspace: str) -> None:
        """The only process knows."""

    async def listen(self, workspace: str) -> None:
        """Nobody else will ring."""

    def ignore(self, workspace: str) -> None:
        """Nothing to stop."""

    def spend(self, requests: Mapping[str, int]) -> None:
        """Nobody else grants any."""

    async def close(self) -> None:
        """Nothing to let go of."""
