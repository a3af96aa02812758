"""Builds store, backend, hub and application, starts and stops them in order: the one file that knows both edges."""

import asyncio
import gc
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tornado.netutil import bind_sockets, bind_unix_socket
from tornado.web import Application

from sentri_events.access import Access, check_exposure
from sentri_events.backends import announce_revocation, open_backend, open_revocations
from sentri_events.database import location
from sentri_events.errors import SettingsError, Unavailable
from sentri_events.fleet import Fleet
from sentri_events.handlers import routes
from sentri_events.handlers.access_log import log_request
from sentri_events.handlers.base import MissingHandler
from sentri_events.handlers.listener import Listener, raise_room
from sentri_events.handlers.sockets import Streams
from sentri_events.hub import Hub
from sentri_events.jwks import Keys
from sentri_events.logs import LEVELS, configure
from sentri_events.metrics import Board, Metrics
from sentri_events.reaper import Reaper
from sentri_events.retention import Retention
from sentri_events.settings import RELOADED, Settings
from sentri_events.siblings import Siblings
from sentri_events.standalone import own_redis
from sentri_events.store import Store

BACKLOG = 4096
GARBAGE = (10_000, 20, 20)  # thresholds of the collector's three generations
TRACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
STOPPING = (signal.SIGTERM, signal.SIGINT)
log = logging.getLogger(__name__)


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """The store of `settings`, with the newest schema. Raises `SettingsError`, `Unavailable`."""
    store = Store(settings.database)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_hub(settings: Settings) -> AsyncIterator[Hub]:
    """A hub that publishes and follows in this process: what `serve` serves. Raises `SettingsError`, `Unavailable`."""
    hub, close = _make_hub(settings)
    reaper, retention = Reaper(hub), Retention(hub)
    try:
        await hub.start()
        reaper.start()
        retention.start()
        yield hub
    finally:
        await retention.stop()
        await reaper.stop()
        await hub.stop()
        await asyncio.to_thread(close)


def _make_hub(settings: Settings) -> tuple[Hub, Callable[[], None]]:
    """A hub, with traces where the environment says where they go; and what to call when it has stopped."""
    backend = open_backend(settings.redis_url)
    if any(os.environ.get(name) for name in TRACES):
        try:
            from sentri_events.tracing import TracedHub, TracedStore, open_provider
        except ImportError:
            log.warning("There are no traces: they take an extra, pip install 'sentri-events[otel]'.")
        else:
            provider, close = open_provider()
            store = TracedStore(settings.database, provider.get_tracer(__name__))
            return TracedHub(store, backend, settings), close
    return Hub(Store(settings.database), backend, settings), lambda: None


async def revoke(settings: Settings, jti: str, until: float) -> None:
    """Take a token back until then (seconds since 1970): here, at every instance, and at the original on this Redis.

    Raises `SettingsError`, `Unavailable`.
    """
    async with open_store(settings) as store:
        await store.revoke(jti, int(until * 1000))
    await announce_revocation(settings.redis_url, jti, until)


