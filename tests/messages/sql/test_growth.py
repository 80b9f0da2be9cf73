"""No step on messages costs more because others' sessions, or this owner's, are kept: SQLite's own steps are counted.

The counted unit is an instruction of SQLite's virtual machine. A search by index takes the same few however large the
table is; a scan takes some for each row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streamguard.messages import Message, MessageStatus, Role
from streamguard.messages.sql import SQLMessageStore
from streamguard.values import SessionKey

pytestmark = pytest.mark.anyio

Step = Callable[[], Awaitable[object]]


class Bench:
    """A store whose database counts."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.engine: AsyncEngine = create_async_engine(f"sqlite+aiosqlite:///{file}")
        self.store = SQLMessageStore(self.engine, ttl_seconds=3600)
        self._instructions = 0
        event.listen(self.engine.sync_engine, "connect", self._connected)

    def _connected(self, connection: Any, _: object) -> None:
        def count(driver: sqlite3.Connection) -> Awaitable[None]:
            counting: Awaitable[None] = driver.set_progress_handler(self._tick, 1)  # type: ignore[assignment, func-returns-value]
            return counting

        connection.run_async(count)

    def _tick(self) -> int:
        self._instructions += 1
        return 0

    async def cost(self, step: Step) -> int:
        """The instructions of one call of a step: the least of some."""
        costs = []
        for _ in range(4):
            self._instructions = 0
            await step()
            costs.append(self._instructions)
        return min(costs)

    def keep(self, finished: int) -> None:
        """So many sessions more of this owner, and as many that have expired and a hundred more."""
        prefix = f"kept-{finished}-"
        with closing(sqlite3.connect(self._file)) as connection, connection:
            for name, expires_at, count in (("lasting", 1e11, finished), ("expired", 2.0, finished + 100)):
                session = f"'{prefix}{name}-' || i"
                numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
                connection.execute(
                    "INSERT INTO streamguard_sessions"
                    " (owner, session_id, last_position, created_at, updated_at, expires_at)"
                    f" {numbers} SELECT 'ann', {session}, 1, 1.0, 1.0, {expires_at} FROM n"
                )
                connection.execute(
                    "INSERT INTO streamguard_messages (owner, session_id, position, message_id, role, status, content,"
                    " writers, format_version, created_at, updated_at)"
                    f" {numbers} SELECT 'ann', {session}, 1, 'm1', 'user', 'complete', '{{}}', '[]', 1, 1.0, 1.0 FROM n"
                )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "messages.db")
    await bench.store.create_tables()
    yield bench
    await bench.engine.dispose()


def said(number: int) -> Message:
    return Message(message_id=f"said-{number}", role=Role.USER, parts=({"type": "text", "text": "hello"},))


async def costs_of(bench: Bench, finished: int) -> dict[str, int]:
    """What each step costs now."""
    store, number = bench.store, 0
    chat = SessionKey("ann", f"chat-{finished}")
    await store.open_session(chat)
    for _ in range(8):
        number += 1
        await store.append(chat, said(number))

    async def append() -> None:
        nonlocal number
        number += 1
        await store.append(chat, said(number))

    async def open_new() -> SessionKey:
        nonlocal number
        number += 1
        key = SessionKey("ann", f"new-{finished}-{number}")
        await store.open_session(key)
        await store.append(key, said(1))
        return key

    async def erase() -> None:
        await store.delete_session(await open_new())

    async def supersede() -> None:
        nonlocal number
        number += 1
        await store.supersede(chat, by=f"{number:024x}", start=f"said-{number - 1}", after=None, message=said(number))

    steps: dict[str, Step] = {
        "a new session": open_new,
        "its erasure": erase,
        "a message more": append,
        "an old session opened": lambda: store.open_session(chat),
        "a page": lambda: store.list(chat, limit=5),
        "the last message": lambda: store.last(chat),
        "one message": lambda: store.get(chat, "said-1"),
        "a mark": lambda: store.mark(chat, "said-1", MessageStatus.COMPLETE),
        "sweep: ten of what has expired": lambda: store.delete_expired(limit=10),
    }
    costs = {name: await bench.cost(step) for name, step in steps.items()}
    assert all(costs.values()), "every step is counted"
    return costs


def compare(few: dict[str, int], many: dict[str, int]) -> None:
    grown = {name: (few[name], many[name]) for name in few if many[name] > few[name]}
    assert grown == {}


@pytest.mark.long
async def test_no_step_costs_more_beside_a_thousand_sessions(bench: Bench) -> None:
    bench.keep(10)
    few = await costs_of(bench, 10)
    bench.keep(1_000)
    compare(few, await costs_of(bench, 1_000))


@pytest.mark.slow
async def test_no_step_costs_more_beside_a_hundred_thousand_sessions(bench: Bench) -> None:
    bench.keep(10)
    few = await costs_of(bench, 10)
    bench.keep(100_000)
    compare(few, await costs_of(bench, 100_000))
