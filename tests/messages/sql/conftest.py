"""Databases to test on: SQLite in a file, a real PostgreSQL and a real MariaDB, with tables of each test's own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from streamguard.messages.sql import MessageTables, SQLMessageStore

from .places import Place


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def tables(_numbers: Iterator[int]) -> MessageTables:
    """Tables that no other test has; they do not exist yet."""
    return MessageTables(prefix=f"t{next(_numbers)}_")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'messages.db'}"


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Every database in turn."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    server = request.getfixturevalue("postgres_server" if request.param == "postgresql" else "mariadb_server")
    return str(server.url())


@pytest.fixture
async def place(database_url: str, tables: MessageTables) -> AsyncIterator[Place]:
    """The test's tables, created, on every database in turn; dropped afterwards."""
    async with Place(database_url, tables) as place:
        yield place


@pytest.fixture
async def store(place: Place) -> SQLMessageStore:
    return await place.store()
