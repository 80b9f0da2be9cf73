"""What drivers and SQLAlchemy raise, in the words of the contract; and rows that cannot be read."""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from collections.abc import Iterator
from typing import Any

import asyncmy.errors
import asyncpg  # type: ignore[import-untyped]  # it has no type information
import pytest
import sqlalchemy.exc
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streamguard.errors import (
    MessageCorruptError,
    MessageFormatError,
    MessageInvalidError,
    MessageStoreError,
    MessageTimeoutError,
    MessageUnavailableError,
)
from streamguard.messages import MessageStatus
from streamguard.messages.sql import SQLMessageStore
from streamguard.messages.sql.failures import RaceLostError, as_message_error, mapped_errors
from streamguard.messages.sql.refusals import EXPLAINED
from streamguard.testing._message_store.steps import asked, everything, fresh_key, opened, put, replied, superseded
from streamguard.unavailable import UnavailableReason
from streamguard.values import FORMAT_VERSION, SessionKey

from ...harness.mariadb import MariaDBServer
from ...harness.ports import free_port
from ...harness.postgres import PostgresServer
from .places import Place, fresh_tables

pytestmark = pytest.mark.anyio


def _below(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for child in root.__subclasses__():
        yield from _below(child)


def _raised() -> Iterator[Exception]:
    """One of each exception a driver has."""
    for kind in {*_below(asyncpg.PostgresError), *_below(asyncpg.InterfaceError), *_below(sqlite3.Error)}:
        if issubclass(kind, Exception) and kind.__module__.partition(".")[0] in ("asyncpg", "sqlite3"):
            yield kind("text")
    for kind in _below(asyncmy.errors.MySQLError):
        if issubclass(kind, Exception) and kind.__module__ == "asyncmy.errors":
            yield kind(9999, "text")


@pytest.mark.parametrize("wrapped", [False, True])
def test_every_exception_of_the_drivers_has_a_meaning(wrapped: bool) -> None:
    every = list(_raised())
    assert len(every) > 200
    for raised in every:
        exc = sqlalchemy.exc.DBAPIError("SELECT secret", {"secret": 1}, raised) if wrapped else raised
        found = as_message_error("append", exc)
        assert isinstance(found, MessageStoreError), type(raised)
        assert "secret" not in str(found)
        assert "text" not in str(found)


def test_every_exception_of_sqlalchemy_has_a_meaning() -> None:
    for kind in _below(sqlalchemy.exc.SQLAlchemyError):
        if issubclass(kind, Exception):
            assert isinstance(as_message_error("append", kind.__new__(kind)), MessageStoreError), kind


def test_a_bug_is_not_the_databases_fault() -> None:
    with pytest.raises(ZeroDivisionError), mapped_errors("append"):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("raised", "meaning"),
    [
        (ConnectionRefusedError(), MessageUnavailableError),
        (asyncio.IncompleteReadError(b"", 1), MessageUnavailableError),
        (TimeoutError(), MessageUnavailableError),
        (sqlalchemy.exc.TimeoutError(), MessageUnavailableError),
        (sqlalchemy.exc.StatementError("", "SELECT", {}, ValueError()), MessageInvalidError),
    ],
)
def test_what_is_no_answer_of_the_database(raised: Exception, meaning: type[MessageStoreError]) -> None:
    assert type(as_message_error("append", raised)) is meaning


# -- what real databases say ------------------------------------------------------------------------------------------


async def test_an_error_shows_nothing_of_what_was_said(place: Place) -> None:
    engine = create_async_engine(place.url)  # which shows parameters, as they do by default
    store = await place.store(engine)
    key = await opened(store)
    async with place.engine.begin() as connection:
        await connection.execute(text(f"DROP TABLE {place.tables.messages.name}"))
        await connection.execute(
            text(f"CREATE VIEW {place.tables.messages.name} AS SELECT * FROM {place.tables.sessions.name}")
        )
    said = "hunter2"
    message = replied(said, message_id=said)
    with pytest.raises(MessageUnavailableError) as caught:
        await store.append(key, message)
    assert said not in "".join(traceback.format_exception(caught.value))
    async with place.engine.begin() as connection:
        await connection.execute(text(f"DROP VIEW {place.tables.messages.name}"))
    await engine.dispose()


