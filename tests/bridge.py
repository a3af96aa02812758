"""Several hubs in one process, over one store file and a bell that a test can make bad: what Redis does, at will."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from sentri_events.backend import Receiver
from sentri_events.backends import open_backend
from sentri_events.event import Draft, Event, Rules, drafts
from sentri_events.hub import Hub
from sentri_events.position import Position
from sentri_events.settings import Settings
from sentri_events.store import Store

WORKSPACE = "default"
RULES = Rules(frozenset({"frame", "snapshot"}), 1 << 20)


class Bell:
    """Carries events between its backends. `spoil` decides what becomes of one: the delays (in loop turns) after which
    it arrives, once for each; none loses it."""

    def __init__(self, spoil: Callable[[Event], list[int]] = lambda event: [0]) -> None:
        self.spoil = spoil
        self.backends: list[BellBackend] = []


class BellBackend:
    """One end of a bell. Only what is subscribed arrives. `pause` is awaited wherever connecting may be overtaken."""

    trouble: str | None = None
    shared = True
    counts: Mapping[str, int] = MappingProxyType({})

    def __init__(self, bell: Bell) -> None:
        self.subscribed: set[str] = set()
        self.listening: set[str] = set()
        self.subscriptions: list[tuple[str, str]] = []
        self.before: Callable[[], Awaitable[None]] = _nothing
        self.after: Callable[[], Awaitable[None]] = _nothing
        self._bell = bell
        bell.backends.append(self)

    async def start(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def publish(self, event: Event) -> None:
        for other in self._bell.backends:
            if other is not self:
                for delay in self._bell.spoil(event):
                    other._arrive(event, delay)

    def _arrive(self, event: Event, delay: int) -> None:
        if delay:
            asyncio.get_running_loop().call_soon(self._arrive, event, delay - 1)
        elif event.run in self.subscribed:
            self._receiver.deliver(event)

    async def subscribe(self, run: str) -> None:
        await self.before()
        assert run not in self.subscribed, "subscribed twice"
        self.subscribed.add(run)
        self.subscriptions.append(("subscribe", run))
        await self.after()

    async def unsubscribe(self, run: str) -> None:
        self.subscribed.discard(run)
        self.subscriptions.append(("unsubscribe", run))

    def ring(self, workspace: str) -> None:
        bell = Event(workspace, "", 0, 0, "", b"")
        for other in self._bell.backends:
            if other is not self and workspace in other.listening:
                for delay in self._bell.spoil(bell):
                    asyncio.get_running_loop().call_later(delay / 1000, other._receiver.rang, workspace)

    async def listen(self, workspace: str) -> None:
        assert workspace not in self.listening, "listened to twice"
        self.listening.add(workspace)

    def ignore(self, workspace: str) -> None:
        self.listening.discard(workspace)

    def spend(self, requests: Mapping[str, int]) -> None:
        for other in self._bell.backends:
            if other is not self:
                for who, number in requests.items():
                    other._receiver.spent(who, number)

    async def close(self) -> None:
        self.subscribed.clear()


async def _nothing() -> None:
    return None


@asynccontextmanager
async def hubs(
    folder: Path,
    number: int,
    spoil: Callable[[Event], list[int]] = lambda event: [0],
    heartbeat: float = 5.0,
    database: str = "",
    redis: str = "",
) -> AsyncIterator[list[Hub]]:
    """`number` hubs on one store, over a bell; or with the URLs of others."""
    bell = Bell(spoil)
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(number):
            store = Store(database or f"sqlite:///{folder / 'events.db'}")
            hub = Hub(store, open_backend(redis) if redis else BellBackend(bell), Settings(heartbeat=heartbeat))
            await hub.start()
            stack.push_async_callback(hub.stop)
            made.append(hub)
        yield made


async def make_run(hub: Hub, run: str = "RUN-A") -> str:
    await hub.create_run(WORKSPACE, "web", id=run, make_project=True)
    return run


def logs(*numbers: int) -> list[Draft]:
    return drafts([{"type": "log", "message": "", "n": n} for n in numbers], RULES, 0)


def draft(kind: str, **payload: object) -> list[Draft]:
    return drafts([{"type": kind, **payload}], RULES, 0)


async def publish(hub: Hub, run: str, *numbers: int) -> None:
    await hub.publish(WORKSPACE, run, logs(*numbers))


async def follow(hub: Hub, run: str, position: Position | None = None) -> list[Event]:
    """All that a follower is given, until the run's end."""
    return [event async for event in hub.events(WORKSPACE, run, position)]


async def stored(hub: Hub, run: str) -> list[Event]:
    """The run's first thousand events as the store has them."""
    return await hub.store.after(run, (await hub.store.head(run)).epoch, 0)


def numbers(events: list[Event]) -> list[int]:
    """The seqs of the durable ones."""
    return [event.seq for event in events if event.seq]


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, a bounded time."""
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0.002)
    assert condition(), what


def badly(seed: int, loss: float = 0.2) -> Callable[[Event], list[int]]:
    """A bell that loses, repeats and reorders."""
    chance = random.Random(seed)

    def spoil(event: Event) -> list[int]:
        return [chance.randrange(20) for _ in range(chance.choices((0, 1, 2), (loss, 1 - 2 * loss, loss))[0])]

    return spoil
