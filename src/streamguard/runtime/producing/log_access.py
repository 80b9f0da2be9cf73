"""Whether this process may write the log of a stream that it produces, and under which epoch."""

from __future__ import annotations

from ...faults import Fault
from ...stores.records import UNTOLD
from ...stores.registrations import Registered
from .phases import LogState, move

__all__ = ["LogAccess"]


class LogAccess:
    """What the store said of one stream's log. Every change is a move that `phases` allows."""

    __slots__ = ("created_at", "degraded_reason", "epoch", "lost_to", "state")

    def __init__(self) -> None:
        self.state: LogState = LogState.UNREGISTERED
        self.epoch: int = UNTOLD
        """What the stream is written under, once it is registered."""
        self.created_at: float | None = None
        """When the stream began: Unix time on the store's clock, once it is registered. The store's own word, since no
        clock of this process may be compared with the store's."""
        self.degraded_reason: str | None = None
        """Why the log is not the whole stream; None while it is."""
        self.lost_to: Fault | None = None
        """That another worker owns the stream, as observers were told; None while none does."""

    @property
    def registered(self) -> bool:
        """Whether the store said that it has a record of the stream."""
        return self.epoch != UNTOLD

    @property
    def in_doubt(self) -> bool:
        """Whether the registration was asked for and no answer has come: the stream may be registered."""
        return self.state is LogState.REGISTERING

    @property
    def degraded(self) -> bool:
        """Whether the log is not the whole stream: later events carry no id."""
        return self.degraded_reason is not None

    @property
    def superseded(self) -> bool:
        """Whether another worker owns the stream: nothing may be appended, saved or charged here any more."""
        return self.state is LogState.SUPERSEDED

    @property
    def disowned(self) -> bool:
        """Whether another worker owns the record, while viewers here still get the answer; nothing of it is written."""
        return self.state is LogState.DISOWNED

    @property
    def closed(self) -> bool:
        """Whether the store said that it closed the stream."""
        return self.state is LogState.CLOSED

    @property
    def withdrawn(self) -> bool:
        """Whether the registration is being taken back, or was: what the store says of the stream means nothing."""
        return self.state is LogState.WITHDRAWN

    @property
    def sealing(self) -> bool:
        """Whether this process is sealing and closing the stream in one step."""
        return self.state is LogState.SEALING

    @property
    def sealed_in_doubt(self) -> bool:
        """Whether this process may have sealed and closed the stream, in a step that was not answered."""
        return self.state is LogState.DOUBTED

    def registering(self) -> None:
        """The store is asked for a record of the stream."""
        self.state = move(self.state, LogState.REGISTERING)

    def not_registered(self) -> None:
        """The store answered, and has no record of the stream."""
        self.state = move(self.state, LogState.UNREGISTERED)

    def enter(self, registered: Registered) -> None:
        """The store has a record of the stream."""
        self.state = move(self.state, LogState.WRITING)
        self.epoch, self.created_at = registered.epoch, registered.created_at

    def begin_sealing(self) -> None:
        """This process seals and closes the stream in one step, with the events that still wait for their append."""
        self.state = move(self.state, LogState.SEALING)

    def end_sealing(self, *, answered: bool) -> None:
        """That step is over, however it went; it is in doubt where the store did not answer."""
        if self.sealing:
            self.state = move(self.state, LogState.WRITING if answered else LogState.DOUBTED)

    def begin_withdrawing(self) -> None:
        """This process takes the registration back."""
        self.state = move(self.state, LogState.WITHDRAWN)

    def end_withdrawing(self) -> None:
        """It cannot be taken back: the stream is to end like any."""
        self.state = move(self.state, LogState.WRITING)

    def lose(self, reason: str) -> bool:
        """The log cannot be written any more. Returns whether it could until now."""
        if self.state in (LogState.LOST, LogState.DISOWNED, LogState.SUPERSEDED, LogState.WITHDRAWN):
            return False
        self.state = move(self.state, LogState.LOST)
        self.degraded_reason = reason
        return True

    def supersede(self) -> None:
        """Another worker owns the stream."""
        self.state = move(self.state, LogState.SUPERSEDED)

    def told_of(self, fault: Fault) -> None:
        """Observers were told that another worker owns the stream."""
        self.lost_to = fault

    def disown(self) -> None:
        """Another worker owns the record of a stream whose viewers here get the answer all the same. Repeats change
        nothing."""
        if not self.disowned:
            self.state = move(self.state, LogState.DISOWNED)

    def close(self) -> None:
        """The store closed the stream."""
        self.state = move(self.state, LogState.CLOSED)

    def leave(self) -> None:
        """This process is through with the stream, whether its end is in the log or not."""
        if self.state in (LogState.WRITING, LogState.DOUBTED):
            self.state = move(self.state, LogState.UNWRITTEN)
