"""A place to store messages: tables in a database, and what tests do to them behind a store's back."""

from __future__ import annotations

import itertools
from types import TracebackType
from typing import Self

import anyio.to_thread
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streamguard.messages.sql import MessageTables, SQLMessageStore

__all__ = ["PATIENT_SECONDS", "Place", "fresh_tables"]

PATIENT_SECONDS = 15.0
"""A store's timeout where none is tested: this machine may be busy."""

_numbers = itertools.count(1)


def fresh_tables() -> MessageTables:
    """Tables that no other test has; they do not exist yet."""
    return MessageTables(prefix=f"t{next(_numbers)}_")


class Place:
    """Tables that exist while this is open, a store on them, and an engine of the test's own."""

    main_store: SQLMessageStore

    def __init__(self, url: str, tables: MessageTables, *, ttl_seconds: float | None = None) -> None:
        self.url = url
        self.tables = tables
        self.engine: AsyncEngine = create_async_engine(url)
        self._ttl_seconds = ttl_seconds
        self._stores: list[SQLMessageStore] = []

    @property
    def prefix(self) -> str:
        """What the tables' names begin with."""
        return self.tables.sessions.name.removesuffix("sessions")

    async def __aenter__(self) -> Self:
        self.main_store = await self.store(ttl_seconds=self._ttl_seconds)
        await self.main_store.create_tables()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for store in self._stores:
            await store.aclose()
        async with self.engine.begin() as connection:
            await connection.run_sync(self.tables.metadata.drop_all)
        await self.engine.dispose()

    async def store(
        self,
        url_or_engine: str | AsyncEngine | None = None,
        *,
        ttl_seconds: float | None = None,
        timeout_seconds: float = PATIENT_SECONDS,
    ) -> SQLMessageStore:
        """One more store on these tables, by default with an engine of its own; closed at the end."""

        def construct() -> SQLMessageStore:
            return SQLMessageStore(
                url_or_engine or self.url, tables=self.tables, ttl_seconds=ttl_seconds, timeout_seconds=timeout_seconds
            )

        # In a thread, since it imports the driver and looks for SQLite's file: a host does so before its loop runs.
        store = await anyio.to_thread.run_sync(construct)
        self._stores.append(store)
        return store

    async def age(self, seconds: float) -> None:
        """Let every session be `seconds` older."""
        sessions = self.tables.sessions
        async with self.engine.begin() as connection:
            await connection.execute(update(sessions).values(expires_at=sessions.c.expires_at - seconds))
