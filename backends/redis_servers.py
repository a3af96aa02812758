"""How the server to talk to is found: a primary, directly or by asking those who know."""

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from sentri_events.backends.redis_url import Address, Node


async def connect(address: Address, node: Node) -> AbstractConnection:
    """Raises `RedisError` or `OSError`, as all here do."""
    connection = address.connection(node)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
    except BaseException:
        await disconnect(connection)
        raise
    return connection


async def disconnect(connection: AbstractConnection) -> None:
    """At once, whatever the server does: redis-py would wait until it has taken what was still to be sent."""
    if connection._writer is not None:
        connection._writer.transport.abort()
    await connection.disconnect()


def command(*words: bytes) -> bytes:
    """As it goes over the wire. redis-py's own packing takes several times as long."""
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


async def send(connection: AbstractConnection, text: bytes) -> None:
    """Commands, one after another."""
    try:
        await connection.send_packed_command([text], check_health=False)
    except RuntimeError as error:  # uvloop's word for a connection that was lost before this was written
        raise ConnectionError(str(error)) from error


async def ask(connection: AbstractConnection, *words: bytes) -> Any:
    """The answer to one command."""
    await send(connection, command(*words))
    return await connection.read_response()


async def connect_to_primary(address: Address) -> AbstractConnection:
    """The only server, or the one that the sentinels say is the service's primary now."""
    if not address.service:
        return await connect(address, address.nodes[0])
    question = (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", address.service.encode())
    _, (host, port) = await first_answer(address, address.nodes, *question, sentinel=True)
    return await connect(address, Node(host.decode(), int(port)))


async def check_role(connection: AbstractConnection) -> None:
    """Raises `RedisError` for a replica: what is published there reaches nobody else."""
    try:
        role = (await ask(connection, b"ROLE"))[0]
    except ResponseError:  # it may not be asked, or by somebody who may not ask
        return
    if role != b"master":
        raise RedisError(f"the server is a {'replica' if role == b'slave' else role.decode()}, not a primary")


async def first_answer(
    address: Address, nodes: Iterable[Node], *question: bytes, sentinel: bool = False
) -> tuple[Node, Any]:
    """The first answer that says anything, and whose it is."""
    asked = [asyncio.create_task(_ask_one(address, node, question, sentinel)) for node in nodes]
    problems = []
    try:
        for answer in asyncio.as_completed(asked):
            try:
                node, said = await answer
            except (RedisError, OSError) as error:
                problems.append(str(error))
                continue
            if said:
                return node, said
            problems.append(f"{node} does not know")
        raise RedisError("; ".join(problems))
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _ask_one(address: Address, node: Node, question: tuple[bytes, ...], sentinel: bool) -> tuple[Node, Any]:
    connection = address.connection(node, sentinel=sentinel)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        return node, await ask(connection, *question)
    finally:
        await disconnect(connection)
