"""The three contracts on every kind of Redis: a cluster, Sentinel, Redis 6.2 and 8, Valkey, TLS, an own account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import pytest
import redis

from streamguard.messages import MessageStore, RedisMessageStore
from streamguard.quota import QuotaStore, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.testing import MessageStoreSuite, QuotaStoreSuite, StreamStoreSuite

from ...harness.redis_fixtures import KINDS, RedisPlace
from ...quota.clocks import Clock, DatedClient

pytestmark = [pytest.mark.anyio, pytest.mark.repeats]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, redis_of_kind: Callable[[str], RedisPlace]) -> RedisPlace:
    """An empty database of each kind in turn."""
    return redis_of_kind(request.param)


class TestStreams(StreamStoreSuite):
    short_seconds = 0.2

    @pytest.fixture
    async def store(self, place: RedisPlace) -> AsyncIterator[StreamStore]:
        store = RedisStore(place.url, command_seconds=5)  # this machine may be busy
        assert await store.start() == []
        await store.ping()
        yield store
        await store.aclose()


class TestQuotas(QuotaStoreSuite):
    clock: Clock

    @pytest.fixture
    async def store(self, place: RedisPlace) -> AsyncIterator[QuotaStore]:
        self.clock = Clock()
        async with DatedClient(place.url, self.clock, command_seconds=5) as client:
            yield RedisQuotaStore(client)

    async def advance(self, seconds: float) -> None:
        self.clock.turn(seconds)


class TestMessages(MessageStoreSuite):
    ttl_seconds = 3600.0
    masters: list[redis.Redis]

    @pytest.fixture
    async def store(self, place: RedisPlace) -> AsyncIterator[MessageStore]:
        self.masters = place.clients
        async with RedisClient(place.url, command_seconds=5) as client:
            assert await client.start() == []
            yield RedisMessageStore(client, ttl_seconds=self.ttl_seconds)

    async def advance(self, seconds: float) -> None:
        """Redis has no clock to turn; its keys are aged instead."""

        def age() -> None:
            for master in self.masters:
                for name in master.scan_iter():
                    master.pexpire(name, master.pttl(name) - int(seconds * 1000))

        await anyio.to_thread.run_sync(age)
