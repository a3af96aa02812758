"""`scripts/bench` can say no: a flawed measurement does not count, and a target that is not met is not met."""

from pathlib import Path

import pytest

from tests.bench.fan_out import burst
from tests.bench.judge import OURS, Column, Target, Workload, judge, medians
from tests.bench.load import Flawed, publish, publisher, view
from tests.bench.page import BEGIN, END, write
from tests.bench.peers import Floor, Ours
from tests.bench.report import Result, table
from tests.running import running

TARGETS = (
    Target("speed", 6, of="peer", least=True),
    Target("delay", 1, of="peer"),
    Target("delay", 10),
)
WORKLOAD = Workload("W", "a title", (Column("speed", "a second"), Column("delay", "ms")), {}, TARGETS)


def test_targets_compare_medians() -> None:
    """Catches: `least` turned round, the ratio turned round, a mean in place of the median."""
    ours = medians([{"speed": 1.0, "delay": 900.0}, {"speed": 60.0, "delay": 8.0}, {"speed": 61.0, "delay": 7.0}])
    outcomes = judge(WORKLOAD, {OURS: ours, "peer": {"speed": 10.0, "delay": 8.0}})
    assert [(outcome.reached, outcome.met) for outcome in outcomes] == [(6.0, True), (1.0, True), (8.0, True)]
    outcomes = judge(WORKLOAD, {OURS: {"speed": 59.0, "delay": 11.0}, "peer": {"speed": 10.0, "delay": 10.0}})
    assert [outcome.met for outcome in outcomes] == [False, False, False]


def test_what_was_not_measured_is_not_met() -> None:
    """Catches: a target without its peer that counts as met."""
    outcomes = judge(WORKLOAD, {OURS: {"speed": 1e9, "delay": 0.1}, "peer": {}})
    assert [(outcome.reached, outcome.met) for outcome in outcomes] == [(None, False), (None, False), (0.1, True)]


def test_the_table_says_by_how_much() -> None:
    result = Result(1, {OURS: [{"speed": 3000.0, "delay": 4.0}], "peer": [{"speed": 1000.0, "delay": 8.0}]})
    result.judge(WORKLOAD)
    lines = list(table(WORKLOAD, result))
    assert lines[3].split() == ["peer", "1,000", "3.00", "x", "8", "0.50", "x"]
    assert lines[4].split()[:2] == ["NOT", "MET"]
    assert lines[5].split()[0] == "met"


def test_the_page_says_what_was_not_better(tmp_path: Path) -> None:
    """Catches: a missed target left out, a text around the marks that is lost, old results that stay."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    result = Result(1, {OURS: [{"speed": 3000.0, "delay": 4.0}], "peer": [{"speed": 1000.0, "delay": 8.0}]})
    result.judge(WORKLOAD)
    kept = result.as_json() | {"machine": {"date": "2026-01-31", "cores": "2 x a"}, "command": "--quick"}
    write({"W": kept}, [WORKLOAD], page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "2 of 3 targets were met" in text
    assert "- W ours, a second: at least 6 x peer; it was 3.00" in text
    assert "| peer | 1,000 (3.00 x) | 8 (0.50 x) |" in text


@pytest.mark.debian
@pytest.mark.parametrize("peer", [Ours, Floor])
def test_a_burst_is_measured(peer: type[Ours] | type[Floor], tmp_path: Path) -> None:
    """A real server and both load programs. Catches: a wrong path, a greeting that is counted, an unread number."""
    sample = burst(peer, events=20, viewers=5)(tmp_path)
    assert sample["events"] == 100
    assert sample["through"] > 0
    assert sample["p99"] >= sample["p50"] > 0


@pytest.mark.debian
def test_a_viewer_that_gets_less_is_found_out(tmp_path: Path) -> None:
    """Catches: a sample that is not checked for what was lost."""
    with running(Floor(tmp_path)) as peer, pytest.raises(Flawed, match="lost"):
        view(peer, viewers=2, events=5, post=publisher(peer, events=4), timeout=0.2)


@pytest.mark.debian
def test_a_refused_post_is_found_out(tmp_path: Path) -> None:
    """Catches: an answer whose status nobody looks at. The run was not made."""
    with running(Ours(tmp_path)) as peer, pytest.raises(Flawed, match='"non2xx":2'):
        publish(peer, events=2)
