"""Following a run: who, whether and from where are answered here; then the socket is the viewer's sink."""

import asyncio

from msgspec.structs import replace

from sentri_events.access import Access
from sentri_events.dialect import StreamDialect
from sentri_events.event import Event, encode, iso
from sentri_events.handlers.sockets import Socket, Streams
from sentri_events.handlers.streaming import RETRY, StreamingHandler
from sentri_events.hub import Hub, Opening
from sentri_events.position import Position, read_position, write_position
from sentri_events.store_read import Head

PAGE_EVENTS = 1000
PAGE_BYTES = (4 << 20) - 100 * PAGE_EVENTS  # room for what stands around the events
LONGEST_WAIT = 30


class StreamHandler(StreamingHandler):
    """`GET /api/v1/runs/{id}/events` (protocol, section 2), and as a page of history (section 4)."""

    def initialize(self, hub: Hub, access: Access, streams: Streams) -> None:  # type: ignore[override]
        """`streams` keeps the open sockets."""
        super().initialize(hub, access, streams)
        self._patience: asyncio.Timeout | None = None

    async def get(self, run: str) -> None:
        """A stream; a page of JSON for who asks for that and not for a stream."""
        self.check_run(run)
        accept = self.header("Accept").lower().split(",")
        accepted = {part.partition(";")[0].strip() for part in accept}
        if "application/json" in accepted and "text/event-stream" not in accepted:
            await self._page(run)
            return
        dialect = self.dialect()
        position = self._position()
        if self.hub.stopping:
            self.send_away(dialect)
            return
        with self.admitted(run):
            viewer = await self.hub.follow(
                self.workspace,
                run,
                position,
                lambda opening: self._start(opening, dialect, bare=position is None),
                dialect,
                logs=self.logs(),
                meta=dialect.meta,
                snapshot=self.flag("snapshot", True),
            )
        if viewer is None:
            self.answer_nothing()

    async def head(self, run: str) -> None:
        """The headers, and the end."""
        self.check_run(run)
        await self.hub.head(self.workspace, run)
        await self.only_headers()

    def _start(self, opening: Opening, dialect: StreamDialect, bare: bool) -> Socket:
        """The stream's sink, which has its beginning.

        With `bare`, a stream that begins without a snapshot begins with its position.
        """
        return self.open_stream(dialect, _beginning(opening, dialect, bare))

    async def _page(self, run: str) -> None:
        """The next stored events after `?after=`, at most `?limit=`; `?wait=` holds an empty answer back."""
        after = self.get_query_argument("after", None)
        position = self._position() if after is None else read_position(after)
        limit = max(1, self.number("limit", PAGE_EVENTS, PAGE_EVENTS))
        wait = self.number("wait", 0, LONGEST_WAIT)
        place = await self.hub.head(self.workspace, run)
        reset = None if position is None else position.objection(place)
        seq = place.floor if position is None or reset is not None else position.seq
        if wait and seq == place.head and not place.ended:
            with self.admitted(run):
                something = await self._something(run, place, wait)
            if something:
                await self.access.check(self.caller)
                place = await self.hub.head(self.workspace, run)
        events: list[Event] = []
        if seq < place.head:
            limit = min(limit, place.head - seq)
            events = await self.hub.store.after(run, place.epoch, seq, limit, PAGE_BYTES)
        if events and events[0].seq > seq + 1:
            reset = "trimmed"
        links = self.access.links
        if links is not None:
            events = [replace(event, json=links.event(event.type, event.json)) for event in events]
        lines = [b'{"seq":%d,"at":"%b","event":%b}' % (e.seq, iso(e.at).encode(), e.json) for e in events]
        body = b'{"epoch":"%b","events":[%b],"head":%d,"ended":%b' % (
            place.epoch.encode(),
            b",".join(lines),
            place.head,
            b"true" if place.ended else b"false",
        )
        if reset is not None:
            body += b',"reset":"%b"' % reset.encode()
        self.set_header("Cache-Control", "no-store")
        self.vary("Accept")
        self.answer(body + b"}")

    def on_connection_close(self) -> None:
        """Nobody waits for the page any more."""
        super().on_connection_close()
        if self._patience is not None:
            self._patience.reschedule(0)

    async def _something(self, run: str, place: Head, seconds: int) -> bool:
        """Wait until something is stored after `place`. False: nothing came in that time."""
        events = self.hub.events(self.workspace, run, Position(place.epoch, place.head))
        try:
            async with asyncio.timeout(seconds) as self._patience:
                async for event in events:
                    if event.seq:
                        return True
        except TimeoutError:
            return False
        finally:
            self._patience = None
            await events.aclose()
        return False

    def _position(self) -> Position | None:
        return read_position(self.last_event_id())


def _beginning(opening: Opening, dialect: StreamDialect, bare: bool) -> bytes:
    """What a stream begins with. A snapshot is large: all who begin with the same one share the bytes."""
    id = write_position(opening.place.epoch, opening.cursor)
    if opening.snapshot is None:
        return dialect.opening(RETRY, [], id if bare else None)
    asked = (dialect.chunked, dialect.named, opening.reset)
    made = opening.snapshot.begun.get(asked)
    if made is None:
        blocks: list[tuple[str, bytes, str | None]] = []
        if opening.reset is not None:
            blocks.append(("reset", encode({"type": "reset", "reason": opening.reset}), None))
        blocks.append(("snapshot", b'{"type":"snapshot","run":%b}' % dialect.document(opening.snapshot.document), id))
        made = opening.snapshot.begun[asked] = dialect.opening(RETRY, blocks)
    return made
