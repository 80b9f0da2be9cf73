"""What is particular to MySQL and MariaDB: how a driver quotes, how large a statement may be, which texts arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streamguard.messages import Appended, MessageStatus
from streamguard.testing._message_store.steps import (
    all_branches,
    asked,
    everything,
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


@pytest.fixture
async def place(mariadb_server: MariaDBServer) -> AsyncIterator[Place]:
    async with Place(mariadb_server.url(), fresh_tables()) as place:
        yield place


@asynccontextmanager
async def _engine(url: str, *, sql_mode: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url, connect_args={"init_command": f"SET sql_mode = '{sql_mode}'"})
    yield engine
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
