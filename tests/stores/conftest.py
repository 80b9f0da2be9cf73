from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness.redis import RedisServer


@pytest.fixture
def check(redis_server: RedisServer, redis_database: int) -> Callable[[str], None]:
    """Asserts after a step that there are keys, and that each has a TTL: `check("append")`."""

    def check(step: str) -> None:
        assert not redis_server.keys_without_ttl(redis_database), f"after {step}"
        assert redis_server.client(redis_database).dbsize() > 0

    return check
