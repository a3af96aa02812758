"""The asynchronous client: publish with retries and keys, follow with resume, read what is stored.

What carries an Idempotency-Key is repeated until it is answered; a stream is reopened; all else is asked once.
"""

import asyncio
import contextlib
import ipaddress
import logging
import math
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx2

from sentri_events.errors import ClientError
from sentri_events.publisher import run
from sentri_events.reading import Reading, Received
from sentri_events.wire import (
    DEFAULT_URL,
    NDJSON,
    PASSING,
    Credentials,
    encode,
    pause,
    retry_after,
    sentence,
    server_url,
)

__all__ = ["DEFAULT_URL", "Client", "Received", "run", "server_url"]

_log = logging.getLogger(__name__)

_PAGE = 1_000  # the server's bound
_NO_ANSWER = (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError, httpx2.ProxyError)


class Client:
    """A server, seen from afar; an async context manager, which closes its connections at the end.

    Every method raises `ClientError`: with the server's sentence and `status` when it refuses, with status 503 when
    nobody answers. `patience`: for how many seconds a publishing call, and the first connection of a stream, is tried
    again. `first_delay`: the first pause between two attempts, until a stream asks for another one. `silence`: the
    seconds after which a stream without a byte counts as dead; three of the server's heartbeats.

    Who asks is said by `token` or `token_file`, else by `SENTRI_EVENTS_TOKEN` or `SENTRI_EVENTS_TOKEN_FILE`. A token
    that is not believed any more is replaced by what the file holds by then, and nothing is lost.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        token_file: str | None = None,
        patience: float = 30.0,
        first_delay: float = 0.5,
        silence: float = 15.0,
    ) -> None:
        self.url = server_url(url)
        self._credentials = Credentials(token, token_file)
        self._patience, self._first_delay, self._silence = patience, first_delay, silence
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(30.0, connect=5.0, pool=None),  # an answer may wait while the viewers are held up
            limits=httpx2.Limits(max_connections=None),  # each stream takes one
            follow_redirects=True,
            trust_env=not _on_this_machine(self.url),  # where no proxy is asked for the way
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def create_run(self, *, project: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
        """A new run of `project`, with these fields; its document. Repeated with one key until it is answered."""
        answer = await self._ask("POST", "/runs", encode({"projectId": project, **fields}), key=key or _new_key())
        return _document(answer, "id")

    async def publish(self, run: str, events: Sequence[Mapping[str, Any]], *, key: str | None = None) -> dict[str, Any]:
        """Store a batch of events, all or none: `{"runId", "epoch", "first", "last"}`. Each has a `type`.

        It is repeated with one key until it is answered. Raises `Invalid` for what cannot be written as JSON.
        """
        lines = b"\n".join(map(encode, events))
        return _document(await self._ask("POST", f"{_path(run)}/events", lines, NDJSON, key=key or _new_key()), "runId")

    async def run(self, run: str) -> dict[str, Any]:
        """The run document."""
        return _document(await self._ask("GET", _path(run)), "id")

    async def runs(
        self, *, project: str | None = None, status: str | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """All runs, newest first, page by page."""
        query = {"project": project, "status": status, "cursor": None}
        while True:
            page = _document(await self._ask("GET", "/runs", query=query), "data", "next")
            for document in page["data"]:
                yield document
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    async def history(self, run: str, *, after: int = 0, until: int | None = None) -> AsyncGenerator[Received, None]:
        """The stored events of a run, from `after` (not included) to `until` (included) or the end, page by page.

        Where something is no longer there, a `reset` stands in its place, and what is there goes on from the first.
        """
        position, seq = str(after), after
        begun = False
        while until is None or seq < until:
            query = {"after": position, "limit": str(_PAGE)}
            answer = await self._ask("GET", f"{_path(run)}/events", query=query, patient=begun)
            begun = True
            page = _document(answer, "epoch", "events", "head")
            if "reset" in page:
                yield Received(run, "reset", {"type": "reset", "reason": page["reset"]}, None, None, None)
            for row in page["events"]:
                seq, event = row["seq"], row["event"]
                if until is not None and seq > until:
                    return
                position = f"{page['epoch']}.{seq}"
                yield Received(run, event["type"], event, seq, row["at"], position)
            if not page["events"] or seq >= page["head"]:
                return

    async def abort(self, run: str) -> None:
        """End a run as `aborted`. 409 if it has ended."""
        await self._ask("POST", f"{_path(run)}/abort")

    async def alive(self, run: str) -> None:
        """Tell the server that the producer of a run is still there, although it publishes nothing."""
        await self._ask("POST", f"{_path(run)}/alive")

    async def follow(
        self, run: str, position: str | int | None = None, *, types: Sequence[str] | None = None, snapshot: bool = True
    ) -> AsyncGenerator[Received, None]:
        """The events of a run as they come, to its `done`, across any number of cuts.

        Without a position it begins with a `snapshot` (or, with `snapshot=False`, with whatever comes next), with one
        it goes on after it: a `position` of an earlier event, or a seq. No stored event comes twice or out of order.
        A `reset` says that it could not go on from there; the `snapshot` after it is the new truth.

        It ends after `done`, or at once for who has seen all of an ended run. A stream that was there once is reopened
        for ever. Leave early through `contextlib.aclosing`, which closes the connection.
        """
        query = {"meta": "1", "types": ",".join(types) if types else None, "snapshot": None if snapshot else "0"}
        reading = Reading(run, "" if position is None else str(position))
        async with contextlib.aclosing(self._read_stream(f"{_path(run)}/events", query, reading)) as events:
            async for received in events:
                yield received
                if received.type == "done":
                    return

    async def follow_runs(
        self, *, project: str | None = None, limit: int | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The list of runs as it changes, of one project or of all, across any number of cuts and for ever.

        First `{"type": "runs", "data": […]}` with the newest, also after every cut; then `run.started`, `run.progress`
        and `run.done`, each with the `run` as it is then. Leave through `contextlib.aclosing`, as with `follow`.
        """
        of = "workspace" if project is None else f"projects/{quote(project, safe='')}"
        query = {"limit": None if limit is None else str(limit)}
        async with contextlib.aclosing(self._read_stream(f"/{of}/events", query, Reading("", ""))) as events:
            async for received in events:
                yield received.event

    async def _read_stream(
        self, path: str, query: Mapping[str, str | None], reading: Reading
    ) -> AsyncGenerator[Received, None]:
        """What `reading` makes of the stream, reopened whenever it is cut; it ends where the server says 204."""
        attempts = _Attempts(self._patience, self._first_delay)
        while True:
            least = 0.0
            try:
                async with self._http.stream(
                    "GET",
                    f"{self.url}/api/v1{path}",
                    params=_given(query),
                    headers=[*_position_headers(reading.position), *self._authorization],
                    timeout=httpx2.Timeout(30.0, connect=5.0, read=self._silence, pool=None),
                ) as response:
                    if response.status_code == 204:
                        return
                    if response.status_code == 200:
                        _check_stream(response)
                        attempts.give_up = math.inf
                        reading.begin()
                        async with contextlib.aclosing(response.aiter_bytes()) as pieces:
                            async for data in pieces:
                                attempts.failures = 0
                                for received in reading.feed(data):
                                    yield received
                        trouble = ClientError("The stream was cut.")
                    else:
                        trouble = ClientError(
                            sentence(response.status_code, await response.aread()), response.status_code
                        )
                        if response.status_code == 401 and self._credentials.renew():
                            continue
                        if response.status_code not in PASSING:
                            raise trouble
                        least = retry_after(response.headers.get("Retry-After"))
            except _NO_ANSWER as error:
                trouble = self._unreachable(error)
            except httpx2.HTTPError as error:
                raise self._unreachable(error) from error
            attempts.first_delay = reading.retry or self._first_delay
            await attempts.rest(trouble, least)

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = "application/json",
        *,
        query: Mapping[str, str | None] | None = None,
        key: str | None = None,
        patient: bool = False,
    ) -> httpx2.Response:
        """The answer to one request, if it is a good one. With a key, or if `patient`, it is worth more attempts."""
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        if key is not None:
            headers["Idempotency-Key"] = key
        attempts = _Attempts(self._patience if key or patient else 0.0, self._first_delay)
        while True:
            least = 0.0
            try:
                answer = await self._http.request(
                    method,
                    f"{self.url}/api/v1{path}",
                    params=_given(query or {}),
                    content=body,
                    headers={**headers, **self._credentials.header},
                )
            except _NO_ANSWER as error:
                trouble = self._unreachable(error)
            except httpx2.HTTPError as error:
                raise self._unreachable(error) from error
            else:
                if answer.request.method != method:
                    raise ClientError(
                        f"The server has moved to {answer.url}: use that address.", answer.history[0].status_code
                    )
                if answer.is_success:
                    return answer
                trouble = ClientError(sentence(answer.status_code, answer.content), answer.status_code)
                if answer.status_code == 401 and self._credentials.renew():
                    continue
                if answer.status_code not in PASSING:
                    raise trouble
                least = retry_after(answer.headers.get("Retry-After"))
            await attempts.rest(trouble, least)

    @property
    def _authorization(self) -> list[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode()) for name, value in self._credentials.header.items()]

    def _unreachable(self, error: httpx2.HTTPError) -> ClientError:
        return ClientError(f"{self.url} cannot be reached: {str(error) or type(error).__name__}.")


