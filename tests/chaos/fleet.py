"""The whole: servers, their Redis and their database, a front before them, and proxies on every way between."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from signal import Signals

import psycopg

from tests.chaos.parts import Nginx, Part, Postgres, Redis, Server
from tests.chaos.proxy import Proxy

LONGEST_PIECE = 700  # bytes, on the way to Redis, and to the viewers that are not left alone
UNEXPECTED = re.compile(r"^Traceback \(most recent call last\):\n(?: .*\n)*(.*)", re.MULTILINE)
QUERY = "SELECT run, seq, json FROM event ORDER BY run, seq"


@dataclass(frozen=True)
class Shape:
    """Which parts a fleet has. `redis` and `postgres`: or else the servers' memory, and one SQLite file."""

    servers: int = 3
    redis: bool = True
    postgres: bool = True
    nginx: bool = True
    mutant: str | None = None

    def __str__(self) -> str:
        servers = f"{self.servers} server{'s' * (self.servers > 1)}"
        database = "PostgreSQL" if self.postgres else "SQLite"
        front = "nginx" if self.nginx else "a balancer"
        return f"{servers}, {'Redis' if self.redis else 'no Redis'}, {database}, {front} in front"


@dataclass
class Fleet:
    """What is running. `publishing` has a proxy before each server, for its publishers; viewers come through `steady`,
    which is left alone, or `rough`."""

    folder: Path
    servers: list[Server] = field(default_factory=list)
    redis: Redis | None = None
    postgres: Postgres | None = None
    to_redis: Proxy | None = None
    to_postgres: Proxy | None = None
    publishing: list[Proxy] = field(default_factory=list)
    steady: Proxy = field(init=False)
    rough: Proxy = field(init=False)

    @property
    def file(self) -> Path:
        """The SQLite database, where that is what the servers have."""
        return self.folder / "events.db"

    async def stop_servers(self) -> list[str]:
        """SIGTERM for all; a sentence for each that did not end as it should or whose log has an unexpected error."""
        ends = await asyncio.gather(*(server.end(Signals.SIGTERM) for server in self.servers))
        found = [f"{server.name} ended with {end}." for server, end in zip(self.servers, ends, strict=True) if end]
        for server in self.servers:
            errors = UNEXPECTED.findall(server.log.read_text())
            if errors:
                found.append(f"{server.name} logged {len(errors)} unexpected errors, the first: {errors[0]:.200}")
        return found

    def stored(self) -> dict[str, list[tuple[int, str]]]:
        """Every event that the database has: straight from it, of each run by seq."""
        if self.postgres is None:
            with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as database:
                rows = database.execute(QUERY).fetchall()
        else:
            with psycopg.connect(postgres_url(self.postgres.port)) as connection:
                rows = connection.execute(QUERY).fetchall()
        runs: dict[str, list[tuple[int, str]]] = {}
        for run, seq, text in rows:
            runs.setdefault(run, []).append((seq, text))
        return runs


def postgres_url(port: int) -> str:
    """The database that the servers use, seen through `port`."""
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


@asynccontextmanager
async def started(shape: Shape, chance: Random, folder: Path) -> AsyncIterator[Fleet]:
    """A fleet in a folder of its own; at the end all of it is ended."""
    async with AsyncExitStack() as stack:
        fleet = Fleet(folder)

        async def run(part: Part) -> None:
            stack.push_async_callback(part.close)
            await part.start()

        async def proxy(*targets: int) -> Proxy:
            return await stack.enter_async_context(Proxy(targets, chance))

        database, redis_url = f"sqlite:///{fleet.file}", ""
        if shape.postgres:
            fleet.postgres = Postgres("postgres", fleet.folder)
            await run(fleet.postgres)
            fleet.to_postgres = await proxy(fleet.postgres.port)
            database = postgres_url(fleet.to_postgres.port)
        if shape.redis:
            fleet.redis = Redis("redis", fleet.folder)
            await run(fleet.redis)
            fleet.to_redis = await proxy(fleet.redis.port)
            fleet.to_redis.longest = LONGEST_PIECE
            redis_url = f"redis://127.0.0.1:{fleet.to_redis.port}/0"
        for number in range(1, shape.servers + 1):
            server = Server(f"server {number}", fleet.folder, database, redis_url, shape.mutant)
            fleet.servers.append(server)
            fleet.publishing.append(await proxy(server.port))
        async with asyncio.TaskGroup() as starting:  # at once: migrations must be safe then
            for server in fleet.servers:
                starting.create_task(run(server))
        ports = [server.port for server in fleet.servers]
        if shape.nginx:
            nginx = Nginx("nginx", fleet.folder, ports)
            await run(nginx)
            ports = [nginx.port]
        fleet.steady, fleet.rough = await proxy(*ports), await proxy(*ports)
        fleet.rough.longest = LONGEST_PIECE
        yield fleet
