"""The memory store against the contract, and what only it promises: bounded memory, sessions forgotten in time."""

from __future__ import annotations

import pytest

from streamguard.errors import ConfigurationError, MessageNotFoundError, MessageUnavailableError
from streamguard.messages import Appended, MemoryMessageStore, MessageStatus, MessageStore
from streamguard.testing import MessageStoreSuite
from streamguard.testing._message_store.steps import asked, everything, fresh_key, opened, put, replied, texts

from .broken.bench import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestMemoryMessageStore(MessageStoreSuite):
    ttl_seconds = 60.0
    clock: Clock

    @pytest.fixture
    def store(self) -> MessageStore:
        self.clock = Clock()
        return MemoryMessageStore(ttl_seconds=self.ttl_seconds, clock=self.clock)

    async def advance(self, seconds: float) -> None:
        self.clock.now += seconds


class TestMemoryMessageStoreOnRealTime(MessageStoreSuite):
    """The suite as users run it on a store without a clock to turn."""

    ttl_seconds = 3.0

    @pytest.fixture
    def store(self) -> MessageStore:
        return MemoryMessageStore(ttl_seconds=self.ttl_seconds)


class TestMemoryMessageStoreThatKeepsEverything(MessageStoreSuite):
    """The suite without a TTL: the clauses about expiry are no tests of it."""

    @pytest.fixture
    def store(self) -> MessageStore:
        return MemoryMessageStore()


# -- what only a store in memory promises ----------------------------------------------------------------------------


async def test_a_full_store_refuses_what_is_new_and_keeps_what_it_has() -> None:
    store = MemoryMessageStore(max_bytes=10_000)
    key = await opened(store)
    first = replied("x" * 4000)
    await put(store, key, first)
    with pytest.raises(MessageUnavailableError) as caught:
        await store.append(key, replied("y" * 4000))
    assert caught.value.retryable
    assert "y" * 10 not in str(caught.value)
    assert texts(await everything(store, key)) == ["x" * 4000]
    assert await store.append(key, first) is Appended.DUPLICATE
    await store.mark(key, first.message_id, MessageStatus.PARTIAL)
    longer = replied("z" * 9000, message_id=first.message_id, continues=first.stream_id)
    with pytest.raises(MessageUnavailableError):
        await store.append(key, longer)
    assert (await store.get(key, first.message_id)).streams == (first.stream_id,)


async def test_a_full_store_opens_no_more_sessions() -> None:
    store = MemoryMessageStore(max_bytes=2500)
    keys = [await opened(store), await opened(store)]
    with pytest.raises(MessageUnavailableError):
        await store.open_session(fresh_key())
    assert not (await store.open_session(keys[0])).created


async def test_deleting_makes_room() -> None:
    store = MemoryMessageStore(max_bytes=10_000)
    for _ in range(5):
        key = await opened(store)
        await put(store, key, first := replied("x" * 3000))
        grown = replied("x" * 4000, message_id=first.message_id, continues=first.stream_id)
        assert await store.append(key, grown) is Appended.CONTINUED
        await store.delete_session(key)


async def test_expiry_makes_room(clock: Clock) -> None:
    store = MemoryMessageStore(ttl_seconds=60, max_bytes=10_000, clock=clock)
    for _ in range(5):
        await put(store, await opened(store), replied("x" * 4000))
        clock.now += 61


async def test_the_session_written_to_last_outlives_one_opened_later(clock: Clock) -> None:
    store = MemoryMessageStore(ttl_seconds=60, clock=clock)
    old, young = await opened(store), await opened(store)
    clock.now += 30
    await put(store, old, asked("one"))
    clock.now += 40
    assert texts(await everything(store, old)) == ["one"]
    with pytest.raises(MessageNotFoundError):
        await store.append(young, asked())


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_size_it_does_not_have_is_the_callers_mistake(limit: int) -> None:
    store = MemoryMessageStore()
    with pytest.raises(ValueError, match="limit"):
        await store.list(await opened(store), limit=limit)


@pytest.mark.parametrize("ttl_seconds", [0, -1, float("nan")])
async def test_a_ttl_is_positive(ttl_seconds: float) -> None:
    with pytest.raises(ConfigurationError):
        MemoryMessageStore(ttl_seconds=ttl_seconds)


async def test_it_needs_nothing_and_warns_of_nothing() -> None:
    store = MemoryMessageStore()
    assert await store.start() == []
    key = await opened(store)
    await put(store, key, asked("one"))
    await store.aclose()
    assert texts(await everything(store, key)) == ["one"]
