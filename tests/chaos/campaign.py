"""One campaign: a fleet, its load, its viewers, its faults, and the judgement at the end."""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from sentri_events.client import Client
from tests.chaos.faults import Planned
from tests.chaos.fleet import Fleet, Shape, started
from tests.chaos.oracle import Verdict, judge
from tests.chaos.parts import PartError
from tests.chaos.producers import Load, Producers
from tests.chaos.raw_viewers import RawViewer
from tests.chaos.records import Disturbance, Record, leaves
from tests.chaos.viewers import PATIENCE, Viewer

RAW_SHARE = 5  # of so many viewers there is one raw one besides
STEADY_SHARE = 4
AIM = 10.0  # seconds in which a fault must have found something to hit
CHURN = 100.0  # seconds after which a viewer is cut, on average, besides all faults


@dataclass(frozen=True)
class Campaign:
    """What is to be done. `viewers` follow through our client; `drain`: the seconds in which all must come to their
    end after the last fault."""

    shape: Shape
    seconds: float
    seed: int
    viewers: int
    plan: Sequence[Planned]
    load: Load = field(default_factory=Load)
    drain: float = 60.0

    @property
    def raw_viewers(self) -> int:
        """How many share no code with our client."""
        return -(-self.viewers // RAW_SHARE)


async def carry_out(campaign: Campaign, folder: Path) -> tuple[Verdict, Record]:
    """All of it; what the parts log and store is in `folder`. Raises `PartError` if one does not do its work."""
    record, chance = Record(), Random(campaign.seed)
    try:
        async with started(campaign.shape, chance, folder) as fleet:
            await _strain(campaign, fleet, record, chance)
            record.complaints += await fleet.stop_servers()
            stored = await asyncio.to_thread(fleet.stored)
    except* PartError as group:
        raise leaves(group)[0] from None
    return judge(record, stored), record


def make_folder() -> Path:
    """A temporary one."""
    folder = Path(tempfile.mkdtemp(prefix="sentri-chaos-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    return folder


async def _strain(campaign: Campaign, fleet: Fleet, record: Record, chance: Random) -> None:
    urls = [f"http://127.0.0.1:{proxy.port}" for proxy in fleet.publishing]
    producers = Producers(urls, campaign.load, record, chance)
    steady_url, rough_url = (f"http://127.0.0.1:{proxy.port}" for proxy in (fleet.steady, fleet.rough))
    async with (
        Client(steady_url, patience=PATIENCE) as steady,
        Client(rough_url, patience=PATIENCE) as rough,
        asyncio.TaskGroup() as tasks,
    ):
        working = [tasks.create_task(producers.publish())]
        for number in range(campaign.viewers):
            client = rough if number % STEADY_SHARE else steady
            viewer = Viewer(f"viewer {number}", client, producers, record, chance, client is steady)
            working.append(tasks.create_task(viewer.watch()))
        for number in range(campaign.raw_viewers):
            proxy = fleet.rough if number % 2 else fleet.steady
            raw = RawViewer(f"raw viewer {number}", proxy.port, producers, record, chance, proxy is fleet.steady)
            working.append(tasks.create_task(raw.watch()))
        churn = tasks.create_task(_churn(fleet, campaign.viewers + campaign.raw_viewers, chance))
        await _break(campaign, fleet, record)
        churn.cancel()
        producers.stop()
        _, late = await asyncio.wait(working, timeout=campaign.drain)
        for task in late:
            task.cancel()


async def _break(campaign: Campaign, fleet: Fleet, record: Record) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def strike(planned: Planned) -> None:
        async with locks[planned.kind.part]:
            end = loop.time() + AIM
            while True:  # what the last fault took away may not be back yet
                began = loop.time()
                if await planned.kind.strike(fleet, planned.which):
                    record.disturbances.append(Disturbance(planned.kind.name, began, loop.time()))
                    return
                if began > end:
                    raise PartError(f"{planned.kind.name}: there was nothing to hit.")
                await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as striking:
        for planned in campaign.plan:
            await asyncio.sleep(max(0.0, begun + planned.moment - loop.time()))
            striking.create_task(strike(planned))
        await asyncio.sleep(max(0.0, begun + campaign.seconds - loop.time()))


async def _churn(fleet: Fleet, viewers: int, chance: Random) -> None:
    """Somebody is always being cut."""
    while viewers:
        await asyncio.sleep(chance.expovariate(viewers / CHURN))
        fleet.rough.cut(0.0)
