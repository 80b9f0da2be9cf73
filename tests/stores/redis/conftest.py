"""Stores on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streamguard.stores.redis import RedisStore, append_gate
from streamguard.stores.redis.scripts import Scripts

from .plain_writer import Make


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    """A store straight on Redis, as a worker has one."""
    store = RedisStore(redis_url, command_seconds=5)  # this machine may be busy
    assert await store.start() == []
    yield store
    await store.aclose()


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    monkeypatch.setattr(append_gate, "LONGEST_SECONDS", 60.0)  # this machine may be busy
    stores = []

    async def make(url: str, scripts: Scripts | None = None) -> RedisStore:
        store = RedisStore(url, command_seconds=10, scripts=scripts)
        await store.start()
        stores.append(store)
        return store

    yield make
    for store in stores:
        await store.aclose()
