"""Addresses, logging in, and what a caller sees of the driver: never its exceptions, never a credential."""

from __future__ import annotations

import inspect
import shutil
import ssl
import subprocess
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis.exceptions

from streamguard.errors import ConfigurationError, StoreUnavailableError
from streamguard.stores import RedisClient
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.address import ClusterAddress
from streamguard.stores.redis.errors import mapped_errors
from streamguard.stores.redis.urls import address_of
from streamguard.testing._stream_store.steps import Hints, begin, log, payloads, put

from ...harness.ports import free_port
from ...harness.redis import RedisServer
from ...harness.redis_binaries import redis_binary
from ...harness.redis_cluster import RedisCluster
from ...harness.tools import missing

pytestmark = pytest.mark.anyio

DRIVER_ERRORS = [
    error
    for _, error in inspect.getmembers(redis.exceptions, inspect.isclass)
    if issubclass(error, redis.exceptions.RedisError)
]


def _admin(server: RedisServer, *words: str) -> None:
    server.client().execute_command(*words)  # type: ignore[no-untyped-call] # redis-py


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379"),
        ("redis://user:secret@example.org:7000/3", "redis://example.org:7000"),
        ("rediss://:se%2Fcret@example.org?ssl_cert_reqs=none", "rediss://example.org:6379"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock"),
        ("unix://user:secret@/run/redis.sock", "unix:///run/redis.sock"),
        ("redis+sentinel://user:secret@h,i:1,[::1]:2/svc/3", "redis+sentinel://h:26379,i:1,[::1]:2/svc"),
        ("rediss+sentinel://h/a%2Fb?sentinel_password=secret&ssl_cert_reqs=none", "rediss+sentinel://h:26379/a/b"),
    ],
)
async def test_an_address_shows_no_credential(url: str, shown: str) -> None:
    assert str(address_of(url)) == shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://:hunter2@localhost",
        "redis://:hunter2/hunter2@localhost:6379",
        "redis://:hunter2@localhost:port",
        "redis://:hunter2@localhost:99999",
        "redis://:hunter2@[::1",
        "redis://:hunter2@localhost/?db=hunter2",
        "redis://:hunter2@localhost/zero",
        "redis://:hunter2@localhost?decode_responses=hunter2",
        "redis://:hunter2@localhost?socket_timeout=1",
        "redis://:hunter2@localhost?protocol=3",
        "redis://hunter:1234#hunter2@localhost",
        "redis://hunter:1234?hunter2@localhost",
        "rediss://localhost?ssl_cert_reqs=hunter2",
        "unix://",
        "redis+sentinel://:hunter2@localhost",
        "redis+sentinel://:hunter2@localhost/",
        "redis+sentinel://:hunter2@/mymaster",
        "redis+sentinel://:hunter2@localhost,,other/mymaster",
        "redis+sentinel://:hunter2/hunter2@localhost/mymaster",
        "redis+sentinel://:hunter2@hunter2@localhost/mymaster",
        "redis+sentinel://localhost,ann:hunter2@other/mymaster@hunter2",
        "redis+sentinel://:hunter2@localhost:99999/mymaster",
        "redis+sentinel://:hunter2@localhost/mymaster/hunter2",
        "redis+sentinel://:hunter2@localhost/mymaster/0/hunter2",
        "redis+sentinel://localhost/mymaster?sentinel_secret=hunter2",
        "redis+sentinel://localhost/mymaster?hunter2",
        "redis+cluster://:hunter2@localhost:port",
        "redis+cluster://:hunter2@localhost:1,:hunter2@localhost:2/1",
        "redis+cluster://:hunter2@localhost:1,localhost:2/hunter2",
        "redis+cluster://:hunter2@localhost:1,localhost:2?decode_responses=hunter2",
        "redis+cluster://:hunter2@localhost:1,[::1",
        "redis+cluster://:hunter2@localhost:1,:hunter2@localhost:2",
        "redis+cluster://:hunter2@localhost:1,,localhost:2",
        "redis+cluster://hunter:1234#hunter2@localhost",
        "redis+cluster://hunter:1234?hunter2@localhost",
        "rediss+cluster://localhost?ssl_cert_reqs=hunter2",
        "redis+sentinel://hunter:1234#hunter2@localhost/mymaster",
        "rediss+sentinel://localhost/mymaster?ssl_cert_reqs=hunter2",
    ],
)
async def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisStore(url)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "shown", "seeds"),
    [
        ("redis+cluster://a", "redis+cluster://a:6379", ["redis://a:6379"]),
        ("redis+cluster://u:s%2C@a:1,b:2/0", "redis+cluster://a:1,b:2", ["redis://a:1", "redis://b:2"]),
        ("redis+cluster://:p,q@a:1,b/?db=0", "redis+cluster://a:1,b:6379", ["redis://a:1", "redis://b:6379"]),
        ("rediss+cluster://[::1]:7,b?ssl_cert_reqs=none", "rediss+cluster://[::1]:7,b:6379", None),
    ],
)
async def test_the_address_of_a_cluster_names_servers_and_shows_no_credential(
    url: str, shown: str, seeds: list[str] | None
) -> None:
    address = address_of(url)
    assert isinstance(address, ClusterAddress)
    assert str(address) == shown
    assert seeds is None or [str(seed) for seed in address.seeds] == seeds
    assert str(address.seeds[0].at("c", 9)).endswith("://c:9")


