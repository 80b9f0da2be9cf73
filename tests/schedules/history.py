"""What was seen of a stream while a schedule was played, and what must be true of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from streamguard.values import Event, EventKind, Position

__all__ = ["Ack", "History", "ViolationError"]


class ViolationError(AssertionError):
    """A promise is broken."""


class Ack(NamedTuple):
    payload: bytes
    at: int
    """The step that acknowledged it last."""


@dataclass(slots=True)
class Loss:
    """A failover that may lose what happened after one step and up to another."""

    after: int
    until: float
    """Infinite while it is not over."""


@dataclass(slots=True)
class History:
    """The facts; every method raises `ViolationError` if they break a promise."""

    now: int = 0
    """The present step."""
    acked: dict[Position, Ack] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What others did to the server meanwhile, for whoever looks into a violation."""
    taken: list[tuple[int, int]] = field(default_factory=list)
    """Takeovers: the step, and the epoch."""
    registered_at: int = 0
    ended_at: int | None = None
    """The step that acknowledged the end."""
    owed_at: int | None = None
    """The step that acknowledged an end which owes something that nobody has begun to do."""
    erasing_at: int | None = None
    """The step that asked first for the session's erasure."""
    erased_at: int | None = None
    """The step that acknowledged it."""
    index_lost: bool = False
    """A failover may have lost the stream's entries in the indexes across sessions."""
    appends: int = 0
    lost_events: int = 0
    """Acknowledged events that a failover lost, all of them reported."""
    _taken_from: dict[int, int] = field(default_factory=dict)
    """By the epoch that a takeover expected, its step."""
    _identities: dict[Position, tuple[EventKind, bytes]] = field(default_factory=dict)

    def note(self, what: str) -> None:
        """Note what happened, with the step."""
        self.notes.append(f"in step {self.now}: {what}")

    def before_last(self, count: int, at: int) -> int:
        """The step before the last so many, up to another, in which something was acknowledged: the others took no time
        at all."""
        steps = {ack.at for ack in self.acked.values()} | {step for step, _ in self.taken} | {self.registered_at}
        return min(sorted(step for step in steps if step <= at)[-count:], default=at) - 1

    def may_be_lost(self, at: int) -> bool:
        """Whether a failover may have lost what was acknowledged in a step."""
        return any(loss.after < at <= loss.until for loss in self.losses)

    def stands(self, at: int | None) -> bool:
        """Whether something was acknowledged, in a step before this one, and no failover may have lost it."""
        return at is not None and at < self.now and not self.may_be_lost(at)

    def accepted(self, what: str, epoch: int) -> None:
        """A write under an epoch was accepted (I5, I4, I12). What happened in the same step may have come after it."""
        for at, newer in self.taken:
            if newer > epoch and self.stands(at):
                raise ViolationError(f"I5: {what} under epoch {epoch} was accepted, after epoch {newer} took over")
        if self.stands(self.ended_at):
            raise ViolationError(f"I4: {what} was accepted after the end of step {self.ended_at}")
        if self.stands(self.erased_at):
            raise ViolationError(f"I12: {what} was accepted after the erasure of step {self.erased_at}")

    def took(self, epoch: int, *, expected: int | None = None) -> None:
        """A takeover was acknowledged; of those that expected the same epoch, one wins (I11)."""
        if expected is not None:
            if expected in self._taken_from and not self.may_be_lost(self._taken_from[expected]):
                raise ViolationError(f"I11: two workers took the stream over from epoch {expected}")
            self._taken_from[expected] = self.now
        self.taken.append((self.now, epoch))

    def ended(self, *, owes: bool) -> None:
        """The end is in the log, as whoever wrote it was told."""
        self.ended_at = self.now
        self.owed_at = self.now if owes else None

    def acknowledged(self, epoch: int, first_seq: int, payloads: list[bytes]) -> None:
        """Events of an epoch are in the log, as their writer was told."""
        self.appends += 1
        for seq, payload in enumerate(payloads, first_seq):
            self.acked[Position(epoch, seq)] = Ack(payload, self.now)

    def seen(self, event: Event) -> None:
        """An event was read: at its position there was never another one (I1)."""
        position, found = Position(event.epoch, event.seq), (event.kind, event.data)
        if self._identities.setdefault(position, found) != found:
            raise ViolationError(f"I1: the event at {position} was {self._identities[position]}, and is {found}")

    def whole(self, log: list[Event], *, lost: bool) -> None:
        """The log of the ended stream (I1, I4), with nothing twice. Nobody is shown the last event of a `lost` one."""
        if [event.seq for event in log] != list(range(1, len(log) + 1)):
            raise ViolationError(f"I1: the log is numbered {[event.seq for event in log]}")
        terminals = [event.seq for event in log if event.kind is EventKind.TERMINAL]
        if terminals != [len(log)]:
            raise ViolationError(f"I4: terminal records at {terminals} of {len(log)}")
        payloads = [event.data for event in log if event.kind is EventKind.DATA]
        if len(set(payloads)) != len(payloads):
            raise ViolationError(f"an event is in the log twice: {payloads}")
        for event in log[:-1] if lost else log:
            self.seen(event)

    def missing(self, log: list[Event]) -> list[Position]:
        """The acknowledged events that the log does not hold: a failover must have lost each (I2)."""
        held = {Position(event.epoch, event.seq): event.data for event in log}
        missing = []
        for position, ack in self.acked.items():
            if held.get(position) != ack.payload:
                if not self.may_be_lost(ack.at):
                    instead = held.get(position, f"none, and the log has {len(log)} events")
                    raise ViolationError(
                        f"I2: the event {ack.payload!r} at {position}, acknowledged in step {ack.at}, is gone; there "
                        f"is {instead!r}"
                    )
                missing.append(position)
        self.lost_events += len(missing)
        return missing
