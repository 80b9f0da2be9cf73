"""A Redis of these tests' own: what others ask of theirs meanwhile would be counted too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.redis import RedisServer


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server
