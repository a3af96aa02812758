"""The oracle and its table. A judge that cannot say no proves nothing: each fault is planted once and must be found."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.level import levels
from tests.chaos.oracle import Stored, Verdict, judge
from tests.chaos.records import Disturbance, Post, Reading, Record, Sight
from tests.chaos.report import table

RUN = "RUN-1"


def text(number: int) -> str:
    return json.dumps({"type": "log", "message": f"line {number}"}, separators=(",", ":"))


DONE = '{"type":"done","status":"completed"}'
ROWS = [(1, text(1)), (2, text(2)), (3, text(3)), (4, DONE)]


def sound() -> tuple[Record, Stored]:
    """Two posts and a done, all answered, seen by one who was there from the start and by one with a snapshot."""
    record = Record()
    record.posts += [
        Post(RUN, "a writer", 0, (text(1), text(2)), first=1, answered_at=1.0),
        Post(RUN, "a writer", 2, (text(3),), first=3, answered_at=2.0),
        Post(RUN, "the end", 0, (DONE,), first=4, answered_at=3.0),
    ]
    sights = [Sight(seq, row, float(seq)) for seq, row in ROWS]
    record.readings += [
        Reading(RUN, "from the start", True, 0.0, 0, None, list(sights), True),
        Reading(RUN, "from a snapshot", True, 0.0, 2, [(1, "line 1"), (2, "line 2")], sights[2:], True),
    ]
    return record, {RUN: list(ROWS)}


def verdict(change: Callable[[Record, dict[str, list[tuple[int, str]]]], object]) -> Verdict:
    """The verdict on what is sound but for one change."""
    record, stored = sound()
    rows = {run: list(events) for run, events in stored.items()}
    change(record, rows)
    return judge(record, rows)


def test_what_is_sound_is_found_sound() -> None:
    found = judge(*sound())
    assert found.sound
    assert (found.answered, found.stored, found.seen) == (4, 4, 6)
    assert found.findings == []


def _swap(sights: list[Sight]) -> None:
    sights[1], sights[2] = sights[2], sights[1]


def _store_a_copy(rows: list[tuple[int, str]]) -> None:
    rows.insert(3, (4, text(2)))
    rows[4] = (5, DONE)


def _store_in_another_order(record: Record, rows: list[tuple[int, str]]) -> None:
    rows[1], rows[2] = (2, text(3)), (3, text(2))


LOST = {
    "an answered event is not stored": lambda record, rows: rows[RUN].pop(),
    "an answered event is stored with another number": lambda record, rows: rows[RUN].__setitem__(3, (5, DONE)),
    "an answered event is stored as another": lambda record, rows: rows[RUN].__setitem__(1, (2, text(7))),
    "nothing is stored": lambda record, rows: rows.clear(),
    "the store has a hole": lambda record, rows: rows[RUN].pop(1),
    "a viewer misses the first": lambda record, rows: record.readings[0].sights.pop(0),
    "a viewer misses one in the middle": lambda record, rows: record.readings[0].sights.pop(1),
    "a viewer misses the last": lambda record, rows: record.readings[0].sights.pop(),
    "a viewer with a snapshot misses the next": lambda record, rows: record.readings[1].sights.pop(0),
    "a viewer sees something else": lambda record, rows: record.readings[0].sights.__setitem__(1, Sight(2, text(8), 0)),
    "a viewer sees what is not stored": lambda record, rows: record.readings[0].sights.append(Sight(5, text(5), 0)),
    "a viewer sees what is before its start": lambda record, rows: setattr(record.readings[0], "start", 1),
    "a viewer never begins": lambda record, rows: record.readings.append(Reading(RUN, "never", True)),
    "a snapshot lacks a line": lambda record, rows: record.readings[1].lines.pop(),
    "a snapshot has another line": lambda record, rows: record.readings[1].lines.__setitem__(0, (1, "line 9")),
    "a snapshot is ahead of its head": lambda record, rows: record.readings[1].lines.append((3, "line 3")),
}  # fmt: skip
TWICE = {
    "a viewer sees one twice in a row": lambda record, rows: record.readings[0].sights.insert(1, Sight(1, text(1), 0)),
    "a viewer sees one again later": lambda record, rows: record.readings[0].sights.append(Sight(1, text(1), 0)),
    "a snapshot has a line twice": lambda record, rows: record.readings[1].lines.append((2, "line 2")),
    "the store has an event twice": lambda record, rows: _store_a_copy(rows[RUN]),
}  # fmt: skip
OUT_OF_ORDER = {
    "a viewer sees two swapped": lambda record, rows: _swap(record.readings[0].sights),
    "a snapshot has two swapped": lambda record, rows: record.readings[1].lines.reverse(),
    "a writer's events are stored swapped": lambda record, rows: _store_in_another_order(record, rows[RUN]),
}
OTHERWISE = {
    "a post was never answered": lambda record, rows: record.posts.__setitem__(2, replace(record.posts[2], first=0)),
    "something stored was never sent": lambda record, rows: record.posts.__setitem__(
        0, replace(record.posts[0], texts=(text(1),))
    ),
    "a run has no end": lambda record, rows: (rows[RUN].pop(), record.posts.pop()),
    "a viewer did not come to the end": lambda record, rows: setattr(record.readings[0], "ended", False),
    "something else happened that should not": lambda record, rows: record.complaints.append("It was a 500."),
}


@pytest.mark.parametrize("fault", LOST)
def test_a_loss_is_found(fault: str) -> None:
    found = verdict(LOST[fault])
    assert found.lost
    assert not found.sound
    assert found.findings


@pytest.mark.parametrize("fault", TWICE)
def test_a_repetition_is_found(fault: str) -> None:
    found = verdict(TWICE[fault])
    assert found.twice == 1
    assert not found.sound


@pytest.mark.parametrize("fault", OUT_OF_ORDER)
def test_a_wrong_order_is_found(fault: str) -> None:
    found = verdict(OUT_OF_ORDER[fault])
    assert found.out_of_order == 1
    assert not found.sound


@pytest.mark.parametrize("fault", OTHERWISE)
def test_what_should_never_happen_is_found(fault: str) -> None:
    assert not verdict(OTHERWISE[fault]).sound


def test_a_long_list_of_findings_is_cut_and_counted_whole() -> None:
    record, rows = sound()
    stored = {RUN: [*rows[RUN][:3], *((seq, text(seq)) for seq in range(4, 100)), (100, DONE)]}
    found = judge(record, stored)
    assert found.lost == 1 + 96 + 1 + 96 + 1  # the answered done; what each viewer lacks, and its done that is another
    assert any("and 92 more" in finding for finding in found.findings)


def watched(*seen: tuple[float, float], began: float = 0.0, steady: bool = True) -> Record:
    """One viewer, and for each event when it was answered and when it was seen."""
    record = Record()
    for seq, (answered, _) in enumerate(seen, 1):
        record.posts.append(Post(RUN, "a writer", seq, (text(seq),), seq, answered))
    sights = [Sight(seq, text(seq), at) for seq, (_, at) in enumerate(seen, 1)]
    record.readings.append(Reading(RUN, "a viewer", steady, began, 0, None, sights))
    return record


def test_the_level_is_where_the_last_late_event_was_seen() -> None:
    record = watched((9, 9.1), (11, 14), (12.5, 14.5), (15, 15.1), (20.5, 21.5))
    record.disturbances += [Disturbance("a", 10, 12), Disturbance("b", 20, 20)]
    record.breaks += [9, 10.5, 13, 20]
    assert levels(record) == [("a", 2.5, 3, 2), ("b", 1.5, 1, 1)]


def test_lateness_before_a_fault_is_not_its_own_but_what_it_holds_up_is() -> None:
    record = watched((1, 9), (9.9, 11))
    record.disturbances.append(Disturbance("a", 10, 10))
    (only,) = levels(record)
    assert only.after == 1


def test_no_level_is_told_of_faults_that_overlap() -> None:
    record = watched((1, 1.1), (10.5, 13), (11, 13))
    record.disturbances += [Disturbance("a", 10, 11), Disturbance("b", 12, 12), Disturbance("c", 20, 21)]
    assert [level.kind for level in levels(record)] == ["c"]


@pytest.mark.parametrize(("began", "steady"), [(0.0, False), (11.5, True)], ids=["cut at random", "came later"])
def test_only_who_was_there_and_was_left_alone_tells_of_a_level(began: float, steady: bool) -> None:
    record = watched((11, 14), began=began, steady=steady)
    record.disturbances.append(Disturbance("a", 10, 10))
    assert levels(record)[0].after == 0


def test_the_table_has_a_row_for_each_kind_and_a_sentence_for_each_finding() -> None:
    record = watched((9, 9.1), (11, 14), (15, 15.1))
    record.disturbances += [Disturbance("b", 10, 12), Disturbance("a", 20, 20), Disturbance("a", 30, 31)]
    record.disturbances += [Disturbance("c", 40, 43), Disturbance("b", 41, 42)]
    found = Verdict(1234, 1235, 5678, 1, 2, 3, ["This should not be."])
    words = list(table(found, record))
    assert words[1].split() == ["1,234", "1,235", "5,678", "1", "2", "3"]
    rows = [line.split() for line in words if line[:2] in ("a ", "b ", "c ")]
    assert rows[0] == ["a", "2", "2", "0.0", "0.0", "<", "0.5", "s", "0"]
    assert rows[1] == ["b", "2", "1", "2.0", "2.0", "3.0", "s", "0"]
    assert rows[2] == ["c", "1", "0", "-", "-", "-", "-"]
    assert words[-2:] == ["- This should not be.", "NOT SOUND"]
