"""The contract of the quota: what a reply may consume is reserved before it begins and settled once after it ended.

A reservation is made, and then ends in one of three ways, once:

```
reserved ──→ committed    what was consumed is charged, the rest is free again
    ├──────→ released     nothing is charged
    └──────→ expired      nobody renewed it; nothing is charged until a late commit, which charges once
```

Every method is one atomic step, safe to repeat: a caller that lost the reply asks again and gets the first outcome. A
step that contradicts that outcome changes nothing and is counted. `MemoryQuotaStore` is the executable specification;
`streamguard.testing.QuotaStoreSuite` checks any other store.

Errors mean the same in every adapter; see `streamguard.errors.QuotaError` and below it. A driver's exception never
comes through.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from ..values import StreamRef
from .limits import Quota
from .records import Admitted, Audit, OwnerStatus, Refused, Reservation, ReservationState, Settlement

__all__ = ["QuotaService", "QuotaStore"]


class QuotaService(ABC):
    """What every quota can do, a host's own service included.

    Every method may raise `QuotaUnavailableError` or `QuotaTimeoutError`, after which the step may or may not have
    happened, and `QuotaInvalidError` for an owner over `MAX_OWNER_BYTES`, ids over `MAX_ID_BYTES` and amounts that are
    none. Cancelling a call leaves the same doubt. None retries by itself.
    """

    server: str | None = None
    """What answers for it outside this process, as `StreamStore.server`; None where that is not known."""

    async def start(self) -> list[str]:
        """Connect, if that needs doing. Returns warnings for the operator. Must not raise for an unreachable
        store."""
        return []

    async def aclose(self) -> None:  # noqa: B027 -- not every service has something to release
        """Release what this object opened. Nothing stored is touched."""

    @abstractmethod
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        """Reserve amounts for a stream, if they fit under every quota.

        `amounts` names each unit of `quotas`, and no other. All are reserved or none. A stream's reservation is made
        once: a repeated call gets it as it stands, whatever the quotas are by then. A refusal is not remembered.

        Raises:
            QuotaConflictError: the stream has a reservation of other amounts; it stays, and this is counted.
        """

    @abstractmethod
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        """Charge what the stream consumed, which may be more than it reserved, and free the rest.

        A reserved unit that `amounts` does not name is charged as reserved; one it names besides is ignored. All
        count in the windows in which the reservation was made, and in none once those are past. After expiry this
        charges too, once. After a release it is a conflict, as is a repeated commit of something else.
        """

    @abstractmethod
    async def release(self, ref: StreamRef) -> Settlement:
        """Free what was reserved and charge nothing. After a commit it is a conflict; after expiry it changes
        nothing."""


class QuotaStore(QuotaService):
    """A service that counts by itself: it can tell how an owner stands, renew reservations, and end those that nobody
    settles.

    A reservation expires `hold_seconds` after it was made or last renewed, at that moment, whether anybody looks or
    not: from then on it holds nothing back.
    """

    hold_seconds: float
    """How long a reservation lasts without being renewed."""

    @abstractmethod
    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        """Keep reservations for another `hold_seconds`. Answers how each stands, in the order asked. One that
        has ended stays ended."""

    @abstractmethod
    async def expire(self, ref: StreamRef) -> Settlement:
        """Record that a reservation has expired, and take it out of what `due` lists. One that has not is left as it
        is: `RESERVED`. `changed` says whether this call was the first to see it."""

    @abstractmethod
    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        """Expired reservations that neither `expire` nor a late commit has ended: up to `limit` (from 1).

        They are the caller's for `claim_seconds`: until then no other call, in any process, lists them. With 0 they are
        only shown and not claimed: the next call lists them again. A call looks at a bounded number, of
        which some may turn out to be renewed or settled: a shorter list, or an empty one, does not mean that no others
        are due.
        """

    @abstractmethod
    async def find(self, ref: StreamRef) -> Reservation | None:
        """A stream's reservation; None when unknown."""

    @abstractmethod
    async def held(self, owner: str, *, limit: int = 100) -> list[Reservation]:
        """What an owner has reserved and not settled, soonest to expire first: up to `limit` (1 to 1,000)."""

    @abstractmethod
    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        """How an owner stands. An owner of whom nothing is known has used nothing."""

    @abstractmethod
    async def audit(self, owner: str, quotas: Sequence[Quota], *, repair: bool = False) -> Audit:
        """Compare an owner's counters with its reservations, and with `repair` correct them.

        The answer is what was found before the repair. Reads every reservation of the owner that is remembered.
        """
