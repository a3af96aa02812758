"""A real PostgreSQL of the tests' own, on its own port and in its own folder; it may be killed and restarted."""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import psycopg

from tests.chaos.parts import Postgres
from tests.machine import DATABASE_URL

_numbers = itertools.count(1)


class PostgresServer(Postgres):
    """It keeps its port and its data over kills and restarts."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "-c", "fsync=off"]  # what the kernel has, a killed process does not lose

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """The URL of a database, through `port` if there is another way to it."""
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def kill(self) -> None:
        """kill -9 of the postmaster; its backends notice and go."""
        asyncio.run(self.end(Signals.SIGKILL))

    def stop(self) -> None:
        """A fast shutdown."""
        asyncio.run(self.end(self.stop_signal))

    def run(self) -> None:
        """Start it; returns when it is ready."""
        asyncio.run(self.start())

    def restart(self) -> None:
        self.stop()
        self.run()


@contextmanager
def running(programs: str | None = None) -> Iterator[PostgresServer]:
    """A server, of the PostgreSQL whose programs are there. Raises `PartError` where there is none."""
    folder = Path(tempfile.mkdtemp(prefix="sentri-postgres-"))
    folder.chmod(0o755)  # as root its user is another, and pytest's own folders are closed to others
    server = PostgresServer("postgres", folder, programs)
    try:
        server.run()
        yield server
    finally:
        asyncio.run(server.close())
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def server_url(where: str) -> Iterator[str]:
    """The URL of a server on which databases can be made: `where` is that, or the folder of a PostgreSQL's programs."""
    if where == DATABASE_URL:
        yield where
        return
    with running(where) as server:
        yield server.url()


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """The URL of a new, empty database."""
    name = f"sentri_test_{os.getpid()}_{next(_numbers)}"
    say(server, f"CREATE DATABASE {name}")
    try:
        yield database_url(server, name)
    finally:
        say(server, f"DROP DATABASE {name} WITH (FORCE)")


def database_url(server: str, name: str) -> str:
    """The URL of another database of the same server."""
    begin, mark, options = server.partition("?")
    scheme, _, rest = begin.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}{mark}{options}"


def say(url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement on a connection of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql, values)
        return cursor.fetchall() if cursor.description else []
