"""Through the proxies that docs/production.md has configurations for, as they are but for addresses and files.

Real programs as Debian ships them, before two instances on one store; over TLS and HTTP/2, as browsers come.
"""

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from sentri_events.client import Client
from sentri_events.settings import Settings
from tests.chaos.parts import Part, until
from tests.redis_server import RedisServer
from tests.running import running
from tests.server_process import ServerProcess

pytestmark = pytest.mark.debian

CONFIGURATIONS = Path(__file__).parent.parent / "docs" / "production"
PAIR = Path(__file__).parent / "tls.pem"
STREAMS = 20  # more than the six that a browser has over HTTP/1.1


class Front(Part):
    """A proxy before the `servers`. `url` is where it takes TLS, `authority` who signed its certificate."""

    program = ""
    authority = PAIR

    def __init__(self, folder: Path, servers: Sequence[ServerProcess]) -> None:
        super().__init__(self.program, folder)
        self.url = f"https://127.0.0.1:{self.port}"
        self.servers = {f"server{number}:8000": f"127.0.0.1:{one.port}" for number, one in enumerate(servers, 1)}

    def path(self) -> str:
        found = shutil.which(self.program, path=f"{os.environ['PATH']}:/usr/sbin")
        assert found, f"{self.program} is missing; scripts/test --all installs it"
        return found

    def configured(self, name: str, changes: Mapping[str, str]) -> str:
        """The path of the configuration with this machine's addresses and files."""
        text = (CONFIGURATIONS / name).read_text(encoding="utf-8")
        for there, here in {**self.servers, **changes}.items():
            assert there in text, there
            text = text.replace(there, here)
        (self.folder / name).write_text(text, encoding="utf-8")
        return str(self.folder / name)

    async def ready(self) -> bool:
        """It has a certificate and shows it: a port may be open before that."""
        try:
            trusting = ssl.create_default_context(cafile=self.authority)
            _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=trusting)
        except OSError:
            return False
        writer.close()
        return True


class Nginx(Front):
    """With buffering left on, which is its default."""

    program = "nginx"

    def command(self) -> Sequence[str]:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in kinds)
        user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not enter the test's folder
        changes = {
            "worker_processes auto;": f"worker_processes 1; daemon off; pid {self.folder}/nginx.pid; {user}",
            "http {": f"http {{ access_log off;\n{folders}",
            "listen 80;": "",
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "/etc/nginx/tls.pem": str(PAIR),
        }
        return [self.path(), "-e", f"{self.folder}/errors.log", "-c", self.configured("nginx.conf", changes)]


class Haproxy(Front):
    program = "haproxy"

    def command(self) -> Sequence[str]:
        changes = {
            "maxconn 65536": "maxconn 100",
            "    bind :80\n": "",
            "bind :443": f"bind 127.0.0.1:{self.port}",
            "/etc/haproxy/tls.pem": str(PAIR),
        }
        return [self.path(), "-db", "-f", self.configured("haproxy.cfg", changes)]


class Caddy(Front):
    """It signs the certificate of an address that nobody else would sign one for."""

    program = "caddy"

    def command(self) -> Sequence[str]:
        self.authority = self.folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        here = f"{{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}}\n{self.url}"
        configuration = self.configured("Caddyfile", {"events.example.org": here})
        words = ["run", "--adapter", "caddyfile", "--config", configuration]
        return ["env", f"XDG_DATA_HOME={self.folder}", f"XDG_CONFIG_HOME={self.folder}", self.path(), *words]


