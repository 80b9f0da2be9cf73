"""Databases to test on: SQLite in a file, a real PostgreSQL and a real MariaDB, with tables of each test's own."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from streamguard.messages.sql import SQLMessageStore

from .places import Place, fresh_tables


@pytest.fixture(scope="session")
def _files() -> Iterator[Path]:
    """Where SQLite's files are: in memory if possible, since each commit waits for the disk, which others use too."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="streamguard-sqlite-", dir=memory if os.access(memory, os.W_OK) else None
    ) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def new_sqlite_url(_files: Path) -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"sqlite+aiosqlite:///{_files / str(next(numbers))}.db"


@pytest.fixture
def sqlite_url(new_sqlite_url: Callable[[], str]) -> str:
    """A file that does not exist yet."""
    return new_sqlite_url()


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
