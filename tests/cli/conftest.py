from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streamguard.stores.redis import RedisStore


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    """A store where `redis_url` is, as a worker has one."""
    store = RedisStore(redis_url, command_seconds=5)
    assert await store.start() == []
    yield store
    await store.aclose()