async def test_an_id_with_a_nul_is_refused_by_postgresql(postgres_server: PostgresServer) -> None:
    async with Place(postgres_server.url(), fresh_tables()) as place:
        with pytest.raises(MessageInvalidError, match="22021"):
            await place.main_store.open_session(SessionKey("owner", "nul\0"))
        key = await opened(place.main_store)
        message = replied("nul \0 is fine in what is said")
        await put(place.main_store, key, message)
        assert (await place.main_store.get(key, message.message_id)).message == message


async def _engine_with(url: str, *, postgres: dict[str, str] | None = None, mysql: str | None = None) -> AsyncEngine:
    if postgres is not None:
        return create_async_engine(url, connect_args={"server_settings": postgres})
    return create_async_engine(url, connect_args={"init_command": mysql})


async def _locked_out(place: Place, engine: AsyncEngine) -> MessageStoreError:
    """What an append says while another transaction holds its session."""
    store = await place.store(engine)
    key = await opened(place.main_store)
    async with place.engine.begin() as connection:
        await connection.execute(select(place.tables.sessions).with_for_update())
        with pytest.raises(MessageStoreError) as caught:
            await store.append(key, asked("one"))
    await engine.dispose()
    return caught.value


async def test_a_lock_that_does_not_come_is_worth_another_try(
    postgres_server: PostgresServer, mariadb_server: MariaDBServer
) -> None:
    async with Place(postgres_server.url(), fresh_tables()) as place:
        error = await _locked_out(place, await _engine_with(place.url, postgres={"lock_timeout": "50ms"}))
        assert (type(error), "55P03" in str(error)) == (MessageUnavailableError, True)
        error = await _locked_out(place, await _engine_with(place.url, postgres={"statement_timeout": "50ms"}))
        assert (type(error), "57014" in str(error)) == (MessageUnavailableError, True)
    async with Place(mariadb_server.url(), fresh_tables()) as place:
        error = await _locked_out(place, await _engine_with(place.url, mysql="SET innodb_lock_wait_timeout=0"))
        assert (type(error), "1205" in str(error)) == (MessageUnavailableError, True)


async def test_a_lock_that_does_not_come_costs_a_call_its_timeout(
    postgres_server: PostgresServer, mariadb_server: MariaDBServer
) -> None:
    for server in (postgres_server, mariadb_server):
        async with Place(server.url(), fresh_tables()) as place:
            key = await opened(place.main_store)
            store = await place.store(timeout_seconds=0.3)
            async with place.engine.begin() as connection:
                await connection.execute(select(place.tables.sessions).with_for_update())
                with pytest.raises(MessageTimeoutError):
                    await store.append(key, asked("one"))
            await put(store, key, asked("two"))


async def test_a_locked_sqlite_file_is_worth_another_try(sqlite_url: str) -> None:
    async with Place(sqlite_url, fresh_tables()) as place:
        key = await opened(place.main_store)
        store = await place.store(timeout_seconds=0.2)
        async with place.engine.connect() as connection:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(MessageUnavailableError, match="SQLITE_BUSY") as locked:
                await store.append(key, asked("one"))
            assert locked.value.reason is UnavailableReason.LOCKED
        await put(store, key, asked("two"))


async def test_a_database_that_only_reads_refuses_for_now(postgres_server: PostgresServer) -> None:
    async with Place(postgres_server.url(), fresh_tables()) as place:
        store = await place.store(await _engine_with(place.url, postgres={"default_transaction_read_only": "on"}))
        with pytest.raises(MessageUnavailableError, match="25006") as caught:
            await store.open_session(fresh_key())
        assert caught.value.reason is UnavailableReason.READ_ONLY
        await store._engine.dispose()


