"""Servers that are broken on purpose: `python -m tests.chaos.mutants NAME serve …` is `sentri-events serve …`, broken.

Each mutant breaks one thing that a promise stands on. Where that takes two events to meet by chance, it gives chance a
`WINDOW`. What the look at the heads would mend within two seconds is tried without that look.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sentri_events import cli
from sentri_events.backends.redis import RedisBackend
from sentri_events.channel import Channel
from sentri_events.dialect import StreamDialect
from sentri_events.event import Event
from sentri_events.handlers.sockets import Socket
from sentri_events.handlers.stream import StreamHandler
from sentri_events.hub import Hub
from sentri_events.position import Position
from sentri_events.store import Store
from sentri_events.store_read import Snapshot
from sentri_events.store_thread import WriteThread
from sentri_events.store_write import Transaction

WINDOW = 0.05  # seconds


def without_the_look() -> None:
    """Nothing is broken, but no instance looks at the heads: what is left must do without a net."""

    async def watch(hub: Hub) -> None:
        return

    _replace(Hub, "_watch", watch)


def reads_before_it_subscribes() -> None:
    """Where the run stands is read first, and then its channel is subscribed."""

    async def begin(hub: Hub, channel: Channel) -> None:
        channel.begin(await hub.store.head(channel.run))
        await asyncio.sleep(4 * WINDOW)
        async with hub._gate(channel.run):
            if channel.run not in hub._subscribed:
                await hub.backend.subscribe(channel.run)
                hub._subscribed.add(channel.run)

    without_the_look()
    _replace(Hub, "_begin", begin)


def forgets_to_resubscribe() -> None:
    """When Redis is back, the channels are not."""

    def wanted(backend: RedisBackend, line: object) -> Iterable[bytes]:
        return ()

    without_the_look()
    _replace(RedisBackend, "wanted", wanted)


def ignores_missed() -> None:
    """When Redis is back, nobody asks the store what went by."""

    def missed(hub: Hub) -> None:
        return

    without_the_look()
    _replace(Hub, "missed", missed)


def answers_before_the_commit() -> None:
    """A publisher is told the numbers of its events before they are stored."""
    submit = WriteThread.submit

    def submit_and_answer(thread: WriteThread, verb: Callable[[Transaction], Any], *rest: Any) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def run(transaction: Transaction) -> Any:
            value = verb(transaction)
            if transaction.events:
                loop.call_soon_threadsafe(settle, value, None)
                time.sleep(WINDOW)
            return value

        def settle(value: Any, error: BaseException | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(value)
            else:
                answer.set_exception(error)

        def committed(future: "asyncio.Future[Any]") -> None:
            error = future.exception()
            settle(None if error else future.result(), error)

        submit(thread, run, *rest).add_done_callback(committed)
        return answer

    _replace(WriteThread, "submit", submit_and_answer)


def numbers_outside_the_transaction() -> None:
    """The numbers are given out in one transaction, the events are stored in another."""
    flush = Transaction.flush

    def flush_twice(transaction: Transaction) -> None:
        rows, transaction._rows = transaction._rows, []
        flush(transaction)
        if rows:
            transaction._database.commit()
            time.sleep(WINDOW)
            transaction._database.begin()
            transaction._rows = rows
            flush(transaction)

    _replace(Transaction, "flush", flush_twice)


def forgets_the_key() -> None:
    """A request that comes again is taken for another one."""
    _replace(Transaction, "_answered", lambda *_: None)
    _replace(Transaction, "_remember", lambda *_: None)


def delivers_what_is_not_the_next() -> None:
    """Whatever is newer than the head goes out at once, and what is older is dropped: no hole is noticed."""
    deliver = Channel.deliver

    def deliver_at_once(channel: Channel, events: Sequence[Event]) -> None:
        for event in events:
            if channel.place is not None and event.seq > channel.head:
                channel.head = event.seq - 1
            deliver(channel, [event])

    _replace(Channel, "deliver", deliver_at_once)


def drops_on_overflow() -> None:
    """What a viewer's socket has no room for is not kept for it, and nobody is told."""
    write = Socket.write

    def write_or_drop(sock: Socket, data: bytes) -> bool:
        if sock._unsent is None:
            write(sock, data)
        return not sock._closed

    _replace(Socket, "write", write_or_drop)


def resumes_one_too_late() -> None:
    """Who comes back with a position does not get the next event, but the one after it."""
    _shift_positions(1)


def resumes_one_too_early() -> None:
    """Who comes back with a position gets its last event again."""
    _shift_positions(-1)


def takes_the_snapshot_before_the_head() -> None:
    """A snapshot is of one moment, and the position that it is sent with of another."""
    snapshot = Store.snapshot

    async def snapshot_then_head(store: Store, run: str, logs: int, with_meta: bool = False) -> Snapshot:
        taken = await snapshot(store, run, logs, with_meta)
        await asyncio.sleep(WINDOW)
        return taken._replace(head=await store.head(run))

    _replace(Store, "snapshot", snapshot_then_head)


def turns_events_around() -> None:
    """Events that are written together are written the last one first."""
    join = StreamDialect.join
    _replace(StreamDialect, "join", lambda dialect, events: join(dialect, events[::-1]))


def _shift_positions(by: int) -> None:
    read = StreamHandler._position

    def read_and_shift(handler: StreamHandler) -> Position | None:
        position = read(handler)
        if position is None or position.seq <= 0:
            return position
        return position._replace(seq=position.seq + by)

    _replace(StreamHandler, "_position", read_and_shift)


def _replace(owner: object, name: str, value: object) -> None:
    """A mutant must break something that is there: what has been renamed is an error, not a sound server."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name}: the mutant breaks nothing")
    setattr(owner, name, value)


MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__.replace("_", "-"): mutant
    for mutant in (
        without_the_look,
        reads_before_it_subscribes,
        forgets_to_resubscribe,
        ignores_missed,
        answers_before_the_commit,
        numbers_outside_the_transaction,
        forgets_the_key,
        delivers_what_is_not_the_next,
        drops_on_overflow,
        resumes_one_too_late,
        resumes_one_too_early,
        takes_the_snapshot_before_the_head,
        turns_events_around,
    )
}

if __name__ == "__main__":
    MUTANTS[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
