"""Waiting for the end of a stream, whichever worker ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import Final, TypeVar

from ...deadlines import Deadline
from ...stores.budget import Budget
from ...stores.store import StreamStore
from ...values import StreamRef, StreamState

__all__ = ["EndWait", "ask_once"]

T = TypeVar("T")

POLL_SECONDS: Final = 0.25
"""How often the record is read without a hint."""


async def ask_once(budget: Budget | None, step: Callable[[], Awaitable[T]]) -> T:
    """Ask the store within a request's budget, or without one within the store's own command timeout."""
    return await (step() if budget is None else budget.ask_once(step))


class EndWait:
    """Waits for the ends of streams."""

    def __init__(self, store: StreamStore) -> None:
        self._store = store

    async def until_sealed(self, ref: StreamRef, timeout_seconds: float, *, budget: Budget | None = None) -> bool:
        """Wait until a stream is sealed, closed or gone. Returns False when the time was up.

        Raises:
            StoreError: the store failed.
        """
        return await self._until(ref, (StreamState.SEALED, StreamState.CLOSED), timeout_seconds, budget)

    async def until_closed(self, ref: StreamRef, timeout_seconds: float) -> bool:
        """Wait until a stream is closed or gone. Returns False when the time was up.

        Raises:
            StoreError: the store failed.
        """
        return await self._until(ref, (StreamState.CLOSED,), timeout_seconds, None)

    async def _until(
        self, ref: StreamRef, states: Collection[StreamState], timeout_seconds: float, budget: Budget | None
    ) -> bool:
        changed = asyncio.Event()
        watching = self._store.subscribe(ref, lambda _: changed.set(), data=False)
        try:
            async with Deadline.after(timeout_seconds).limit(), AsyncExitStack() as entered:
                await ask_once(budget, lambda: entered.enter_async_context(watching))
                while True:
                    meta = await ask_once(budget, lambda: self._store.meta(ref))
                    if meta is None or meta.state in states:
                        return True
                    try:
                        async with asyncio.timeout(POLL_SECONDS):  # noqa: TID251 -- a period
                            await changed.wait()
                    except TimeoutError:
                        continue
                    changed.clear()
        except TimeoutError:
            return False
