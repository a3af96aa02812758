"""Events as lines, and the screen that `tail` draws: text alone here; the real terminal is in test_cli.py."""

import io
import json
from typing import Any

import pytest

from sentri_events.client import Received
from sentri_events.render import EXIT_STATUS, clean, duration, lines, table
from sentri_events.screen import Ndjson, Tally, Terminal, status_line


def received(number: int | None, event: dict[str, Any], run: str = "RUN-1") -> Received:
    at = None if number is None else f"2026-01-31T12:00:00.{number:03d}Z"
    return Received(run, event["type"], event, number, at, None if number is None else f"abcdef.{number}")


def result(test: str, status: str, **more: Any) -> dict[str, Any]:
    return {"type": "result", "result": {"testId": test, "status": status, **more}}


@pytest.mark.parametrize(
    ("event", "plain", "coloured"),
    [
        ({"type": "log", "message": "hi"}, ["hi"], ["hi"]),
        ({"type": "log", "message": "a\nb\r\nc\n"}, ["a", "b", "c"], ["a", "b", "c"]),
        ({"type": "log", "message": "bad", "level": "error"}, ["bad"], ["\x1b[31mbad\x1b[0m"]),
        ({"type": "log", "message": "\x1b[32mok", "level": "error"}, ["ok"], ["\x1b[32mok\x1b[0m"]),
        ({"type": "log", "message": ""}, [""], [""]),
        ({"type": "log", "message": {"a": 1}, "level": [1]}, ['{"a": 1}'], ['{"a": 1}']),
        ({"type": "log"}, ["null"], ["null"]),
        (result("t", "passed", durationMs=12.4), ["PASSED t (12ms)"], ["\x1b[32mPASSED\x1b[0m t (12ms)"]),
        (result("a.py::t", "passed", testName="t"), ["PASSED a.py::t"], ["\x1b[32mPASSED\x1b[0m a.py::t"]),
        (result("17", "new", testName="logs in"), ["NEW logs in"], ["NEW logs in"]),
        (
            result("t", "failed", error="E  one\nE  two\n"),
            ["FAILED t", "    E  one", "    E  two"],
            ["\x1b[31mFAILED\x1b[0m t", "    E  one", "    E  two"],
        ),
        ({"type": "done", "status": "completed"}, ["completed"], ["\x1b[32mcompleted\x1b[0m"]),
        (
            {"type": "done", "status": "failed", "passed": 2, "failed": 1, "skipped": 0, "error": "x\ny"},
            ["failed: 2 passed, 1 failed: x", "    y"],
            ["\x1b[31mfailed: 2 passed, 1 failed: x\x1b[0m", "    y"],
        ),
        ({"type": "done", "status": "aborted"}, ["aborted"], ["\x1b[33maborted\x1b[0m"]),
        ({"type": "step", "n": "é"}, ['step {"n": "é"}'], ['\x1b[2mstep {"n": "é"}\x1b[0m']),
    ],
)
def test_lines(event: dict[str, Any], plain: list[str], coloured: list[str]) -> None:
    assert lines(event, False) == plain
    assert lines(event, True) == coloured


def test_a_large_payload_is_cut_and_a_long_message_is_not() -> None:
    [line] = lines({"type": "step", "data": "x" * 9000}, False)
    assert len(line) < 2100
    assert line.endswith("… (9012 characters)")
    assert lines({"type": "log", "message": "x" * 9000}, False) == ["x" * 9000]


@pytest.mark.parametrize(
    "attack",
    [
        "\x1b[2J",  # clear the screen
        "\x1b[10;20H",  # move
        "\x1b]0;title\x07",
        "\x1b]52;c;aGk=\x1b\\",  # the clipboard
        "\x1bP1$q\x1b\\",
        "\x1b[?1049h",
        "\x1bc",
        "\x9b",
        "\x07\x08\x0b\x0c\x00\x7f",
        "\x1b(0",
        "\x1b[6n",
    ],
)
@pytest.mark.parametrize("colour", [False, True])
def test_no_other_escape_sequence_gets_through(attack: str, colour: bool) -> None:
    """Caught a mutant whose pattern knew CSI sequences only."""
    assert clean(f"a{attack}b", colour) == "ab"
    assert clean(f"ab{attack}", colour) == "ab"
    assert clean("ab\x1b", colour) == "ab"


def test_cleaning_takes_linear_time() -> None:
    for hostile in ("\x1b]", "\x1b[", "\x1bP", "\x1b[1;", "\x1b(", "\x1b]8"):
        clean(hostile * 200_000, True)


def test_a_link_keeps_its_text() -> None:
    assert clean("\x1b]8;;http://a/\x1b\\docs\x1b]8;;\x1b\\", False) == "docs"


def test_tally_counts_the_newest_result_of_a_test() -> None:
    tally = Tally({"total": 3})
    for event in (result("a", "failed"), result("b", "skipped"), result("a", "xpassed"), result("c", "odd")):
        tally.fold(event)
    assert [tally[name] for name in ("passed", "failed", "skipped", "total")] == [1, 0, 1, 3]
    tally.fold(result("d", "error"))
    assert (tally["failed"], tally["total"]) == (1, 4)
    tally.fold({"type": "update", "run": {"total": 9, "passed": 7}})
    assert (tally["passed"], tally["total"]) == (7, 9)
    tally.fold({"type": "done", "status": "failed", "failed": 2})
    assert tally["failed"] == 2


