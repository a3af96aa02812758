"""The rules of a backend: a subclass brings a fixture `make`, which makes another backend of the same transport.

Where a test says "caught", that mutant was tried and failed it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import pytest
from msgspec.structs import replace

from sentri_events.backend import Backend
from sentri_events.event import Event, encode
from tests.bridge import until

EPOCH = "e4o5p6"
AT = 1_800_000_000_123
LARGE = "x" * (100 << 10)
Make = Callable[[], Backend]
_numbers = count()


def event(run: str, seq: int, payload: str = "", kind: str = "log") -> Event:
    """A durable event, or a volatile one if its seq is 0."""
    return Event(run, EPOCH if seq else "", seq, AT, kind, encode({"type": kind, "message": payload}))


def new_run() -> str:
    """An id that no test has used: a server that was given by the environment may have other users."""
    return f"RUN-{next(_numbers)}-{id(_numbers):x}"


class Ear:
    """A receiver that remembers what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.hints: list[tuple[str, str, int]] = []
        self.rings: list[str] = []
        self.grants: list[tuple[str, int]] = []
        self.missed_times = 0

    def deliver(self, event: Event) -> None:
        self.events.append(event)

    def hint(self, run: str, epoch: str, seq: int) -> None:
        self.hints.append((run, epoch, seq))

    def rang(self, workspace: str) -> None:
        self.rings.append(workspace)

    def spent(self, who: str, requests: int) -> None:
        self.grants.append((who, requests))

    def missed(self) -> None:
        self.missed_times += 1

    @property
    def seqs(self) -> list[int]:
        """Of the durable events."""
        return [event.seq for event in self.events if event.seq]

    def knows(self, run: str, seq: int) -> bool:
        """Whether it has been told, in one way or another, that this event exists."""
        return any((event.run, event.seq) == (run, seq) for event in self.events) or (run, EPOCH, seq) in self.hints


@asynccontextmanager
async def started(*backends: Backend) -> AsyncIterator[list[Ear]]:
    """An ear for each, while inside."""
    async with AsyncExitStack() as stack:
        ears = []
        for backend in backends:
            stack.push_async_callback(backend.close)
            ears.append(Ear())
            await backend.start(ears[-1])
        yield ears


class BackendContract:
    """What every backend keeps."""

    async def test_it_starts_without_trouble(self, make: Make) -> None:
        backend = make()
        names = set(backend.counts)
        async with started(backend):
            assert backend.trouble is None
            assert set(backend.counts) == names

    async def test_publishing_never_raises(self, make: Make) -> None:
        """Not before the start and not after the end either."""
        run, backend = new_run(), make()
        backend.publish(event(run, 1))
        async with started(backend) as (ear,):
            await backend.subscribe(run)
            for seq in range(3):
                backend.publish(event(run, seq))
            await backend.unsubscribe(run)
            await backend.listen(run)
            backend.ring(run)
            backend.ignore(run)
            backend.spend({run: 1})
        backend.publish(event(run, 3))
        backend.ring(run)
        backend.spend({run: 1})
        assert (ear.events, ear.hints, ear.rings, ear.grants) == ([], [], [], [])


