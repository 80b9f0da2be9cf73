"""Many writers: processes, engines that a host has set up in its own way, and those who do not take our lock."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import event, insert, select, text, update
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streamguard.errors import MessageConflictError, MessageNotFoundError
from streamguard.messages import Appended, Superseded
from streamguard.messages.sql import SQLMessageStore
from streamguard.testing._message_store.steps import (
    all_branches,
    asked,
    everything,
    fresh_key,
    insistently,
    opened,
    places,
    put,
    superseded,
)
from streamguard.values import SessionKey

from ...harness.mariadb import MariaDBServer
from ...harness.postgres import PostgresServer
from ...harness.waiting import wait_until_async
from ...harness.workers import ROOT
from .appender import KEY
from .places import PATIENT_SECONDS, Place, fresh_tables

pytestmark = pytest.mark.anyio

_EACH = 8


async def test_processes_that_append_at_once_take_contiguous_positions(
    sqlite_url: str, postgres_server: PostgresServer, mariadb_server: MariaDBServer
) -> None:
    async with (
        Place(sqlite_url, fresh_tables()) as sqlite,
        Place(postgres_server.url(), fresh_tables()) as postgres,
        Place(mariadb_server.url(), fresh_tables()) as mariadb,
    ):
        everywhere = (sqlite, postgres, mariadb)
        for place in everywhere:
            await place.main_store.open_session(KEY)
        created = await _appended_by_processes(everywhere)
        for place, (first, second) in zip(everywhere, created, strict=True):
            assert first + second == _EACH
            found = await everything(place.main_store, KEY)
            assert places(found) == list(range(1, 3 * _EACH + 1))
            names = sorted(stored.message.message_id for stored in found)
            assert names == sorted(f"{name}-{number}" for name in ("a", "b", "shared") for number in range(_EACH))


async def _appended_by_processes(everywhere: Sequence[Place]) -> list[tuple[int, int]]:
    """How many of the shared messages each of two processes has created, for each place."""
    arguments = [word for place in everywhere for word in (place.url, place.prefix)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.messages.sql.appender", name, str(_EACH), *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await anyio.to_thread.run_sync(process.stdout.readline) == "ready\n"
        answers = await asyncio.gather(
            *(anyio.to_thread.run_sync(process.communicate, "go\n", 15) for process in processes)
        )
    finally:
        for process in processes:
            process.kill()
            process.wait()
    first, second = (json.loads(out) for out, _ in answers)
    return list(zip(first, second, strict=True))


# -- a host's engine --------------------------------------------------------------------------------------------------


def _plain_begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


async def _race(store: SQLMessageStore) -> None:
    """Appends at once, of which some are the same, and openings and supersedings at once."""
    key = fresh_key()
    openings = await asyncio.gather(*(insistently(store.open_session, key) for _ in range(6)))
    assert [opening.created for opening in openings].count(True) == 1
    messages = [asked(message_id=f"m{number % 6}") for number in range(12)]
    answers = await asyncio.gather(*(insistently(store.append, key, message) for message in messages))
    assert sorted(answers) == [Appended.CREATED] * 6 + [Appended.DUPLICATE] * 6
    assert places(await everything(store, key)) == [1, 2, 3, 4, 5, 6]
    edits = [asked(f"version {number}", message_id="m3") for number in range(4)]
    late = [asked(message_id=f"late {number}", branch=0) for number in range(4)]
    done = await asyncio.gather(
        *(insistently(superseded, store, key, "m3", None, edit, by=f"s{n % 3}") for n, edit in enumerate(edits[:3])),
        insistently(superseded, store, key, "m3", None, edits[0], by="s0"),
        *(insistently(store.append, key, message) for message in late),
    )
    branches = [answer.branch for answer in done if isinstance(answer, Superseded)]
    assert branches[0] == branches[3], "the same stream asked twice"
    assert sorted(branches[:3]) == [1, 2, 3]
    found = await everything(store, key)
    assert sum(stored.message.message_id == "m3" for stored in found) == 1
    assert not any(stored.message.message_id.startswith("late") for stored in found)
    assert places(await all_branches(store, key)) == list(range(1, 14))


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
async def test_steps_are_whole_whatever_isolation_the_host_chose(place: Place, level: str) -> None:
    engine = create_async_engine(place.url, isolation_level=level)
    await _race(await place.store(engine))
    await engine.dispose()


async def test_a_step_that_fails_is_undone_on_an_engine_in_autocommit(place: Place) -> None:
    engine = create_async_engine(place.url, isolation_level="AUTOCOMMIT")
    store = await place.store(engine)
    key = await opened(store)
    await put(store, key, asked(message_id="one"))
    async with place.engine.begin() as connection:
        # The next position is taken, so that its row is refused after the session was locked.
        await connection.execute(update(place.tables.sessions).values(last_position=0))
    with pytest.raises(MessageConflictError):
        await store.append(key, asked(message_id="two"))
    async with place.engine.connect() as connection:
        assert await connection.scalar(select(place.tables.sessions.c.last_position)) == 0
    await engine.dispose()


async def test_sqlite_with_a_hosts_own_begin(sqlite_url: str) -> None:
    """SQLAlchemy's recipe for pysqlite's transactions: an event that sends BEGIN."""
    engine = create_async_engine(sqlite_url)
    event.listen(engine.sync_engine, "begin", _plain_begin)
    async with Place(sqlite_url, fresh_tables()) as place:
        first, second = await place.store(engine), await place.store(engine)
        await _race(first)
        key = await opened(first)
        messages = [asked() for _ in range(8)]
        await asyncio.gather(
            *(insistently(store.append, key, message) for store in (first, second) for message in messages)
        )
        assert places(await everything(first, key)) == [1, 2, 3, 4, 5, 6, 7, 8]
    await engine.dispose()


# -- those who do not take the lock -----------------------------------------------------------------------------------


async def test_a_row_written_behind_the_stores_back_is_found_when_it_comes_in_between(place: Place) -> None:
    """Somebody copies messages in a transaction that is open while we append the same."""
    if place.url.startswith("sqlite"):
        return  # it has one writer at a time: nothing comes in between
    source, key, message = fresh_key(), fresh_key(), asked("one")
    for target in (source, key):
        await place.main_store.open_session(target)
    await put(place.main_store, source, message)
    messages, sessions = place.tables.messages, place.tables.sessions
    async with place.engine.begin() as connection:
        row = (await connection.execute(select(messages))).mappings().one()
        session_id = key.session_id.encode() if isinstance(row["session_id"], bytes) else key.session_id
        owner = key.owner.encode() if isinstance(row["owner"], bytes) else key.owner
        await connection.execute(insert(messages).values({**row, "owner": owner, "session_id": session_id}))
        task = asyncio.create_task(insistently(place.main_store.append, key, message))
        waits: Callable[[], Awaitable[bool] | bool] = partial(_somebody_waits, place.engine)
        await wait_until_async(waits, description="append waits for the other's row")
        await connection.execute(update(sessions).where(sessions.c.owner == owner).values(last_position=1))
    assert await task is Appended.DUPLICATE


async def _somebody_waits(engine: AsyncEngine) -> bool:
    waiting = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
        # Not innodb_trx, which is only read anew when nobody has asked it for a tenth of a second.
        "mysql": "SELECT variable_value + 0 FROM information_schema.global_status"
        " WHERE variable_name = 'innodb_row_lock_current_waits'",
    }
    async with engine.connect() as connection:
        return bool(await connection.scalar(text(waiting[engine.dialect.name])))


async def test_a_session_deleted_meanwhile_is_not_found(place: Place) -> None:
    store = place.main_store
    for _ in range(5):
        key = await opened(store)
        await put(store, key, asked())

        async def append(key: SessionKey = key) -> str:
            try:
                return await insistently(store.append, key, asked())
            except MessageNotFoundError:
                return "not found"

        _, answer = await asyncio.gather(insistently(store.delete_session, key), append())
        assert answer in ("created", "not found")
        assert await everything(store, key) == []


# -- cancelled calls --------------------------------------------------------------------------------------------------


async def test_cancelled_calls_leave_the_pool_whole(place: Place) -> None:
    engine = create_async_engine(place.url, pool_size=2, max_overflow=0, pool_timeout=PATIENT_SECONDS)
    store = await place.store(engine)
    key = await opened(store)
    messages = [asked() for _ in range(24)]
    for number, message in enumerate(messages):
        with anyio.move_on_after(number / 2000):
            await store.append(key, message)
    for message in messages:
        assert await store.append(key, message) in (Appended.CREATED, Appended.DUPLICATE)
    assert places(await everything(store, key)) == list(range(1, len(messages) + 1))
    assert "Current Checked out connections: 0" in engine.pool.status()
    await engine.dispose()
