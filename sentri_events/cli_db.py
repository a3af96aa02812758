"""`sentri-events db`: upkeep of the database, without a server or beside one."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sentri_events.errors import SettingsError
from sentri_events.options import Duration, database_option
from sentri_events.settings import load

if TYPE_CHECKING:
    from sentri_events.store import Store


@click.group()
def db() -> None:
    """Look after the database; the server may be running."""


@db.command()
@database_option
def upgrade(database: str) -> int:
    """Bring the schema to the newest version.

    That is what serve does at its start.
    """

    async def report(store: "Store") -> int:
        for name in store.upgraded:
            click.echo(f"applied {name}")
        click.echo("The schema is up to date.")
        return 0

    return _on_store(database, report, may_create=True)


@db.command()
@click.option("--older-than", type=Duration(), required=True, help="Since their end: 30d, 12h, 45m, 90s.")
@database_option
def prune(older_than: float, database: str) -> int:
    """Remove runs that ended longer ago, with all their events."""

    async def remove(store: "Store") -> int:
        count = await store.prune(int((time.time() - older_than) * 1000))
        click.echo(f"{count} runs removed." if count != 1 else "1 run removed.")
        return 0

    return _on_store(database, remove)


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@database_option
def backup(file: Path, database: str) -> int:
    """Copy SQLite's database into FILE.

    As of one moment, also while the server runs; an older FILE is replaced when the copy is whole.
    """
    from sentri_events.backup import back_up

    settings = load({"database": database})
    check_exists(settings.database)
    click.echo(f"{file} has {back_up(settings.database, file)} bytes.")
    return 0


@db.command()
@database_option
def check(database: str) -> int:
    """Look for damage.

    Prints what is wrong and exits with 1, or says that all is sound.
    """

    async def examine(store: "Store") -> int:
        problems = await store.check()
        for problem in problems:
            click.echo(problem)
        if not problems:
            click.echo("The database is sound.")
        return 1 if problems else 0

    return _on_store(database, examine)


def _on_store(database: str, verb: "Callable[[Store], Awaitable[int]]", *, may_create: bool = False) -> int:
    import asyncio

    from sentri_events.server import open_store

    settings = load({"database": database})
    if not may_create:
        check_exists(settings.database)

    async def work() -> int:
        async with open_store(settings) as store:
            return await verb(store)

    return asyncio.run(work())


def check_exists(database: str) -> None:
    """Raises `SettingsError` if there is none: a mistyped name would make a new one, and a sound one."""
    from sentri_events.database import location, may_exist

    if not may_exist(database):
        raise SettingsError(f"There is no database at {location(database)}.")
