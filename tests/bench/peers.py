"""Who is measured: ours as a user starts it, and what a user could pick instead. A new process for each measurement.

A `{i}` in a path is the number of the run. Where ours differs from the peers, they are the ones who have less to do:
none of them stores, numbers or can resume.
"""

import asyncio
import http.client
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import kit
from tests.chaos.parts import Part, PartError

HERE = Path(__file__).parent / "peers"


def cores() -> tuple[str, str]:
    """The one of the servers, and the one of the load."""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        raise PartError("Server and load need a core each, and there is only one.")
    return str(mine[0]), str(mine[1])


class Peer(Part):
    """A server. `greetings` is the number of events that a stream of its begins with."""

    stream = "/sse/b{i}"
    publish = "/emit/b{i}"
    greetings = 1

    def __init__(self, folder: Path) -> None:
        super().__init__(type(self).__name__, folder)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def command(self) -> Sequence[str]:
        return ["taskset", "-c", cores()[0], *self.program()]

    def program(self) -> Sequence[str]:
        """What is run on the server's core; it does not fork."""
        raise NotImplementedError

    async def ready(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def make_runs(self, number: int) -> None:
        """The runs 0 to `number - 1` are there."""


class Ours(Peer):
    """`sentri-events serve` with its defaults, and a new SQLite file in `folder`, unless `options` say otherwise."""

    stream = publish = "/api/v1/runs/b{i}/events"

    def __init__(self, folder: Path, *options: str, module: Sequence[str] = ("sentri_events",)) -> None:
        super().__init__(folder)
        self._module = module
        self._options = options

    def program(self) -> Sequence[str]:
        command = [sys.executable, "-m", *self._module, "serve", "--port", str(self.port)]
        return [*command, "--database", f"sqlite:///{self.folder / 'events.db'}", *self._options]

    def make_runs(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for run in range(number):
            body = json.dumps({"projectId": "bench", "id": f"b{run}"})
            connection.request("POST", "/api/v1/runs", body, {"Content-Type": "application/json"})
            with connection.getresponse() as answer:
                words = answer.read()
                if answer.status not in (201, 409):  # 409: it was there before the server was started again
                    raise PartError(f"The run b{run} could not be made: {words.decode()}")
        connection.close()


class Nchan(Peer):
    """nginx with nchan: one process."""

    greetings = 0

    def program(self) -> Sequence[str]:
        kit.debian("nginx", "libnginx-mod-nchan")
        configuration = self.folder / "nchan.conf"
        text = (HERE / "nchan.conf").read_text()
        configuration.write_text(text.replace("@DIR@", str(self.folder)).replace("@PORT@", str(self.port)))
        return ["/usr/sbin/nginx", "-e", str(self.folder / "nginx.log"), "-c", str(configuration)]


class Original(Peer):
    """The original's design: express, and ioredis where there is a `redis_url`."""

    def __init__(self, folder: Path, redis_url: str = "") -> None:
        super().__init__(folder)
        self._redis_url = redis_url

    def program(self) -> Sequence[str]:
        environment = [f"NODE_PATH={kit.node_modules()}", "NODE_ENV=production", f"REDIS_URL={self._redis_url}"]
        return ["env", *environment, "node", str(HERE / "original.js"), str(self.port)]


class Starlette(Peer):
    """sse-starlette on uvicorn."""

    def program(self) -> Sequence[str]:
        return [kit.python(), str(HERE / "starlette_server.py"), str(self.port)]


class Aiohttp(Peer):
    """aiohttp-sse."""

    def program(self) -> Sequence[str]:
        return [kit.python(), str(HERE / "aiohttp_server.py"), str(self.port)]


class Tornado(Peer):
    """Tornado in the plain way, with the libraries that ours has."""

    def program(self) -> Sequence[str]:
        return [sys.executable, str(HERE / "tornado_server.py"), str(self.port)]


class Floor(Peer):
    """A loop of `send()` in C: what the system calls alone take."""

    greetings = 0

    def program(self) -> Sequence[str]:
        return [kit.program("peers/floor.c"), str(self.port)]


class JoiningFloor(Floor):
    """The same, sending what has arrived in one piece."""

    def program(self) -> Sequence[str]:
        return [*super().program(), "-c"]
