"""Reservations and how they end, how an owner stands, and why amounts are refused. Pure."""

from __future__ import annotations

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
    "QuotaDepths",
    "RefusalReason",
    "Refused",
    "Reservation",
    "ReservationState",
    "Settlement",
    "Standing",
    "refusal",
]

HELD_RETRY_SECONDS: Final = 5.0
"""When to ask again where only replies that are being written leave no room."""


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
    """The quota that has no room for longest. None from a service that does not say."""
    standings: tuple[Standing, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a reservation stands after a step that would end it: the first outcome, whichever call asked for it."""

    state: ReservationState
    charged: Mapping[str, int] = field(default_factory=dict)
    """By unit; empty unless committed."""
    changed: bool = False
    """This call brought it about."""
    conflict: bool = False
    """This call asked for something other than what stands; nothing was changed, and it was counted."""
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
class QuotaDepths:
    """How many reservations a store keeps."""

    reserved: int
    """Those that nobody has settled yet."""
    due: int
    """Those of them that were not renewed when they should have been, as far as a look at the index shows: they wait
    to be ended. It is short for the few seconds until a sweep has looked at a reservation that was renewed."""
    due_oldest_seconds: float | None
    """For how long the first of them has been due; None for none."""


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
    """An owner's counters compared with its reservations."""

    windows: tuple[Counted, ...]
    """In the order of the quotas."""
    conflicts: int
    """How many steps contradicted what stood."""

    @property
    def drift(self) -> int:
        """0 when every counter is right."""
        return sum(window.drift for window in self.windows)


def refusal(standings: Sequence[Standing], amounts: Mapping[str, int]) -> Refused | None:
    """Why amounts do not fit beside what is used and reserved, or None if they do. Of several quotas without room,
    the one that has none for longest is named."""
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
