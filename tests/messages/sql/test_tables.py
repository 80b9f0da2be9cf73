"""Tables a host can adopt: names, migrations, creation, and what `start` says of them."""

from __future__ import annotations

import anyio
import pytest
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import Column, Integer, MetaData, Table, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from streamguard.errors import ConfigurationError, MessageUnavailableError
from streamguard.messages import Appended
from streamguard.messages.sql import MessageTables, SQLMessageStore
from streamguard.testing._message_store.steps import asked, fresh_key, opened, put, replied

from ...harness.mariadb import MariaDBServer
from ...harness.postgres import PostgresServer
from .places import PATIENT_SECONDS, Place, fresh_tables

pytestmark = pytest.mark.anyio

# -- migrations -------------------------------------------------------------------------------------------------------


def _context(connection: Connection, tables: MessageTables) -> MigrationContext:
    names = {table.name for table in tables.metadata.tables.values()}
    return MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "compare_server_default": True,
            # The database has other tests' tables too.
            "include_name": lambda name, kind, parents: kind != "table" or name in names,
        },
    )


async def _differences(place: Place, url: str) -> list[object]:
    engine = create_async_engine(url)

    def compare(connection: Connection) -> list[object]:
        return list(compare_metadata(_context(connection, place.tables), place.tables.metadata))

    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    return found


async def test_alembic_sees_no_difference_in_tables_that_were_created(place: Place) -> None:
    assert await _differences(place, place.url) == []


async def test_alembic_sees_none_through_the_mariadb_dialect_either(mariadb_server: MariaDBServer) -> None:
    url = mariadb_server.url(scheme="mariadb+asyncmy")
    async with Place(url, fresh_tables()) as place:
        assert await _differences(place, url) == []
        key = await opened(place.main_store)
        await put(place.main_store, key, asked("one"))


async def test_a_generated_migration_needs_no_streamguard(database_url: str) -> None:
    tables = fresh_tables()

    def generate(connection: Connection) -> str:
        operations = produce_migrations(_context(connection, tables), tables.metadata).upgrade_ops
        assert operations is not None
        code = render_python_code(operations)
        assert isinstance(code, str)
        return code

    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        code = await connection.run_sync(generate)
    await engine.dispose()
    assert f"create_table('{tables.messages.name}'" in code
    assert "streamguard." not in code


# -- names ------------------------------------------------------------------------------------------------------------


async def test_a_host_adopts_the_tables_in_its_own_metadata_under_its_own_names(database_url: str) -> None:
    prefix = fresh_tables().sessions.name
    metadata = MetaData(naming_convention={"pk": "primary_%(table_name)s", "fk": "foreign_%(table_name)s"})
    Table(f"{prefix}_users", metadata, Column("id", Integer, primary_key=True))
    tables = MessageTables(sessions=f"{prefix}_chats", messages=f"{prefix}_said", metadata=metadata)
    async with Place(database_url, tables) as place:
        key = await opened(place.main_store)
        await put(place.main_store, key, asked("one"), replied("two"))
        async with place.engine.connect() as connection:
            assert await connection.scalar(text(f"SELECT count(*) FROM {prefix}_said")) == 2
            assert await connection.scalar(text(f"SELECT last_position FROM {prefix}_chats")) == 2
        assert await _differences(place, database_url) != []  # the host's own table was not ours to create


async def test_the_tables_may_be_in_a_schema(postgres_server: PostgresServer) -> None:
    engine = create_async_engine(postgres_server.url())
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA IF NOT EXISTS chats"))
    await engine.dispose()
    async with Place(postgres_server.url(), MessageTables(schema="chats")) as place:
        assert await place.main_store.start() == []
        key = await opened(place.main_store)
        await put(place.main_store, key, asked("one"))


@pytest.mark.parametrize("name", ["", "a-b", "a b", "1a", 'a"b', "é", "x" * 42])
def test_a_name_that_needs_quotes_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no table name"):
        MessageTables(messages=name)


def test_the_same_metadata_takes_the_same_tables_once() -> None:
    metadata = MetaData()
    MessageTables(metadata=metadata)
    with pytest.raises(ConfigurationError, match="make MessageTables once"):
        MessageTables(metadata=metadata)
    MessageTables(metadata=metadata, prefix="other_")


# -- creation ---------------------------------------------------------------------------------------------------------


async def test_creating_tables_again_changes_nothing(place: Place) -> None:
    key = await opened(place.main_store)
    message = asked("one")
    await put(place.main_store, key, message)
    await place.main_store.create_tables()
    assert await place.main_store.append(key, message) is Appended.DUPLICATE


async def test_several_may_create_the_tables_at_once(database_url: str) -> None:
    tables = fresh_tables()
    place = Place(database_url, tables)
    stores = [await place.store() for _ in range(4)]
    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(store.create_tables)
    async with place:
        assert await place.main_store.start() == []


# -- what start says --------------------------------------------------------------------------------------------------


async def test_tables_that_are_missing_are_told_and_writes_may_succeed_later(database_url: str) -> None:
    place = Place(database_url, fresh_tables())
    store = await place.store()
    warnings = await store.start()
    assert [warning.partition(":")[0] for warning in warnings] == [
        f"there is no table {table.name}"
        for table in (place.tables.sessions, place.tables.messages, place.tables.branches)
    ]
    with pytest.raises(MessageUnavailableError, match="create_tables"):
        await store.open_session(fresh_key())
    async with place:
        assert (await store.open_session(fresh_key())).created


async def test_columns_that_are_missing_are_told(place: Place) -> None:
    async with place.engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE {place.tables.messages.name} DROP COLUMN writers"))
    (warning,) = await place.main_store.start()
    assert f"{place.tables.messages.name} lacks writers" in warning
    key = await opened(place.main_store)
    with pytest.raises(MessageUnavailableError, match="another version"):
        await place.main_store.append(key, asked("one"))


async def test_a_mysql_connection_that_cannot_carry_every_text_is_told(mariadb_server: MariaDBServer) -> None:
    async with Place(mariadb_server.url(), fresh_tables()) as place:
        store = await place.store(mariadb_server.url() + "?charset=latin1")
        (warning,) = await store.start()
        assert "latin1" in warning
        assert "utf8mb4" in warning


async def test_a_host_keeps_its_engine(place: Place) -> None:
    store = SQLMessageStore(place.engine, tables=place.tables, timeout_seconds=PATIENT_SECONDS)
    key = await opened(store)
    pool = place.engine.pool
    await store.aclose()
    assert place.engine.pool is pool
    await put(store, key, asked("one"))
