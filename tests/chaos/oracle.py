"""The judge: compares what was answered, what is stored and what every viewer saw. Shares no code with the server."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.records import Post, Reading, Record

Stored = Mapping[str, Sequence[tuple[int, str]]]  # of each run: seq and JSON, by seq
SHOWN = 5  # findings of a kind that are told one by one


@dataclass(slots=True)
class Verdict:
    """Numbers of events, over all runs and viewers. Sound is what has no `findings`."""

    answered: int = 0
    stored: int = 0
    seen: int = 0
    lost: int = 0
    twice: int = 0
    out_of_order: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Nothing lost, nothing twice, nothing out of order, nothing else that should not be."""
        return not (self.lost or self.twice or self.out_of_order or self.findings)


def judge(record: Record, stored: Stored) -> Verdict:
    """Compares everything with everything."""
    verdict = Verdict(stored=sum(map(len, stored.values())), findings=list(record.complaints))
    _judge_answers(record.posts, stored, verdict)
    for run, rows in stored.items():
        _judge_run(run, rows, [post for post in record.posts if post.run == run], verdict)
    for reading in record.readings:
        _judge_reading(reading, stored.get(reading.run, ()), verdict)
    return verdict


def _judge_answers(posts: Sequence[Post], stored: Stored, verdict: Verdict) -> None:
    """An answered event is stored with the number that was answered, as it was sent."""
    by_seq = {run: dict(rows) for run, rows in stored.items()}
    for post in posts:
        if not post.first:
            verdict.findings.append(f"{post.run}: a post of {post.writer} never got an answer.")
            continue
        verdict.answered += len(post.texts)
        rows = by_seq.get(post.run, {})
        for seq, text in enumerate(post.texts, post.first):
            if rows.get(seq) != text:
                verdict.lost += 1
                verdict.findings.append(f"{post.run}: {seq} was answered, and is stored as {rows.get(seq)!r:.80}.")


def _judge_run(run: str, rows: Sequence[tuple[int, str]], posts: Sequence[Post], verdict: Verdict) -> None:
    """A run is 1..n without holes, each event once and in its writer's order; `done` is the last."""
    seqs = [seq for seq, _ in rows]
    holes = set(range(1, max(seqs, default=0) + 1)) - set(seqs)
    _count(verdict, f"{run} as stored", lost=sorted(holes), twice=_repeated(seqs), out_of_order=_descents(seqs))
    places = {text: (post.writer, number) for post in posts for number, text in enumerate(post.texts, post.number)}
    copies = _repeated(text for _, text in rows)
    _count(verdict, f"{run} as stored", twice=[f"{text:.80}" for text in copies])
    strangers = [seq for seq, text in rows if text not in places]
    if strangers:
        verdict.findings.append(f"{run}: nobody sent what is stored as {strangers[:SHOWN]}.")
    once = list(dict.fromkeys(text for _, text in rows))
    for writer in {post.writer for post in posts}:
        numbers = [places[text][1] for text in once if text in places and places[text][0] == writer]
        _count(verdict, f"{writer} in {run} as stored", out_of_order=_descents(numbers))
    ends = [seq for seq, text in rows if json.loads(text).get("type") == "done"]
    if ends != seqs[-1:]:
        verdict.findings.append(f"{run}: its last event is {seqs[-1:]}, and done is {ends}.")


def _judge_reading(reading: Reading, rows: Sequence[tuple[int, str]], verdict: Verdict) -> None:
    """A viewer sees each event after its start once, in order, as it is stored."""
    who = f"{reading.viewer} of {reading.run}"
    start = reading.start or 0
    owed = {seq: text for seq, text in rows if seq > start}
    seqs = [sight.seq for sight in reading.sights]
    verdict.seen += len(seqs)
    changed = [sight.seq for sight in reading.sights if owed.get(sight.seq) != sight.text]
    _count(
        verdict,
        who,
        lost=sorted(owed.keys() - set(seqs)) + changed,
        twice=_repeated(seqs),
        out_of_order=_descents(list(dict.fromkeys(seqs))),
    )
    if not reading.ended:
        verdict.findings.append(f"{who} never came to the end: it began at {reading.start} and saw {len(seqs)} events.")
    if reading.lines is not None:
        _judge_snapshot(f"the snapshot of {who}", reading.lines, rows, start, verdict)


def _judge_snapshot(
    who: str, lines: Sequence[tuple[int, str]], rows: Sequence[tuple[int, str]], start: int, verdict: Verdict
) -> None:
    """A snapshot has exactly the log lines up to where its reader goes on."""
    events = ((seq, json.loads(text)) for seq, text in rows if seq <= start)
    owed = {seq: event["message"] for seq, event in events if event["type"] == "log"}
    seqs = [seq for seq, _ in lines]
    changed = [seq for seq, message in lines if owed.get(seq) != message]
    lost = sorted(owed.keys() - set(seqs)) + changed
    _count(verdict, who, lost=lost, twice=_repeated(seqs), out_of_order=_descents(list(dict.fromkeys(seqs))))


def _count(
    verdict: Verdict,
    who: str,
    lost: Sequence[object] = (),
    twice: Sequence[object] = (),
    out_of_order: Sequence[object] = (),
) -> None:
    verdict.lost += len(lost)
    verdict.twice += len(twice)
    verdict.out_of_order += len(out_of_order)
    for what, found in (("lost or changed", lost), ("twice", twice), ("out of order", out_of_order)):
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            verdict.findings.append(f"{who}: {what}: {', '.join(map(str, found[:SHOWN]))}{more}.")


def _repeated(things: Iterable[object]) -> list[object]:
    """Each thing as often as it came again."""
    return [thing for thing, times in Counter(things).items() for _ in range(times - 1)]


def _descents(numbers: Sequence[int]) -> list[int]:
    """The numbers that came after a larger one."""
    return list(_after_a_larger_one(numbers))


def _after_a_larger_one(numbers: Sequence[int]) -> Iterator[int]:
    largest = 0
    for number in numbers:
        if number < largest:
            yield number
        largest = max(largest, number)
