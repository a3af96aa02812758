"""Under which load and which faults each mutant must show itself within seconds, and what must stay sound there."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from tests.chaos.campaign import Campaign, carry_out, make_folder
from tests.chaos.faults import (
    CUT_PUBLISHERS,
    CUT_VIEWERS,
    HOLD_VIEWERS,
    KILL_A_SUBSCRIBER,
    KILL_SERVER,
    Kind,
    plan,
)
from tests.chaos.fleet import Shape
from tests.chaos.mutants import MUTANTS
from tests.chaos.producers import Load

CHANCES = 3
FINDINGS = 2
DRAIN = 8.0  # seconds; who is not through by then never will be

# What was missed is found by the next event; at the end of a run there is none.
SHORT_RUNS = Load(runs=6, seconds=(0.2, 0.6), writers=1, rate=40.0)
LONG_RUNS = Load(runs=4, seconds=(2.0, 4.0), rate=60.0)
CROWDED_RUNS = Load(runs=1, seconds=(2.0, 4.0), writers=12, rate=400.0)
BUSY_STORE = Load(runs=4, seconds=(2.0, 4.0), rate=150.0)
LARGE_EVENTS = Load(runs=2, seconds=(4.0, 5.0), rate=20.0, large=0.8, large_size=500_000)


class Trial(NamedTuple):
    """A short campaign, made for what it is to show. `times`: how often each of the faults comes."""

    load: Load
    kinds: Sequence[Kind] = ()
    times: int = 0
    seconds: float = 8.0
    viewers: int = 24

    def campaign(self, shape: Shape, seed: int, mutant: str) -> Campaign:
        """The campaign of a fleet of this shape, with servers that are broken so."""
        schedule = plan(self.kinds, seed, self.seconds, self.times)
        return Campaign(replace(shape, mutant=mutant), self.seconds, seed, self.viewers, schedule, self.load, DRAIN)


SUBSCRIBERS_KILLED = Trial(SHORT_RUNS, (KILL_A_SUBSCRIBER,), times=20)
SERVERS_KILLED = Trial(BUSY_STORE, (KILL_SERVER,), times=6, seconds=12.0)
WHOLE = "without-the-look"  # what the others are compared with: less is there, and nothing is broken
TRIALS = {
    WHOLE: SUBSCRIBERS_KILLED,
    "reads-before-it-subscribes": Trial(SHORT_RUNS, seconds=16.0, viewers=40),
    "forgets-to-resubscribe": SUBSCRIBERS_KILLED,
    "ignores-missed": SUBSCRIBERS_KILLED,
    "answers-before-the-commit": SERVERS_KILLED,
    "numbers-outside-the-transaction": SERVERS_KILLED,
    "forgets-the-key": Trial(LONG_RUNS, (CUT_PUBLISHERS,), times=5),
    "delivers-what-is-not-the-next": Trial(CROWDED_RUNS),
    "drops-on-overflow": Trial(LARGE_EVENTS, (HOLD_VIEWERS,), times=2),
    "resumes-one-too-late": Trial(LONG_RUNS, (CUT_VIEWERS,), times=2),
    "resumes-one-too-early": Trial(LONG_RUNS, (CUT_VIEWERS,), times=2),
    "takes-the-snapshot-before-the-head": Trial(LONG_RUNS),
    "turns-events-around": Trial(LONG_RUNS),
}
assert set(TRIALS) == set(MUTANTS)


async def is_told(mutant: str, shape: Shape, seed: int, say: Callable[[str], None]) -> bool:
    """Whether the oracle says of a mutant what it should: that it is broken. What is broken by chance gets a few
    chances; what is whole has to be found sound each time."""
    say(f"{mutant}: {' '.join((MUTANTS[mutant].__doc__ or '').split())}")
    for chance in range(CHANCES):
        folder = make_folder()
        verdict, _ = await carry_out(TRIALS[mutant].campaign(shape, seed + chance, mutant), folder)
        say(f"    lost {verdict.lost}, twice {verdict.twice}, out of order {verdict.out_of_order}")
        for finding in verdict.findings[:FINDINGS]:
            say(f"    - {finding}")
        caught = bool(verdict.lost or verdict.twice or verdict.out_of_order)
        if mutant == WHOLE and not verdict.sound:
            say(f"What the parts logged and stored is in {folder}.")
            return False
        shutil.rmtree(folder)
        if caught:
            break
    return caught != (mutant == WHOLE)
