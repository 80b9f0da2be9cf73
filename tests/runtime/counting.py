"""A worker's way to a quota that others use too: it counts what passes, and can be cut, held or made to lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

from streamguard.errors import QuotaUnavailableError
from streamguard.observations import Observation
from streamguard.quota import (
    Admitted,
    Audit,
    MemoryQuotaStore,
    OwnerStatus,
    Quota,
    QuotaStore,
    Refused,
    Reservation,
    ReservationState,
    Settlement,
    demand,
)
from streamguard.runtime import Bindings, Demand, OnQuotaFailure, QuotaBindings, QuotaTerms, Runtime, StreamRequest
from streamguard.settings import Settings
from streamguard.stores.store import StreamStore
from streamguard.values import StreamRef

from .gates import Gated
from .savers import Messages
from .stage import Worker, leftovers, quick

__all__ = ["TOKENS", "QuotaLine", "asking", "counting", "state_of", "used"]

T = TypeVar("T")

TOKENS = Quota(limit=100, per="day", unit="tokens")


class QuotaLine(Gated, QuotaStore):
    """Passes every step on to `inner`, a real store, unless told otherwise. Closing it leaves `inner` open."""

    def __init__(self, inner: QuotaStore | None = None) -> None:
        super().__init__()
        self.inner = inner or MemoryQuotaStore()
        self.hold_seconds = self.inner.hold_seconds
        self.calls: Counter[str] = Counter()
        self.down: set[str] = set()
        """Operations that do not pass; `*` for all."""
        self.lost: Counter[str] = Counter()
        """Per operation, how many more times it is carried out but its reply is lost."""
        self.errors: dict[str, Exception] = {}
        """Per operation, what it raises instead of being carried out."""

    async def _pass(self, operation: str, step: Callable[[], Awaitable[T]]) -> T:
        self.calls[operation] += 1
        await self._at_gate(operation)
        if operation in self.errors:
            raise self.errors[operation]
        if self.down & {operation, "*"}:
            raise QuotaUnavailableError("the test says so", operation=operation)
        answer = await step()
        await self._at_gate(operation, after=True)
        if self.lost[operation]:
            self.lost[operation] -= 1
            raise QuotaUnavailableError("the reply is lost", operation=operation)
        return answer

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        return await self._pass("reserve", lambda: self.inner.reserve(ref, amounts, quotas))

    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        return await self._pass("commit", lambda: self.inner.commit(ref, amounts))

    async def release(self, ref: StreamRef) -> Settlement:
        return await self._pass("release", lambda: self.inner.release(ref))

    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        return await self._pass("renew", lambda: self.inner.renew(refs))

    async def expire(self, ref: StreamRef) -> Settlement:
        return await self._pass("expire", lambda: self.inner.expire(ref))

    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        return await self._pass("due", lambda: self.inner.due(limit=limit, claim_seconds=claim_seconds))

    async def find(self, ref: StreamRef) -> Reservation | None:
        return await self.inner.find(ref)

    async def held(self, owner: str, *, limit: int = 100) -> list[Reservation]:
        return await self.inner.held(owner, limit=limit)

    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        return await self._pass("status", lambda: self.inner.status(owner, quotas))

    async def audit(self, owner: str, quotas: Sequence[Quota], *, repair: bool = False) -> Audit:
        return await self.inner.audit(owner, quotas, repair=repair)


@asynccontextmanager
async def counting(
    store: StreamStore,
    quota: QuotaStore,
    settings: Settings | None = None,
    *,
    terms: QuotaTerms | None = None,
    messages: Messages | None = None,
    binding: str = "chat",
    clean: bool = True,
) -> AsyncIterator[Worker]:
    """A worker whose endpoint `chat` has a quota, for as long as the block runs."""
    observed: list[Observation] = []
    bindings, known = Bindings(messages), QuotaBindings()
    bindings.register(binding)
    known.register(binding, terms or QuotaTerms((TOKENS,)))
    chosen = settings or quick(settle_visible_seconds=0.2, quota_seconds=0.3)
    runtime = Runtime(store, chosen, [observed.append], bindings=bindings, terms=known, quota=quota)
    async with runtime:
        yield Worker(runtime, observed)
    if clean:
        assert leftovers(runtime) == {}
        assert (runtime.reservations.count, runtime.settlements.under_way) == (0, 0)


def asking(
    worker: Worker, tokens: int = 40, *, quota: Quota = TOKENS, on_failure: OnQuotaFailure = "fail"
) -> StreamRequest:
    """A request for so many tokens."""
    return replace(worker.request(), demand=Demand((quota,), demand((quota,), tokens), on_failure))


async def used(quota: QuotaStore, owner: str = "ana") -> tuple[int, int]:
    """What is used and what is reserved; the ledger balances."""
    (standing,) = (await quota.status(owner, (TOKENS,))).standings
    audit = await quota.audit(owner, (TOKENS,))
    assert audit.drift == 0
    return standing.used, standing.reserved


async def state_of(quota: QuotaStore, ref: StreamRef) -> ReservationState:
    """How a stream's reservation stands."""
    found = await quota.find(ref)
    return ReservationState.UNKNOWN if found is None else found.state
