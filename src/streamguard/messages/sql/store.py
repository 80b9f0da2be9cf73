"""`SQLMessageStore`: messages in a database that SQLAlchemy speaks to.

Each step is one transaction, which first locks its session's row; so whoever waits for the lock sees all that came
before. Times are the database's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn

from sqlalchemy import RowMapping, and_, insert, or_, select, update
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...errors import (
    ConfigurationError,
    MessageConflictError,
    MessageNotFoundError,
    MessageStoreError,
)
from ...model import SessionKey
from ..base import Appended, Message, MessageStatus, MessageStore, StoredMessage
from ..content import check_ids
from .engines import Ids, clock_of, ids_of, make_engine, matching
from .failures import RaceLostError
from .loops import Engines
from .rows import ROW_COLUMNS, Draft, decode_rows, decode_writers
from .schema import create_missing, examine
from .sessions import Sessions
from .tables import MessageTables
from .transactions import Transactions

__all__ = ["SQLMessageStore"]

_LARGEST_POSITION: Final = 2**31 - 1

_CREATE_ATTEMPTS: Final = 3
"""Creating tables is no atomic step: of two processes that do, one may find a table that came in between."""


class SQLMessageStore(MessageStore):
    """Keeps messages in SQLite, PostgreSQL, MySQL or MariaDB.

    A call that is cancelled ends once its connection is in order: at once where nothing hangs, in two seconds where the
    server does not answer; on SQLite, when its statement has the lock it waits for.

    A store may be made when a module is imported: each event loop and each forked process gets connections of its own.

    Args:
        engine_or_url: A host's engine, which stays the host's to dispose of; or an SQLAlchemy URL with an asyncio
            driver, of which this store makes an engine of its own, disposed of by `aclose`.
        tables: Where to store; by default `MessageTables()`. They must exist: see `create_tables`.
        ttl_seconds: How long a session lives after the last write to it, in seconds; None for ever. Ended sessions are
            never seen again; `delete_expired` frees their space.
        timeout_seconds: How long one call may take in all, waiting for a connection included, in seconds. Closing a
            connection that does not answer may take two more. On SQLite the waits are the engine's: its `timeout`
            for a lock (a little under `timeout_seconds` for an engine made here) and its `pool_timeout`.

    Raises:
        ConfigurationError: another database, no asyncio driver, one that is not installed, or a number that is not
            positive.
    """

    may_forbid: bool = False

    def __init__(
        self,
        engine_or_url: AsyncEngine | URL | str,
        *,
        tables: MessageTables | None = None,
        ttl_seconds: float | None = None,
        timeout_seconds: float = 5.0,
    ) -> None:
        if not timeout_seconds > 0 or (ttl_seconds is not None and not ttl_seconds > 0):
            raise ConfigurationError("timeout_seconds is a positive number, ttl_seconds one or None")
        remake: Callable[[], AsyncEngine] | None = None
        if isinstance(engine_or_url, AsyncEngine):
            engine = engine_or_url
        elif isinstance(engine_or_url, str | URL):
            remake = partial(make_engine, engine_or_url, timeout_seconds=timeout_seconds)
            engine = remake()
        else:
            raise ConfigurationError("SQLMessageStore takes an AsyncEngine or a URL; see sqlalchemy.ext.asyncio")
        self._clock = clock_of(engine)
        self._engine = engine
        self._engines = Engines(engine, remake)
        self._owns_engine = remake is not None
        breakable = engine.dialect.name != "sqlite"
        self._run = Transactions(self._engines, breakable=breakable, timeout_seconds=timeout_seconds).run
        self._endless = ttl_seconds is None
        self.tables: MessageTables = MessageTables() if tables is None else tables
        self._sessions = Sessions(self.tables, self._clock, ttl_seconds)

    async def start(self) -> list[str]:
        """Connect once. Warns of an unreachable database, of tables or columns that are missing, and of a MySQL
        connection whose character set cannot carry every text."""
        try:
            return await self._run("start", lambda connection: examine(connection, self.tables))
        except MessageStoreError as exc:
            return [f"{exc}: messages cannot be saved until it answers"]

    async def aclose(self) -> None:
        """Close every connection of the engine this store made for the running loop; a host's engine is left alone."""
        if self._owns_engine:
            await self._engines.dispose()

    async def create_tables(self) -> None:
        """Create the tables that are missing. Those that are there are left as they are, whatever they look like.

        Raises:
            MessageStoreError: the database cannot be reached, or refused.
        """
        for attempt in range(_CREATE_ATTEMPTS):
            try:
                await self._run("create_tables", lambda connection: create_missing(connection, self.tables))
            except MessageStoreError:
                if attempt == _CREATE_ATTEMPTS - 1:
                    raise
            else:
                break

    async def delete_expired(self, *, limit: int = 1000) -> int:
        """Delete sessions whose time to live is over, at most `limit` of them. Returns how many.

        Something should call it now and then where `ttl_seconds` is set; several may at once.
        """
        deleted = 0
        for ids in await self._run("delete_expired", lambda connection: self._sessions.ended(connection, limit)):

            async def step(connection: AsyncConnection, ids: Ids = ids) -> bool:
                session = await self._sessions.lock(connection, ids)
                # Somebody may have written to it meanwhile, and so given it a new life, or deleted it.
                if session.alive or not session.exists:
                    return False
                await self._sessions.erase(connection, ids)
                return True

            deleted += await self._run("delete_expired", step)
        return deleted

    async def open_session(self, key: SessionKey) -> bool:
        check_ids("open_session", key)
        ids = ids_of(self._engine, key)

        async def step(connection: AsyncConnection) -> bool:
            session = await self._sessions.lock(connection, ids)
            if session.alive:
                await self._sessions.renew(connection, ids, session)
                return False
            if session.exists:
                await self._sessions.erase(connection, ids)
            await self._sessions.create(connection, ids, session.now)
            return True

        # Most sessions are there already, and opening one that never ends changes nothing.
        if self._endless and await self._run(
            "open_session", lambda connection: self._sessions.is_lasting(connection, ids)
        ):
            return False
        try:
            return await self._run("open_session", step)
        except RaceLostError:
            return False

    async def append(self, key: SessionKey, message: Message) -> Appended:
        check_ids("append", key, message.message_id, message.stream_id, message.continues, message.replies_to)
        draft = await Draft.of("append", message)
        ids = ids_of(self._engine, key, message.message_id)
        try:
            return await self._run("append", lambda connection: self._append(connection, ids, draft))
        except RaceLostError:
            # Somebody who does not take our lock has written to the tables. What is there now decides.
            return await self._run("append", lambda connection: self._append(connection, ids, draft))

    async def _append(self, connection: AsyncConnection, ids: Ids, draft: Draft) -> Appended:
        messages, message = self.tables.messages, draft.message
        session = await self._sessions.lock(connection, ids)
        if not session.alive:
            raise MessageNotFoundError("append: there is no such session; open it first", operation="append")
        query = select(messages.c.writers, messages.c.format_version).where(matching(messages, ids))
        row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            if message.continues is not None:
                _conflict("the message it continues is not there")
            own = {"position": session.last_position + 1, "created_at": session.now}
            await connection.execute(insert(messages).values({**ids, **own, **draft.columns([], session.now)}))
            await self._sessions.renew(connection, ids, session, added=1)
            return Appended.CREATED
        writers = decode_writers("append", row)
        answer = Appended.DUPLICATE
        if message.stream_id in dict(writers):
            if (message.stream_id, draft.digest) not in writers:
                _conflict("the same stream has stored it with other content")
        elif message.continues is None or message.continues != writers[-1][0]:
            _conflict("it is stored already, and not as what this one continues")
        else:
            changed = draft.columns(writers, session.now)
            await connection.execute(update(messages).where(matching(messages, ids)).values(changed))
            answer = Appended.CONTINUED
        await self._sessions.renew(connection, ids, session)
        return answer

    async def get(self, key: SessionKey, message_id: str) -> StoredMessage:
        check_ids("get", key, message_id)
        rows = await self._read("get", ids_of(self._engine, key, message_id), after=0, limit=1)
        if not rows:
            raise _no_message("get")
        (found,) = await decode_rows("get", rows)
        return found

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        check_ids("mark", key, message_id)
        messages, ids = self.tables.messages, ids_of(self._engine, key, message_id)

        async def step(connection: AsyncConnection) -> None:
            session = await self._sessions.lock(connection, ids)
            found = await connection.scalar(select(messages.c.position).where(matching(messages, ids)))
            if not session.alive or found is None:
                raise _no_message("mark")
            changed = {"status": status.value, "updated_at": session.now}
            await connection.execute(update(messages).where(matching(messages, ids)).values(changed))
            await self._sessions.renew(connection, ids, session)

        await self._run("mark", step)

    async def delete_session(self, key: SessionKey) -> None:
        check_ids("delete_session", key)
        ids = ids_of(self._engine, key)

        async def step(connection: AsyncConnection) -> None:
            await self._sessions.lock(connection, ids)
            await self._sessions.erase(connection, ids)

        await self._run("delete_session", step)

    async def _read(
        self, operation: str, ids: Ids, *, after: int, limit: int, backwards: bool = False
    ) -> Sequence[RowMapping]:
        """Messages of a session that lives."""
        messages, sessions = self.tables.messages, self.tables.sessions
        same = and_(messages.c.owner == sessions.c.owner, messages.c.session_id == sessions.c.session_id)
        lives = or_(sessions.c.expires_at.is_(None), sessions.c.expires_at > self._clock)
        query = (
            select(*(messages.c[name] for name in ROW_COLUMNS))
            .join(sessions, same)
            .where(matching(messages, ids), lives, messages.c.position > min(after, _LARGEST_POSITION))
            .order_by(messages.c.position.desc() if backwards else messages.c.position)
            .limit(limit)
        )

        async def step(connection: AsyncConnection) -> Sequence[RowMapping]:
            return (await connection.execute(query)).mappings().all()

        return await self._run(operation, step)

    async def list(self, key: SessionKey, *, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        check_ids("list", key)
        rows = await self._read("list", ids_of(self._engine, key), after=after, limit=limit)
        return await decode_rows("list", rows)

    async def last(self, key: SessionKey) -> StoredMessage | None:
        check_ids("last", key)
        rows = await self._read("last", ids_of(self._engine, key), after=0, limit=1, backwards=True)
        found = await decode_rows("last", rows)
        return found[0] if found else None


def _no_message(operation: str) -> MessageNotFoundError:
    return MessageNotFoundError(f"{operation}: there is no such message", operation=operation)


def _conflict(reason: str) -> NoReturn:
    raise MessageConflictError(f"append: {reason}", operation="append")
