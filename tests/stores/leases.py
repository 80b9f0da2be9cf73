"""Leases that have run out on a Redis's own clock, which nobody can turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.steps import begin
from streamguard.values import StreamRef

from ..harness.waiting import wait_until_async

__all__ = ["SHORT_SECONDS", "overdue"]

SHORT_SECONDS: Final = 0.01
"""A lease that has run out by the time `overdue` answers."""


async def overdue(store: StreamStore) -> list[StreamRef]:
    """What is due once every lease of `SHORT_SECONDS` taken before has run out, and what was due on the way there.

    That is when the lease of a stream has run out which begins now, and leaves nothing behind.
    """
    last = await begin(store, lease=SHORT_SECONDS)
    seen: list[StreamRef] = []

    async def listed() -> bool:
        seen.extend(await store.expired_leases(limit=10))
        return last in seen

    is_due: Callable[[], Awaitable[bool] | bool] = listed
    await wait_until_async(is_due, description="a lease runs out")
    seen += await store.expired_leases(
        limit=10
    )  # the parts of the index are asked in turn: some perhaps too early before
    await store.erase(last.key, mark_seconds=60)
    return list(dict.fromkeys(ref for ref in seen if ref != last))