@pytest.fixture
def servers(redis: RedisServer, tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """Two instances on one store, with Redis between them."""
    made = []
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        options = ("--database", f"sqlite:///{tmp_path}/events.db", "--redis-url", redis.url, "--heartbeat", "0.2")
        made.append(ServerProcess(tmp_path / str(number), *options))
    try:
        yield [server.start() for server in made]
    finally:
        for server in made:
            server.close()


@pytest.fixture(params=[Nginx, Haproxy, Caddy], ids=lambda kind: kind.program)
def front(
    request: pytest.FixtureRequest,
    servers: list[ServerProcess],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Front]:
    """A proxy whose certificate everyone here trusts."""
    with running(request.param(tmp_path, servers)) as made:
        monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
        yield made


async def test_many_streams_share_one_connection_and_nothing_is_held_back(
    front: Front, servers: list[ServerProcess]
) -> None:
    """Over HTTP/2, as the only one that is allowed: with HTTP/1.1 the second would wait for the first. Each event and
    heartbeat comes while the run goes on. Caught: an nginx without `http2`."""
    run = servers[0].make_run()
    path = f"/api/v1/runs/{run}/events"
    limits = httpx2.Limits(max_connections=1)
    async with AsyncExitStack() as stack:
        client = httpx2.AsyncClient(http1=False, http2=True, base_url=front.url, limits=limits, timeout=20)
        await stack.enter_async_context(client)
        streams = [await stack.enter_async_context(client.stream("GET", path)) for _ in range(STREAMS)]
        assert {stream.http_version for stream in streams} == {"HTTP/2"}
        lines = [stream.aiter_lines() for stream in streams]
        for number in range(3):
            answer = await client.post(path, json={"type": "log", "message": f"line {number}"})
            assert (answer.status_code, answer.http_version) == (201, "HTTP/2")
            for one in lines:
                assert await line_with(one, "data: {") == f'data: {{"type":"log","message":"line {number}"}}'
                await line_with(one, ": heartbeat")
        await client.post(path, json={"type": "done", "status": "completed"})
        for one in lines:
            await line_with(one, 'data: {"type":"done"')
            assert [line async for line in one if line] == []


async def line_with(lines: AsyncIterator[str], text: str) -> str:
    """The next line that holds `text`; a snapshot is passed over."""
    async for line in lines:
        if text in line and '"type":"snapshot"' not in line:
            return line
    raise AssertionError(f"the stream ended without {text!r}")


async def test_an_instance_is_killed(
    front: Front, servers: list[ServerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its viewers go on at the other, and so does who publishes; a proxy that has not noticed yet costs a retry.

    Caught: an address of the second instance that nobody listens on.
    """
    monkeypatch.setattr("sentri_events.client._on_this_machine", lambda url: False)  # there no variable is asked
    run = servers[0].make_run()

    async def watch() -> list[int]:
        async with Client(front.url, first_delay=0.05) as client:
            return [received.seq or 0 async for received in client.follow(run, 0)]

    async with Client(front.url, first_delay=0.05) as client, asyncio.TaskGroup() as tasks:
        viewers = [tasks.create_task(watch()) for _ in range(6)]
        for number in range(40):
            await client.publish(run, [{"type": "log", "message": str(number)}])
            if number == 20:
                await asyncio.to_thread(servers[0].kill)
        await client.publish(run, [{"type": "done", "status": "completed"}])
    assert [viewer.result() for viewer in viewers] == [list(range(1, 42))] * 6


async def test_a_viewer_that_leaves_is_let_go_by_the_server(
    front: Front, servers: list[ServerProcess], redis: RedisServer
) -> None:
    """And not kept by the proxy until the run ends. Caught: a server that does not leave a channel without viewers."""
    run = servers[0].make_run()

    async def alone() -> bool:
        return not await redis.say("PUBSUB", "CHANNELS", f"sentri:run:{run}")

    async with httpx2.AsyncClient(http2=True, base_url=front.url, timeout=20) as client:
        stream = await client.send(client.build_request("GET", f"/api/v1/runs/{run}/events"), stream=True)
        await line_with(stream.aiter_lines(), ": heartbeat")
        assert not await alone()
    await until(alone, "the server has no viewer")


def test_a_body_may_be_as_long_as_the_server_takes_it() -> None:
    """The others have no bound of their own."""
    assert f"client_max_body_size {Settings().max_body_bytes >> 20}m;" in (CONFIGURATIONS / "nginx.conf").read_text()
