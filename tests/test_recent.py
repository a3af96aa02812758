"""What is at hand of a run's past is what the store would give, whatever is asked for."""

from random import Random

import pytest

from sentri_events.dialect import PIECE_BYTES
from sentri_events.event import Event
from sentri_events.recent import NEWEST_BYTES, PAGES, Recent


def events(first: int, sizes: list[int]) -> list[Event]:
    return [Event("RUN-1", "abcdefgh", seq, 0, "log", bytes(size)) for seq, size in enumerate(sizes, first)]


def counted(page: list[Event], cursor: int) -> list[Event]:
    """What fits into a piece after `cursor`, one by one."""
    piece: list[Event] = []
    for event in page:
        if event.seq > cursor:
            if piece and sum(len(taken.json) for taken in (*piece, event)) > PIECE_BYTES:
                break
            piece.append(event)
    return piece


@pytest.mark.parametrize("largest", [10, PIECE_BYTES // 5, 2 * PIECE_BYTES])
def test_a_piece_is_as_many_events_as_fit(largest: int) -> None:
    """Of the newest and of a page. Caught: one too many, one too few, the bytes before it counted, a large event that
    is left out."""
    chance = Random(largest)
    page = events(41, [chance.randint(1, largest) for _ in range(60)])
    kept, taken = Recent(), Recent()
    kept.keep(page)
    for event in page:
        taken.take(event)
    for cursor in range(40, 100):
        assert kept.after(cursor) == counted(page, cursor)
        if taken.after(cursor) is not None:  # not let go yet
            assert taken.after(cursor) == counted(page, cursor)
    assert taken.after(99) == page[-1:]


def test_a_piece_that_is_full_to_the_byte() -> None:
    page = events(1, [PIECE_BYTES // 2, PIECE_BYTES // 2, 1])
    recent = Recent()
    recent.keep(page)
    assert recent.after(0) == page[:2]
    assert recent.after(1) == page[1:]


def test_what_is_not_at_hand() -> None:
    """Caught: before the first, after the last, when there is nothing."""
    recent = Recent()
    assert recent.after(0) is None
    recent.keep(events(5, [1, 1]))
    assert [recent.after(cursor) is None for cursor in range(3, 8)] == [True, False, False, True, True]
    recent.drop_pages()
    assert recent.after(5) is None


def test_it_is_bounded() -> None:
    """Caught: no end; an end that is too soon; the wrong half."""
    recent = Recent()
    page = events(1, [NEWEST_BYTES // 8] * 100)
    for event in page:
        recent.take(event)
    at_hand = [seq for seq in range(1, 101) if recent.after(seq - 1) is not None]
    assert at_hand == list(range(at_hand[0], 101))
    assert 8 <= len(at_hand) <= 16
    for first in range(1000, 1000 + 10 * (PAGES + 1), 10):
        recent.keep(events(first, [1]))
    assert recent.after(999) is None
    assert recent.after(1009) is not None
    recent.begin_anew()
    assert recent.after(99) is None
