"""The contract of streams, takeovers and resumed reads in it, on other clusters: Valkey, Redis 6.2 and 8, TLS; and on
sentinels behind TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.testing import StreamStoreSuite

from ...harness.redis_fixtures import CLUSTER_KINDS, RedisPlace

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


class TestStreams(StreamStoreSuite):
    short_seconds = 0.2

    @pytest.fixture(params=(*CLUSTER_KINDS, "redis_tls_sentinels"))
    async def store(
        self, request: pytest.FixtureRequest, redis_of_kind: Callable[[str], RedisPlace]
    ) -> AsyncIterator[StreamStore]:
        store = RedisStore(redis_of_kind(request.param).url, command_seconds=5)  # this machine may be busy
        assert await store.start() == []
        await store.ping()
        yield store
        await store.aclose()
