"""Runs each step as one transaction in its own task, so that cancelling a call does not leave a broken connection.

Measured with SQLAlchemy 2.1.9: if it is cancelled again and again, as anyio does until a scope is left, it gives up
closing a connection gracefully and leaves tasks behind. An aiosqlite 0.22 connection that is closed during a statement
keeps its lock until garbage collection. So a step is cancelled at most once, and on SQLite not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection

from ...contained import Contained
from ...deadlines import Deadline
from ...errors import MessageTimeoutError
from .demotions import in_step
from .failures import mapped_errors
from .loops import Engines

__all__ = ["Transactions"]

T = TypeVar("T")


class Transactions:
    """Runs steps on an engine, each within `timeout_seconds`.

    On SQLite a thread waits for the lock, and nothing can interrupt it. There the engine's own `timeout` and
    `pool_timeout` are the limits.
    """

    def __init__(self, engines: Engines, *, breakable: bool, timeout_seconds: float) -> None:
        self._engines = engines
        self._timeout_seconds = timeout_seconds
        self._breakable = breakable

    async def run(self, operation: str, step: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Returns what `step` returns, after the commit; raises what it raises, after the rollback.

        A cancelled caller waits until the connection is in order, and does not learn what happened.

        Raises:
            MessageStoreError: the database or the driver raised an exception.
        """
        with mapped_errors(operation):
            work = Contained(partial(self._transact, operation, step), name=f"streamguard-sql-{operation}")
            return await _finished(work, breakable=self._breakable)

    async def _transact(self, operation: str, step: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        in_step.set(True)  # of this task alone
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


async def _finished(work: Contained[T], *, breakable: bool) -> T:
    """The result of `work`, whose task has always ended when this function returns or raises. A caller that was
    cancelled is not told of a failure."""
    task = work.task
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if breakable:
            task.cancel()
        # The shield stops anyio's repeated cancellation. It does not stop a plain `cancel`; that one is not lost,
        # because the first cancellation is raised again.
        with anyio.CancelScope(shield=True):
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
        raise
    return work.result()
