"""What is particular to MySQL and MariaDB: how a driver quotes, how large a statement may be, which texts arrive."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streamguard.errors import MessageInvalidError
from streamguard.messages import Appended, MessageStatus
from streamguard.testing._message_store.steps import (
    all_branches,
    asked,
    continued,
    everything,
    opened,
    replied,
    superseded,
)
from streamguard.values import SessionKey

from ...harness.mariadb import MariaDBServer
from .places import Place, fresh_tables

pytestmark = pytest.mark.anyio

_NASTY = (
    "it's",
    'a "quoted" one',
    "a\\",
    "\\'; DROP TABLE sessions; --",
    "\\' OR 1=1 -- ",
    "a\0b",
    "a\x1ab",
    "a\nb",
    "100 %s",
    "😀",
)

_SMILE = "😀"


@pytest.fixture
async def place(mariadb_server: MariaDBServer) -> AsyncIterator[Place]:
    async with Place(mariadb_server.url(), fresh_tables()) as place:
        yield place


@asynccontextmanager
async def _engine(url: str, *, sql_mode: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url, connect_args={"init_command": f"SET sql_mode = '{sql_mode}'"})
    try:
        yield engine
    finally:
        await engine.dispose()


@pytest.mark.parametrize("sql_mode", ["", "NO_BACKSLASH_ESCAPES", "ANSI,NO_BACKSLASH_ESCAPES"])
async def test_ids_mean_themselves_however_the_server_reads_backslashes(place: Place, sql_mode: str) -> None:
    async with _engine(place.url, sql_mode=sql_mode) as engine:
        store = await place.store(engine)
        for name in _NASTY:
            key = SessionKey(f"owner {name}", f"session {name}")
            question = asked(name, message_id=f"question {name}")
            answer = replied(name, message_id=f"answer {name}", stream_id=f"s {name}", replies_to=question.message_id)
            assert (await store.open_session(key)).created
            assert await store.append(key, question) is Appended.CREATED
            assert await store.append(key, answer) is Appended.CREATED
            assert [stored.message for stored in await everything(store, key)] == [question, answer]
            await store.mark(key, question.message_id, MessageStatus.UNANSWERED)
            await superseded(store, key, answer.message_id, question.message_id, by=f"by {name}")
            # An engine that escapes in the usual way finds the same.
            assert [stored.message for stored in await everything(place.main_store, key)] == [question]
            assert len(await all_branches(place.main_store, key)) == 2
            await store.delete_session(key)
            assert await everything(place.main_store, key) == []


async def test_sessions_that_ended_are_deleted_however_the_server_reads_backslashes(place: Place) -> None:
    async with _engine(place.url, sql_mode="NO_BACKSLASH_ESCAPES") as engine:
        store = await place.store(engine, ttl_seconds=60)
        for name in _NASTY:
            await store.open_session(SessionKey(name, name))
        await place.age(61)
        assert await store.delete_expired() == len(_NASTY)


# -- how large a statement may be -------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", '"', "'", "é"])
async def test_a_message_over_the_servers_limit_is_refused_for_good_and_one_under_it_is_kept(
    place: Place, letter: str
) -> None:
    store, key = place.main_store, await opened(place.main_store)
    async with place.engine.connect() as connection:
        limit = int(await connection.scalar(text("SELECT @@max_allowed_packet")) or 0)
    # As it is in a statement: a quote is escaped as JSON, and then the backslash and the quote again.
    size = {"x": 1, '"': 4, "'": 2, "é": 2}[letter]
    fits = asked(letter * ((limit - 16_384) // size))
    assert await store.append(key, fits) is Appended.CREATED
    for too_large in (asked(letter * (limit // size)), asked(letter * (2 * limit // size))):
        with pytest.raises(MessageInvalidError, match=r"append: .*max_allowed_packet"):
            await store.append(key, too_large)
        with pytest.raises(MessageInvalidError, match=r"supersede: .*max_allowed_packet"):
            await superseded(store, key, None, fits.message_id, too_large)
    longer = replied("a", stream_id="s1")
    assert await store.append(key, longer) is Appended.CREATED
    with pytest.raises(MessageInvalidError, match="max_allowed_packet"):
        await store.append(key, continued(longer, letter * (limit // size)))
    assert [stored.message.message_id for stored in await everything(store, key)] == [
        fits.message_id,
        longer.message_id,
    ]


# -- which texts arrive -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sql_mode", ["", "STRICT_ALL_TABLES"])
@pytest.mark.parametrize("charset", ["utf8", "latin1"])
async def test_what_a_connection_cannot_carry_is_refused_and_never_cut(
    mariadb_server: MariaDBServer, place: Place, charset: str, sql_mode: str
) -> None:
    async with _engine(f"{mariadb_server.url()}?charset={charset}", sql_mode=sql_mode) as engine:
        store = await place.store(engine)
        key = await opened(store)
        carried = asked("été")
        assert await store.append(key, carried) is Appended.CREATED
        message = asked(f"a smile {_SMILE}, then more")
        with pytest.raises(MessageInvalidError) as caught:
            await store.append(key, message)
        assert f"smile {_SMILE}" not in "".join(traceback.format_exception(caught.value))
        assert [stored.message for stored in await everything(place.main_store, key)] == [carried]