async def test_a_full_pool_is_worth_another_try(place: Place) -> None:
    engine = create_async_engine(place.url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    store = await place.store(engine)
    key = await opened(store)
    async with engine.connect():
        with pytest.raises(MessageUnavailableError, match="every connection of the pool is in use") as full:
            await store.append(key, asked("one"))
        assert full.value.reason is UnavailableReason.POOL_FULL
    await put(store, key, asked("two"))
    await engine.dispose()


async def test_a_constraint_of_the_hosts_own_refuses_for_good(place: Place) -> None:
    if place.url.startswith("sqlite"):
        return  # it cannot add a constraint to a table
    async with place.engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE {place.tables.messages.name} ADD CHECK (position < 2)"))
    key = await opened(place.main_store)
    await put(place.main_store, key, asked("one"))
    with pytest.raises(MessageInvalidError):
        await place.main_store.append(key, asked("two"))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("53300", UnavailableReason.TOO_MANY_CONNECTIONS),
        ("53100", UnavailableReason.DISK_FULL),
        ("40P01", UnavailableReason.DEADLOCK),
        ("57P03", UnavailableReason.STARTING),
        ("28P01", UnavailableReason.WRONG_PASSWORD),
        ("3D000", UnavailableReason.NO_DATABASE),
        ("42P01", UnavailableReason.TABLES_MISSING),
        ("XX000", UnavailableReason.OTHER),
        (1040, UnavailableReason.TOO_MANY_CONNECTIONS),
        (1021, UnavailableReason.DISK_FULL),
        (1213, UnavailableReason.DEADLOCK),
        (1049, UnavailableReason.NO_DATABASE),
        ("SQLITE_BUSY_SNAPSHOT", UnavailableReason.LOCKED),
        ("SQLITE_FULL", UnavailableReason.DISK_FULL),
    ],
)
def test_a_code_of_a_database_says_why_and_what_to_do(code: str | int, reason: UnavailableReason) -> None:
    raised: Any
    if isinstance(code, int):
        raised = asyncmy.errors.OperationalError(code, "what she said")
    else:
        raised = asyncpg.PostgresError("what she said")
        raised.sqlstate = code
    found = as_message_error("append", sqlalchemy.exc.OperationalError("INSERT", {}, raised))
    assert isinstance(found, MessageUnavailableError)
    assert (found.reason, str(code) in str(found)) == (reason, True)
    assert EXPLAINED[reason] in str(found)
    assert "what she said" not in str(found)


def test_a_driver_that_cannot_connect_says_why() -> None:
    refused = asyncmy.errors.OperationalError(2003, "Can't connect to MySQL server on 'secret'")
    refused.__cause__ = ConnectionRefusedError(111, "secret")
    wrapped = sqlalchemy.exc.OperationalError("INSERT", {}, refused)
    for error in (refused, wrapped, ConnectionRefusedError(111, "secret")):
        found = as_message_error("append", error)
        assert isinstance(found, MessageUnavailableError)
        assert found.reason is UnavailableReason.CONNECTION_REFUSED
        assert "secret" not in str(found)


async def test_a_database_that_is_away_says_why() -> None:
    store = SQLMessageStore(f"mysql+asyncmy://ann:secret@127.0.0.1:{free_port()}/none")
    with pytest.raises(MessageUnavailableError, match="nothing listens at its address") as caught:
        await store.open_session(fresh_key())
    assert caught.value.reason is UnavailableReason.CONNECTION_REFUSED
    await store.aclose()


async def test_a_database_that_is_not_there_is_told_from_missing_tables(postgres_server: PostgresServer) -> None:
    async with Place(postgres_server.url(), fresh_tables()) as place:
        url = sqlalchemy.make_url(place.url).set(database="no_such_database")
        store = SQLMessageStore(url)
        with pytest.raises(MessageUnavailableError) as caught:
            await store.open_session(fresh_key())
        assert caught.value.reason is UnavailableReason.NO_DATABASE
        await store.aclose()


def test_a_text_the_driver_cannot_encode_is_refused_for_good() -> None:
    raised = asyncpg.DataError("text")
    raised.__cause__ = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
    wrapped = sqlalchemy.exc.DBAPIError("INSERT", {}, raised)
    assert type(as_message_error("append", wrapped)) is MessageInvalidError


