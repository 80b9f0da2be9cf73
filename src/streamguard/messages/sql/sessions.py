"""The sessions table: locking, creating, renewing and erasing sessions. Every function is part of a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, cast

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from .engines import ResponseIds, matching, stored_id
from .tables import BYTES_FOR_IDS, MessageTables

__all__ = ["LockedSession", "Sessions"]

_MOST_MS: Final = 2**31 - 1
"""The longest time that PostgreSQL takes, in milliseconds."""


class _SQLiteConnection(Protocol):
    @property
    def in_transaction(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class LockedSession:
    """A session that no other transaction can write to until this transaction ends."""

    now: float
    """Unix time by the database's clock."""
    exists: bool
    """Whether the session has a row."""
    alive: bool = False
    """Whether the session exists and has not expired."""
    last_position: int = 0
    branch: int = 0
    """How often the session's history was superseded."""


class Sessions:
    """The statements of one store on its sessions.

    Args:
        tables: the tables of the store.
        clock: the database's clock, as an expression.
        ttl_seconds: how long a session lives after a write, in seconds; None: it never expires.
        idle_seconds: how long a transaction may stand still, in seconds. PostgreSQL ends it then, and releases its
            locks: a worker that is frozen, or whose machine is gone, would keep them for hours.
    """

    def __init__(
        self, tables: MessageTables, clock: ColumnElement[float], ttl_seconds: float | None, *, idle_seconds: float
    ) -> None:
        self._tables = tables
        self._table = tables.sessions
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        # A part of the statements that lock, so that it takes no round trip. It holds for this transaction only.
        self._idle_limit = func.set_config(
            "idle_in_transaction_session_timeout", str(min(max(1, round(idle_seconds * 1000)), _MOST_MS)), True
        )

    async def lock(self, connection: AsyncConnection, ids: ResponseIds) -> LockedSession:
        """Make this transaction the session's only writer. Call it before any read.

        On SQLite it locks the whole database. There a transaction that has read can never become a writer after another
        transaction has written.
        """
        sessions = self._table
        limits = (self._idle_limit,) if connection.dialect.name == "postgresql" else ()
        columns = (sessions.c.last_position, sessions.c.branch, sessions.c.expires_at, self._clock.label("now"))
        query = select(*columns, *limits).where(matching(sessions, ids))
        if connection.dialect.name == "sqlite":
            await self._lock_sqlite(connection, ids)
        else:
            if connection.dialect.name in BYTES_FOR_IDS:
                # Sets the level of this transaction only, and begins a transaction on a connection in autocommit. The
                # default level's gap locks would deadlock two transactions that open the same session.
                await connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
                await connection.exec_driver_sql("START TRANSACTION")
            query = query.with_for_update()
        row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            return LockedSession(await connection.scalar(select(self._clock, *limits)) or 0.0, exists=False)
        now, expires_at = row["now"], row["expires_at"]
        alive = expires_at is None or expires_at > now
        return LockedSession(now, exists=True, alive=alive, last_position=row["last_position"], branch=row["branch"])

    async def _lock_sqlite(self, connection: AsyncConnection, ids: ResponseIds) -> None:
        sessions = self._table
        raw = await connection.get_raw_connection()
        if cast("_SQLiteConnection", raw.driver_connection).in_transaction:
            # A host's event hook has begun the transaction, perhaps without a lock. Any write takes the lock, even if
            # it changes nothing.
            nothing = update(sessions).values(last_position=sessions.c.last_position)
            await connection.execute(nothing.where(matching(sessions, ids)))
        else:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")

    async def branch_of_lasting(self, connection: AsyncConnection, ids: ResponseIds) -> int | None:
        """The branch of a session that never expires; None if there is no such session. Takes no lock."""
        query = select(self._table.c.branch).where(matching(self._table, ids), self._table.c.expires_at.is_(None))
        branch: int | None = await connection.scalar(query)
        return branch

    async def create(self, connection: AsyncConnection, ids: ResponseIds, now: float) -> None:
        """Add the session, without messages."""
        times = {"created_at": now, "updated_at": now, "expires_at": self._end(now)}
        await connection.execute(insert(self._table).values({**ids, "last_position": 0, "branch": 0, **times}))

    async def renew(
        self,
        connection: AsyncConnection,
        ids: ResponseIds,
        session: LockedSession,
        *,
        added: int = 0,
        superseded: int = 0,
    ) -> None:
        """Restart its time to live, after `added` messages and `superseded` supersedings."""
        changed = {
            "updated_at": session.now,
            "expires_at": self._end(session.now),
            "last_position": session.last_position + added,
            "branch": session.branch + superseded,
        }
        await connection.execute(update(self._table).where(matching(self._table, ids)).values(changed))

    async def erase(self, connection: AsyncConnection, ids: ResponseIds) -> None:
        """Delete the session, its messages and its branches."""
        # Delete from all three tables: SQLite follows foreign keys only if the host has enabled that.
        for table in (self._tables.messages, self._tables.branches, self._table):
            await connection.execute(delete(table).where(matching(table, ids)))

    async def ended(self, connection: AsyncConnection, limit: int) -> tuple[ResponseIds, ...]:
        """At most `limit` expired sessions."""
        sessions = self._table
        query = select(sessions.c.owner, sessions.c.session_id).where(sessions.c.expires_at <= self._clock).limit(limit)
        rows, dialect = (await connection.execute(query)).mappings(), connection.dialect.name
        return tuple({name: stored_id(dialect, stored) for name, stored in row.items()} for row in rows)

    def _end(self, now: float) -> float | None:
        return None if self._ttl_seconds is None else now + self._ttl_seconds