def test_tally_from_the_middle() -> None:
    document = {"total": 5, "passed": 1, "failed": 4, "skipped": 0, "results": [{"testId": "a", "status": "passed"}]}
    tally = Tally(document, begun=True)
    tally.fold(result("b", "passed"))
    assert [tally[name] for name in ("passed", "failed", "total")] == [2, 4, 5]


def test_tally_takes_no_strange_values() -> None:
    tally = Tally()
    tally.fold({"type": "update", "run": {"total": "many", "passed": None}})
    tally.fold({"type": "update", "run": 3})
    tally.fold({"type": "result", "result": {"testId": 3}})
    assert tally["total"] == tally["passed"] == 0


@pytest.mark.parametrize("width", [0, 1, 5, 20, 40, 80, 200])
@pytest.mark.parametrize("runs", [1, 3])
def test_the_status_line_fits(width: int, runs: int) -> None:
    tallies = {f"RUN-{number}": Tally({"total": 10}) for number in range(runs)}
    tallies["RUN-0"].fold(result("a", "passed"))
    tallies["RUN-0"].fold(result("b", "failed"))
    plain = status_line(tallies, width, False)
    assert len(plain) <= width
    assert clean(status_line(tallies, width, True), False) == plain
    if width >= 80:
        assert ("RUN-0  [" if runs == 1 else "3 runs  [") in plain
        assert plain.endswith(f"]  2/{10 * runs}  1 passed  1 failed")


def test_the_status_line_of_a_run_without_tests() -> None:
    assert status_line({"RUN-1": Tally({})}, 79, False) == "RUN-1  running"


def test_plain_lines_are_prefixed_where_there_are_several_runs() -> None:
    out = io.StringIO()
    view = Terminal(out, {"A": {}, "LONG": {}}, colour=False, bar=False)
    view.show(received(1, {"type": "log", "message": "one\ntwo"}, "A"))
    view.show(received(1, {"type": "log", "message": "three"}, "LONG"))
    view.close()
    assert out.getvalue() == "A    | one\nA    | two\nLONG | three\n"


def test_only_what_was_asked_for_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    view = Terminal(out, {"RUN-1": {}}, colour=False, bar=False, types=["log"])
    view.show(received(1, result("a", "passed")))
    view.show(received(2, {"type": "log", "message": "one"}))
    view.show(received(None, {"type": "frame", "data": "…"}))
    view.show(received(3, {"type": "done", "status": "completed"}))
    assert out.getvalue() == "one\ncompleted\n"
    assert capsys.readouterr().err == ""


def test_json_lines_are_the_durable_events(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    view = Ndjson(out)
    view.show(received(None, {"type": "reset", "reason": "trimmed"}))
    view.show(received(None, {"type": "snapshot", "run": {}}))
    view.show(received(None, {"type": "frame"}))
    view.show(received(4, {"type": "update", "run": {"name": "é\u2028"}}))
    [line] = out.getvalue().splitlines()
    assert json.loads(line) == {
        "run": "RUN-1",
        "seq": 4,
        "at": "2026-01-31T12:00:00.004Z",
        "event": {"type": "update", "run": {"name": "é\u2028"}},
    }
    assert capsys.readouterr().err.startswith("Warning: RUN-1: its older events were removed;")


def test_after_a_reset_the_snapshot_is_the_truth(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    view = Terminal(out, {"RUN-1": {}}, colour=False, bar=False)
    view.show(received(None, {"type": "snapshot", "run": {"total": 99}}))  # a producer's own
    view.show(received(None, {"type": "reset", "reason": "trimmed"}))
    view.show(received(None, {"type": "snapshot", "run": {"total": 7, "passed": 3, "results": []}}))
    assert [view._tallies["RUN-1"][name] for name in ("passed", "total")] == [3, 7]
    assert out.getvalue() == ""
    assert capsys.readouterr().err.count("\n") == 1


def test_table() -> None:
    run = {"id": "RUN-1", "projectId": "web", "status": "failed", "passed": 10, "failed": 2, "skipped": None}
    run |= {"total": 12, "startedAt": "2026-01-31T12:00:00.000Z", "duration": 61_000, "name": "a\x1b[2J\n b"}
    header, row = table([run], False)
    assert header.startswith("RUN    PROJECT  STATUS  PASSED  FAILED  SKIPPED  TOTAL  STARTED ")
    assert row.startswith("RUN-1  web      failed      10       2        0     12  2026-01-31 ")
    assert row.endswith("  1m01s     a b")
    assert "\x1b[31mfailed" in list(table([run], True))[1]
    assert len(list(table([], False))) == 1


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0ms"), (999.4, "999ms"), (999.7, "1.0s"), (59_960, "1m00s"), (61_000, "1m01s"), (7_380_000, "2h03m")],
)
def test_duration(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text


def test_every_final_status_has_an_exit_status() -> None:
    from sentri_events.event import FINAL_STATUSES

    assert set(EXIT_STATUS) == set(FINAL_STATUSES)
