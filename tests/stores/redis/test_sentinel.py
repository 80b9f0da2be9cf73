"""A Redis behind Sentinel: found, followed through a failover, and named when it cannot be found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamguard.errors import NoMasterError, StoreError, StoreUnavailableError
from streamguard.stores import RedisClient
from streamguard.stores.appends import AppendReply
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis import sentinel as sentinel_module
from streamguard.stores.redis.sentinel import SentinelAddress
from streamguard.testing._stream_store.steps import Hints, begin, log, payloads, put
from streamguard.values import StreamRef

from ...harness.redis_fixtures import RedisPlace
from ...harness.redis_sentinel import SERVICE, RedisSentinels, Sentinel
from ...harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(url: str, *, command_seconds: float = 5.0) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, command_seconds=command_seconds)  # this machine may be busy
    try:
        yield store
    finally:
        await store.aclose()


async def append(store: RedisStore, ref: StreamRef, seq: int, payload: bytes) -> AppendReply:
    """Append, however often that takes: the same event twice is no other event."""

    async def appended() -> AppendReply | None:
        try:
            return await put(store, ref, seq, payload)
        except StoreError:
            return None

    is_appended: Callable[[], Awaitable[AppendReply | None] | AppendReply | None] = appended
    reply = await wait_until_async(is_appended, description="the event is appended")
    assert reply is not None
    return reply


def listeners(sentinels: RedisSentinels) -> list[Sentinel]:
    """The running sentinels that somebody listens to, once for each who does."""
    return [sentinel for sentinel in sentinels.sentinels if sentinel.running for _ in range(listeners_at(sentinel))]


def listeners_at(sentinel: Sentinel) -> int:
    answer = sentinel.command("CLIENT", "LIST")
    assert isinstance(answer, bytes)
    return sum(" sub=1 " in line for line in answer.decode().splitlines())


# -- finding the master -----------------------------------------------------------------------------------------------


async def test_the_master_is_found_and_used(redis_of_kind: Callable[[str], RedisPlace]) -> None:
    async with opened(redis_of_kind("redis_sentinels").url) as store:
        assert await store.start() == []
        await store.ping()
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints):
            await put(store, ref, 1, b"a")
            await hints.until(bool, description="the append's hint")
        assert payloads(await log(store, ref)) == [b"a"]


async def test_nothing_stays_connected_to_a_sentinel(redis_sentinels: RedisSentinels) -> None:
    async with opened(redis_sentinels.url) as store:
        await asyncio.gather(*(store.ping() for _ in range(5)))
        assert len(listeners(redis_sentinels)) == 1, "the one that hears of a new master"
    await wait_until_async(lambda: not listeners(redis_sentinels), description="that one is closed too")


async def test_one_sentinel_that_answers_is_enough(redis_sentinels: RedisSentinels) -> None:
    port = redis_sentinels.sentinels[0].port
    async with opened(f"redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:{port}/{SERVICE}") as store:
        await store.ping()


@pytest.mark.parametrize(
    ("hosts", "service", "reason", "text"),
    [
        ("127.0.0.1:1,127.0.0.1:2", SERVICE, "no_sentinel", "no sentinel answers"),
        ("127.0.0.1:{sentinel}", "other", "unknown_service", "no sentinel knows the service other"),
        ("127.0.0.1:1,127.0.0.1:{sentinel}", "other", "unknown_service", "no sentinel knows the service other"),
        ("127.0.0.1:{master}", SERVICE, "no_sentinel", "the servers named as sentinels are none"),
    ],
)
async def test_why_no_master_is_found_is_said(
    redis_sentinels: RedisSentinels, hosts: str, service: str, reason: str, text: str
) -> None:
    places = {"sentinel": redis_sentinels.sentinels[0].port, "master": redis_sentinels.master.port}
    url = f"redis+sentinel://user:hunter2@{hosts.format(**places)}/{service}"
    async with opened(url) as store:
        (warning,) = await store.start()
        assert text in warning
        assert "hunter2" not in warning
        with pytest.raises(NoMasterError) as caught:
            await store.ping()
        assert caught.value.reason == reason
        assert text in str(caught.value)
        assert caught.value.operation == "ping"


async def test_sentinels_that_are_silent_do_not_use_up_the_time_of_a_command(redis_sentinels: RedisSentinels) -> None:
    silent = redis_sentinels.sentinels[0]
    silent.pause()
    try:
        async with opened(redis_sentinels.url, command_seconds=1.0) as store:
            await store.ping()
        async with opened(f"redis+sentinel://127.0.0.1:{silent.port}/{SERVICE}", command_seconds=1.0) as store:
            with pytest.raises(NoMasterError) as caught:
                await store.ping()
            assert caught.value.reason == "no_sentinel"
    finally:
        silent.resume()


@pytest.mark.long
async def test_sentinels_may_have_a_password_of_their_own(own_redis_sentinels: Callable[..., RedisSentinels]) -> None:
    sentinels = own_redis_sentinels()
    for sentinel in sentinels.sentinels:
        sentinel.command("ACL", "SETUSER", "default", "resetpass", ">se/cret")
    sentinels.servers[0].command("CONFIG", "SET", "requirepass", "other")
    url = sentinels.url.replace("://", "://:other@")
    async with opened(f"{url}?sentinel_password=se%2Fcret") as store:
        await store.ping()
    for wrong in ("", "?sentinel_password=hunter2"):
        async with opened(url + wrong) as store:
            with pytest.raises(NoMasterError) as caught:
                await store.ping()
            assert caught.value.reason == "sentinel_login"
            assert "hunter2" not in str(caught.value)
    async with opened(sentinels.url.replace("://", "://:hunter2@") + "?sentinel_password=se%2Fcret") as store:
        with pytest.raises(StoreUnavailableError) as refused:
            await store.ping()
        assert not isinstance(refused.value, NoMasterError), "it is the master that refuses"
        assert "hunter2" not in str(refused.value)


async def test_the_documented_account_of_sentinels_suffices(redis_sentinels: RedisSentinels) -> None:
    """The command is the one of docs/how-to/redis.md."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "redis.md"
    (line,) = [line for line in page.read_text().splitlines() if line.startswith("ACL SETUSER streamguard ")]
    for sentinel in redis_sentinels.sentinels:
        sentinel.command(*line.replace("<password>", "se/cret").split())
    try:
        url = f"{redis_sentinels.url}?sentinel_username=streamguard&sentinel_password=se%2Fcret"
        async with opened(url) as store:
            await store.ping()
            assert len(listeners(redis_sentinels)) == 1
    finally:
        for sentinel in redis_sentinels.sentinels:
            sentinel.command("ACL", "DELUSER", "streamguard")


