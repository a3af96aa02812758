"""What schemathesis is told in Python: one content type that it does not know, and keys that come once."""

from itertools import count
from typing import Any

import schemathesis

KEY = "Idempotency-Key"
_numbers = count()


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """A body of lines is text in the description."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """One key for all would mean that all but the first request are refused."""
    if case.headers and isinstance(key := case.headers.get(KEY), str) and 0 < len(key) < 100:
        case.headers[KEY] = f"{key}{next(_numbers)}"
