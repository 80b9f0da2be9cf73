"""Faults that would last: a lock whose worker cannot release it, and a pool that leads to a server that only reads."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from streamguard.durations import MAX_SECONDS
from streamguard.errors import MessageUnavailableError
from streamguard.messages import Appended
from streamguard.messages.sql.engines import ids_of
from streamguard.testing._message_store.steps import asked, everything, insistently, opened, texts
from streamguard.unavailable import UnavailableReason

from .places import Place

pytestmark = pytest.mark.anyio

_SOON_SECONDS = 0.5
_ONLY_READS = {
    "postgresql": "SET default_transaction_read_only = on",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}


async def test_a_lock_of_a_worker_that_stands_still_is_released(place: Place) -> None:
    """It is frozen, or its machine is gone: its connection stays open, and the server hears nothing of it."""
    if place.url.startswith("sqlite"):
        return  # the lock is the process's own
    store, frozen = place.main_store, await place.store(timeout_seconds=_SOON_SECONDS)
    for key in (await opened(store), (await opened(store))):
        with contextlib.suppress(DBAPIError):  # the server has closed the connection meanwhile
            async with frozen._engine.begin() as connection:
                await frozen._sessions.lock(connection, ids_of(frozen._engine, key))
                with anyio.fail_after(10):
                    assert await insistently(store.append, key, asked("one")) is Appended.CREATED
        assert texts(await everything(store, key)) == ["one"]
    assert await insistently(frozen.append, key, asked("two")) is Appended.CREATED


async def test_a_worker_may_stand_still_for_ever(place: Place) -> None:
    """The servers know no such time."""
    store = await place.store(timeout_seconds=MAX_SECONDS)
    key = await opened(store)
    assert await insistently(store.append, key, asked("one")) is Appended.CREATED


async def test_a_session_that_is_opened_by_a_worker_that_stands_still_can_be_opened(place: Place) -> None:
    if place.url.startswith("sqlite"):
        return
    store, frozen = place.main_store, await place.store(timeout_seconds=_SOON_SECONDS)
    key = await opened(store)
    await store.delete_session(key)
    ids = ids_of(frozen._engine, key)
    with contextlib.suppress(DBAPIError):
        async with frozen._engine.begin() as connection:
            session = await frozen._sessions.lock(connection, ids)
            await frozen._sessions.create(connection, ids, session.now)
            with anyio.fail_after(10):
                assert (await insistently(store.open_session, key)).created


async def test_a_connection_to_a_server_that_only_reads_is_not_used_again(place: Place) -> None:
    """After a failover the old primary may go on answering, and only new connections lead to the new one."""
    store, key, demoted = await place.store(), await opened(place.main_store), True

    def connected(connection: Any, _: object) -> None:
        if demoted:
            cursor = connection.cursor()
            cursor.execute(_ONLY_READS[store._engine.dialect.name])
            cursor.close()
            connection.commit()

    event.listen(store._engine.sync_engine, "connect", connected)
    with pytest.raises(MessageUnavailableError):
        await store.append(key, asked("one"))
    demoted = False
    assert await store.append(key, asked("two")) is Appended.CREATED
    assert texts(await everything(store, key)) == ["two"]


async def test_nor_are_the_others_of_its_pool(place: Place) -> None:
    """They are as old: each would cost a save that fails. What the host does on its engine has no such effect."""
    demoted, at_once = True, 3
    store, key = await place.store(place.engine), await opened(place.main_store)
    only_reads = _ONLY_READS[place.engine.dialect.name]

    def connected(connection: Any, _: object) -> None:
        made.append(connection)
        if demoted:
            cursor = connection.cursor()
            cursor.execute(only_reads)
            cursor.close()
            connection.commit()

    made: list[object] = []
    event.listen(place.engine.sync_engine, "connect", connected)
    async with contextlib.AsyncExitStack() as taken:
        for _ in range(at_once):
            await taken.enter_async_context(place.engine.connect())
    assert len(made) == at_once
    with pytest.raises(DBAPIError):
        async with place.engine.begin() as connection:
            await connection.execute(place.tables.sessions.delete())
    async with contextlib.AsyncExitStack() as taken:
        for _ in range(at_once):
            await taken.enter_async_context(place.engine.connect())
    assert len(made) == at_once
    with pytest.raises(MessageUnavailableError) as caught:
        await store.append(key, asked("one"))
    assert caught.value.reason is UnavailableReason.READ_ONLY
    demoted = False
    for number in range(at_once):
        assert await store.append(key, asked(f"two {number}")) is Appended.CREATED