async def test_a_cluster_has_no_numbered_databases() -> None:
    with pytest.raises(ConfigurationError, match="one database"):
        address_of("redis+cluster://localhost/3")


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [*DRIVER_ERRORS, OSError, TimeoutError, ssl.SSLError, ConnectionResetError])
async def test_every_driver_error_becomes_ours(error: type[Exception]) -> None:
    raised = error("0 host:1")  # the form that redirections must have
    with pytest.raises(StoreUnavailableError) as caught, mapped_errors("append"):
        raise raised
    assert caught.value.operation == "append"
    assert caught.value.__cause__ is raised


async def test_the_driver_still_has_errors_to_map() -> None:
    assert len(DRIVER_ERRORS) > 20


async def test_our_own_mistakes_are_not_mapped() -> None:
    with pytest.raises(KeyError), mapped_errors("append"):
        raise KeyError("mistake")


async def test_a_wrong_password_is_not_repeated_anywhere(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    server.client().config_set("requirepass", "right")
    try:
        store = RedisStore(f"redis://:hunter2@127.0.0.1:{server.port}")
        assert "hunter2" not in repr(store)
        (warning,) = await store.start()
        assert "hunter2" not in warning
        for call in (store.ping, lambda: begin(store)):
            with pytest.raises(StoreUnavailableError) as caught:
                await call()
            assert "hunter2" not in "".join(traceback.format_exception(caught.value))
        await store.aclose()
        right = RedisStore(f"redis://:right@127.0.0.1:{server.port}")
        assert await right.start() == []
        await _works(right)
        await right.aclose()
    finally:
        _admin(server, "AUTH", "right")
        server.client().config_set("requirepass", "")


async def test_a_start_says_what_the_server_refused(redis_server: RedisServer, redis_cluster: RedisCluster) -> None:
    """It had answered, so that waiting for an answer was no help."""
    place = f"127.0.0.1:{redis_server.port}"
    wrong = {
        f"redis://nobody:wrong@{place}": "the user name or the password is wrong, or one is needed",
        f"redis://{place}/9999": "it has no database of that number",
        f"redis+cluster://{place}": "it is a single server, no cluster; name it by redis://",
    }
    for url, advice in wrong.items():
        store = RedisStore(url)
        (warning,) = await store.start()
        assert advice in warning
        assert "until that is mended" in warning
        await store.aclose()
        async with RedisClient(url) as client:
            (warning,) = await client.start()
        assert advice in warning
    store = RedisStore(f"redis://127.0.0.1:{redis_cluster.nodes[0].public_port}")
    await store.start()

    async def begin_everywhere() -> None:
        while True:  # until a session is another node's
            await begin(store)

    with pytest.raises(StoreUnavailableError) as caught:
        await begin_everywhere()
    assert "it is part of a cluster" in str(caught.value)
    assert "name it by redis+cluster:// or rediss+cluster://" in str(caught.value)
    await store.aclose()


# -- servers ----------------------------------------------------------------------------------------------------------


async def _works(store: RedisStore) -> None:
    ref, hints = await begin(store), Hints()
    async with store.subscribe(ref, hints):
        await put(store, ref, 1, b"a")
        await hints.until(bool, description="the append's hint")
    assert payloads(await log(store, ref)) == [b"a"]


async def test_a_unix_socket_works(own_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    own_redis(config={"unixsocket": str(tmp_path / "redis.sock")})
    store = RedisStore(f"unix://{tmp_path / 'redis.sock'}?db=1")
    assert await store.start() == []
    await _works(store)
    await store.aclose()


async def test_tls_works_and_the_certificate_is_checked(own_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    built = subprocess.run(["ldd", redis_binary()], capture_output=True, text=True, check=True)
    if "libssl" not in built.stdout:
        missing("this redis-server has no TLS: `apt-get install redis-server`")
    if shutil.which("openssl") is None:
        missing("no openssl found, to make a certificate with: `apt-get install openssl`")
    key, certificate, port = tmp_path / "key.pem", tmp_path / "certificate.pem", free_port()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    own_redis(
        config={
            "tls-port": str(port),
            "tls-cert-file": str(certificate),
            "tls-key-file": str(key),
            "tls-auth-clients": "no",
        }
    )
    store = RedisStore(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}")
    assert await store.start() == []
    await _works(store)
    await store.aclose()
    suspicious = RedisStore(f"rediss://127.0.0.1:{port}")
    with pytest.raises(StoreUnavailableError):
        await suspicious.ping()
    await suspicious.aclose()


async def test_an_account_limited_to_the_documented_commands_suffices(own_redis: Callable[..., RedisServer]) -> None:
    """The list is the one in docs/reference/redis.md."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "redis.md"
    (rule,) = [line for line in page.read_text().splitlines() if line.startswith("ACL SETUSER")]
    server = own_redis()
    _admin(server, *rule.replace("<password>", "secret").split())
    store = RedisStore(f"redis://streamguard:secret@127.0.0.1:{server.port}")
    assert await store.start() == []
    await store.ping()
    await _works(store)
    await store.aclose()


async def test_a_server_that_evicts_is_a_warning(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(config={"maxmemory-policy": "allkeys-lru"})
    store = RedisStore(server.url)
    (warning,) = await store.start()
    assert "allkeys-lru" in warning
    assert "noeviction" in warning
    await store.aclose()


async def test_a_server_that_is_full_is_a_warning(own_redis: Callable[..., RedisServer]) -> None:
    """Of a store beside the streams too; and none once there is room."""
    server = own_redis(config={"maxmemory": "3mb"})
    client = server.client()
    with suppress(redis.exceptions.OutOfMemoryError):
        for number in range(1_000):
            client.set(f"x:{number}", "x" * 10_000, ex=60)
    store, beside = RedisStore(server.url), RedisClient(server.url)
    (warning,) = await store.start()
    assert "over 90% of its maxmemory (3145728 bytes)" in warning
    assert await beside.start() == [warning]
    client.flushall()
    assert await store.start() == []
    await store.aclose()
    await beside.aclose()


async def test_a_server_that_hides_its_facts_is_no_warning(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    _admin(server, "ACL", "SETUSER", "quiet", "on", ">secret", "~*", "&*", "+@all", "-info")
    store = RedisStore(f"redis://quiet:secret@127.0.0.1:{server.port}")
    assert await store.start() == []
    await store.aclose()
