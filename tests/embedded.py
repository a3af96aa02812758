"""The handlers in a Tornado application of one's own, in a thread: tests can look at the hub behind it."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from sentri_events.handlers import routes
from sentri_events.handlers.sockets import Streams
from sentri_events.hub import Hub
from sentri_events.server import open_hub
from sentri_events.settings import Settings

T = TypeVar("T")


class OwnHandler(RequestHandler):
    """The application's own route."""

    def get(self) -> None:
        self.finish("mine")


class Embedded:
    """Serves from `with` to its end. `hub` and `streams` belong to the thread's loop: use `call`."""

    hub: Hub
    streams: Streams

    def __init__(
        self, folder: Path, prefix: str = "", ssl_options: ssl.SSLContext | None = None, **settings: Any
    ) -> None:
        self.port = 0
        self._settings = Settings(database=f"sqlite:///{folder / 'events.db'}", **settings)
        self._prefix = prefix
        self._ssl_options = ssl_options
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    def __enter__(self) -> "Embedded":
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine on the application's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def ask(self, question: Callable[[], T]) -> T:
        """The result of a function that is called on the application's loop."""

        async def work() -> T:
            return question()

        return self.call(work())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.streams = Streams(self._settings.stall_timeout)
        (listening,) = bind_sockets(0, "127.0.0.1")
        self.port = listening.getsockname()[1]
        async with open_hub(self._settings) as self.hub:
            application = Application([("/mine", OwnHandler), *routes(self.hub, self._prefix, self.streams)])
            server = HTTPServer(application, ssl_options=self._ssl_options)
            server.add_socket(listening)
            self._ready.set()
            await self._stop.wait()
            server.stop()
            self.hub.audience.send_all_away()
            await self.streams.drained(5)
            await server.close_all_connections()
