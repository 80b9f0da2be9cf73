"""The SQL store against the contract, on each database."""

from __future__ import annotations

import pytest

from streamguard.messages import MessageStore
from streamguard.testing import MessageStoreSuite

from .places import Place


class TestOnEveryDatabase(MessageStoreSuite):
    """On SQLite in a file, PostgreSQL and MariaDB, with sessions that end."""

    ttl_seconds = 600.0
    place: Place

    @pytest.fixture
    async def store(self, place: Place) -> MessageStore:
        self.place = place
        return await place.store(ttl_seconds=self.ttl_seconds)

    async def advance(self, seconds: float) -> None:
        await self.place.age(seconds)
