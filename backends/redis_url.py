"""What a Redis URL says. Its secrets are in the options of the address alone: in no sentence, log or repr."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from sentri_events.errors import SettingsError

CONNECT = 3.0  # seconds for a connection, greetings included
PORT, SENTINEL_PORT = 6379, 26379
_OPTIONS = {"username", "password", "db"}
_TLS_OPTIONS = {
    *("ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers"),
    *("ssl_certfile", "ssl_keyfile", "ssl_password"),
}
# What the URL cannot change. No retries: a PUBLISH that is sent twice is a volatile event that is seen twice; who
# reconnects is redis_line. RESP2, because redis-py formats every RESP3 push for a log that nobody reads.
_FIXED = {
    "protocol": 2,
    "socket_timeout": None,
    "socket_connect_timeout": CONNECT,
    "retry": Retry(NoBackoff(), 0),
}
_EXAMPLES = {
    "redis": "redis://:password@host:6379/0",
    "rediss": "rediss://:password@host:6379/0?ssl_ca_certs=/path/ca.pem",
    "unix": "unix:///path/redis.sock",
    "sentinel": "redis+sentinel://:password@host1:26379,host2:26379/service",
    "cluster": "redis+cluster://:password@host1:6379,host2:6379",
}


class Node(NamedTuple):
    """Where a server listens: host and port, or the path of a socket and port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else self.host


@dataclass(frozen=True)
class Address:
    """Which servers there are, and how a connection to one is made.

    With a `service` the nodes are sentinels, who know where its primary is.
    """

    kind: type[Connection]
    nodes: tuple[Node, ...]
    service: str
    options: dict[str, Any] = field(repr=False)
    sentinel_options: dict[str, Any] = field(repr=False)

    def connection(self, node: Node, *, sentinel: bool = False) -> AbstractConnection:
        """A connection that is still to be connected."""
        options = self.sentinel_options if sentinel else self.options
        if not node.port:
            return UnixDomainSocketConnection(path=node.host, **options)
        return self.kind(host=node.host, port=node.port, **options)


def read_url(url: str) -> Address:
    """Raises `SettingsError`; its sentence holds nothing of the URL but its scheme and the names of options."""
    scheme, _, rest = url.partition("://")
    security, _, arrangement = scheme.partition("+")
    try:
        return _read(security, arrangement, rest)
    except (ValueError, RedisError) as error:
        # What urllib takes for a port may be the rest of a password that has a slash in it.
        reason = f"{error} " if isinstance(error, _Unreadable) else ""
        raise SettingsError(
            f"--redis-url (REDIS_URL) cannot be read. {reason}It looks like {_EXAMPLES[arrangement or security]}, with "
            "the special characters of a password written as %XX."
        ) from None


class _Unreadable(ValueError):
    """With a sentence that may be shown."""


def _read(security: str, arrangement: str, rest: str) -> Address:
    end = min((rest.index(mark) for mark in "/?#" if mark in rest), default=len(rest))
    user, at, hosts = rest[:end].rpartition("@")
    path, mark, query = rest[end:].partition("?")
    service = ""
    if arrangement == "sentinel":
        service, _, path = path.removeprefix("/").partition("/")
        if not service:
            raise _Unreadable("The name of the service is missing.")
    if security == "unix":
        nodes: tuple[Node, ...] = (Node(unquote(path), 0),)
        path = ""
    else:
        port = SENTINEL_PORT if service else PORT
        nodes = tuple(_node(host, port) for host in hosts.split(","))
        if len(nodes) > 1 and not arrangement:
            raise _Unreadable("Several servers are a redis+sentinel:// or a redis+cluster://.")
    if path.strip("/") and not path.strip("/").isdecimal():
        raise _Unreadable("A database is a number.")
    kind = SSLConnection if security == "rediss" else Connection
    options: dict[str, Any] = {**parse_url(f"redis://{user}{at}/{path.strip('/')}{mark}{query}")}
    of_sentinels = [name for name in options if name.startswith("sentinel_")]
    apart = {name.removeprefix("sentinel_"): options.pop(name) for name in of_sentinels}
    for name in {*options, *apart} - _OPTIONS - (_TLS_OPTIONS if kind is SSLConnection else set()):
        raise _Unreadable(f"It has no option {name}.")
    options |= _FIXED
    shared = {name: value for name, value in options.items() if name not in _OPTIONS}
    kind(**options)  # it judges the values
    return Address(kind, nodes, unquote(service), options, {**shared, **apart})


def _node(text: str, port: int) -> Node:
    parts = urlsplit(f"//{text}")
    return Node(parts.hostname or "localhost", parts.port or port)