def test_a_row_of_the_same_key_is_a_race() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a PRIMARY KEY)")
    connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError) as caught:
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()
    wrapped = sqlalchemy.exc.IntegrityError("INSERT", {}, caught.value)
    assert isinstance(as_message_error("append", wrapped), RaceLostError)


# -- rows ------------------------------------------------------------------------------------------------------------


async def test_a_message_of_a_newer_version_waits_for_a_worker_that_reads_it(place: Place) -> None:
    store, messages = place.main_store, place.tables.messages
    key, message = await opened(store), replied("one")
    await put(store, key, message)
    async with place.engine.begin() as connection:
        await connection.execute(update(messages).values(format_version=FORMAT_VERSION + 1, content="v2"))
    hides_it = superseded(store, key, message.message_id)
    for call in (store.get(key, message.message_id), store.list(key), store.append(key, message), hides_it):
        with pytest.raises(MessageFormatError, match="newer version"):
            await call
    async with place.engine.connect() as connection:
        assert await connection.scalar(select(messages.c.content)) == "v2"
    await put(store, key, asked("the session goes on"))


@pytest.mark.parametrize("column", ["content", "writers"])
async def test_a_damaged_row_is_told_from_one_that_is_missing(place: Place, column: str) -> None:
    store = place.main_store
    key, message = await opened(store), replied("one")
    await put(store, key, message)
    async with place.engine.begin() as connection:
        await connection.execute(update(place.tables.messages).values({column: "{"}))
    with pytest.raises(MessageInvalidError, match="damaged"):
        await store.get(key, message.message_id)


async def test_damaged_branches_are_reported_and_can_be_deleted(place: Place) -> None:
    store = place.main_store
    key = await opened(store)
    await put(store, key, asked(message_id="q1"))
    await superseded(store, key, "q1", None, by="s")
    async with place.engine.begin() as connection:
        await connection.execute(update(place.tables.branches).values(appended="?"))
    late = replied(branch=0, replies_to="q0")
    for call in (lambda: store.append(key, late), lambda: superseded(store, key, "q1", None, by="s")):
        with pytest.raises(MessageCorruptError, match="damaged"):
            await call()
    await store.delete_session(key)
    assert (await store.open_session(key)).created


async def test_a_status_that_nobody_knows_reads_as_partial(place: Place) -> None:
    """A later version may have added it."""
    store = place.main_store
    key, message = await opened(store), replied("one")
    await put(store, key, message)
    async with place.engine.begin() as connection:
        await connection.execute(update(place.tables.messages).values(status="later"))
    assert (await store.get(key, message.message_id)).status is MessageStatus.PARTIAL


async def test_a_host_may_add_columns_of_its_own(place: Place) -> None:
    store = place.main_store
    async with place.engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE {place.tables.messages.name} ADD COLUMN stars INTEGER"))
    assert await store.start() == []
    key = await opened(store)
    await put(store, key, asked("one"))
    assert len(await everything(store, key)) == 1


async def test_sessions_that_ended_are_deleted_and_others_stay(place: Place) -> None:
    mortal = await place.store(ttl_seconds=60)
    ended = [await opened(mortal) for _ in range(3)]
    for key in ended:
        await put(mortal, key, asked("old"))
    lasting = await opened(place.main_store)
    await place.age(61)
    alive = await opened(mortal)
    assert await mortal.delete_expired(limit=2) == 2
    assert await mortal.delete_expired() == 1
    assert await mortal.delete_expired() == 0
    for key in (lasting, alive):
        assert not (await place.main_store.open_session(key)).created
    async with place.engine.connect() as connection:
        assert (await connection.execute(select(place.tables.messages))).all() == []


async def test_a_foreign_row_in_a_sessions_way_is_a_conflict(place: Place) -> None:
    key = await opened(place.main_store)
    await put(place.main_store, key, asked("one"))
    messages = place.tables.messages
    async with place.engine.begin() as connection:
        row = dict((await connection.execute(select(messages))).mappings().one())
        row.update(position=2, message_id=b"other" if isinstance(row["message_id"], bytes) else "other")
        await connection.execute(insert(messages).values(row))
    with pytest.raises(RaceLostError, match="a row of that key is there"):
        await place.main_store.append(key, asked("two"))
