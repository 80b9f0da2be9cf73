"""A task that owns others' futures tells them when it ends, whatever ends it, and gives its connection up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import redis

from streamguard.errors import StoreUnavailableError
from streamguard.stores import RedisClient
from streamguard.stores.records import Hint
from streamguard.stores.redis import (
    RedisStore,
    driver,
    pipeline,
    pipelined_connection,
    shard_subscriptions,
    subscriptions,
)
from streamguard.stores.redis.address import Address
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.scripts import Scripts
from streamguard.stores.redis.stream_log import RedisLog
from streamguard.testing._stream_store.steps import Hints, begin, put
from streamguard.values import SessionKey, StreamRef, new_stream_id

from ...harness.proxy import FaultProxy
from ...harness.redis_cluster import RedisCluster
from ...harness.waiting import wait_until_async
from .test_shard_subscriptions import at_shards

pytestmark = pytest.mark.anyio

Failing = Callable[[type, str], None]


class UnforeseenError(Exception):
    """Nothing that anybody expects."""


@pytest.fixture
async def told() -> AsyncIterator[list[object]]:
    """What the event loop's exception handler was told."""
    loop, found = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: found.append(context.get("exception")))
    yield found
    loop.set_exception_handler(None)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Has the next call of a method raise what nobody expects."""

    def fail(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def once(self: object, *args: object, **kwargs: object) -> object:
            monkeypatch.setattr(owner, name, original)
            raise UnforeseenError

        monkeypatch.setattr(owner, name, once)

    return fail


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    """One with more patience than any test has."""
    async with RedisClient(redis_url, command_seconds=60) as client:
        yield client


async def ask(client: RedisClient, text: str) -> object:
    return await client.call("ask", "return ARGV[1]", [b"k"], [text])


async def all_hear_at_once(client: RedisClient, told: list[object]) -> None:
    """All who ask hear of the mistake, and whoever asks afterwards has another connection."""
    asked = [asyncio.create_task(ask(client, str(n))) for n in range(10)]
    async with asyncio.timeout(20):  # far below the client's patience
        answers = await asyncio.gather(*asked, return_exceptions=True)
    failed = [answer for answer in answers if not isinstance(answer, bytes)]
    assert failed
    for error in failed:
        assert isinstance(error, StoreUnavailableError)
        assert isinstance(error.__cause__, UnforeseenError)
    assert [type(error) for error in told] == [UnforeseenError]
    assert await ask(client, "after") == b"after"


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (driver.Connection, "take"),
        (driver.RawConnection, "write"),
        (driver.RawConnection, "expect"),
        (pipelined_connection.PipelinedConnection, "_next_batch"),
        (pipelined_connection.PipelinedConnection, "_hand_out"),
    ],
)
async def test_all_callers_hear_at_once_of_a_mistake_in_an_exchange(
    client: RedisClient, failing: Failing, told: list[object], owner: type, name: str
) -> None:
    assert await ask(client, "before") == b"before"
    failing(owner, name)
    await all_hear_at_once(client, told)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(driver.Connection, "ready"), (driver.Connection, "exchange"), (driver.RawConnection, "until")],
)
async def test_all_callers_hear_at_once_that_a_connections_task_ended(
    client: RedisClient, failing: Failing, told: list[object], owner: type, name: str
) -> None:
    """The first exchange is the task's, which connects."""
    failing(owner, name)
    await all_hear_at_once(client, told)


async def test_a_caller_that_leaves_disturbs_nobody(redis_client: RedisClient) -> None:
    """Its command is carried out, and its reply belongs to nobody else."""
    assert await ask(redis_client, "before") == b"before"
    leaving = asyncio.create_task(ask(redis_client, "left"))
    asked = [asyncio.create_task(ask(redis_client, str(n))) for n in range(10)]
    await asyncio.sleep(0)
    leaving.cancel()
    assert await asyncio.gather(*asked) == [b"%d" % n for n in range(10)]
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_script_that_the_server_forgot_is_loaded_again(redis_client: RedisClient, redis_url: str) -> None:
    assert await ask(redis_client, "before") == b"before"
    with redis.Redis.from_url(redis_url) as admin:
        admin.script_flush()
    asked = [asyncio.create_task(ask(redis_client, str(n))) for n in range(10)]
    assert await asyncio.gather(*asked) == [b"%d" % n for n in range(10)]


async def test_a_caller_hears_of_a_connections_task_that_ends_before_it_began(redis_url: str) -> None:
    """As when another event loop closes the store in the moment of the first call."""
    connection = pipelined_connection.PipelinedConnection(driver.Connection(Address(redis_url)), Scripts.load())
    replies: asyncio.Future[list[driver.Reply]] = asyncio.get_running_loop().create_future()
    ping = driver.Command.of("PING").packed
    connection.submit(pipelined_connection.Request("ask", [ping], [None], replies, connection.until(5)))
    connection.close_soon()
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailableError):
            await replies
    await connection.aclose()


async def test_a_failed_exchange_gives_its_connection_up(
    proxy: FaultProxy, failing: Failing, told: list[object]
) -> None:
    async with RedisClient(proxy.redis_url(), command_seconds=5) as client:
        assert await ask(client, "before") == b"before"
        assert isinstance(client._connections, pipeline.PipelinedConnections)
        (connection, *_) = client._connections._connections.get()
        raw = connection.connection._raw
        failing(driver.Connection, "take")
        with pytest.raises(StoreUnavailableError):
            await ask(client, "lost")
        assert not connection.connection.connected
        assert await ask(client, "after") == b"after"
        assert connection.connection._raw is not raw


