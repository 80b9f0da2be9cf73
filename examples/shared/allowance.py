"""What each visitor may use a day, and how counting it is made to fail.

`!quota` is refused as if the day's tokens were used up. The answer to `!quota-release-fail N` cannot be settled for N
ms (default 6000) by the process that writes it: what was reserved stays so until the outbox settles it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from streamguard import Settings
from streamguard.errors import QuotaUnavailableError
from streamguard.quota import (
    Admitted,
    Audit,
    MemoryQuotaStore,
    OwnerStatus,
    Quota,
    QuotaStore,
    RedisQuotaStore,
    RefusalReason,
    Refused,
    Reservation,
    ReservationState,
    Settlement,
)
from streamguard.stores import RedisClient
from streamguard.values import StreamRef

MORE_THAN_ANY_DAY: Final = 2**53 - 1
"""The estimate of `!quota`, in tokens; no other request asks for so much."""


class AllowanceStore(QuotaStore):
    """Counts where streams are logged, as a guard does by itself; refuses and fails on command."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._client: RedisClient | None = None
        self._store: QuotaStore
        if url.startswith("memory://"):
            self._store = MemoryQuotaStore()
        else:
            self._client = RedisClient(url, command_seconds=settings.command_seconds)
            self._store = RedisQuotaStore(self._client, namespace=settings.namespace)
        self.hold_seconds = self._store.hold_seconds
        self._asked: dict[StreamRef, float] = {}
        """Streams whose settling is to fail, and for how many seconds from the first attempt."""
        self._failing: dict[StreamRef, float] = {}
        """Until when settling them fails, on the monotonic clock."""

    def fail_settling(self, ref: StreamRef, *, milliseconds: int) -> None:
        """From the first attempt on, settling this stream fails for so long."""
        self._asked[ref] = milliseconds / 1000

    async def start(self) -> list[str]:
        return await self._store.start()

    async def aclose(self) -> None:
        await self._store.aclose()
        if self._client is not None:
            await self._client.aclose()

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        answer = await self._store.reserve(ref, amounts, quotas)
        if isinstance(answer, Refused) and MORE_THAN_ANY_DAY in amounts.values():
            resets_in = max(standing.resets_in_seconds for standing in answer.standings)
            return replace(answer, reason=RefusalReason.SPENT, retry_after_seconds=resets_in)
        return answer

    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        self._provoke("commit", ref)
        return await self._store.commit(ref, amounts)

    async def release(self, ref: StreamRef) -> Settlement:
        self._provoke("release", ref)
        return await self._store.release(ref)

    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        return await self._store.renew(refs)

    async def expire(self, ref: StreamRef) -> Settlement:
        return await self._store.expire(ref)

    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        return await self._store.due(limit=limit, claim_seconds=claim_seconds)

    async def find(self, ref: StreamRef) -> Reservation | None:
        return await self._store.find(ref)

    async def held(self, owner: str, *, limit: int = 100) -> list[Reservation]:
        return await self._store.held(owner, limit=limit)

    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        return await self._store.status(owner, quotas)

    async def audit(self, owner: str, quotas: Sequence[Quota], *, repair: bool = False) -> Audit:
        return await self._store.audit(owner, quotas, repair=repair)

    def _provoke(self, operation: str, ref: StreamRef) -> None:
        if (seconds := self._asked.pop(ref, None)) is not None:
            self._failing[ref] = time.monotonic() + seconds
        if time.monotonic() < self._failing.get(ref, 0.0):
            raise QuotaUnavailableError(f"{operation}: !quota-release-fail said so", operation=operation)
        self._failing.pop(ref, None)
