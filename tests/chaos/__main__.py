"""`scripts/chaos`: breaks a real fleet for some time and says whether anything was lost."""

import argparse
import asyncio
import shutil
import sys
from collections.abc import Sequence

from tests.chaos.campaign import Campaign, carry_out, make_folder
from tests.chaos.faults import kinds, plan
from tests.chaos.fleet import Shape
from tests.chaos.parts import PartError, nginx_program
from tests.chaos.report import table
from tests.chaos.trials import TRIALS, WHOLE, is_told

SECONDS_EACH = 120  # a kind of fault comes once in so many seconds, and once at least


def say(line: str) -> None:
    """At once, also where nobody reads along."""
    print(line, flush=True)  # noqa: T201  what a script is for


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if nothing was lost, nothing came twice and nothing out of order."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it goes wrong (%(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="fixes the schedule of the faults (%(default)s)")
    parser.add_argument("--viewers", type=int, default=200, help="that follow through our client (%(default)s)")
    parser.add_argument("--servers", type=int, default=3, help="server processes (%(default)s)")
    parser.add_argument("--backend", choices=("redis", "memory"), default="redis", help="between them (%(default)s)")
    parser.add_argument("--database", choices=("postgres", "sqlite"), default="postgres", help="(%(default)s)")
    front = "balancer" if nginx_program() is None else "nginx"
    parser.add_argument("--front", choices=("nginx", "balancer"), default=front, help="before them (%(default)s)")
    parser.add_argument("--mutants", action="store_true", help="try servers that are broken on purpose, a minute each")
    options = parser.parse_args(arguments)
    shape = Shape(
        servers=options.servers,
        redis=options.backend == "redis",
        postgres=options.database == "postgres",
        nginx=options.front == "nginx",
    )
    if not shape.redis and (shape.servers > 1 or options.mutants):
        parser.error("several servers, and the mutants, need --backend redis")
    try:
        if options.mutants:
            return asyncio.run(_try_mutants(shape, options.seed))
        return asyncio.run(_try_the_server(shape, options.seconds, options.seed, options.viewers))
    except PartError as error:
        parser.exit(2, f"scripts/chaos: {error}\n")


async def _try_the_server(shape: Shape, seconds: float, seed: int, viewers: int) -> int:
    schedule = plan(kinds(shape), seed, seconds, max(1, int(seconds // SECONDS_EACH)))
    campaign = Campaign(shape, seconds, seed, viewers, schedule)
    say(f"seed {seed}, {seconds:g} s, {shape}; {viewers} viewers and {campaign.raw_viewers} raw ones")
    for planned in schedule:
        say(f"{planned.moment:>8.1f} s  {planned.kind.name}")
    folder = make_folder()
    verdict, record = await carry_out(campaign, folder)
    for line in table(verdict, record):
        say(line)
    if verdict.sound:
        shutil.rmtree(folder)
    else:
        say(f"What the parts logged and stored is in {folder}.")
    return 0 if verdict.sound else 1


async def _try_mutants(shape: Shape, seed: int) -> int:
    told = [mutant for mutant in TRIALS if await is_told(mutant, shape, seed, say)]
    caught = len([mutant for mutant in told if mutant != WHOLE])
    say(f"{caught} of {len(TRIALS) - 1} mutants were caught; what is whole was {'' if WHOLE in told else 'NOT '}sound")
    return 0 if len(told) == len(TRIALS) else 1


if __name__ == "__main__":
    sys.exit(main())