def serve(settings: Settings, say: Callable[[str], None], again: Callable[[], Settings]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status. `say` is given the lines that a user reads at the start.

    `again` reads the settings again, or raises `SettingsError`.

    Raises `SettingsError` for what it cannot start with.
    """
    check_exposure(settings)
    if settings.jwks:
        Keys(settings.jwks)  # what is wrong with them shows before the port is taken
    if settings.standalone and settings.redis_url:
        raise SettingsError("--standalone brings a Redis of its own: leave --redis-url (REDIS_URL) unset.")
    if settings.processes > 1 and not settings.redis_url and not settings.standalone:
        raise SettingsError(
            "Several processes need a Redis between them, or the viewers of one would not hear of another's events at "
            "once: set --redis-url (REDIS_URL), or say --standalone."
        )
    configure(settings.log_level, settings.log_json)
    raise_room()
    try:
        sockets = bind_sockets(settings.port, settings.host, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(f"{settings.host}:{settings.port} cannot be listened on: {error.strerror}.") from None
    try:
        with own_redis() if settings.standalone else nullcontext(settings.redis_url) as redis_url:
            return _serve_all(replace(settings, redis_url=redis_url, standalone=False), again, sockets, say)
    except Unavailable as error:
        raise SettingsError(str(error)) from None
    finally:
        for one in sockets:
            one.close()


def reload(settings: Settings, again: Callable[[], Settings]) -> Settings:
    """What SIGHUP does: `settings` with what may change while a server runs (`RELOADED`) as `again` reads it. The log
    level is in force. A wrong value changes nothing."""
    try:
        read = again()
    except SettingsError as error:
        log.error("Nothing has changed: %s", error)
        return settings
    logging.getLogger().setLevel(LEVELS[read.log_level.lower()])
    log.info("Secrets and log level were read again.")
    return replace(settings, **{name: getattr(read, name) for name in RELOADED})


def _serve_all(
    settings: Settings, again: Callable[[], Settings], sockets: list[socket.socket], say: Callable[[str], None]
) -> int:
    def reload_for_the_next() -> None:
        nonlocal settings
        settings = reload(settings, again)

    def greet() -> None:
        for line in _greeting(settings, sockets[0]):
            say(line)

    if settings.processes == 1:
        return _run(_serve(settings, again, sockets, Board(), Siblings(), greet))
    board = Board(settings.processes)
    with TemporaryDirectory(prefix="sentri-events-") as folder:
        siblings = Siblings(Path(folder))
        fleet = Fleet(
            settings.processes,
            lambda *given: _run(_serve(settings, again, sockets, board, siblings, *given)),
            reload_for_the_next,
        )
        return fleet.run(greet)


async def _serve(
    settings: Settings,
    again: Callable[[], Settings],
    sockets: list[socket.socket],
    board: Board,
    siblings: Siblings,
    ready: Callable[[], None],
    orphaned: int | None = None,
    place: int = 0,
) -> int:
    """`ready` is called when it serves; it stops at a signal, and when `orphaned` becomes readable."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def parent_died(end: int) -> None:
        loop.remove_reader(end)
        stop.set()

    def told_to_stop() -> None:
        stop.set()
        if orphaned is None:  # a second signal ends it at once; a fleet's parent counts for its children
            for number in STOPPING:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)

    if orphaned is not None:
        loop.add_reader(orphaned, parent_died, orphaned)
    for number in STOPPING:
        loop.add_signal_handler(number, told_to_stop)
    streams = Streams(settings.stall_timeout)
    async with open_hub(settings) as hub:
        access = Access(settings, hub.store, local=not settings.insecure)
        revocations = None if access.open else open_revocations(settings.redis_url, access.revocations.hear)
        if revocations is not None:
            revocations.start()
        loop.add_signal_handler(signal.SIGHUP, lambda: access.reload(reload(settings, again)))
        metrics = Metrics(hub, streams, board, place)
        kind = Application
        if hub.traced:
            from sentri_events.handlers.tracing import TracedApplication as kind
        application = kind(
            routes(hub, streams=streams, access=access, metrics=metrics, siblings=siblings),
            default_handler_class=MissingHandler,
            default_handler_args={"hub": hub, "access": access},
            log_function=log_request,
        )
        server = Listener(
            application,
            streams=streams,
            refused=partial(hub.meter.refuse, 0),
            patience=settings.request_timeout,
            longest=settings.max_body_bytes,
            max_header_size=2 * (settings.max_url_bytes + settings.max_header_bytes),
        )
        server.add_sockets(sockets)
        if siblings.door is not None:
            server.add_socket(bind_unix_socket(str(siblings.door)))
        _spare_the_collector()
        ready()
        await stop.wait()
        end = loop.time() + settings.grace
        log.info("Stopping: %d streams are open.", len(streams.open))
        await hub.drain(settings.grace / 2)
        await streams.drained(end - loop.time())
        server.stop()
        if revocations is not None:
            await revocations.close()
        metrics.stop()
    await server.close_all_connections()  # by now the store has answered whoever waited for it
    return 0


def _spare_the_collector() -> None:
    """What lives as long as the server need not be searched for garbage again and again, and requests leave little of
    it: collecting as often as Python does by itself takes a fifth of what a new stream costs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def _greeting(settings: Settings, listening: socket.socket) -> list[str]:
    host, port = listening.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return [
        f"sentri-events listens on {url}",
        f"its data is in {location(settings.database)}",
        "try, in another terminal:",
        *(f"  {line}" for line in (_with_a_token(settings, url) if settings.asks else [])),
        f"  {_command()} exec --url {url} --project demo -- echo hello",
        f"  pytest --sentri-url {url} --sentri-project demo",
    ]


def _with_a_token(settings: Settings, url: str) -> list[str]:
    """What comes first where callers are asked: a token, and a project that is made."""
    made = f"$({_command()} token mint --role admin)  # with the same JWT_SECRET"
    return [
        f"export SENTRI_EVENTS_TOKEN={made if settings.jwt_secrets else '…  # of the issuer whose keys are in --jwks'}",
        f"""curl -H "Authorization: Bearer $SENTRI_EVENTS_TOKEN" -d '{{"id":"demo"}}' {url}/api/v1/projects""",
    ]


def _command() -> str:
    """How a user who copies a line calls us: by name, or by path where the environment is not on the PATH."""
    beside = Path(sys.executable).with_name("sentri-events")
    if shutil.which("sentri-events") or not beside.exists():
        return "sentri-events"
    return shlex.quote(str(beside))


def _run(main: Coroutine[None, None, int]) -> int:
    """On uvloop where it is installed (the extra `speed`): a little faster, and the same otherwise."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return int(uvloop.run(main))
