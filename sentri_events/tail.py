"""Runs as they happen, until each has ended, however often the server restarts meanwhile."""

import asyncio
import contextlib
from collections.abc import Sequence

from sentri_events.client import Client
from sentri_events.errors import ClientError
from sentri_events.render import EXIT_STATUS
from sentri_events.screen import View, begin


async def tail(client: Client, runs: Sequence[str], view: View, *, since: int, types: Sequence[str]) -> int:
    """Show the events of all these runs after seq `since`; returns the worst exit status of their ends."""
    begin(view)

    async def follow(run: str) -> int:
        try:
            async with contextlib.aclosing(client.follow(run, since, types=types)) as stream:
                async for received in stream:
                    view.show(received)
                    if received.type == "done":
                        return EXIT_STATUS[received.event["status"]]
            # It had ended before, with nothing after `since`.
            return EXIT_STATUS[(await client.run(run))["status"]]
        except ClientError as error:
            view.note(f"Error: {run}: {error}")
            return 2 if error.status == 404 else 1

    try:
        return max(await asyncio.gather(*map(follow, runs)))
    finally:
        view.close()
