"""The half of a line that publishes: all that waits goes in one piece, and more when that is answered.

Whether anybody listens is asked before a picture (a large volatile event) is sent: to carry it to nobody costs more.
"""

from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from sentri_events.backends.message import Hint, channel_of, to_message
from sentri_events.backends.outbox import Outbox
from sentri_events.backends.redis_servers import check_role
from sentri_events.event import Event

PICTURE = 8 << 10
Letter = Event | Hint


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
        self._probe = command(b"PUBLISH", probe, b"")
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
                        await self._ask(connection, self._probe)
                    batch = await self._worth_sending(connection, batch)
                    messages = [(channel_of(letter.run), to_message(letter, self._origin)) for letter in batch]
                    text = b"".join([command(self._publish, channel, message) for channel, message in messages])
                    await _send(connection, text)
                    while answered < len(batch):
                        await connection.read_response()
                        answered += 1
                except BaseException:
                    self._outbox.lose(batch[answered:])
                    raise
            self._outbox.idle.set()

    async def _worth_sending(self, connection: AbstractConnection, batch: list[Letter]) -> list[Letter]:
        pictures = {channel_of(letter.run) for letter in batch if _is_picture(letter)}
        if not pictures:
            return batch
        try:
            answer = await self._ask(connection, command(b"PUBSUB", self._count, *pictures))
        except ResponseError:  # it may not be asked
            return batch
        numbers = dict(zip(answer[::2], answer[1::2], strict=True))
        unheard = {channel for channel in pictures if numbers[channel] <= self._listens(channel)}
        return [letter for letter in batch if not (_is_picture(letter) and channel_of(letter.run) in unheard)]

    @staticmethod
    async def _ask(connection: AbstractConnection, question: bytes) -> Any:
        await _send(connection, question)
        return await connection.read_response()


async def _send(connection: AbstractConnection, text: bytes) -> None:
    try:
        await connection.send_packed_command([text], check_health=False)
    except RuntimeError as error:  # uvloop's word for a connection that was lost before this was written
        raise ConnectionError(str(error)) from error


def _is_picture(letter: Letter) -> bool:
    return not letter.seq and isinstance(letter, Event) and len(letter.json) > PICTURE


def command(*words: bytes) -> bytes:
    """As it goes to Redis. redis-py's own packing takes several times as long."""
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))
