"""What workers do for streams of dead workers and for what is owed: two of them at once, as the reconcilers do it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from streamguard.stores.records import Status
from streamguard.stores.store import StreamStore
from streamguard.values import Persisted, StreamRef

from .actors import BACK_OFF_SECONDS, LEASE_SECONDS, RETENTION_SECONDS, Worker, repeated
from .history import History, ViolationError

__all__ = ["check_found", "check_owed", "settle", "sweep"]

MANY: Final = 10_000
"""More streams than all schedules side by side have."""
CLAIM_SECONDS: Final = 0.001
DIES_AFTER_TAKEOVER, DIES_AFTER_SEAL = 1, 2


async def sweep(stores: Sequence[StreamStore], ref: StreamRef, history: History, amount: int) -> None:
    """Several workers look for expired leases at once, and end the stream if they find it."""

    async def one(store: StreamStore, number: int) -> None:
        if ref not in await repeated(lambda: store.expired_leases(limit=MANY)):
            return
        meta = await repeated(lambda: store.meta(ref))
        if meta is None:
            return
        await asyncio.sleep(0)  # in memory nothing takes time: let the others read the same epoch
        worker = Worker(f"r{number}", store, history)
        if await worker.take(ref, expected=meta.epoch) is not Status.OK or amount == DIES_AFTER_TAKEOVER:
            return
        await worker.seal()
        if amount != DIES_AFTER_SEAL:
            await worker.close(owes=amount % 2 == 0)

    await _together([one(store, number) for number, store in enumerate(stores)])


async def settle(stores: Sequence[StreamStore], ref: StreamRef, history: History) -> None:
    """Several workers claim what is owed at once, and do it."""

    async def one(store: StreamStore) -> None:
        claimed = await repeated(lambda: store.claim_due(limit=MANY, claim_seconds=CLAIM_SECONDS))
        if any(owed.ref == ref for owed in claimed):
            history.owed_at = None
            await asyncio.sleep(0)
            await repeated(lambda: store.complete(ref, persisted=Persisted.YES, retention_seconds=RETENTION_SECONDS))

    await _together([one(store) for store in stores])


async def check_found(stores: Sequence[StreamStore], ref: StreamRef, history: History, seconds: float) -> None:
    """A stream that is not closed is found by a sweep within some seconds (I10)."""

    async def found(store: StreamStore) -> bool:
        return ref in await repeated(lambda: store.expired_leases(limit=MANY))

    meta = await repeated(lambda: stores[0].meta(ref))
    if meta is None or meta.closed_seconds is not None or history.index_lost:
        return
    if not await _some(stores, found, seconds):
        raise ViolationError("I10: the stream is open, and no sweep finds it")


async def check_owed(stores: Sequence[StreamStore], ref: StreamRef, history: History, seconds: float) -> None:
    """What a closed stream owes is found by whoever claims what is due, within some seconds (I7)."""

    async def claimed(store: StreamStore) -> bool:
        due = await repeated(lambda: store.claim_due(limit=MANY, claim_seconds=CLAIM_SECONDS))
        return any(owed.ref == ref for owed in due)

    meta = await repeated(lambda: stores[0].meta(ref))
    if meta is None:
        return
    if history.stands(history.owed_at) and meta.persisted is not Persisted.PENDING:
        raise ViolationError(f"I7: what the end of step {history.owed_at} owed is gone")
    if meta.persisted is Persisted.PENDING and not await _some(stores, claimed, seconds):
        raise ViolationError("I7: the stream owes a save, and nobody finds that")


async def _some(stores: Sequence[StreamStore], asked: Callable[[StreamStore], Awaitable[bool]], seconds: float) -> bool:
    """Whether one of the workers finds it, sooner or later: an entry may be on its way."""
    until, pause = time.monotonic() + seconds, LEASE_SECONDS
    while True:
        for store in stores:
            if await asked(store):
                return True
        if time.monotonic() > until:
            return False
        await asyncio.sleep(pause)
        pause = min(2 * pause, BACK_OFF_SECONDS)


async def _together(works: Sequence[Awaitable[None]]) -> None:
    """Do all of it at once; raises the error of one of them when all have ended."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