async def test_clients_of_quotas_and_messages_take_the_url(redis_of_kind: Callable[[str], RedisPlace]) -> None:
    async with RedisClient(redis_of_kind("redis_sentinels").url, command_seconds=5) as client:
        assert await client.start() == []
        assert await client.call("probe", "return redis.call('PING')", []) in (b"PONG", "PONG")


# -- following it -----------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("how", ["told", "killed"])
async def test_a_failover_is_followed_by_writers_and_readers(
    own_redis_sentinels: Callable[..., RedisSentinels], how: str
) -> None:
    sentinels = own_redis_sentinels(down_seconds=1)
    async with opened(sentinels.url) as writer, opened(sentinels.url) as reader:
        ref, hints = await begin(writer), Hints()
        async with reader.subscribe(ref, hints):
            await put(writer, ref, 1, b"a")
            await hints.until(bool, description="a hint from the first master")
            await asyncio.to_thread(sentinels.wait_until_settled)
            await asyncio.to_thread(sentinels.fail_over if how == "told" else sentinels.kill)
            old = sentinels.servers[0]
            assert how == "killed" or old.is_master, "it does not know yet, and would take writes that nobody keeps"
            heard = len(hints.seen)
            await append(writer, ref, 2, b"b")
            await hints.until(lambda seen: len(seen) > heard, description="a hint from the new one")
        assert payloads(await log(reader, ref)) == [b"a", b"b"]
        assert sentinels.master.client().dbsize() > 0


@pytest.mark.long
async def test_a_master_that_is_replaced_while_it_is_connected_to_is_not_used(
    own_redis_sentinels: Callable[..., RedisSentinels],
) -> None:
    """It takes itself for one for some seconds more; whatever it was told would be lost."""
    sentinels = own_redis_sentinels()
    old, address = sentinels.master, SentinelAddress(sentinels.url)
    old.pause()
    try:
        connecting = asyncio.create_task(address.connect())
        await wait_until_async(lambda: bool(listeners(sentinels)), description="it listens, and waits for the master")
        new = await asyncio.to_thread(sentinels.fail_over)
    finally:
        old.resume()
    raw = await connecting
    try:
        assert raw.transport.get_extra_info("peername")[1] == new.public_port
    finally:
        raw.close()


@pytest.mark.long
async def test_a_sentinel_may_go_before_the_master_does(own_redis_sentinels: Callable[..., RedisSentinels]) -> None:
    sentinels = own_redis_sentinels(down_seconds=1)
    async with opened(sentinels.url) as store:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        (heard,) = listeners(sentinels)
        heard.kill()
        await put(store, ref, 2, b"b")
        while not listeners(sentinels):  # another one, once the end of the first was seen
            await store.ping()
        await asyncio.to_thread(sentinels.kill)
        await append(store, ref, 3, b"c")
        assert payloads(await log(store, ref))[-1] == b"c"


@pytest.mark.long
async def test_a_sentinel_that_falls_silent_is_left(
    own_redis_sentinels: Callable[..., RedisSentinels], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection stays open, but nobody would hear of a new master on it."""
    monkeypatch.setattr(sentinel_module, "_PROBE_SECONDS", 0.1)
    sentinels = own_redis_sentinels()
    async with opened(sentinels.url) as store:
        await store.ping()
        (silent,) = listeners(sentinels)
        others = [sentinel for sentinel in sentinels.sentinels if sentinel is not silent]
        silent.pause()
        try:

            async def heard_elsewhere() -> bool:
                await store.ping()
                return any(listeners_at(sentinel) for sentinel in others)

            is_heard: Callable[[], Awaitable[bool] | bool] = heard_elsewhere
            await wait_until_async(is_heard, description="another sentinel is listened to")
        finally:
            silent.resume()


async def test_a_server_that_is_no_master_is_not_used(redis_sentinels: RedisSentinels) -> None:
    """A sentinel that is behind names a server that became a replica."""
    behind = Sentinel(redis_sentinels.replica.port, config={}, binary=redis_sentinels.master.binary, down_ms=60_000)
    with behind:
        async with opened(f"redis+sentinel://127.0.0.1:{behind.port}/{SERVICE}") as store:
            with pytest.raises(NoMasterError) as caught:
                await store.ping()
            assert caught.value.reason == "no_master"
        both = f"redis+sentinel://127.0.0.1:{behind.port},127.0.0.1:{redis_sentinels.sentinels[0].port}/{SERVICE}"
        async with opened(both) as store:
            await store.ping()
