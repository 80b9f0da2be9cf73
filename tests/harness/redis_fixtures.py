"""Fixtures for the other kinds of Redis: a cluster, sentinels, Redis 6.2 and 8, Valkey, TLS, an account.

Each lasts for one module. All kinds together are 36 servers, and each takes 0.2 % of a core to do nothing: with six
processes that had them till the end, they took more than a third of one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final, NamedTuple, Protocol

import pytest
import redis

from .certificates import Certificates
from .redis import DATABASES, RedisServer
from .redis_binaries import redis_6_2_binary, redis_8_binary, redis_binary, valkey_binary
from .redis_cluster import RedisCluster
from .redis_kinds import AccountRedisSentinels, AccountRedisServer, TlsRedisCluster, TlsRedisSentinels, TlsRedisServer
from .redis_sentinel import RedisSentinels

__all__ = ["CLUSTER_KINDS", "KINDS", "OTHER_KINDS", "RedisOfKind", "RedisPlace"]

KINDS: Final = (
    "redis_cluster",
    "redis_sentinels",
    "redis_6_2",
    "redis_8",
    "redis_valkey",
    "redis_tls",
    "redis_account",
)
"""The fixtures of the kinds, each the module's shared one: for reading and writing only, though slots may move."""
CLUSTER_KINDS: Final = ("redis_valkey_cluster", "redis_6_2_cluster", "redis_8_cluster", "redis_tls_cluster")
"""Other clusters, likewise: three servers each."""
OTHER_KINDS: Final = (
    "redis_valkey_cluster",
    "redis_8_cluster",
    "redis_tls_cluster",
    "redis_tls_sentinels",
    "redis_account_sentinels",
)
"""What only a few chosen tests run on, likewise."""


class RedisOfKind(Protocol):
    """What every kind is to a test."""

    def database_url(self, database: int, /) -> str: ...

    def clients(self, database: int, /) -> list[redis.Redis]: ...

    def flush(self, database: int, /) -> None: ...

    def keys_without_ttl(self, database: int, /) -> list[bytes]: ...


class RedisPlace(NamedTuple):
    """An empty database of a kind."""

    url: str
    clients: list[redis.Redis]
    """Of the administrator: one for each master."""


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[RedisCluster]:
    """The module's shared cluster of three masters without replicas; slots may move in it. It has one database, so a
    test that writes asks for `redis_cluster_url`. Whoever kills or pauses a node takes `own_redis_cluster`."""
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def redis_sentinels() -> Iterator[RedisSentinels]:
    """A master, a replica and three sentinels. Whoever makes the master fail takes `own_redis_sentinels`."""
    with RedisSentinels() as sentinels:
        yield sentinels


@pytest.fixture(scope="module")
def redis_6_2() -> Iterator[RedisServer]:
    """A Redis of the oldest version that is supported."""
    with RedisServer(binary=redis_6_2_binary) as server:
        yield server


@pytest.fixture(scope="module")
def redis_8() -> Iterator[RedisServer]:
    """A Redis of the newest version."""
    with RedisServer(binary=redis_8_binary) as server:
        yield server


@pytest.fixture(scope="module")
def redis_valkey() -> Iterator[RedisServer]:
    """A Valkey."""
    with RedisServer(binary=valkey_binary) as server:
        yield server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority's, a server's, a client's and a stranger's certificate."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def redis_tls(certificates: Certificates) -> Iterator[TlsRedisServer]:
    """A Redis behind TLS that asks for a client's certificate."""
    with TlsRedisServer(certificates, ask_clients=True) as server:
        yield server


