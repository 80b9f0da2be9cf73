"""The store on a cluster of three masters: the published suite, and that nothing goes to the wrong server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.testing import StreamStoreSuite

pytestmark = pytest.mark.anyio


class TestClusterStore(StreamStoreSuite):
    short_seconds = 0.2

    @pytest.fixture
    async def store(self, redis_cluster_url: str) -> AsyncIterator[StreamStore]:
        store = RedisStore(redis_cluster_url, command_seconds=10)
        await store.start()
        yield store
        await store.aclose()
