"""Real Redis servers of a test's own: alone, replicated under sentinels, or as a cluster. Each may be killed, stopped
and restarted on its port."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from signal import Signals
from typing import Any

from redis.asyncio import Redis as Client
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from tests.chaos import parts
from tests.chaos.parts import free_port, until

SERVICE = "events"
QUICK_COPY = ("--repl-diskless-sync-delay", "0")
NODE_TIMEOUT = 1000  # milliseconds until a cluster or its sentinels take a silent server for dead


class RedisServer(parts.Redis):
    """A server with options as on its command line."""

    def __init__(self, folder: Path, name: str = "redis", *options: str, program: str | None = None) -> None:
        super().__init__(name, folder, program)
        self._options = options

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        return [*super().command(), *self._options]

    async def kill(self) -> None:
        """kill -9"""
        await self.end(Signals.SIGKILL)

    def stop(self) -> None:
        """It stays connected and does nothing, until `resume`."""
        self.send(Signals.SIGSTOP)

    def resume(self) -> None:
        self.send(Signals.SIGCONT)

    async def say(self, *words: object) -> Any:
        """The answer to a command."""
        async with Client(port=self.port, protocol=2, single_connection_client=True) as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]


class Sentinel(RedisServer):
    """One that watches `primary` and may fail it over alone."""

    def __init__(self, folder: Path, name: str, primary: RedisServer) -> None:
        super().__init__(folder, name)
        self._configuration = folder / f"{name}.conf"
        self._configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} {NODE_TIMEOUT}\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
        )

    def command(self) -> Sequence[str]:
        return [self.program, str(self._configuration), "--sentinel"]


class ClusterNode(RedisServer):
    """One that is to be made a part of a cluster."""

    def __init__(self, folder: Path, name: str, program: str | None = None) -> None:
        self.bus = free_port()
        timeout = ("--cluster-node-timeout", str(NODE_TIMEOUT), *QUICK_COPY)
        files = ("--cluster-config-file", f"{name}.conf")
        super().__init__(
            folder,
            name,
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus), *timeout, *files),
            program=program,
        )


@asynccontextmanager
async def started(*servers: RedisServer) -> AsyncIterator[None]:
    """While inside, they run, unless the test ends them."""
    async with AsyncExitStack() as stack:
        for server in servers:
            stack.push_async_callback(server.close)
        await asyncio.gather(*(server.start() for server in servers))
        yield


@asynccontextmanager
async def replicated(folder: Path) -> AsyncIterator[tuple[RedisServer, RedisServer, Sentinel]]:
    """A primary, its replica, and a sentinel that knows both."""
    primary = RedisServer(folder, "primary", *QUICK_COPY)
    replica = RedisServer(folder, "replica", "--replicaof", f"127.0.0.1 {primary.port}")
    async with started(primary, replica):
        await until(lambda: _is_linked(replica), "the replica has its primary's data")
        sentinel = Sentinel(folder, "sentinel", primary)
        async with started(sentinel):
            await until(lambda: _knows_replica(sentinel), "the sentinel knows the replica")
            yield primary, replica, sentinel


async def _is_linked(replica: RedisServer) -> bool:
    return bool((await replica.say("ROLE"))[3] == b"connected")


async def _knows_replica(sentinel: Sentinel) -> bool:
    replicas = await sentinel.say("SENTINEL", "REPLICAS", SERVICE)
    return any(dict(zip(state[::2], state[1::2], strict=True))[b"master-link-status"] == b"ok" for state in replicas)


@asynccontextmanager
async def cluster(
    folder: Path, primaries: int = 3, replicas: int = 0, program: str | None = None
) -> AsyncIterator[list[ClusterNode]]:
    """A cluster that serves all slots; its primaries first, then the replicas of the first primaries."""
    nodes = [ClusterNode(folder, f"node-{number}", program) for number in range(primaries + replicas)]
    async with started(*nodes):
        first = nodes[0]
        for number, node in enumerate(nodes[:primaries]):
            share = REDIS_CLUSTER_HASH_SLOTS / primaries
            await node.say("CLUSTER", "ADDSLOTSRANGE", round(number * share), round((number + 1) * share) - 1)
            await node.say("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            await node.say("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus)
        for node in nodes:
            await until(lambda node=node: _knows(node, len(nodes)), f"{node.name} knows the others")  # type: ignore[misc]
        for node, primary in zip(nodes[primaries:], nodes, strict=False):
            await node.say("CLUSTER", "REPLICATE", await primary.say("CLUSTER", "MYID"))
        for node in nodes[primaries:]:
            await until(lambda node=node: _is_linked(node), f"{node.name} has its primary's data")  # type: ignore[misc]
        for node in nodes:
            await until(lambda node=node: _serves(node, replicas), f"{node.name} serves")  # type: ignore[misc]
        yield nodes


async def _knows(node: RedisServer, number: int) -> bool:
    return f"cluster_known_nodes:{number}\r\n".encode() in await node.say("CLUSTER", "INFO")


async def _serves(node: RedisServer, replicas: int) -> bool:
    """It thinks that all is well, and knows who is whose replica: or else it would not vote for one."""
    shards = await node.say("CLUSTER", "SLOTS")
    return (
        b"cluster_state:ok" in await node.say("CLUSTER", "INFO") and sum(map(len, shards)) == 3 * len(shards) + replicas
    )
