"""A writer declares its log lost after its session was erased, and says so late: nothing of the stream comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import UNTOLD, Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.steps import begin, losing, new_stream, try_register

pytestmark = pytest.mark.anyio

STORES: dict[str, Callable[[str], StreamStore]] = {
    "memory": lambda url: MemoryStore(),
    "redis": lambda url: RedisStore(url, command_seconds=5),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, redis_url: str) -> StreamStore:
    return STORES[request.param](redis_url)


async def test_a_loss_that_is_long_on_its_way_does_not_undo_an_erasure(store: StreamStore) -> None:
    """Its age was true when it was sent: by the time it is carried out, the stream seems to have begun just now."""
    try:
        new = new_stream(age=0.0)
        await try_register(store, new)
        await store.erase(new.ref.key, mark_seconds=60)
        assert (await store.declare_lost(losing(new))).status is Status.GONE
        assert await store.meta(new.ref) is None
    finally:
        await store.aclose()


async def test_a_stream_that_begins_after_an_erasure_may_lose_its_log(store: StreamStore) -> None:
    try:
        erased = await begin(store)
        await store.erase(erased.key, mark_seconds=60)
        new = new_stream(erased.key)
        await try_register(store, new)
        assert (await store.declare_lost(losing(new))).status is Status.OK
        unheard = new_stream(erased.key)
        lost = losing(unheard)
        assert lost.epoch == UNTOLD
        assert (await store.declare_lost(lost)).status is Status.OK
    finally:
        await store.aclose()
