"""`python -m tests.bench.tracing FILE serve …` is `sentri-events serve …` that writes each SQL statement to a file."""

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peewee import SqliteDatabase

from sentri_events import cli


def main(arguments: Sequence[str]) -> None:
    """Values are written out in the statements. Only SQLite is traced."""
    kind: Any = SqliteDatabase
    connect = kind._connect
    statements = Path(arguments[0]).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115  open until the end

    def traced(database: SqliteDatabase) -> Any:
        connection: sqlite3.Connection = connect(database)
        connection.set_trace_callback(lambda sql: statements.write(" ".join(sql.split()) + "\n") and None)
        return connection

    kind._connect = traced
    cli.main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
