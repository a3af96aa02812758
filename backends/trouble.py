"""Whether a part of the transport is of use, and if not, why: said once when that begins and once when it is over."""

import asyncio
import logging

from redis.exceptions import RedisError

log = logging.getLogger(__name__)


class Trouble:
    """`sentence` is None while all is well. `known` is set once it has been tried. `counts["outages"]` goes up."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.sentence: str | None = "Redis has not answered yet."
        self.known = asyncio.Event()
        self._counts = counts

    def began(self, error: Exception) -> None:
        """It failed, perhaps once more. What is no error of Redis or the network is one of ours: logged whole."""
        news = self.sentence is None or not self.known.is_set()
        self.sentence = f"Redis is away: {str(error).rstrip('.') or 'it does not answer'}."
        if not isinstance(error, RedisError | OSError):
            log.error("%s", self.sentence, exc_info=error)
        elif news:
            log.warning("%s Events are stored as before, and reach other instances with a delay.", self.sentence)
        self._counts["outages"] += news
        self.known.set()

    def over(self) -> None:
        """It works."""
        if self.sentence is not None and self.known.is_set():
            log.warning("Redis is back.")
        self.sentence = None
        self.known.set()
