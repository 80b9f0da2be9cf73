"""`SQLMessageStore`: messages in a database that SQLAlchemy speaks to.

Each step is one transaction. It first locks its session's row, so a step that waited for the lock sees every earlier
write. Times come from the database's clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import RowMapping, and_, insert, or_, select, update
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...durations import check_duration
from ...errors import ConfigurationError, MessageNotFoundError, MessageStoreError
from ...values import SessionKey
from ..branches import (
    LAST_POSITION,
    Superseding,
    addressed,
    appended_with,
    continues,
    cut_of,
    places,
    request_of,
    superseded_late,
    version_of,
)
from ..content import check_ids, check_superseding
from ..records import Appended, Message, MessageStatus, Opened, StoredMessage, Superseded
from ..store import MessageStore
from .branches import Branches
from .carrying import check_carried
from .engines import ResponseIds, clock_of, ids_of, make_engine, matching, stored_id
from .failures import RaceLostError
from .loops import Engines
from .rows import ROW_COLUMNS, Draft, decode_rows
from .schema import create_missing, examine
from .sessions import LockedSession, Sessions
from .tables import MessageTables
from .transactions import Transactions

__all__ = ["SQLMessageStore"]

T = TypeVar("T")

_CREATE_ATTEMPTS: Final = 3
"""Attempts at creating the tables. Creating is not atomic: another process may create a table between the check and
the statement."""


class SQLMessageStore(MessageStore):
    """Keeps messages in SQLite, PostgreSQL, MySQL or MariaDB.

    A cancelled call ends once its connection is in order: at once if nothing hangs, within two seconds if the server
    does not answer; on SQLite, when its statement gets the lock that it waits for.

    A store may be made when a module is imported: each event loop and each forked process gets its own connections.

    Args:
        engine_or_url: A host's engine, which the host disposes of; or an SQLAlchemy URL with an asyncio driver, from
            which this store makes its own engine, which `aclose` disposes of.
        tables: Where to store; by default `MessageTables()`. The tables must exist: see `create_tables`.
        ttl_seconds: How long a session lives after the last write to it, in seconds; None: it never expires. Expired
            sessions are never seen again; `delete_expired` frees their space.
        timeout_seconds: How long one call may take in all, waiting for a connection included, in seconds. Closing a
            connection that does not answer may take two seconds more. On SQLite the engine limits the waits: by its
            `timeout` for a lock (a little under `timeout_seconds` for an engine made here) and its `pool_timeout`.

    Raises:
        ConfigurationError: the database is not supported, the driver has no asyncio or is not installed, or a number is
            not positive.
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
        check_duration("timeout_seconds", timeout_seconds)
        check_duration("ttl_seconds", ttl_seconds, or_none=True)
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
        self._sessions = Sessions(self.tables, self._clock, ttl_seconds, idle_seconds=timeout_seconds)
        self._branches = Branches(self.tables)

    async def start(self) -> list[str]:
        """Connect once. Returns warnings: an unreachable database, missing tables or columns, or a MySQL connection
        whose character set cannot carry every text."""
        try:
            return await self._run("start", lambda connection: examine(connection, self.tables))
        except MessageStoreError as exc:
            return [f"{exc}: messages cannot be saved until it answers"]

    async def aclose(self) -> None:
        """Close all connections of the engine that this store made for the running loop. A host's engine stays open.

        Takes two seconds at most if the server does not answer; its connections are aborted then.
        """
        if self._owns_engine:
            await self._engines.dispose()

    async def create_tables(self) -> None:
        """Create the missing tables. Existing tables are never changed.

        Raises:
            MessageStoreError: the database cannot be reached, or it refused.
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
        """Delete at most `limit` expired sessions. Returns how many it deleted.

        Call it regularly if `ttl_seconds` is set. Several processes may call it at once.
        """
        deleted = 0
        for ids in await self._run("delete_expired", lambda connection: self._sessions.ended(connection, limit)):

            async def step(connection: AsyncConnection, ids: ResponseIds = ids) -> bool:
                session = await self._sessions.lock(connection, ids)
                # Another step may have written to the session meanwhile, which renews it, or may have deleted it.
                if session.alive or not session.exists:
                    return False
                await self._sessions.erase(connection, ids)
                return True

            deleted += await self._run("delete_expired", step)
        return deleted

    async def open_session(self, key: SessionKey) -> Opened:
        check_ids("open_session", key)
        ids = ids_of(self._engine, key)

        async def step(connection: AsyncConnection) -> Opened:
            session = await self._sessions.lock(connection, ids)
            if session.alive:
                await self._sessions.renew(connection, ids, session)
                return Opened(created=False, branch=session.branch)
            if session.exists:
                await self._sessions.erase(connection, ids)
            await self._sessions.create(connection, ids, session.now)
            return Opened(created=True, branch=0)

        # Most sessions exist already, and opening one that never expires changes nothing.
        if self._endless:
            branch = await self._run(
                "open_session", lambda connection: self._sessions.branch_of_lasting(connection, ids)
            )
            if branch is not None:
                return Opened(created=False, branch=branch)
        return await self._again_if_raced("open_session", step)

    async def _again_if_raced(self, operation: str, step: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        try:
            return await self._run(operation, step)
        except RaceLostError:
            # A writer that does not take our lock has written to the tables. Run the step again on the present rows.
            return await self._run(operation, step)

    async def append(self, key: SessionKey, message: Message) -> Appended:
        check_ids("append", key, message.message_id, message.stream_id, message.continues, message.replies_to)
        draft = await Draft.of("append", message)
        ids = ids_of(self._engine, key)
        return await self._again_if_raced("append", lambda connection: self._append(connection, ids, draft))

    async def _append(self, connection: AsyncConnection, ids: ResponseIds, draft: Draft) -> Appended:
        message = draft.message
        session = await self._locked(connection, "append", ids)
        branch = session.branch if message.branch is None else min(message.branch, session.branch)
        versions = await self._branches.versions(connection, "append", ids, message.message_id)
        version = version_of(message, branch, versions)
        if version is None:
            superseded = await self._superseded_late(connection, ids, message, branch)
            version = next((one for one in versions if one.superseded == superseded), None)
            if version is None:
                await self._insert(connection, "append", ids, draft, session, branch=branch, superseded=superseded)
                await self._sessions.renew(connection, ids, session, added=1)
                return Appended.CREATED if superseded is None else Appended.SUPERSEDED
        answer = Appended.DUPLICATE
        if continues(message, draft.digest, version):
            messages = self.tables.messages
            this = and_(matching(messages, ids), messages.c.position == version.position)
            changed = draft.columns(connection.dialect.name, version.writers, session.now)
            await check_carried(connection, "append", draft.content, str(changed["writers"]))
            await connection.execute(update(messages).where(this).values(changed))
            answer = Appended.CONTINUED
        await self._sessions.renew(connection, ids, session)
        return answer if version.superseded is None else Appended.SUPERSEDED

    async def _superseded_late(
        self, connection: AsyncConnection, ids: ResponseIds, message: Message, branch: int
    ) -> int | None:
        """The superseding that hides a message created in `branch`; None if the message is visible."""
        answered = await self._branches.versions(connection, "append", ids, message.replies_to)
        later = await self._branches.since(connection, "append", ids, branch)
        return superseded_late(message.message_id, branch, addressed(answered, branch), later)

    async def _locked(self, connection: AsyncConnection, operation: str, ids: ResponseIds) -> LockedSession:
        session = await self._sessions.lock(connection, ids)
        if not session.alive:
            raise MessageNotFoundError(f"{operation}: there is no such session; open it first", operation=operation)
        return session

    async def _insert(
        self,
        connection: AsyncConnection,
        operation: str,
        ids: ResponseIds,
        draft: Draft,
        session: LockedSession,
        *,
        branch: int,
        superseded: int | None,
    ) -> None:
        """Add a message at the session's next position."""
        await check_carried(connection, operation, draft.content)
        dialect = connection.dialect.name
        own = {
            "message_id": stored_id(dialect, draft.message.message_id),
            "position": session.last_position + 1,
            "created_at": session.now,
            "branch": branch,
            "superseded": superseded or 0,
        }
        values = {**ids, **own, **draft.columns(dialect, [], session.now)}
        await connection.execute(insert(self.tables.messages).values(values))

    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        check_superseding(key, by, start, after, message)
        draft = None if message is None else await Draft.of("supersede", message)
        request = request_of(start, after, message, None if draft is None else draft.digest)
        ids = ids_of(self._engine, key)

        async def step(connection: AsyncConnection) -> Superseded:
            session = await self._locked(connection, "supersede", ids)
            known = await self._branches.by(connection, ids, by)
            if known is not None:
                await self._sessions.renew(connection, ids, session)
                return known.answer(request)
            made = await self._supersede(connection, ids, session, start, after, draft, request)
            await self._branches.add(connection, ids, by, made, session.now)
            added = made.appended is Appended.CREATED
            await self._sessions.renew(connection, ids, session, added=int(added), superseded=1)
            return made.answer(request)

        return await self._again_if_raced("supersede", step)

    async def _supersede(
        self,
        connection: AsyncConnection,
        ids: ResponseIds,
        session: LockedSession,
        start: str | None,
        after: str | None,
        draft: Draft | None,
        request: str,
    ) -> Superseding:
        visible = await self._branches.visible(connection, "supersede", ids)
        standing = list(zip(places(visible), visible, strict=True))
        known = [
            one
            for one in (start, after)
            if one is not None and await self._branches.versions(connection, "supersede", ids, one)
        ]
        cut = cut_of(standing, start, after, known=known)
        hidden = [row for place, row in standing if place > cut]
        branch = session.branch + 1
        await self._branches.hide(connection, ids, branch, hidden)
        appended = None
        if draft is not None:
            versions = await self._branches.versions(connection, "supersede", ids, draft.message.message_id)
            staying = next((one for one in versions if one.superseded is None), None)
            appended = appended_with(draft.message, draft.digest, staying)
            if appended is Appended.CREATED:
                await self._insert(connection, "supersede", ids, draft, session, branch=branch, superseded=None)
        return Superseding(branch, start, after, request, cut, len(hidden), appended)

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        check_ids("get", key, message_id)
        ids = ids_of(self._engine, key, message_id)
        rows = await self._read("get", ids, limit=1)
        if not rows and branches:
            rows = await self._read("get", ids, limit=1, branches=True, backwards=True)
        if not rows:
            raise _no_message("get")
        (found,) = await decode_rows("get", rows)
        return found

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        check_ids("mark", key, message_id)
        messages, ids = self.tables.messages, ids_of(self._engine, key, message_id)

        async def step(connection: AsyncConnection) -> None:
            session = await self._sessions.lock(connection, ids)
            this = and_(matching(messages, ids), messages.c.superseded == 0)
            found = await connection.scalar(select(messages.c.position).where(this))
            if not session.alive or found is None:
                raise _no_message("mark")
            changed = {"status": status.value, "updated_at": session.now}
            await connection.execute(update(messages).where(this).values(changed))
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
        self,
        operation: str,
        ids: ResponseIds,
        *,
        limit: int,
        after: int = 0,
        branches: bool = False,
        backwards: bool = False,
    ) -> Sequence[RowMapping]:
        """Visible messages of a session that has not expired; with `branches`, all of its messages."""
        messages, sessions = self.tables.messages, self.tables.sessions
        same = and_(messages.c.owner == sessions.c.owner, messages.c.session_id == sessions.c.session_id)
        lives = or_(sessions.c.expires_at.is_(None), sessions.c.expires_at > self._clock)
        query = (
            select(*(messages.c[name] for name in ROW_COLUMNS))
            .join(sessions, same)
            .where(matching(messages, ids), lives, messages.c.position > min(after, LAST_POSITION))
            .order_by(messages.c.position.desc() if backwards else messages.c.position)
            .limit(limit)
        )
        if not branches:
            query = query.where(messages.c.superseded == 0)

        async def step(connection: AsyncConnection) -> Sequence[RowMapping]:
            return (await connection.execute(query)).mappings().all()

        return await self._run(operation, step)

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        check_ids("list", key)
        rows = await self._read("list", ids_of(self._engine, key), after=after, limit=limit, branches=branches)
        return await decode_rows("list", rows)

    async def last(self, key: SessionKey) -> StoredMessage | None:
        check_ids("last", key)
        rows = await self._read("last", ids_of(self._engine, key), limit=1, backwards=True)
        found = await decode_rows("last", rows)
        return found[0] if found else None


def _no_message(operation: str) -> MessageNotFoundError:
    return MessageNotFoundError(f"{operation}: there is no such message", operation=operation)
