"""The list of runs as it changes, line by line: the newest, then each that starts or ends, until Ctrl-C."""

import contextlib
from collections.abc import Callable
from typing import Any

from sentri_events.client import Client
from sentri_events.render import Table, compact

KNOWN = 10_000  # runs of which it is remembered how they were shown


async def watch(
    client: Client,
    write: Callable[[str], object],
    *,
    project: str | None,
    status: str | None,
    limit: int,
    as_json: bool,
    colour: bool,
) -> None:
    """Write the list's lines as they come, oldest first. As JSON it is the run, also where its counts have changed."""
    table: Table | None = None
    shown: dict[str, Any] = {}

    def show(run: dict[str, Any]) -> None:
        state = run if as_json else run["status"]
        if shown.pop(run["id"], None) != state and status in (None, run["status"]):
            write(compact(run) if table is None else table.row(run))
        shown[run["id"]] = state
        if len(shown) > KNOWN:
            del shown[next(iter(shown))]

    async with contextlib.aclosing(client.follow_runs(project=project, limit=limit)) as events:
        async for event in events:
            runs = event["data"][::-1] if event["type"] == "runs" else [event["run"]]
            if table is None and not as_json:
                table = Table(colour, runs)
                write(table.head)
            for run in runs:
                show(run)
