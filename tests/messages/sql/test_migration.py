"""From the tables of an earlier version to those of this one, with messages in them: by hand, and by Alembic."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread
import pytest
from alembic.autogenerate import compare_metadata, produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import MigrateOperation, ModifyTableOps, OpContainer
from sqlalchemy import insert
from sqlalchemy.engine import Connection

from streamguard.errors import MessageUnavailableError
from streamguard.messages import Appended, Message
from streamguard.messages.content import encode_content
from streamguard.messages.sql.__main__ import main
from streamguard.messages.sql.engines import ids_of
from streamguard.testing._message_store.steps import (
    all_branches,
    asked,
    continued,
    everything,
    places,
    put,
    replied,
    superseded,
    texts,
)
from streamguard.values import FORMAT_VERSION, SessionKey

from .earlier import earlier
from .places import Place, fresh_tables

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "save-to-your-database.md"

KEY = SessionKey("Zoë", "chat")

SAID = (
    asked("q1", message_id="q1"),
    asked("q2", message_id="q2"),
    replied("a2", message_id="a2", stream_id="s2", replies_to="q2"),
    replied("a1 ' \" \\ \0 🌍", message_id="a1", stream_id="s1", replies_to="q1"),  # saved late
)


def documented(dialect: str, prefix: str) -> list[list[str]]:
    """What the page says to do on a database: statements, then those after `create-tables`, if any."""
    page = PAGE.read_text()
    (section,) = re.findall(r"^## From an earlier version$(.*?)^## ", page, flags=re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```sql\n-- (.+?)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    chosen = [code for title, code in blocks if dialect in title]
    assert chosen, dialect
    steps = [code.replace("streamguard_", prefix) for code in chosen]
    return [[line.strip() for line in code.split(";") if line.strip()] for code in steps]


@pytest.fixture
async def old(database_url: str) -> AsyncIterator[Place]:
    """Tables of the earlier version with a session in them; dropped afterwards, as they are then."""
    place = Place(database_url, fresh_tables())
    place.main_store = await place.store()
    sessions, messages = earlier(place.tables)
    ids = ids_of(place.engine, KEY)
    async with place.engine.begin() as connection:
        await connection.run_sync(sessions.metadata.create_all)
        row = {**ids, "last_position": len(SAID), "created_at": 1.0, "updated_at": 2.0}
        await connection.execute(insert(sessions).values(row))
        for position, message in enumerate(SAID, 1):
            await connection.execute(insert(messages).values({**ids, **_row(place, message), "position": position}))
    yield place
    await place.__aexit__(None, None, None)


def _row(place: Place, message: Message) -> dict[str, object]:
    content, digest = encode_content("append", message)
    return {
        "message_id": ids_of(place.engine, KEY, message.message_id)["message_id"],
        "role": message.role.value,
        "status": message.status.value,
        "content": content.decode(),
        "writers": json.dumps([(message.stream_id, digest)]),
        "format_version": FORMAT_VERSION,
        "created_at": 1.0,
        "updated_at": 2.0,
    }


async def _migrated(place: Place) -> None:
    """The place as whoever migrated it needs it."""
    store = place.main_store
    assert await store.start() == []
    assert texts(await everything(store, KEY)) == texts_of(SAID)
    for message in SAID:
        assert await store.append(KEY, message) is Appended.DUPLICATE
    await put(store, KEY, continued(SAID[2], "a2 and more"))
    opened = await store.open_session(KEY)
    assert (opened.created, opened.branch) == (False, 0)
    # The late reply stands behind its question, so it stays.
    answer = await superseded(store, KEY, "q2", "a1", asked("q2b", message_id="q2"))
    assert (answer.branch, answer.hidden) == (1, 2)
    assert [stored.message.message_id for stored in await everything(store, KEY)] == ["q1", "a1", "q2"]
    assert places(await all_branches(store, KEY)) == [1, 2, 3, 4, 5]


def texts_of(messages: tuple[Message, ...]) -> list[object]:
    return [part["text"] for message in messages for part in message.parts]


async def _differences(place: Place) -> list[object]:
    """What Alembic would still change; comments aside, which a database need not have."""

    def compare(connection: Connection) -> list[object]:
        return list(compare_metadata(_context(connection, place), place.tables.metadata))

    async with place.engine.connect() as connection:
        found = await connection.run_sync(compare)
    return [one for one in found if not (isinstance(one, list) and one[0][0] == "modify_comment")]


def _context(connection: Connection, place: Place) -> MigrationContext:
    names = {table.name for table in place.tables.every}
    return MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, parents: kind != "table" or name in names,
        },
    )


async def test_start_says_what_is_missing(old: Place) -> None:
    warnings = await old.main_store.start()
    assert [warning.partition(":")[0] for warning in warnings] == [
        f"the table {old.tables.sessions.name} lacks branch",
        f"the table {old.tables.messages.name} lacks branch, replies_to, superseded",
        f"there is no table {old.tables.branches.name}",
    ]
    with pytest.raises(MessageUnavailableError, match="another version"):
        await old.main_store.append(KEY, asked("new"))


async def test_the_documented_statements_keep_what_was_said(old: Place) -> None:
    first, *rest = documented(old.engine.dialect.name, old.prefix)

    async def run(statements: list[str]) -> None:
        async with old.engine.begin() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)

    await run(first)
    url = old.engine.url.render_as_string(hide_password=False)
    assert await anyio.to_thread.run_sync(main, ["create-tables", url, "--prefix", old.prefix]) == 0
    for statements in rest:
        await run(statements)
    assert await _differences(old) == []
    await _migrated(old)


async def test_a_migration_that_alembic_generates_keeps_what_was_said(old: Place) -> None:
    def migrate(connection: Connection) -> None:
        context = _context(connection, old)
        migrations = produce_migrations(context, old.tables.metadata)
        assert migrations.upgrade_ops is not None
        operations = Operations(context)
        waiting: list[MigrateOperation] = [migrations.upgrade_ops]
        while waiting:
            step = waiting.pop(0)
            if isinstance(step, ModifyTableOps) and connection.dialect.name == "sqlite":
                with operations.batch_alter_table(step.table_name) as batch:
                    for one in step.ops:
                        batch.invoke(one)
            elif isinstance(step, OpContainer):
                waiting += step.ops
            else:
                operations.invoke(step)

    async with old.engine.begin() as connection:
        await connection.run_sync(migrate)
        for statement in _filling(old):
            await connection.exec_driver_sql(statement)
    assert await _differences(old) == []
    await _migrated(old)


def _filling(place: Place) -> list[str]:
    """The documented statement that says of older replies what they answer."""
    every = [one for step in documented(place.engine.dialect.name, place.prefix) for one in step]
    return [one for one in every if one.startswith("UPDATE")]
