"""A store for each test, in memory and on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore

Stores = Callable[[], StreamStore]


@pytest.fixture(params=["memory", "redis"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """Gives every worker its way to one shared store; a worker closes its own."""
    if request.param == "memory":
        memory = MemoryStore()
        yield lambda: memory
    else:
        url = request.getfixturevalue("redis_url")
        yield lambda: RedisStore(url, command_seconds=2.0)


@pytest.fixture
async def look(stores: Stores) -> AsyncIterator[StreamStore]:
    """One more way to the shared store, for the test itself."""
    store = stores()
    await store.start()
    yield store
    await store.aclose()


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()
