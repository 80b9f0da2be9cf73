"""What operators are told of reservations: amounts by unit, and how each was settled."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from ..observations import Observation, Observer, Signal
from ..values import QuotaState, Subject

__all__ = ["by_unit", "outcome_of", "report_settled"]

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})

SettledOutcome = Literal["charged", "released", "pending"]


def by_unit(name: str, amounts: Mapping[str, int]) -> dict[str, int]:
    """The amounts as fields of an observation: `reserved_tokens`."""
    return {f"{name}_{unit}": amount for unit, amount in amounts.items()}


def outcome_of(state: QuotaState | None, charged: Mapping[str, int], *, release: bool) -> SettledOutcome:
    """What settling came to; `state` is None while that is not known."""
    if state is None or state is QuotaState.PENDING:
        return "pending"
    return "released" if state is QuotaState.NONE or (release and not charged) else "charged"


def report_settled(
    observe: Observer,
    stream: Subject,
    outcome: SettledOutcome,
    binding: str,
    *,
    seconds: float,
    reserved: Mapping[str, int] = _NOTHING,
    spent: Mapping[str, int] = _NOTHING,
) -> None:
    """Tell how a reservation was settled."""
    fields: dict[str, str | int | float | bool | None] = {"outcome": outcome, "binding": binding, "seconds": seconds}
    fields |= by_unit("reserved", reserved)
    fields |= by_unit("spent", spent)
    observe(Observation.about(stream, Signal.QUOTA_SETTLED, fields=fields))