class SharedBackendContract(BackendContract):
    """What a backend between processes keeps as well, as long as its transport is well."""

    async def test_what_is_published_after_a_subscription_arrives(self, make: Make) -> None:
        """The moment that `subscribe` returns is the moment from which on nothing is missed."""
        runs = [new_run() for _ in range(100)]
        near, far = make(), make()
        async with started(near, far) as (_, ear):
            told = ear.missed_times
            for run in runs:
                await far.subscribe(run)
                near.publish(event(run, 1))
            await until(lambda: len(ear.events) == len(runs), "all arrive")
            assert {event.run for event in ear.events} == set(runs)
            assert ear.missed_times == told

    async def test_a_bell_rings_for_who_listens(self, make: Make) -> None:
        """At others, and for that workspace alone. Caught: one's own that comes back; a workspace and a run of the same
        name that share a channel."""
        wanted, left, near, far = new_run(), new_run(), make(), make()
        async with started(near, far) as (near_ear, ear):
            await near.listen(wanted)
            await far.listen(left)
            await far.listen(wanted)
            await far.subscribe(wanted)
            far.ignore(left)
            await far.subscribe(new_run())  # so that the end of the other is past
            for workspace in (left, new_run(), wanted):
                near.ring(workspace)
            near.publish(event(wanted, 1))
            await until(lambda: ear.rings and ear.events, "both are heard")
            assert (ear.rings, ear.seqs) == ([wanted], [1])
            await near.subscribe(wanted)
            far.ring(wanted)
            far.publish(event(wanted, 0))
            await until(lambda: near_ear.rings and near_ear.events, "what comes after its own is heard")
            assert near_ear.rings == [wanted]

    async def test_what_callers_have_spent_is_told_to_the_others(self, make: Make) -> None:
        """Whatever they are called. Caught: one's own that comes back; only what follows a subscription is heard."""
        spent = {f"{new_run()}/{name}": number for number, name in enumerate(('"\n\u2028{}', "é", "x" * 1000), 1)}
        near, far = make(), make()
        async with started(near, far) as (near_ear, ear):
            near.spend(spent)
            await until(lambda: spent.items() <= set(ear.grants), "they hear it")
            far.spend({"after": 1})
            await until(lambda: ("after", 1) in near_ear.grants, "what comes after it on the same channel")
            assert not spent.keys() & dict(near_ear.grants)

    async def test_an_event_does_not_come_back(self, make: Make) -> None:
        """Caught: a backend that does not look whose message it is."""
        run, near, far = new_run(), make(), make()
        async with started(near, far) as (near_ear, far_ear):
            await near.subscribe(run)
            await far.subscribe(run)
            for seq in (1, 2, 0):
                near.publish(event(run, seq))
            await until(lambda: len(far_ear.events) == 3, "the others hear it")
            far.publish(event(run, 3))
            await until(lambda: near_ear.events, "what comes after it on the same channel")
            assert near_ear.seqs == [3]

    @pytest.mark.parametrize("kind", ["log", "done", "_hint", "a.b:c-D_9"])
    async def test_a_durable_event_is_carried_as_it_is(self, make: Make, kind: str) -> None:
        """To the byte: viewers of all instances see the same, and resuming elsewhere must not show a difference."""
        run, near, far = new_run(), make(), make()
        odd = {
            "type": kind,
            "text": '\u2028 \U0001f600 " } ,\n',
            "deep": [{"_origin": "x", "_seq": 7}],
            "big": 2**63,
            "f": 1e-7,
        }
        sent = Event(run, EPOCH, 2**40, AT, kind, encode(odd))
        async with started(near, far) as (_, ear):
            await far.subscribe(run)
            near.publish(sent)
            await until(lambda: ear.events or ear.hints, "it arrives")
            assert ear.events == [sent] or (kind == "_hint" and ear.hints == [(run, EPOCH, 2**40)])

    async def test_a_volatile_event_has_no_place(self, make: Make) -> None:
        """Whatever its type and size, and whatever place its sender had given it."""
        run, near, far = new_run(), make(), make()
        async with started(near, far) as (_, ear):
            await far.subscribe(run)
            near.publish(replace(event(run, 0, LARGE, "frame"), epoch=EPOCH))
            await until(lambda: ear.events, "it arrives")
            assert [(seen.epoch, seen.seq, seen.json) for seen in ear.events] == [
                ("", 0, event(run, 0, LARGE, "frame").json)
            ]

    async def test_a_large_event_is_at_least_announced(self, make: Make) -> None:
        run, near, far = new_run(), make(), make()
        async with started(near, far) as (_, ear):
            await far.subscribe(run)
            near.publish(event(run, 5, LARGE))
            await until(lambda: ear.knows(run, 5), "it is known")

    async def test_only_what_is_subscribed_arrives(self, make: Make) -> None:
        wanted, left, other = new_run(), new_run(), new_run()
        near, far = make(), make()
        async with started(near, far) as (_, ear):
            await far.subscribe(left)
            await far.subscribe(wanted)
            await far.unsubscribe(left)
            await far.subscribe(new_run())  # so that the end of the other is past
            for seq in (1, 2):
                for run in (left, other, wanted):
                    near.publish(event(run, seq))
            await until(lambda: len(ear.events) >= 2, "what is wanted arrives")
            assert {seen.run for seen in ear.events} == {wanted}

    async def test_a_run_may_be_left_and_taken_up_again(self, make: Make) -> None:
        """Any number of times and at once. Caught: a confirmation that is taken for another one of the same run."""
        run, near, far = new_run(), make(), make()
        async with started(near, far) as (_, ear):
            for seq in range(1, 51):
                await far.subscribe(run)
                near.publish(event(run, seq))
                await until(lambda seq=seq: ear.seqs == list(range(1, seq + 1)), "each is heard")  # type: ignore[misc]
                await far.unsubscribe(run)
            for _ in range(20):
                waiting = asyncio.create_task(far.subscribe(run))
                await asyncio.sleep(0)
                waiting.cancel()
                await far.unsubscribe(run)
            await far.subscribe(run)
            near.publish(event(run, 51))
            await until(lambda: ear.seqs[-1] == 51, "the last subscription holds")

    async def test_many_events_arrive_in_the_order_of_their_kind(self, make: Make) -> None:
        run, near, far = new_run(), make(), make()
        async with started(near, far) as (_, ear):
            await far.subscribe(run)
            for seq in range(1, 3001):
                near.publish(event(run, seq))
            await until(lambda: len(ear.events) == 3000, "all arrive")
            assert ear.seqs == list(range(1, 3001))
            assert near.counts.get("dropped", 0) == 0

    async def test_nothing_is_delivered_after_the_end(self, make: Make) -> None:
        run, near, far = new_run(), make(), make()
        async with started(near, far) as (near_ear, ear):
            await far.subscribe(run)
            await near.subscribe(run)
            near.publish(event(run, 1))
            await until(lambda: ear.events, "it is heard")
            await far.close()
            near.publish(event(run, 2))
            near.publish(event(run, 3))
            await near.close()
            assert ear.seqs == [1]
            assert near_ear.events == []

    async def test_what_was_published_last_is_sent(self, make: Make) -> None:
        """A program that publishes and ends at once has told the others. Caught: a `close` that does not flush."""
        run, near, far = new_run(), make(), make()
        async with started(near, far) as (_, ear):
            await far.subscribe(run)
            for seq in range(1, 5001):
                near.publish(event(run, seq))
            await near.close()
            await until(lambda: ear.knows(run, 5000), "all is heard")
            assert near.counts.get("dropped", 0) == 0