async def test_who_waits_for_a_client_that_is_closed_hears_of_that(redis_client: RedisClient) -> None:
    waiting = asyncio.create_task(redis_client.call("wait", "while true do end", [b"k"]))
    proxied = [asyncio.create_task(ask(redis_client, str(n))) for n in range(5)]
    await asyncio.sleep(0)
    await redis_client.aclose()
    for task in (waiting, *proxied):
        with pytest.raises(StoreUnavailableError, match="closed"):
            await task


@pytest.mark.parametrize("name", ["_take", "_subscribe"])
async def test_subscribers_outlive_the_end_of_their_reader(
    redis_url: str, failing: Failing, told: list[object], name: str
) -> None:
    """Who watches is sent to the log, as after any other loss of the connection; then hints come again."""
    store = RedisStore(redis_url, command_seconds=5)
    try:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints):
            failing(subscriptions.Subscriptions, name)
            if name == "_subscribe":  # which is used again once the connection is gone
                log = store._log
                assert isinstance(log, RedisLog)
                log.channels._subscriptions.get()._connection._raw.transport.abort()  # type: ignore[union-attr]
            else:
                await put(store, ref, 1, b"a")
            await hints.until(lambda seen: Hint(0, (), False) in seen, description="the hint to look")
            number = 1 if name == "_subscribe" else 2
            await put(store, ref, number, b"b")
            await hints.until(lambda seen: seen[-1].first_seq == number, description="a hint again")
        assert [type(error) for error in told] == [UnforeseenError]
    finally:
        await store.aclose()


async def test_a_new_subscriber_hears_of_the_readers_end_at_once(
    redis_url: str, failing: Failing, told: list[object]
) -> None:
    store = RedisStore(redis_url, command_seconds=30)
    try:
        failing(subscriptions.Subscriptions, "_subscribe")
        async with asyncio.timeout(5):
            with pytest.raises(StoreUnavailableError):
                async with store.subscribe(StreamRef(SessionKey("ann", "s"), new_stream_id()), Hints()):
                    raise AssertionError("it was not confirmed")
        await wait_until_async(lambda: told != [], description="it is told")
    finally:
        await store.aclose()


async def test_the_caretaker_begins_anew(
    redis_url: str, failing: Failing, told: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "_IDLE_SECONDS", 0.05)
    store = RedisStore(redis_url, command_seconds=5)
    try:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints):
            failing(subscriptions.Subscriptions, "_probe")
            await wait_until_async(lambda: told != [], description="it failed")
            await hints.until(lambda seen: Hint(0, (), False) in seen, description="the hint to look")
            await put(store, ref, 1, b"a")
            await hints.until(lambda seen: seen[-1].first_seq == 1, description="a hint again")
    finally:
        await store.aclose()


@pytest.mark.long
async def test_subscribers_of_a_cluster_are_placed_again_after_a_mistake(
    redis_cluster: RedisCluster, redis_cluster_url: str, failing: Failing, told: list[object]
) -> None:
    store = RedisStore(redis_cluster_url, command_seconds=2.0)
    try:
        await store.start()
        ref, hints = await begin(store), Hints()
        channel = Keys("streamguard").stream(ref).data
        async with store.subscribe(ref, hints):
            failing(shard_subscriptions.ShardSubscriptions, "_placed")
            target = redis_cluster.migrate(channel)
            await wait_until_async(lambda: told != [], description="it failed")
            await wait_until_async(lambda: at_shards(redis_cluster, channel) == [target], description="it is placed")
            await put(store, ref, 1, b"a")
            await hints.until(lambda seen: seen[-1].first_seq == 1, description="a hint again")
    finally:
        await store.aclose()


async def test_requests_go_out_that_wait_behind_those_for_another_connection(redis_url: str) -> None:
    scripts = Scripts.load()
    connection = pipelined_connection.PipelinedConnection(driver.Connection(Address(redis_url)), scripts)

    def asked(times: int, *, only_on: int = 0) -> asyncio.Future[list[driver.Reply]]:
        packed = [driver.pack(("PING",))] * times
        _, replies = connection.ask("ask", packed, (None,) * times, 5, only_on=only_on)
        return replies

    try:
        async with asyncio.timeout(5):
            await asked(1)
            elsewhere = asked(pipelined_connection.EXCHANGE_COMMANDS, only_on=connection.connection.number + 1)
            other = asked(1)
            with pytest.raises(pipelined_connection.OtherConnectionError):
                await elsewhere
            assert await other == [b"PONG"]
    finally:
        await connection.aclose()


async def test_a_reply_that_nobody_asked_for_is_given_to_nobody() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(b"+PONG\r\n+MORE\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    address = Address(f"redis://{host}:{port}")
    connections = pipeline.OrderedConnection(address, Scripts.load(), command_seconds=5)
    try:
        for _ in range(2):  # each over a connection of its own
            assert await connections.run("ask", [driver.Command.of("PING")]) == [b"PONG"]
            assert connections.here.connection.number == 0
    finally:
        await connections.aclose()
        server.close()
