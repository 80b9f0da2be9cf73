from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.redis import RedisServer


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server
        immortal = server.keys_without_ttl()
        assert not immortal, f"keys without a TTL: {immortal[:10]}"
