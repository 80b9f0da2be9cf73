"""The Redis message store against the contract, on a real Redis, and what only it promises: TTLs, keys, errors."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest

from streamguard.errors import (
    ConfigurationError,
    MessageCorruptError,
    MessageFormatError,
    MessageInvalidError,
    MessageTimeoutError,
    MessageUnavailableError,
)
from streamguard.messages import Appended, MessageStatus, MessageStore, RedisMessageStore
from streamguard.stores import RedisClient
from streamguard.testing import MessageStoreSuite
from streamguard.testing._message_store.steps import (
    asked,
    continued,
    everything,
    fresh_key,
    opened,
    put,
    replied,
    superseded,
    texts,
)
from streamguard.values import FORMAT_VERSION, SessionKey

from ..harness.proxy import FaultProxy
from ..harness.redis import RedisServer
from ..harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio

HOUR = 3600.0


@pytest.fixture
def store(redis_client: RedisClient) -> RedisMessageStore:
    return RedisMessageStore(redis_client, ttl_seconds=HOUR)


class TestRedisMessageStore(MessageStoreSuite):
    ttl_seconds = HOUR
    server: RedisServer
    database: int

    @pytest.fixture
    def store(self, redis_client: RedisClient, redis_server: RedisServer, redis_database: int) -> MessageStore:
        self.server, self.database = redis_server, redis_database
        return RedisMessageStore(redis_client, ttl_seconds=self.ttl_seconds)

    async def advance(self, seconds: float) -> None:
        """Redis has no clock to turn; its keys are aged instead."""

        def age() -> None:
            redis = self.server.client(self.database)
            for name in redis.scan_iter():
                redis.pexpire(name, redis.pttl(name) - int(seconds * 1000))

        await anyio.to_thread.run_sync(age)


async def test_a_session_really_expires(
    redis_client: RedisClient, redis_server: RedisServer, redis_database: int
) -> None:
    store = RedisMessageStore(redis_client, ttl_seconds=0.05)
    await put(store, await opened(store), asked())
    await wait_until_async(
        lambda: not list(redis_server.client(redis_database).scan_iter()), description="the session's key expires"
    )


# -- keys -------------------------------------------------------------------------------------------------------------


async def test_every_write_renews_the_only_key_of_the_session(
    store: RedisMessageStore, redis_server: RedisServer, redis_database: int
) -> None:
    redis = redis_server.client(redis_database)

    def check(step: str) -> None:
        (key,) = redis.keys()
        assert HOUR - 60 < redis.ttl(key) <= HOUR, f"after {step}"
        redis.pexpire(key, 10_000)

    key = await opened(store)
    check("creating the session")
    assert not (await store.open_session(key)).created
    check("opening the session")
    message = replied("one")
    await put(store, key, message)
    check("creating a message")
    assert await store.append(key, message) is Appended.DUPLICATE
    check("a duplicate")
    await put(store, key, continued(message, "two"))
    check("continuing")
    await store.mark(key, message.message_id, MessageStatus.PARTIAL)
    check("marking")
    for step in ("superseding", "superseding again"):
        await superseded(store, key, message.message_id, None, by="s")
        check(step)
    await store.delete_session(key)
    assert redis.keys() == []


async def test_no_id_from_outside_reaches_a_key(
    store: RedisMessageStore, redis_server: RedisServer, redis_database: int
) -> None:
    for hostile in ("a:b", "{}", "}{", "*", "a\0b", "a\r\nb", "é", "🌍" * 64, "x" * 256):
        key = SessionKey(hostile, hostile)
        await store.open_session(key)
        await put(store, key, asked(message_id=hostile))
    keys = [repr(name) for name in redis_server.client(redis_database).scan_iter()]
    assert len(keys) == 9
    for name in keys:
        assert re.fullmatch(r"b'streamguard:\{c\.[0-9a-f]{32}\}'", name)


async def test_namespaces_are_separate(redis_client: RedisClient) -> None:
    one, other = (RedisMessageStore(redis_client, ttl_seconds=HOUR, namespace=name) for name in ("one", "other"))
    key = await opened(one)
    await put(one, key, asked("one"))
    assert await everything(other, key) == []
    assert (await other.open_session(key)).created


async def test_two_processes_share_a_session(redis_client: RedisClient, redis_url: str) -> None:
    async with RedisClient(redis_url) as second:
        here, there = (RedisMessageStore(one, ttl_seconds=HOUR) for one in (redis_client, second))
        key = await opened(here)
        await put(here, key, asked("one"))
        await put(there, key, asked("two"))
        assert texts(await everything(here, key)) == texts(await everything(there, key)) == ["one", "two"]


# -- what this version cannot read ------------------------------------------------------------------------------------


async def test_what_a_later_version_wrote_is_left_as_it_is(
    store: RedisMessageStore, redis_server: RedisServer, redis_database: int
) -> None:
    redis = redis_server.client(redis_database)
    key = await opened(store)
    message = asked("one")
    await put(store, key, message)
    (name,) = redis.keys()
    redis.hset(name, "v", FORMAT_VERSION + 1)
    before = redis.hgetall(name)
    for call in (
        store.open_session(key),
        store.append(key, asked("two")),
        superseded(store, key, message.message_id),
        store.get(key, message.message_id),
        store.list(key),
        store.mark(key, message.message_id, MessageStatus.PARTIAL),
        store.delete_session(key),
    ):
        with pytest.raises(MessageFormatError, match="later version"):
            await call
    assert redis.hgetall(name) == before


async def test_a_key_that_something_else_wrote_is_reported(
    store: RedisMessageStore, redis_server: RedisServer, redis_database: int
) -> None:
    redis = redis_server.client(redis_database)
    key = await opened(store)
    (name,) = redis.keys()
    redis.delete(name)
    redis.set(name, "something else", ex=60)
    with pytest.raises(MessageInvalidError, match="something else"):
        await store.append(key, asked())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("p:1", "junk"),
        ("p:1", "{}"),
        ("x:1", "junk"),
        ("g:1", "junk"),
        ("i:q0", "junk"),
        ("br", "junk"),
    ],
)
async def test_damaged_branches_are_reported_and_can_be_deleted(
    store: RedisMessageStore, redis_server: RedisServer, redis_database: int, field: str, value: str
) -> None:
    redis = redis_server.client(redis_database)
    key = await opened(store)
    await put(store, key, asked(message_id="q0"), asked(message_id="q1"))
    await superseded(store, key, "q1", "a0", by="s")
    (name,) = redis.keys()
    redis.hset(name, field, value)
    before = redis.hgetall(name)
    with pytest.raises(MessageCorruptError):
        await store.append(key, replied(replies_to="q0", branch=0))
    assert redis.hgetall(name) == before
    await store.delete_session(key)
    assert redis.keys() == []


# -- failures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def fragile(proxy: FaultProxy, redis_database: int) -> AsyncIterator[RedisMessageStore]:
    async with RedisClient(proxy.redis_url(redis_database), command_seconds=0.4) as client:
        store = RedisMessageStore(client, ttl_seconds=HOUR)
        assert await store.start() == []
        yield store


@pytest.mark.parametrize("cut", [True, False], ids=["connection cut", "silence"])
async def test_an_append_whose_reply_was_lost_is_repeated_without_harm(
    fragile: RedisMessageStore, proxy: FaultProxy, cut: bool
) -> None:
    key = await opened(fragile)
    await put(fragile, key, asked("payload-0"))  # the server knows the script from now on
    message = replied("payload-1")
    proxy.lose_reply(b"payload-1", cut=cut)
    with pytest.raises(MessageUnavailableError if cut else MessageTimeoutError) as caught:
        await fragile.append(key, message)
    assert caught.value.operation == "append"
    assert await fragile.append(key, message) is Appended.DUPLICATE
    assert texts(await everything(fragile, key)) == ["payload-0", "payload-1"]


async def test_an_append_that_never_arrived_is_repeated(fragile: RedisMessageStore, proxy: FaultProxy) -> None:
    key = await opened(fragile)
    await put(fragile, key, asked("payload-0"))
    proxy.lose_request(b"payload-1")
    with pytest.raises(MessageUnavailableError):
        await fragile.append(key, asked("payload-1"))
    assert await fragile.append(key, asked("payload-1")) is Appended.CREATED


async def test_a_server_that_cannot_be_reached_is_a_warning_at_start_and_then_unavailable(
    own_redis: Callable[..., RedisServer],
) -> None:
    server = own_redis()
    server.kill()
    async with RedisClient(server.url) as client:
        store = RedisMessageStore(client, ttl_seconds=HOUR)
        (warning,) = await store.start()
        assert "nothing can be stored" in warning
        for call in (store.open_session(fresh_key()), store.list(fresh_key()), store.get(fresh_key(), "m")):
            with pytest.raises(MessageUnavailableError):
                await call
        server.start()
        await put(store, await opened(store), asked())


async def test_scripts_the_server_forgot_are_loaded_again(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    async with RedisClient(server.url) as client:
        store = RedisMessageStore(client, ttl_seconds=HOUR)
        await opened(store)
        server.client().script_flush()
        await put(store, await opened(store), asked())


async def test_a_full_server_is_unavailable(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(config={"maxmemory-policy": "noeviction"})
    async with RedisClient(server.url) as client:
        store = RedisMessageStore(client, ttl_seconds=HOUR)
        key = await opened(store)
        server.client().config_set("maxmemory", "1")
        with pytest.raises(MessageUnavailableError, match="OOM") as caught:
            await store.append(key, asked("hunter2"))
        assert "hunter2" not in str(caught.value)
        server.client().config_set("maxmemory", "0")
        await put(store, key, asked("hunter2"))


async def test_a_closed_client_is_unavailable(redis_url: str) -> None:
    async with RedisClient(redis_url) as client:
        store = RedisMessageStore(client, ttl_seconds=HOUR)
        key = await opened(store)
        await store.aclose()
        await put(store, key, asked())  # a store closes no client it did not make
    with pytest.raises(MessageUnavailableError, match="closed"):
        await store.append(key, asked())


@pytest.mark.parametrize("reply", [None, 7, b"\xff", [], [b"found", b"1"], [b"found", [1]], b"what?"])
async def test_an_answer_that_is_none_of_ours_is_reported(reply: object) -> None:
    class Odd:
        async def start(self) -> list[str]:
            return []

        async def call(self, *_: object) -> object:
            return reply

    store = RedisMessageStore(Odd(), ttl_seconds=HOUR)
    key = fresh_key()
    for call in (
        lambda: store.append(key, asked()),
        lambda: store.get(key, "m"),
        lambda: store.open_session(key),
    ):
        with pytest.raises(MessageInvalidError, match="damaged"):
            await call()
    if reply != []:
        with pytest.raises(MessageInvalidError, match="damaged"):
            await store.list(key)


async def test_the_account_documented_for_streams_suffices(own_redis: Callable[..., RedisServer]) -> None:
    """The rule is the one in docs/reference/redis.md."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "redis.md"
    (rule,) = [line for line in page.read_text().splitlines() if line.startswith("ACL SETUSER")]
    server = own_redis()
    server.client().execute_command(*rule.replace("<password>", "secret").split())  # type: ignore[no-untyped-call] # redis-py
    async with RedisClient(f"redis://streamguard:secret@127.0.0.1:{server.port}") as client:
        store = RedisMessageStore(client, ttl_seconds=HOUR)
        assert await store.start() == []
        key = await opened(store)
        message = replied("one")
        await put(store, key, message, continued(message, "one two"))
        await store.mark(key, message.message_id, MessageStatus.PARTIAL)
        assert texts([await store.get(key, message.message_id)]) == texts(await everything(store, key)) == ["one two"]
        await store.delete_session(key)


# -- construction -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl_seconds", [0, -1, 0.0001, 1e12, float("nan"), float("inf")])
async def test_a_life_no_key_can_have_is_refused(redis_url: str, ttl_seconds: float) -> None:
    with pytest.raises(ConfigurationError):
        RedisMessageStore(RedisClient(redis_url), ttl_seconds=ttl_seconds)


async def test_what_is_refused_never_reaches_redis(
    store: RedisMessageStore, redis_server: RedisServer, redis_database: int
) -> None:
    with pytest.raises(MessageInvalidError):
        await store.open_session(SessionKey("owner", "x" * 257))
    assert redis_server.client(redis_database).dbsize() == 0
