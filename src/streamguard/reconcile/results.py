"""What reconciling found, did and left, as values: for logs, tests and the operator's command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..values import StreamRef

__all__ = ["Duty", "Planned", "Report", "Result", "Step", "Tally", "Treated"]


class Duty(StrEnum):
    """What a reconciler sees to."""

    ORPHANS = "orphans"
    """Streams whose writer is gone."""
    OUTBOX = "outbox"
    """Saves and settlements that are owed."""
    RESERVATIONS = "reservations"
    """Quota reservations that nobody renewed or settled."""


class Step(StrEnum):
    """What a round would do about a stream."""

    INTERRUPT = "interrupt"
    """Its writer is gone: end it as interrupted, and save what there is."""
    STOP = "stop"
    """Its writer is gone and a stop was asked for: end it as stopped."""
    FINISH = "finish"
    """Its end is decided: carry it out."""
    SAVE = "save"
    """Make the save that is owed."""
    SETTLE = "settle"
    """Settle the quota that is owed."""
    DROP = "drop"
    """Strike out what is owed: its endpoint does not save any more."""
    EXPIRE = "expire"
    """Record that its reservation has expired: it holds nothing back any more, and nobody is to settle it."""
    LEAVE_BINDING = "leave_unknown_binding"
    """Leave it to a worker that has its endpoint."""
    LEAVE_PROTOCOL = "leave_unknown_protocol"
    """Leave it to a worker of a later version."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a round would do about one stream."""

    ref: StreamRef
    step: Step
    binding: str
    """Empty where nothing is known of the stream but its reservation."""
    waiting_seconds: float | None
    """For how long the stream has had no writer, or its save has been due; None for a reservation."""
    attempts: int = 0
    """Failed attempts at the save."""
    reserved: Mapping[str, int] | None = None
    """What a reservation is of, by unit; None for any other step."""


class Result(StrEnum):
    """What became of one piece of work."""

    DONE = "done"
    LEFT = "left"
    """To another worker, another round, or an operator; the reason says which."""


@dataclass(frozen=True, slots=True)
class Treated:
    """What a round did about one stream."""

    ref: StreamRef
    duty: Duty
    result: Result
    reason: str
    """A short code: how it ended or what was recorded, or why it was left."""


@dataclass(slots=True)
class Tally:
    """What the background duties did since the sweep before: counted by each, told by the sweep for orphans."""

    saves: int = 0
    settlements: int = 0
    reservations: int = 0
    left: int = 0

    def take(self) -> dict[str, int]:
        """The counts by name. They begin again."""
        counts = {"saves": self.saves, "settlements": self.settlements, "reservations": self.reservations}
        counts["left"] = self.left
        self.saves = self.settlements = self.reservations = self.left = 0
        return counts


@dataclass(frozen=True, slots=True)
class Report:
    """What one round came to."""

    dry_run: bool
    planned: tuple[Planned, ...] = ()
    """Of a dry run: what a round would do."""
    treated: tuple[Treated, ...] = ()
    """Of any other: what it did."""
    seconds: float = 0.0
    """How long it took, without the wait for the store."""

    @property
    def found(self) -> int:
        """How many pieces of work there were."""
        return len(self.planned) + len(self.treated)

    @property
    def done(self) -> int:
        """How many of them are done."""
        return sum(1 for one in self.treated if one.result is Result.DONE)

    @property
    def left(self) -> int:
        """How many of them were left."""
        return len(self.treated) - self.done

    def reasons(self, duty: Duty) -> Mapping[str, int]:
        """How often each reason was given for what a duty did or left."""
        return Counter(one.reason for one in self.treated if one.duty is duty)
