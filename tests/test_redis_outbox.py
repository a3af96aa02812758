"""What waits for Redis is bounded in number and bytes, words go before pictures, and no word is quite lost."""

from msgspec.structs import replace

from sentri_events.backends.message import Hint, Letter
from sentri_events.backends.outbox import BATCH_BYTES, BATCH_EVENTS, MAX_BYTES, MAX_EVENTS, MAX_OWED, Outbox
from sentri_events.event import Event
from tests.backend_contract import EPOCH, event


def opened() -> tuple[Outbox, dict[str, int]]:
    counts = {"dropped": 0}
    outbox = Outbox(counts)
    outbox.open()
    return outbox, counts


def drained(outbox: Outbox) -> list[Letter]:
    letters: list[Letter] = []
    while batch := outbox.take():
        letters += batch
    return letters


def test_words_before_pictures() -> None:
    """P11. Caught: one queue for both."""
    outbox, _ = opened()
    for seq in (0, 1, 0, 2):
        outbox.put(event("RUN-1", seq))
    assert [letter.seq for letter in drained(outbox)] == [1, 2, 0, 0]


def test_a_batch_is_bounded() -> None:
    """In number and in bytes, and never empty while something waits."""
    outbox, _ = opened()
    for _ in range(BATCH_EVENTS + 1):
        outbox.put(event("RUN-1", 1))
    assert [len(outbox.take()) for _ in range(3)] == [BATCH_EVENTS, 1, 0]
    for _ in range(3):
        outbox.put(event("RUN-1", 1, "x" * BATCH_BYTES))
    assert [len(outbox.take()) for _ in range(4)] == [1, 1, 1, 0]


def test_too_many() -> None:
    """The oldest go. Caught: the newest go; no bound."""
    outbox, counts = opened()
    for seq in range(1, MAX_EVENTS + 11):
        outbox.put(event("RUN-1", seq))
    letters = drained(outbox)
    assert [letter.seq for letter in letters] == [*range(11, MAX_EVENTS + 11), 10]
    assert letters[-1] == Hint("RUN-1", EPOCH, 10)
    assert counts["dropped"] == 10


def test_too_large() -> None:
    """Pictures have a bound of their own and displace no word. Caught: a size that is never reduced."""
    outbox, counts = opened()
    outbox.put(event("RUN-1", 1))
    for _ in range(5):
        for number in range(40):
            outbox.put(event("RUN-1", 0, "x" * (1 << 20), f"t{number}"))
        letters = drained(outbox)
        assert (
            MAX_BYTES - (2 << 20)
            < sum(len(letter.json) for letter in letters if isinstance(letter, Event))
            <= MAX_BYTES
        )
        assert letters[-1].type == "t39"  # type: ignore[union-attr]
    assert counts["dropped"] == 5 * (40 - 31)
    outbox.put(event("RUN-1", 0, "x" * MAX_BYTES))
    outbox.put(event("RUN-1", 2, "x" * MAX_BYTES))
    assert drained(outbox) == [Hint("RUN-1", EPOCH, 2)]


def test_the_newest_of_each_run_is_owed() -> None:
    """Caught: the oldest."""
    outbox = Outbox({"dropped": 0})
    for seq in (1, 3, 0):
        outbox.put(event("RUN-1", seq))
    outbox.put(event("RUN-2", 9))
    outbox.put(replace(event("RUN-2", 1), epoch="another"))
    outbox.open()
    outbox.lose([Hint("RUN-1", EPOCH, 2)])
    assert drained(outbox) == [Hint("RUN-1", EPOCH, 3), Hint("RUN-2", "another", 1)]


def test_what_waits_is_owed_when_it_is_closed() -> None:
    """Caught: it is given to a server of which nothing is known yet."""
    outbox, counts = opened()
    for seq in (1, 2, 0):
        outbox.put(event("RUN-1", seq))
    outbox.close()
    assert outbox.take() == []
    outbox.open()
    assert outbox.take() == [Hint("RUN-1", EPOCH, 2)]
    assert counts["dropped"] == 3


def test_what_is_owed_is_bounded() -> None:
    outbox = Outbox({"dropped": 0})
    for number in range(MAX_OWED + 100):
        outbox.put(event(f"RUN-{number}", 1))
        outbox.put(event("RUN-0", number + 1))
    assert len(outbox.owed) == MAX_OWED
    assert outbox.owed["RUN-0"].seq == MAX_OWED + 100
