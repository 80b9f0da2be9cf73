"""The SQL store against the contract, on each database, with sessions that end. Clauses share their tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from streamguard.messages import MessageStore
from streamguard.testing import MessageStoreSuite

from ...harness.mariadb import MariaDBServer
from ...harness.postgres import PostgresServer
from .places import Place, fresh_tables

_TTL_SECONDS = 600.0


@pytest.fixture(scope="module")
async def on_sqlite(new_sqlite_url: Callable[[], str]) -> AsyncIterator[Place]:
    async with Place(new_sqlite_url(), fresh_tables(), ttl_seconds=_TTL_SECONDS) as place:
        yield place


@pytest.fixture(scope="module")
async def on_postgres(postgres_server: PostgresServer) -> AsyncIterator[Place]:
    async with Place(postgres_server.url(), fresh_tables(), ttl_seconds=_TTL_SECONDS) as place:
        yield place


@pytest.fixture(scope="module")
async def on_mariadb(mariadb_server: MariaDBServer) -> AsyncIterator[Place]:
    async with Place(mariadb_server.url(), fresh_tables(), ttl_seconds=_TTL_SECONDS) as place:
        yield place


class OnOneDatabase(MessageStoreSuite):
    """The suite on the database that it is put `at`; sessions age by a change in it."""

    __test__ = False
    ttl_seconds = _TTL_SECONDS
    place: Place

    def at(self, place: Place) -> MessageStore:
        self.place = place
        return place.main_store

    async def advance(self, seconds: float) -> None:
        await self.place.age(seconds)


class TestOnSQLite(OnOneDatabase):
    __test__ = True

    @pytest.fixture
    def store(self, on_sqlite: Place) -> MessageStore:
        return self.at(on_sqlite)


@pytest.mark.repeats
class TestOnPostgreSQL(OnOneDatabase):
    __test__ = True

    @pytest.fixture
    def store(self, on_postgres: Place) -> MessageStore:
        return self.at(on_postgres)


@pytest.mark.repeats
class TestOnMariaDB(OnOneDatabase):
    __test__ = True

    @pytest.fixture
    def store(self, on_mariadb: Place) -> MessageStore:
        return self.at(on_mariadb)
