"""One step, one transaction, on a task of its own, so that cancelling a call never breaks a connection half way.

Measured with SQLAlchemy 2.1.9: cancelled again and again, as anyio does until a scope is left, it gives up closing a
connection gracefully and leaves tasks behind; and an aiosqlite 0.22 connection closed with a statement under way keeps
its lock until the garbage collector comes. So a step is cancelled at most once, and on SQLite not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection

from ...deadlines import Deadline
from ...errors import MessageTimeoutError
from .failures import mapped_errors
from .loops import Engines

__all__ = ["Transactions"]

T = TypeVar("T")


class Transactions:
    """Runs steps on an engine, each within `timeout_seconds`.

    On SQLite waiting for a lock happens in a thread, which nobody can call back: there the engine's own `timeout` and
    `pool_timeout` are the bounds.
    """

    def __init__(self, engines: Engines, *, breakable: bool, timeout_seconds: float) -> None:
        self._engines = engines
        self._timeout_seconds = timeout_seconds
        self._breakable = breakable

    async def run(self, operation: str, step: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What `step` returns, once it is committed; what it raises, once it is rolled back.

        A caller that is cancelled meanwhile waits until the connection is in order, and is not told what happened.

        Raises:
            MessageStoreError: whatever the database or the driver raised.
        """
        with mapped_errors(operation):
            return await _finished(
                asyncio.create_task(self._transact(operation, step), name=f"streamguard-sql-{operation}"),
                breakable=self._breakable,
            )

    async def _transact(self, operation: str, step: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        mine = self._engines.current()
        if not self._breakable:
            async with mine.turns, mine.engine.begin() as connection:
                return await step(connection)
        limit = Deadline.after(self._timeout_seconds).limit()
        try:
            async with limit, mine.turns, mine.engine.begin() as connection:
                return await step(connection)
        except TimeoutError as exc:
            if not limit.expired:
                raise
            raise MessageTimeoutError(
                f"{operation}: no answer from the database within {self._timeout_seconds:g} s", operation=operation
            ) from exc


async def _finished(task: asyncio.Task[T], *, breakable: bool) -> T:
    """The result of `task`, which has ended when this returns or raises."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if breakable:
            task.cancel()
        # The shield keeps anyio from cancelling in a circle; it has no hold on a plain `cancel`, which counts all
        # the same, for the first one is raised again.
        with anyio.CancelScope(shield=True):
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # retrieved: no caller is left to tell
        raise
