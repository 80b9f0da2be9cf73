"""The kinds of Redis beside the plain one and the cluster."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .certificates import Certificates
from .redis import RedisServer
from .redis_kinds import PASSWORD, AccountRedisServer, TlsRedisServer
from .redis_sentinel import SERVICE, RedisSentinels


def _version(server: RedisServer, field: str) -> str:
    text = server.command("INFO", "server")
    assert isinstance(text, bytes)
    facts = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
    return facts[field]


def test_the_oldest_version_is_6_2(redis_6_2: RedisServer) -> None:
    assert _version(redis_6_2, "redis_version").startswith("6.2.")


def test_valkey_says_what_it_is(redis_valkey: RedisServer) -> None:
    assert _version(redis_valkey, "server_name") == "valkey"


def test_tls_wants_a_certificate_of_both_sides(redis_tls: TlsRedisServer, certificates: Certificates) -> None:
    def ping(*, authority: bool = True, identity: bool = True) -> bool:
        own = certificates.client
        with redis.Redis(
            port=redis_tls.tls_port,
            ssl=True,
            ssl_ca_certs=str((certificates.authority if authority else certificates.stranger).path),
            ssl_certfile=str(own.path) if identity else None,
            ssl_keyfile=str(own.key) if identity else None,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            return bool(client.ping())

    assert ping()
    with pytest.raises(redis.exceptions.ConnectionError):
        ping(authority=False)
    with pytest.raises(redis.exceptions.ConnectionError):
        ping(identity=False)
    assert redis_tls.database_url(3).startswith(f"rediss://127.0.0.1:{redis_tls.tls_port}/3?ssl_ca_certs=")


def test_the_account_may_do_no_more_than_is_listed(redis_account: AccountRedisServer) -> None:
    url = urlsplit(redis_account.database_url(0))
    assert unquote(url.password or "") == PASSWORD
    with redis.Redis(port=redis_account.port, username=url.username, password=PASSWORD) as client:
        assert client.set("streamguard:k", "1", px=1000)
        for refused in ("SET other:k 1", "FLUSHDB", "CONFIG GET *"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*refused.split())


def test_sentinels_know_the_master(redis_sentinels: RedisSentinels) -> None:
    assert redis_sentinels.url.endswith(f"/{SERVICE}/0")
    assert redis_sentinels.master is redis_sentinels.servers[0]
    assert redis_sentinels.master.client().set("k", "1", px=1000)
    with pytest.raises(redis.exceptions.ReadOnlyError):
        redis_sentinels.replica.client().set("k", "1")


@pytest.mark.long
@pytest.mark.parametrize("how", ["told", "killed"])
def test_sentinels_let_a_replica_take_over(own_redis_sentinels: Callable[..., RedisSentinels], how: str) -> None:
    sentinels = own_redis_sentinels(down_seconds=1, proxied=True)
    first, second = sentinels.servers
    first.client().set("k", "1", ex=60)
    sentinels.wait_until_settled()
    assert (sentinels.fail_over() if how == "told" else sentinels.kill()) is second
    assert second.client().get("k") == b"1"
    ports = {server.proxy.port for server in sentinels.servers if server.proxy is not None}
    assert {server.public_port for server in sentinels.servers} == ports
    assert {int(sentinel.facts()["port"]) for sentinel in sentinels.sentinels} == {second.public_port}
