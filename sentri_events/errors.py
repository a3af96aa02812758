"""What can go wrong, by cause. Each carries the HTTP status that says so, and a sentence for whoever caused it."""


class SentriEventsError(Exception):
    """The root of the tree. `status` is the HTTP status that suits it; `str(error)` is a sentence for the caller."""

    status = 500


class BadRequest(SentriEventsError):
    """The request cannot be read: not JSON, not an object, a broken line, a parameter that is no number."""

    status = 400


class Unauthorized(SentriEventsError):
    """Nobody is known to have sent this. Whoever did is not told more."""

    status = 401

    def __init__(self, sentence: str = "Authentication required.") -> None:
        super().__init__(sentence)


class Forbidden(SentriEventsError):
    """The caller is known, and may not. `details` say what it would take."""

    status = 403

    def __init__(self, sentence: str, **details: str) -> None:
        super().__init__(sentence)
        self.details = details


class NotFound(SentriEventsError):
    """There is no such thing, or it belongs to another workspace: the same words for both."""

    status = 404

    def __init__(self) -> None:
        super().__init__("not found")


class Conflict(SentriEventsError):
    """It stands against what is already there: the run has ended, the id is taken."""

    status = 409


class LimitReached(SentriEventsError):
    """More than is allowed. `limit` says which bound, as the settings name it, without their `max_`."""

    limit = ""


class TooLarge(LimitReached):
    """A body over its bound."""

    status = 413
    limit = "body_bytes"


class EventTooLarge(TooLarge):
    """An event over its bound."""

    limit = "event_bytes"


class BatchTooLarge(TooLarge):
    """More events than one request may bring."""

    limit = "batch_events"


class UrlTooLong(LimitReached):
    """A path and query over their bound."""

    status = 414
    limit = "url_bytes"


class HeadersTooLarge(LimitReached):
    """Headers over their bound."""

    status = 431
    limit = "header_bytes"


class TooMany(LimitReached):
    """Too many at a time, or in a time. `retry_after` is in seconds."""

    status = 429

    def __init__(self, limit: str, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.limit = limit
        self.retry_after = retry_after


class Invalid(SentriEventsError):
    """It can be read, and breaks a rule of the protocol (section 3)."""

    status = 422


class Unavailable(SentriEventsError):
    """The store cannot be reached. The outcome may be unknown: repeat it with the same Idempotency-Key."""

    status = 503


class SettingsError(SentriEventsError):
    """A setting that the program cannot start with."""


class ClientError(SentriEventsError):
    """What a client meets: a refusal of the server (`status` is the answer's) or no server at all (`status` 503)."""

    def __init__(self, sentence: str, status: int = 503) -> None:
        super().__init__(sentence)
        self.status = status
