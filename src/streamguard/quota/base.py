"""The contract of the quota: what a reply may consume is reserved before it begins and settled once after it ended.

A reservation is made, and then ends in one of three ways, once:

```
reserved ──→ committed    what was consumed is charged, the rest is free again
    ├──────→ released     nothing is charged
    └──────→ expired      nobody renewed it; nothing is charged until a late commit, which charges once
```

Every method is one atomic step, safe to repeat: who lost a reply asks again and gets the first outcome. A step that
contradicts that outcome changes nothing and is counted. `MemoryQuotaStore` is the executable specification;
`streamguard.testing.QuotaStoreSuite` checks any other store.

Errors mean the same in every adapter; see `streamguard.errors.QuotaError` and below it. A driver's exception never
comes through.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ..values import StreamRef
from .limits import Quota

__all__ = [
    "Admitted",
    "Audit",
    "Counted",
    "OwnerStatus",
    "QuotaService",
    "QuotaStore",
    "RefusalReason",
    "Refused",
    "Reservation",
    "ReservationState",
    "Settlement",
    "Standing",
    "refusal",
]

HELD_RETRY_SECONDS: Final = 5.0
"""When to ask again where only replies that are being written are in the way."""


class ReservationState(StrEnum):
    """What became of a reservation."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    """Never made, or settled so long ago that it is forgotten, or lost with the store. Nothing can be charged."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """One stream's reservation, as it stands."""

    ref: StreamRef
    state: ReservationState
    amounts: Mapping[str, int]
    """What was reserved, by unit."""
    charged: Mapping[str, int] = field(default_factory=dict)
    """What was charged, by unit; empty unless committed."""
    expires_in_seconds: float = 0.0
    """On the store's clock; 0 unless it is reserved."""
    late: bool = False
    """It was committed after it had expired."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an owner stands against one quota, in the present window."""

    quota: Quota
    used: int
    """What was charged."""
    reserved: int
    """What replies that are being written have reserved."""
    resets_in_seconds: float
    """When the window ends, on the store's clock."""

    @property
    def remaining(self) -> int:
        """What another reply could reserve; never negative."""
        return max(0, self.quota.limit - self.used - self.reserved)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The amounts are reserved. For a repeated call the reservation may have ended meanwhile: see its state."""

    reservation: Reservation
    standings: tuple[Standing, ...]
    """In the order of the quotas, this reservation included. Empty from a service that does not say."""


class RefusalReason(StrEnum):
    """Why amounts were refused."""

    SPENT = "spent"
    """What was charged leaves no room in this window."""
    HELD = "held"
    """There would be room but for replies that are still being written."""
    TOO_LARGE = "too_large"
    """More than the whole limit was asked for: waiting does not help."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was reserved: the amounts do not fit."""

    reason: RefusalReason
    retry_after_seconds: float | None
    """When asking again may help; None when it never does."""
    quota: Quota | None = None
    """The quota in the way longest. None from a service that does not say."""
    standings: tuple[Standing, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a reservation stands after a step that would end it: the first outcome, whoever asked for it."""

    state: ReservationState
    charged: Mapping[str, int] = field(default_factory=dict)
    """By unit; empty unless committed."""
    changed: bool = False
    """This call brought it about."""
    conflict: bool = False
    """This call asked for something else than what stands; nothing was changed, and it was counted."""
    late: bool = False
    """It was committed after it had expired."""


@dataclass(frozen=True, slots=True)
class OwnerStatus:
    """What an owner may be told."""

    standings: tuple[Standing, ...]
    pending_release: int
    """Reservations that are held though nobody renews them: replies that are over, or whose worker is gone. Limits
    look that much stricter until they are settled or expire. Counted to 1,000."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What one window's counters say, and what the reservations say they should."""

    quota: Quota
    used: int
    used_expected: int
    reserved: int
    reserved_expected: int

    @property
    def drift(self) -> int:
        """How far the counters are off, in the quota's unit."""
        return abs(self.used - self.used_expected) + abs(self.reserved - self.reserved_expected)


@dataclass(frozen=True, slots=True)
class Audit:
    """An owner's counters held against its reservations."""

    windows: tuple[Counted, ...]
    """In the order of the quotas."""
    conflicts: int
    """How many steps contradicted what stood."""

    @property
    def drift(self) -> int:
        """0 when every counter is right."""
        return sum(window.drift for window in self.windows)


class QuotaService(ABC):
    """What every quota can do, a host's own service included.

    Every method may raise `QuotaUnavailableError` or `QuotaTimeoutError`, after which the step may or may not have
    happened, and `QuotaInvalidError` for an owner over `MAX_OWNER_BYTES`, ids over `MAX_ID_BYTES` and amounts that are
    none. Cancelling a call leaves the same doubt. None retries by itself.
    """

    server: str | None = None
    """What answers for it outside this process, as `StreamStore.server`; None for who would not say."""

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
    """Counts by itself, and so can tell how things stand, and keep or end what nobody settles.

    A reservation expires `hold_seconds` after it was made or last renewed, at that moment and whoever looks first: it
    then holds nothing back any more.
    """

    hold_seconds: float
    """How long a reservation lasts without being renewed."""

    @abstractmethod
    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        """Keep reservations for another `hold_seconds`. Answers how each stands, in the order asked: one that has
        ended is not brought back."""

    @abstractmethod
    async def expire(self, ref: StreamRef) -> Settlement:
        """Record that a reservation has expired, and take it out of what `due` lists. One that has not is left as it
        is: `RESERVED`. `changed` says whether this call was the first to see it."""

    @abstractmethod
    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        """Expired reservations that nobody has attended to, with `expire` or a late commit: up to `limit` (from 1).

        They are the caller's for `claim_seconds`: until then no other call, in any process, lists them. With 0 they are
        only shown: they stay nobody's, the next call lists them again, and what it would list is not changed. A call
        looks at so many at most, of which some may turn out to be renewed or settled: fewer, or none, is not the end of
        them.
        """

    @abstractmethod
    async def find(self, ref: StreamRef) -> Reservation | None:
        """A stream's reservation; None when unknown."""

    @abstractmethod
    async def held(self, owner: str, *, limit: int = 100) -> list[Reservation]:
        """What an owner has reserved and not settled, soonest to expire first: up to `limit` (1 to 1,000)."""

    @abstractmethod
    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        """How an owner stands. For one nothing is known of, as nothing used."""

    @abstractmethod
    async def audit(self, owner: str, quotas: Sequence[Quota], *, repair: bool = False) -> Audit:
        """Hold an owner's counters against its reservations, and with `repair` make them right.

        What is answered was found before the repair. Reads every reservation of the owner that is remembered.
        """


def refusal(standings: Sequence[Standing], amounts: Mapping[str, int]) -> Refused | None:
    """Why amounts do not fit beside what is used and reserved, or None if they do. Where several quotas are in the way,
    the one for longest."""
    found: list[tuple[float, Refused]] = []
    for standing in standings:
        quota, amount = standing.quota, amounts[standing.quota.unit]
        if amount > quota.limit:
            reason, wait = RefusalReason.TOO_LARGE, None
        elif standing.used + amount > quota.limit:
            reason, wait = RefusalReason.SPENT, standing.resets_in_seconds
        elif standing.used + standing.reserved + amount > quota.limit:
            reason, wait = RefusalReason.HELD, min(standing.resets_in_seconds, HELD_RETRY_SECONDS)
        else:
            continue
        rank = float("inf") if wait is None else wait
        found.append((rank, Refused(reason, wait, quota, tuple(standings))))
    return max(found, key=lambda pair: pair[0])[1] if found else None