@pytest.fixture(scope="module")
def redis_valkey_cluster() -> Iterator[RedisCluster]:
    """A cluster of Valkeys."""
    with RedisCluster(binary=valkey_binary) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def redis_6_2_cluster() -> Iterator[RedisCluster]:
    """A cluster of the oldest version that is supported."""
    with RedisCluster(binary=redis_6_2_binary) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def redis_8_cluster() -> Iterator[RedisCluster]:
    """A cluster of the newest version."""
    with RedisCluster(binary=redis_8_binary) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def redis_tls_cluster(certificates: Certificates) -> Iterator[TlsRedisCluster]:
    """A cluster behind TLS."""
    with TlsRedisCluster(certificates) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def redis_tls_sentinels(certificates: Certificates) -> Iterator[TlsRedisSentinels]:
    """A master, a replica and three sentinels, all behind TLS."""
    with TlsRedisSentinels(certificates) as sentinels:
        yield sentinels


@pytest.fixture(scope="module")
def redis_account_sentinels() -> Iterator[AccountRedisSentinels]:
    """A master, a replica and three sentinels, whose URL logs in to each with an account of its own."""
    with AccountRedisSentinels() as sentinels:
        yield sentinels


@pytest.fixture(scope="module")
def redis_account() -> Iterator[AccountRedisServer]:
    """A Redis whose URLs log in with an account that may do what the documentation lists, and nothing else."""
    with AccountRedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def _database_numbers_of_kinds() -> Iterator[int]:
    return itertools.cycle(range(1, DATABASES))


@pytest.fixture
def redis_of_kind(
    request: pytest.FixtureRequest, _database_numbers_of_kinds: Iterator[int]
) -> Iterator[Callable[[str], RedisPlace]]:
    """`redis_of_kind(kind)`: an empty database of one of the `KINDS`; afterwards every key must have a TTL."""
    with ExitStack() as stack:

        def place(kind: str) -> RedisPlace:
            server: RedisOfKind = request.getfixturevalue(kind)
            database = 0 if isinstance(server, RedisCluster) else next(_database_numbers_of_kinds)
            server.flush(database)
            stack.callback(_check_and_flush, server, database)
            return RedisPlace(server.database_url(database), server.clients(database))

        yield place


def _check_and_flush(server: RedisOfKind, database: int) -> None:
    immortal = server.keys_without_ttl(database)
    server.flush(database)
    assert not immortal, f"keys without a TTL: {immortal[:10]}"


@pytest.fixture
def redis_cluster_url(redis_of_kind: Callable[[str], RedisPlace]) -> str:
    """URL of the shared cluster, empty; afterwards migrations are finished, and every key must have a TTL."""
    return redis_of_kind("redis_cluster").url


@pytest.fixture
def own_redis_cluster() -> Iterator[Callable[..., RedisCluster]]:
    """Starts a cluster for this test alone, whose nodes may be killed, paused and put behind proxies:
    `own_redis_cluster(replicas=1, node_timeout_seconds=1, proxied=True)`, as `RedisCluster`. All is killed at the
    end."""
    with ExitStack() as stack:

        def start(
            *,
            masters: int = 3,
            replicas: int = 0,
            node_timeout_seconds: float = 15.0,
            config: dict[str, str] | None = None,
            aof: bool = False,
            proxied: bool = False,
            binary: Callable[[], str] = redis_binary,
        ) -> RedisCluster:
            cluster = RedisCluster(
                masters=masters,
                replicas=replicas,
                node_timeout_seconds=node_timeout_seconds,
                config=config,
                aof=aof,
                proxied=proxied,
                binary=binary,
            )
            return stack.enter_context(cluster)

        yield start


@pytest.fixture
def own_redis_sentinels() -> Iterator[Callable[..., RedisSentinels]]:
    """Starts sentinels and their servers for this test alone: `own_redis_sentinels(down_seconds=1, proxied=True)`, as
    `RedisSentinels`. All is killed at the end."""
    with ExitStack() as stack:

        def start(
            *,
            replicas: int = 1,
            down_seconds: float = 10.0,
            sentinel_config: dict[str, str] | None = None,
            aof: bool = False,
            proxied: bool = False,
        ) -> RedisSentinels:
            sentinels = RedisSentinels(
                replicas=replicas,
                down_seconds=down_seconds,
                sentinel_config=sentinel_config,
                aof=aof,
                proxied=proxied,
            )
            return stack.enter_context(sentinels)

        yield start
