"""Sharded channels: hints stay with the servers of a stream's slot, and viewers follow it; plain channels elsewhere."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import redis

from streamguard.deadlines import Deadline
from streamguard.errors import StoreUnavailableError
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.address import ClusterAddress
from streamguard.stores.redis.cluster import Cluster
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.scripts import Scripts
from streamguard.stores.redis.shard_subscriptions import ShardSubscriptions
from streamguard.stores.redis.slot_map import SLOTS, Place, slot_of
from streamguard.stores.redis.subscriber import Subscriber
from streamguard.testing._stream_store.steps import Hints, new_stream, put, registered, try_register
from streamguard.values import SessionKey, StreamRef

from ...harness.redis_binaries import redis_6_2_binary
from ...harness.redis_cluster import ClusterNode, RedisCluster
from ...harness.waiting import wait_until_async
from .test_cluster_channels import answers

pytestmark = [pytest.mark.anyio, pytest.mark.long]

KEYS = Keys("streamguard")
LOGIN = "plain:plain@"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, command_seconds=5)
    await store.start()
    try:
        yield store
    finally:
        await store.aclose()


def at_shards(cluster: RedisCluster, channel: bytes) -> list[ClusterNode]:
    """The servers at which somebody is subscribed to a sharded channel."""
    found = []
    for node in cluster.nodes:
        if node.running:
            channels = node.command("PUBSUB", "SHARDCHANNELS")
            assert isinstance(channels, list)
            found += [node] * (channel in channels)
    return found


def at_any(cluster: RedisCluster, channel: bytes) -> list[ClusterNode]:
    """The servers at which somebody is subscribed to a plain channel."""
    return [node for node in cluster.masters() if channel in node.client().pubsub_channels()]


def over_the_bus(cluster: RedisCluster) -> int:
    """How many messages were published to the whole cluster."""
    return sum(int(node.info("cluster").get("cluster_stats_messages_publish_sent", 0)) for node in cluster.nodes)


async def fresh(store: RedisStore) -> StreamRef:
    new = new_stream(SessionKey("ann", secrets.token_hex(4)))
    registered(await try_register(store, new))
    return new.ref


async def heard(hints: Hints, seq: int) -> None:
    await hints.until(
        lambda seen: any(hint.first_seq <= seq < hint.first_seq + len(hint.events) for hint in seen),
        description=f"event {seq}",
    )


async def test_hints_do_not_go_over_the_whole_cluster(redis_cluster: RedisCluster, redis_cluster_url: str) -> None:
    async with opened(redis_cluster_url) as store, opened(redis_cluster_url) as other:
        ref, hints = await fresh(store), Hints()
        channel = KEYS.stream(ref).data
        async with other.subscribe(ref, hints):
            assert at_shards(redis_cluster, channel) == [redis_cluster.master_of(channel)]
            assert at_any(redis_cluster, channel) == []
            before = over_the_bus(redis_cluster)
            for seq in range(1, 11):
                await put(store, ref, seq, b"a")
                await heard(hints, seq)
            assert over_the_bus(redis_cluster) == before
        await wait_until_async(lambda: not at_shards(redis_cluster, channel), description="nobody is subscribed")


async def test_a_viewer_follows_a_slot_that_moves_to_and_fro(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    async with opened(redis_cluster_url) as store, opened(redis_cluster_url) as other:
        ref, hints = await fresh(store), Hints()
        channel = KEYS.stream(ref).data
        async with other.subscribe(ref, hints):
            home = redis_cluster.master_of(channel)
            target = redis_cluster.another_master(home)
            for seq, owner in enumerate((target, home, target), 1):
                before = len(hints.seen)
                redis_cluster.migrate(channel, target=owner)
                await wait_until_async(
                    partial(lambda owner: at_shards(redis_cluster, channel) == [owner], owner),
                    description="the viewer follows",
                )
                await hints.until(
                    partial(lambda before, seen: any(hint.first_seq == 0 for hint in seen[before:]), before),
                    description="the doubt",
                )
                await put(store, ref, seq, b"a")
                await heard(hints, seq)


async def test_a_viewer_follows_a_failover(own_redis_cluster: Callable[..., RedisCluster]) -> None:
    cluster = own_redis_cluster(replicas=1)
    async with opened(cluster.url) as store, opened(cluster.url) as other:
        ref, hints = await fresh(store), Hints()
        channel = KEYS.stream(ref).data
        async with other.subscribe(ref, hints):
            master = cluster.master_of(channel)
            cluster.wait_until_replicated()
            master.kill()
            replica = cluster.take_over(master)
            await wait_until_async(lambda: at_shards(cluster, channel) == [replica], description="the viewer follows")
            is_found: Callable[[], Awaitable[bool] | bool] = partial(answers, store, ref)
            await wait_until_async(is_found, description="the store knows the new master")
            await put(store, ref, 1, b"a")
            await heard(hints, 1)


async def test_a_server_that_comes_back_is_doubted_when_it_is_lost_again() -> None:
    """The cluster knows it as another object then. Nothing is connected here."""
    cluster = Cluster(ClusterAddress("redis+cluster://127.0.0.1:7001"), Scripts.load(), command_seconds=5)
    shards = ShardSubscriptions(cluster, command_seconds=5, mark_watched=nobody)
    here, there = Place("127.0.0.1", 7001), Place("127.0.0.1", 7002)
    subscriber = Subscriber([b"{a}:d"], lambda _: None, lambda: None)
    for place in (here, there, here):  # a failover, and one back
        cluster._take([place] * SLOTS)
        await shards._home(subscriber, Deadline.after(5))
    assert list(shards._shards) == [here], "what nobody uses is given up"
    shard, _ = shards._shards[here]
    assert not cluster._doubted
    shard.lost()
    assert cluster.known(b"{a}:d") in cluster._doubted
    await shards.aclose()


async def test_servers_that_name_each_other_are_asked_for_no_longer_than_a_call_may_take() -> None:
    asked = 0

    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while data := await reader.read(1_000):
            if b"PING" in data:
                writer.write(b"+PONG\r\n")
            elif b"SLOTS" in data:
                writer.write(b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % ports[number])
            elif b"SSUBSCRIBE" in data:
                asked += 1
                writer.write(b"-MOVED %d 127.0.0.1:%d\r\n" % (slot_of(b"{a}:d"), ports[1 - number]))
        writer.close()

    servers = [await asyncio.start_server(partial(serve, number), "127.0.0.1", 0) for number in (0, 1)]
    ports: list[int] = [server.sockets[0].getsockname()[1] for server in servers]
    cluster = Cluster(ClusterAddress(f"redis+cluster://127.0.0.1:{ports[0]}"), Scripts.load(), command_seconds=0.5)
    shards = ShardSubscriptions(cluster, command_seconds=0.5, mark_watched=nobody)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(StoreUnavailableError):
                await shards.entered(Subscriber([b"{a}:d"], lambda _: None, lambda: None)).__aenter__()
        assert 2 < asked < 60, "it goes to and fro, with pauses"
    finally:
        await shards.aclose()
        for one in cluster.known_servers():
            await one.connections.aclose()
            await one.ordered.aclose()
        for server in servers:
            server.close()


async def test_a_server_that_is_busy_keeps_its_sharded_channels(own_redis_cluster: Callable[..., RedisCluster]) -> None:
    """With a script of another application's, for a moment."""
    cluster = own_redis_cluster(config={"lua-time-limit": "20"})
    async with opened(cluster.url) as store, opened(cluster.url) as other:
        first, hints = await fresh(store), Hints()
        node = cluster.master_of(KEYS.stream(first).data)
        second = StreamRef(first.key, "2" * 24)
        channel = KEYS.stream(second).data
        async with other.subscribe(first, hints):  # it is connected
            busy = asyncio.create_task(asyncio.to_thread(be_busy, node.url))
            await wait_until_async(lambda: is_busy(node), description="the server is busy")
            with pytest.raises(StoreUnavailableError):
                async with other.subscribe(second, hints):
                    pass
            node.command("SCRIPT", "KILL")
            await busy
            async with other.subscribe(second, hints):
                assert at_shards(cluster, channel) == [node]


