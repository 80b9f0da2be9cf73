"""What a quota promises, checked on what a store answers and shows, without a second store to compare it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamguard.quota import (
    Admitted,
    Audit,
    OwnerStatus,
    Quota,
    Refused,
    Reservation,
    ReservationState,
    Settlement,
)
from streamguard.values import StreamRef

__all__ = ["EXPIRED", "RESERVED", "PromiseBrokenError", "Promises"]

RESERVED, COMMITTED, EXPIRED = ReservationState.RESERVED, ReservationState.COMMITTED, ReservationState.EXPIRED


class PromiseBrokenError(AssertionError):
    """A store broke what it promised. `promise` names it."""

    def __init__(self, promise: str, detail: str) -> None:
        super().__init__(f"{promise}: {detail}")
        self.promise = promise


def allowed(before: ReservationState, after: ReservationState) -> bool:
    """Whether a reservation may go from one state to another: it ends once, but for a late commit."""
    return before is after or before is RESERVED or (before is EXPIRED and after is COMMITTED)


@dataclass
class Promises:
    """The history of one owner in one store so far. The window of `quota` outlasts it."""

    quota: Quota
    seen: dict[StreamRef, Reservation] = field(default_factory=dict)
    """Every reservation, as it was after the last step."""
    changes: dict[StreamRef, int] = field(default_factory=dict)
    """How many settlements said that they brought it about."""

    def admitted(
        self, before: OwnerStatus, amounts: Mapping[str, int], answer: Admitted | Refused, *, new: bool
    ) -> None:
        """A reservation was asked for under `quota`."""
        standing = before.standings[0]
        fits = standing.used + standing.reserved + amounts[self.quota.unit] <= self.quota.limit
        if new and isinstance(answer, Admitted) is not fits:
            raise PromiseBrokenError("I8", f"{amounts} of {standing}: {answer}")
        if not new and not isinstance(answer, Admitted):
            raise PromiseBrokenError("repeat", f"a reservation that was made is refused: {answer}")

    def settled(self, ref: StreamRef, answer: Settlement, *, repeated: bool) -> None:
        """A step that would end a reservation was answered."""
        if answer.changed and repeated:
            raise PromiseBrokenError("repeat", f"a repeated step changed {ref}: {answer}")
        if answer.changed and answer.state is not EXPIRED:
            self.changes[ref] = self.changes.get(ref, 0) + 1
            if self.changes[ref] > 1:
                raise PromiseBrokenError("once", f"{ref} was settled {self.changes[ref]} times")

    def observed(self, found: Sequence[Reservation], status: OwnerStatus, audit: Audit) -> None:
        """This is what the store shows after a step."""
        for one in found:
            before = self.seen.get(one.ref, one)
            if not allowed(before.state, one.state):
                raise PromiseBrokenError("once", f"{one.ref} went from {before.state} to {one.state}")
            if one.amounts != before.amounts:
                raise PromiseBrokenError("once", f"{one.ref} had reserved {before.amounts}, now {one.amounts}")
            if before.state is COMMITTED and one.charged != before.charged:
                raise PromiseBrokenError("once", f"{one.ref} was charged {before.charged}, now {one.charged}")
            if one.state is not COMMITTED and one.charged:
                raise PromiseBrokenError("once", f"{one.ref} is {one.state} and charged {one.charged}")
            self.seen[one.ref] = one
        unit = self.quota.unit
        used = sum(one.charged.get(unit, 0) for one in self.seen.values())
        held = sum(one.amounts[unit] for one in self.seen.values() if one.state is RESERVED)
        standing = status.standings[0]
        if (standing.used, standing.reserved) != (used, held):
            raise PromiseBrokenError("balance", f"{standing} where {used} are used and {held} reserved")
        if audit.drift:
            raise PromiseBrokenError("balance", f"drift in {audit}")
