"""Which database a URL names, how it gets the newest schema, and the one wall where its errors are translated."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peewee
from playhouse.migrations import Runner
from playhouse.pool import PooledDatabase, PooledSqliteDatabase

from sentri_events.errors import SettingsError, Unavailable
from sentri_events.models import MIGRATIONS

LOCK_TIMEOUT = 2.0
_MIGRATIONS = Path(__file__).parent / "migrations"
log = logging.getLogger(__name__)


def open_database(url: str) -> PooledDatabase:
    """The database of a URL, connections not yet made: `sqlite:///FILE`, or `sqlite:////FILE` for an absolute path.

    Raises `SettingsError` for a URL that names no file.
    """
    path = url.removeprefix("sqlite:///")
    if path == url or not path or path.startswith(":memory:") or "?" in path:
        raise SettingsError(f"The database must be a URL such as sqlite:///sentri-events.db, not {url}.")
    if not Path(path).absolute().parent.is_dir():
        raise SettingsError(f"The folder of the database does not exist: {Path(path).absolute().parent}.")
    return PooledSqliteDatabase(
        path,
        pragmas={"journal_mode": "wal", "synchronous": "full"},
        timeout=LOCK_TIMEOUT,
        lock_type="IMMEDIATE",
        check_same_thread=False,  # a pool hands a connection from thread to thread, to one at a time
    )


def location(url: str) -> str:
    """Where the data of `url` is, for a person: the absolute path of a file."""
    return str(Path(url.removeprefix("sqlite:///")).absolute())


def migrate(database: PooledDatabase) -> list[str]:
    """Bring the schema to the newest version and return the names of the migrations that this took.

    All in one transaction under the database's write lock: processes that start at once wait for each other, and a
    failure leaves the old schema. Raises `SettingsError` if a newer version made this database, `Unavailable`.
    """
    with translated(), database.connection_context():
        runner = Runner(database, str(_MIGRATIONS), MIGRATIONS)
        unknown = [item.name for item in runner.status() if item.path is None]
        if unknown:
            raise SettingsError(f"A newer version made this database (it has {unknown[-1]}): upgrade sentri-events.")
        if all(item.applied for item in runner.status()):
            return []
        with database.atomic("EXCLUSIVE"):
            names: list[str] = runner.up()
    for name in names:
        log.info("The database was brought to %s.", name)
    return names


@contextmanager
def translated() -> Iterator[None]:
    """Turns what a database throws into `Unavailable`, with its reason."""
    try:
        yield
    except (peewee.DatabaseError, peewee.InterfaceError) as error:
        raise Unavailable(f"The store is not available: {reason(error)}.") from error


def reason(error: BaseException) -> str:
    """The database's own words, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].removesuffix(".")


@contextmanager
def reading(database: PooledDatabase) -> Iterator[None]:
    """A connection of the pool and one transaction that sees a single moment, without the write lock."""
    with translated(), database.connection_context(), database.atomic("DEFERRED"):
        yield
