"""A clock that tests of quotas turn, instead of waiting for a reservation's end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ..harness.redis import RedisServer
from .clocks import ServerClock, TurnedClient


@pytest.fixture
def clock(redis_server: RedisServer, redis_database: int) -> ServerClock:
    return ServerClock(redis_server.client(redis_database))


@pytest.fixture
async def turned(redis_url: str, clock: ServerClock) -> AsyncIterator[TurnedClient]:
    """Goes by `clock`."""
    async with TurnedClient(redis_url, command_seconds=5) as client:
        yield client
