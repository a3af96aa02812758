"""The short campaign, on a whole fleet and on a single server; and the program itself: its schedule, its mutants, and
that nothing of it survives it."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.faults import KINDS, LEAD_IN, kinds, plan
from tests.chaos.fleet import Shape
from tests.chaos.parts import ROOT
from tests.chaos.trials import is_told
from tests.server_process import wait_until

FLEET = ("--seconds", "60")
SINGLE = ("--seconds", "15", "--servers", "1", "--backend", "memory", "--database", "sqlite", "--viewers", "40")
NUMBERS = re.compile(r"^ +([0-9,]+) +([0-9,]+) +([0-9,]+) +([0-9,]+) +([0-9,]+) +([0-9,]+)$", re.MULTILINE)


@contextmanager
def chaos(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`scripts/chaos`, with this Python."""
    command = [sys.executable, "-W", "error", "-m", "tests.chaos", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("arguments", "least"), [(FLEET, 20_000), (SINGLE, 1_000)], ids=["fleet", "single"])
def test_nothing_is_lost_nothing_comes_twice_and_nothing_out_of_order(arguments: tuple[str, ...], least: int) -> None:
    with chaos(*arguments) as program:
        words, _ = program.communicate()
    assert program.returncode == 0, words
    numbers = NUMBERS.search(words)
    assert numbers is not None, words
    answered, stored, seen, *faults = (int(number.replace(",", "")) for number in numbers.groups())
    assert faults == [0, 0, 0]
    assert answered <= stored < seen
    assert seen > least, words  # a campaign in which nothing happens proves nothing
    for kind in kinds(Shape() if arguments is FLEET else Shape(1, redis=False, postgres=False)):
        assert re.search(rf"^{re.escape(kind.name)} +1 ", words, re.MULTILINE), words


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", ["resumes-one-too-late", "forgets-the-key"])
def test_the_oracle_catches_a_broken_server(mutant: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One that loses and one that repeats; `scripts/chaos --mutants` tries them all."""
    assert asyncio.run(is_told(mutant, Shape(1, redis=False, postgres=False, nginx=False), 1, print))
    assert "lost 0, twice 0" not in capsys.readouterr().out


def test_the_seed_fixes_the_schedule() -> None:
    one, same, another = (plan(KINDS, seed, 600, 5) for seed in (1, 1, 2))
    assert one == same
    assert one != another
    assert sorted(planned.kind.name for planned in one) == sorted(kind.name for kind in KINDS * 5)
    moments = [planned.moment for planned in one]
    assert moments == sorted(moments)
    assert moments[0] >= LEAD_IN
    assert moments[-1] < 600


def test_a_fleet_has_the_faults_of_its_parts() -> None:
    parts = {kind.part for kind in kinds(Shape())}
    assert parts == {"server", "redis", "postgres", "viewers", "publishers", "nothing"}
    assert {kind.part for kind in kinds(Shape(1, redis=False, postgres=False))} == parts - {"redis", "postgres"} | {
        "sqlite"
    }


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no kernel ends the children of a dead parent")
def test_nothing_survives_the_program() -> None:
    with chaos(*SINGLE) as program:
        children = wait_until(lambda: _children(program.pid), "the program has started a server")
        program.kill()
        wait_until(lambda: not any(map(_runs, children)), "the server has ended")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
