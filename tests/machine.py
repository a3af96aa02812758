"""The servers that a test is tried on: the environment's, or else the first of this machine; with scripts/test --all
every other one as well."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.parts import PartError, postgres_folders, redis_programs

REDIS_URL = os.environ.get("SENTRI_TEST_REDIS_URL")
DATABASE_URL = os.environ.get("SENTRI_TEST_DATABASE_URL")


def each_redis() -> list[Any]:
    """Parameters: the environment's URL, and the programs of this machine. Raises `PartError` if there is nothing."""
    return _each(REDIS_URL, redis_programs, lambda program: Path(program).name)


def each_program_of_redis() -> list[Any]:
    """Parameters: the programs of this machine. Raises `PartError` if there is none."""
    return _each(None, redis_programs, lambda program: Path(program).name)


def each_postgres() -> list[Any]:
    """Parameters: the environment's URL, and the folders with a PostgreSQL's programs. Raises `PartError` as well."""
    return _each(DATABASE_URL, postgres_folders, lambda folder: "wheel" if "site-packages" in folder else "machine")


def _each(given: str | None, find: Callable[[], list[str]], name: Callable[[str], str]) -> list[Any]:
    try:
        found = find()
    except PartError:
        if given is None:
            raise
        found = []
    named = [(program, name(program)) for program in found]
    if given is not None:
        named.insert(0, (given, "given"))
    others = [pytest.param(where, id=id, marks=pytest.mark.debian) for where, id in named[1:]]
    return [pytest.param(named[0][0], id=named[0][1]), *others]