def be_busy(url: str) -> None:
    """Run a script until it is killed."""
    client = redis.Redis.from_url(url, socket_timeout=20.0)
    with suppress(redis.exceptions.ResponseError):
        client.eval("while true do end", 0)
    client.close()


def is_busy(node: ClusterNode) -> bool:
    try:
        node.command("PING")
    except redis.exceptions.ResponseError as exc:
        return "BUSY" in str(exc)
    return False


@pytest.mark.parametrize("refusal", ["CLUSTERDOWN The cluster is down", "BUSY Redis is busy running a script"])
async def test_a_viewer_whose_server_refuses_it_for_a_moment_is_subscribed_again(refusal: str) -> None:
    """After its connection broke. It is told that it may have missed something, and once more when it hears again; not
    with each refusal, as it would read its log then."""
    channel, asked, told = b"{a}:d", 0, asyncio.Event()
    told_at: list[int] = []
    subscribed: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while data := await reader.read(1_000):
            if b"PING" in data:
                writer.write(b"+PONG\r\n")
            elif b"SLOTS" in data:
                writer.write(b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % port)
            elif b"SSUBSCRIBE" in data:
                asked += 1
                if asked in (2, 3, 4):
                    writer.write(b"-%b\r\n" % refusal.encode())
                else:
                    told.clear()
                    writer.write(b"*3\r\n$10\r\nssubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(channel), channel))
                    subscribed.append(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    cluster = Cluster(ClusterAddress(f"redis+cluster://127.0.0.1:{port}"), Scripts.load(), command_seconds=0.5)
    shards = ShardSubscriptions(cluster, command_seconds=0.5, mark_watched=nobody)
    heard = asyncio.Event()

    def doubt() -> None:
        told_at.append(asked)
        told.set()

    try:
        async with shards.entered(Subscriber([channel], lambda _: heard.set(), doubt)):
            subscribed[0].close()
            await wait_until_async(lambda: len(subscribed) == 2, description="the viewer is subscribed again")
            await told.wait()
            subscribed[1].write(b"*3\r\n$8\r\nsmessage\r\n$%d\r\n%b\r\n$1\r\na\r\n" % (len(channel), channel))
            await heard.wait()
            assert told_at == [2, 5]
    finally:
        await shards.aclose()
        for one in cluster.known_servers():
            await one.connections.aclose()
            await one.ordered.aclose()
        server.close()


async def test_a_viewer_follows_a_slot_that_moves_before_it_has_begun(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    ref = StreamRef(SessionKey("ann", "b"), "2")
    first, second = KEYS.stream(StreamRef(SessionKey("ann", "a"), "1")), KEYS.stream(ref)
    cluster = Cluster(ClusterAddress(redis_cluster_url), Scripts.load(), command_seconds=5)
    home = redis_cluster.master_of(second.data)
    target, moved = redis_cluster.another_master(home), False

    async def moving(refs: Sequence[StreamRef]) -> None:
        nonlocal moved
        if refs == [ref] and not moved:
            moved = True
            before = cluster.known(second.data)
            await asyncio.to_thread(redis_cluster.migrate, second.data, target=target)
            await wait_until_async(lambda: cluster.known(second.data) is not before, description="that is known")
            await wait_until_async(lambda: not shards._doubted.is_set(), description="all others have their places")

    shards = ShardSubscriptions(cluster, command_seconds=5, mark_watched=moving)
    try:
        async with (
            shards.entered(Subscriber([first.data], lambda _: None, lambda: None)),
            shards.entered(Subscriber([second.data], lambda _: None, lambda: None, watched=ref)),
        ):
            await wait_until_async(
                lambda: at_shards(redis_cluster, second.data) == [target], description="the viewer follows"
            )
    finally:
        await shards.aclose()


async def nobody(_: Sequence[StreamRef]) -> None:
    """Marks nothing as watched."""


async def test_an_older_cluster_has_plain_channels(own_redis_cluster: Callable[..., RedisCluster]) -> None:
    cluster = own_redis_cluster(binary=redis_6_2_binary)
    await has_plain_channels(cluster, cluster.url)


async def test_an_account_without_sharded_channels_has_plain_ones(
    own_redis_cluster: Callable[..., RedisCluster],
) -> None:
    cluster = own_redis_cluster()
    for node in cluster.nodes:
        node.command(
            *"ACL SETUSER plain on >plain ~* &* +@all -spublish -ssubscribe".split()  # noqa: SIM905 -- as in redis-cli
        )
    await has_plain_channels(cluster, cluster.url_of(LOGIN))


async def has_plain_channels(cluster: RedisCluster, url: str) -> None:
    async with opened(url) as store, opened(url) as other:
        for _ in range(3):
            ref, hints = await fresh(store), Hints()
            channel = KEYS.stream(ref).data
            async with other.subscribe(ref, hints):
                assert len(at_any(cluster, channel)) == 1
                await put(store, ref, 1, b"a")
                await heard(hints, 1)
