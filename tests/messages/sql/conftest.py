"""Databases to test on: SQLite in a file, a real PostgreSQL and a real MariaDB, with tables of each test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamguard.messages.sql import SQLMessageStore

from .places import Place, fresh_tables


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
async def place(database_url: str) -> AsyncIterator[Place]:
    """Tables of the test's own, created, on every database in turn; dropped afterwards."""
    async with Place(database_url, fresh_tables()) as place:
        yield place


@pytest.fixture
def store(place: Place) -> SQLMessageStore:
    return place.main_store
