"""The other processes of this server. Each has a door, a Unix socket in a folder of theirs alone, behind which it
answers as it does everywhere: for what only the process knows that has the connection."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATIENCE = 1.0  # seconds for each of them: they are all asked at once
ADDRESSED = ("connection", "content-length", "keep-alive", "transfer-encoding", "upgrade")  # to the one that was asked


class Siblings:
    """Those that have their doors in `folder`; without one there are none."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @property
    def door(self) -> Path | None:
        """This process's own."""
        return None if self._folder is None else self._folder / f"{os.getpid()}.sock"

    async def ask(self, method: str, path: str, headers: Mapping[str, str]) -> list[tuple[int, Any]]:
        """Status and JSON (None without a body) of each that answers: one that is dead or stuck is left out. `headers`
        are those of the request that asks, so that all judge the same caller."""
        if self._folder is None:
            return []
        doors = [door for door in self._folder.glob("*.sock") if door != self.door]
        answers = await asyncio.gather(*(_ask(door, method, path, headers) for door in doors))
        return [answer for answer in answers if answer is not None]


async def _ask(door: Path, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, Any] | None:
    import httpx2

    passed_on = {name: value for name, value in headers.items() if name.lower() not in ADDRESSED}
    try:
        async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(door)), timeout=PATIENCE) as client:
            answer = await client.request(method, f"http://sibling{path}", headers=passed_on)
            return answer.status_code, answer.json() if answer.content else None
    except (httpx2.HTTPError, ValueError):
        return None
