"""How the server's log is written: a line of text or of JSON for each thing, with the id of the request it belongs to.

No line holds a token: query strings are not logged, and whatever looks like one is masked, wherever it comes from.
"""

import json
import logging
import re
from contextvars import ContextVar
from typing import Any

from sentri_events.event import iso

REQUEST: ContextVar[str] = ContextVar("request", default="")  # the id of the request that is being answered
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_SECRET = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*){0,2}|(?<=[?&]token=)[^\s&\"']+|(?<=[?&]ticket=)[^\s&\"']+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(level: str, as_json: bool) -> None:
    """Write what is of `level` or worse to standard error. What was configured before is left as it is."""
    for talkative in ("peewee", "httpx2", "httpcore2"):  # they log every statement and every URL
        logging.getLogger(talkative).setLevel(logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logging.basicConfig(level=LEVELS[level.lower()], handlers=[handler])


class TextLines(logging.Formatter):
    """One line, but for a traceback; what a client sent cannot begin another one."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message, and the request's id."""
        words = _CONTROL.sub(_escape, record.getMessage())
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {words}"
        if request := _request(record):
            line += f" [{request}]"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return _SECRET.sub("…", line)


class JsonLines(logging.Formatter):
    """One object a line. What a record has as `about` are keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """The same, and the process."""
        told: dict[str, Any] = {
            "time": iso(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if request := _request(record):
            told["request"] = request
        told |= getattr(record, "about", {})
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return _SECRET.sub("...", json.dumps(told, separators=(",", ":")))


def _request(record: logging.LogRecord) -> str:
    """As the record has it, for what is told later than its request."""
    return getattr(record, "request", "") or REQUEST.get()


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
