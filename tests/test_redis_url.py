"""A Redis URL is read as people write it, or refused with a sentence that gives nothing away."""

import pytest

from sentri_events.backends import SCHEMES, open_backend
from sentri_events.backends.memory import MemoryBackend
from sentri_events.backends.redis import RedisBackend
from sentri_events.backends.redis_cluster import RedisClusterBackend
from sentri_events.backends.redis_url import Address, Node, read_url
from sentri_events.errors import SettingsError

READ: dict[str, tuple[list[Node], str, dict[str, object]]] = {
    "redis://": ([Node("localhost", 6379)], "", {}),
    "redis://host": ([Node("host", 6379)], "", {}),
    "redis://host:1/0": ([Node("host", 1)], "", {"db": 0}),
    "redis://[::1]:7/3": ([Node("::1", 7)], "", {"db": 3}),
    "redis://:p%40s%2F@host": ([Node("host", 6379)], "", {"password": "p@s/"}),
    "redis://u:p@host?db=4": ([Node("host", 6379)], "", {"username": "u", "password": "p", "db": 4}),
    "rediss://host?ssl_cert_reqs=none": ([Node("host", 6379)], "", {"ssl_cert_reqs": "none"}),
    "unix:///run/r%20s": ([Node("/run/r s", 0)], "", {}),
    "unix://:p@/run/s?db=2": ([Node("/run/s", 0)], "", {"password": "p", "db": 2}),
    "redis+sentinel://a,b:7/main": ([Node("a", 26379), Node("b", 7)], "main", {}),
    "redis+sentinel://u:p@a/main/2": ([Node("a", 26379)], "main", {"username": "u", "password": "p", "db": 2}),
    "redis+cluster://:p@a:1,b,[::1]:2": ([Node("a", 1), Node("b", 6379), Node("::1", 2)], "", {"password": "p"}),
    "rediss+cluster://a?ssl_check_hostname=false": ([Node("a", 6379)], "", {"ssl_check_hostname": False}),
}
REFUSED = {
    "redis://:tops/cret@host": "XX",
    "redis://:tops?cret@host": "XX",
    "redis://:tops#cret@host": "XX",
    "redis://:12/cret@host": "database",
    "redis://host:cret": "cannot be read",
    "redis://host:99999": "cannot be read",
    "redis://u:cret@host/cret": "database",
    "redis://:cret@host?db=cret": "cannot be read",
    "redis://:cret@host?max_connections=5": "max_connections",
    "redis://:cret@host?ssl_ca_certs=/ca": "ssl_ca_certs",
    "rediss://:cret@host?ssl_cert_reqs=cret": "cannot be read",
    "redis://:cret@a,b": "redis+sentinel",
    "redis+sentinel://:cret@a": "service",
    "redis+sentinel://:cret@a/s?sentinel_foo=1": "foo",
    "unix+cluster:///cret": "begin with",
    "REDIS://:cret@host": "begin with",
    "cret": "begin with",
    "cret@host:6379": "begin with",
    "http://:cret@host": "begin with",
}


@pytest.mark.parametrize("url", READ)
def test_what_is_read(url: str) -> None:
    address = read_url(url)
    nodes, service, options = READ[url]
    assert (list(address.nodes), address.service) == (nodes, service)
    assert {name: address.options[name] for name in options} == options
    assert repr(address.connection(address.nodes[0]))
    kind = RedisClusterBackend if "cluster" in url else RedisBackend
    assert type(open_backend(url)) is kind


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_refused(url: str) -> None:
    """Caught: urllib's own words, which quote a part of the password as the port."""
    with pytest.raises(SettingsError) as refusal:
        open_backend(url)
    assert REFUSED[url] in str(refusal.value)
    assert "cret" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_the_schemes_are_all_named() -> None:
    with pytest.raises(SettingsError) as refusal:
        open_backend("amqp://host")
    assert all(f"{scheme}://" in str(refusal.value) for scheme in SCHEMES)
    assert all(isinstance(read_url(f"{scheme}://host/x1"), Address) for scheme in SCHEMES if "sentinel" in scheme)


def test_sentinels_have_credentials_of_their_own() -> None:
    """Those of the servers are not shown to them. Caught: they are."""
    address = read_url("rediss+sentinel://u:p@a/main/2?sentinel_password=q&ssl_cert_reqs=none")
    assert address.sentinel_options["password"] == "q"
    assert address.sentinel_options["ssl_cert_reqs"] == "none"
    assert {"username", "db"} & set(address.sentinel_options) == set()
    assert "sentinel_password" not in address.options


def test_nothing_is_sent_twice_behind_our_back() -> None:
    """redis-py repeats a command whose answer did not come: a volatile event would be seen twice. RESP3 is slow."""
    for url in READ:
        connection = read_url(url).connection(read_url(url).nodes[0])
        assert connection.retry.get_retries() == 0
        assert (connection.socket_timeout, connection.protocol, connection.health_check_interval) == (None, 2, 0)


def test_without_a_url_there_is_one_process() -> None:
    assert isinstance(open_backend(""), MemoryBackend)
