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


async def connect_to_primary(address: Address) -> AbstractConnection:
    """The only server, or the one that the sentinels say is the service's primary now."""
    if not address.service:
        return await connect(address, address.nodes[0])
    question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
    _, (host, port) = await first_answer(address, address.nodes, *question, sentinel=True)
    return await connect(address, Node(host.decode(), int(port)))


async def check_role(connection: AbstractConnection) -> None:
    """Raises `RedisError` for a replica: what is published there reaches nobody else."""
    await connection.send_command("ROLE", check_health=False)
    try:
        role = (await connection.read_response())[0]
    except ResponseError:  # it may not be asked, or by somebody who may not ask
        return
    if role != b"master":
        raise RedisError(f"the server is a {'replica' if role == b'slave' else role.decode()}, not a primary")


async def first_answer(
    address: Address, nodes: Iterable[Node], *question: str, sentinel: bool = False
) -> tuple[Node, Any]:
    """The first answer that says anything, and whose it is."""
    asked = [asyncio.create_task(_ask(address, node, question, sentinel)) for node in nodes]
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


async def _ask(address: Address, node: Node, question: tuple[str, ...], sentinel: bool) -> tuple[Node, Any]:
    connection = address.connection(node, sentinel=sentinel)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        await connection.send_command(*question, check_health=False)
        return node, await connection.read_response()
    finally:
        await disconnect(connection)