class _Attempts:
    """When something is tried again: at ever longer intervals, until its time is over."""

    def __init__(self, patience: float, first_delay: float) -> None:
        self.give_up = time.monotonic() + patience
        self.first_delay = first_delay
        self.failures = 0

    async def rest(self, trouble: ClientError, least: float) -> None:
        """Wait for the next attempt, `least` seconds or more; raises `trouble` if it would come too late."""
        wait = pause(self.failures, self.first_delay, least)
        if time.monotonic() + wait > self.give_up:
            raise trouble
        _log.info("%s Trying again in %.1f s.", trouble, wait)
        self.failures += 1
        await asyncio.sleep(wait)


def _check_stream(response: httpx2.Response) -> None:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise ClientError(f"{response.url} answered with {kind or 'something'}, which is no event stream.")


def _position_headers(position: str) -> list[tuple[bytes, bytes]]:
    headers = [(b"Accept", b"text/event-stream")]
    return [*headers, (b"Last-Event-ID", position.encode(errors="replace"))] if position else headers


def _document(answer: httpx2.Response, *fields: str) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict) or not document.keys() >= set(fields):
        raise ClientError(f"{answer.url} does not answer as a sentri-events server does.")
    return document


def _given(query: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in query.items() if value is not None}


def _path(run: str) -> str:
    return f"/runs/{quote(run, safe='')}"


def _new_key() -> str:
    return os.urandom(16).hex()


def _on_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
