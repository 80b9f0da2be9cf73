"""Where the servers of a cluster are, by what its servers say: addresses, names, or neither."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from redis.exceptions import ResponseError

from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.driver import Reply
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.slot_map import SLOTS, Place, Redirect, Redirection, read_redirection, read_slots
from streamguard.testing._stream_store.steps import begin, put
from streamguard.values import StreamRef

from ...harness.redis_binaries import redis_8_binary, redis_binary, valkey_binary
from ...harness.redis_cluster import RedisCluster
from ...harness.waiting import wait_until_async

KEYS = Keys("streamguard")
ASKED = Place("asked.example", 7000)


@pytest.mark.parametrize(
    ("host", "more", "found"),
    [
        (b"10.0.0.1", [], "10.0.0.1"),
        (b"10.0.0.1", [b"id"], "10.0.0.1"),
        (b"a.example", [b"id", [b"ip", b"10.0.0.1"]], "a.example"),
        (b"", [b"id", []], ASKED.host),
        (None, [b"id", [b"ip", b"10.0.0.1"]], ASKED.host),
        (b"?", [b"id", [b"ip", b"10.0.0.1"]], "10.0.0.1"),
        (b"?", [b"id", [b"later", b"?", b"ip", b"10.0.0.1"]], "10.0.0.1"),
        (b"?", [b"id", [b"hostname", b"a.example"]], ASKED.host),
        (b"?", [b"id", []], ASKED.host),
        (b"?", [b"id"], ASKED.host),
        (b"?", [], ASKED.host),
    ],
)
def test_where_a_master_is(host: bytes | None, more: list[Reply], found: str) -> None:
    """`None` says that it is to be reached as whoever was asked; `?` that it has no name, though it is to be named."""
    assert read_slots([[0, SLOTS - 1, [host, 7001, *more]]], ASKED) == [Place(found, 7001)] * SLOTS


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("MOVED 5 10.0.0.1:7001", Redirection(Redirect.MOVED, 5, Place("10.0.0.1", 7001))),
        ("ASK 5 a.example:7001", Redirection(Redirect.ASK, 5, Place("a.example", 7001))),
        ("MOVED 5 :7001", Redirection(Redirect.MOVED, 5, Place(ASKED.host, 7001))),
        ("MOVED 5 ::1:7001", Redirection(Redirect.MOVED, 5, Place("::1", 7001))),
        ("MOVED 5 ?:7001", Redirection(Redirect.DOWN)),
        ("ASK 5 ?:7001", Redirection(Redirect.DOWN)),
    ],
)
def test_where_a_command_belongs(said: str, read: Redirection) -> None:
    assert read_redirection(ResponseError(said), ASKED) == read


async def _is_taken(store: RedisStore, ref: StreamRef) -> bool:
    return (await put(store, ref, 2, b"b")).status is Status.OK


@pytest.mark.anyio
@pytest.mark.long
@pytest.mark.parametrize("binary", [redis_binary, redis_8_binary, valkey_binary])
async def test_servers_are_found_by_their_addresses_while_they_have_no_names(
    binary: Callable[[], str], own_redis_cluster: Callable[..., RedisCluster]
) -> None:
    """Names are introduced server by server: those that prefer names say `?` of those that have none yet."""
    cluster = own_redis_cluster(binary=binary)
    for node in cluster.nodes:
        node.command("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
    store = RedisStore(f"redis+cluster://localhost:{cluster.nodes[0].port}", command_seconds=5)
    try:
        assert await store.start() == []
        assert store._cluster is not None
        places = {Place("127.0.0.1", node.port) for node in cluster.nodes}
        assert {one.place for one in store._cluster.servers} == places
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        cluster.migrate(KEYS.stream(ref).meta)
        assert (await put(store, ref, 2, b"b")).status is Status.REFUSED  # it is not said where the slot is
        is_taken: Callable[[], Awaitable[bool] | bool] = partial(_is_taken, store, ref)
        await wait_until_async(is_taken, description="the map was read again")
        assert {one.place for one in store._cluster.known_servers()} == places
    finally:
        await store.aclose()
