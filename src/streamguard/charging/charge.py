"""What a stream's reservation is to be settled with. Pure; also the form in which the outbox keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..quota import QuotaService, ReservationState, Settlement
from ..values import QuotaState, StreamRef

__all__ = ["COMMIT_RESERVED", "RELEASE", "Charge", "state_on_record"]


@dataclass(frozen=True, slots=True)
class Charge:
    """Commit `amounts`, or release everything."""

    amounts: Mapping[str, int] | None = None
    """By unit. A unit that is not named is charged as reserved; with None, every unit. Ignored for a release."""
    release: bool = False

    async def carry_out(self, service: QuotaService, ref: StreamRef) -> Settlement:
        """Settle. Safe to repeat.

        Raises:
            QuotaError: it may or may not have happened.
        """
        return await (service.release(ref) if self.release else service.commit(ref, self.amounts))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"release": self.release, "amounts": None if self.amounts is None else dict(self.amounts)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, object]) -> Charge:
        """What `as_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        amounts, release = raw["amounts"], raw["release"]
        if type(release) is not bool or not (amounts is None or isinstance(amounts, dict)):
            raise TypeError("this is no charge")
        return cls(amounts, release)


def state_on_record(state: ReservationState, *, attempted: bool = False) -> QuotaState:
    """What a stream's record says of a reservation in this state. `attempted`: it has just been settled; a host's own
    service may tell no more than that."""
    if state is ReservationState.UNKNOWN or (state is ReservationState.EXPIRED and not attempted):
        return QuotaState.NONE
    if state is ReservationState.RESERVED and not attempted:
        return QuotaState.PENDING
    return QuotaState.SETTLED


RELEASE: Final = Charge(release=True)
COMMIT_RESERVED: Final = Charge()
