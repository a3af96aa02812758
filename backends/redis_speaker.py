"""The half of a line that publishes: all that waits goes in one piece, and more when that is answered.

Whether anybody listens is asked before a picture (a large volatile event) is sent: to carry it to nobody costs more.
"""

from collections.abc import Callable

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from sentri_events.backends.message import Letter, address, to_message
from sentri_events.backends.outbox import Outbox
from sentri_events.backends.redis_servers import ask, check_role, command, send
from sentri_events.event import Event

PICTURE = 8 << 10


class Speaker:
    """Sends what is in the outbox while it `run`s. `shard` is b"S" for a cluster's sharded pub/sub.

    `listens` says of a channel whether this process is one of those who listen.
    """

    def __init__(
        self, outbox: Outbox, origin: str, listens: Callable[[bytes], bool], probe: bytes, shard: bytes
    ) -> None:
        self._outbox = outbox
        self._origin = origin
        self._listens = listens
        self._publish = shard + b"PUBLISH"
        self._count = b"SHARDNUMSUB" if shard else b"NUMSUB"
        self._probe = (b"PUBLISH", probe, b"")
        self._probe_due = False

    def probe(self) -> None:
        """Publish a message on the probe's channel, soon."""
        self._probe_due = True
        self._outbox.filled.set()

    async def run(self, connection: AbstractConnection) -> None:
        """Until it is cancelled or the connection fails; what was not answered by then goes to `Outbox.lose`."""
        while True:
            await self._outbox.filled.wait()
            self._outbox.filled.clear()
            while (batch := self._outbox.take()) or self._probe_due:
                answered = 0
                try:
                    if self._probe_due:
                        self._probe_due = False
                        await check_role(connection)
                        await ask(connection, *self._probe)
                    batch = await self._worth_sending(connection, batch)
                    messages = [(address(letter), to_message(letter, self._origin)) for letter in batch]
                    text = b"".join([command(self._publish, channel, message) for channel, message in messages])
                    await send(connection, text)
                    while answered < len(batch):
                        await connection.read_response()
                        answered += 1
                except BaseException:
                    self._outbox.lose(batch[answered:])
                    raise
            self._outbox.idle.set()

    async def _worth_sending(self, connection: AbstractConnection, batch: list[Letter]) -> list[Letter]:
        pictures = {address(letter) for letter in batch if _is_picture(letter)}
        if not pictures:
            return batch
        try:
            answer = await ask(connection, b"PUBSUB", self._count, *pictures)
        except ResponseError:  # it may not be asked
            return batch
        numbers = dict(zip(answer[::2], answer[1::2], strict=True))
        unheard = {channel for channel in pictures if numbers[channel] <= self._listens(channel)}
        return [letter for letter in batch if not (_is_picture(letter) and address(letter) in unheard)]


def _is_picture(letter: Letter) -> bool:
    return not letter.seq and isinstance(letter, Event) and len(letter.json) > PICTURE
