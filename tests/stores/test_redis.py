"""The Redis store against the contract, on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streamguard.stores.base import StreamStore
from streamguard.stores.redis import RedisStore
from streamguard.testing import StreamStoreSuite

pytestmark = pytest.mark.anyio


class TestRedisStore(StreamStoreSuite):
    short_seconds = 0.1

    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[StreamStore]:
        store = RedisStore(redis_url)
        assert await store.start() == []
        yield store
        await store.aclose()
