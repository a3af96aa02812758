"""A copy of SQLite's database as of one moment, while servers go on writing to it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import NamedTemporaryFile

from sentri_events.database import is_postgres, location, translated
from sentri_events.errors import SettingsError


def back_up(url: str, copy: Path) -> int:
    """Make `copy` the database of `url` as it is now, or leave what was there; returns its size in bytes.

    It is one file, which only its owner may read. Raises `SettingsError`, `Unavailable`, `OSError`.
    """
    if is_postgres(url):
        raise SettingsError("PostgreSQL has a program of its own for this: pg_dump --format=custom --file=FILE URL.")
    if copy.exists() and copy.samefile(location(url)):
        raise SettingsError(f"{copy} is the database itself.")
    with NamedTemporaryFile(dir=copy.absolute().parent, prefix=f".{copy.name}.", delete=False) as made:
        try:
            with translated():
                _copy(location(url), made.name)
            os.fsync(made.fileno())
            size = os.fstat(made.fileno()).st_size
            os.replace(made.name, copy)
        except BaseException:
            os.unlink(made.name)
            raise
    folder = os.open(copy.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return size


def _copy(source: str, target: str) -> None:
    """All pages in one step: in WAL mode that is a reader like any other, and holds no writer up."""
    url = f"{Path(source).as_uri()}?mode=rw"
    with closing(sqlite3.connect(url, uri=True)) as of, closing(sqlite3.connect(target)) as to:
        of.backup(to)
        to.execute("PRAGMA journal_mode = delete")  # its own -wal would be a second file
