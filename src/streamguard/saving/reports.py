"""What operators and clients are told of saves."""

from __future__ import annotations

from collections.abc import Callable

from ..faults import Fault
from ..observations import Observation, Signal
from .faults import fault_of_refused_message, fault_of_result, fault_of_wait
from .running_saves import RunningSave
from .save_result import SaveResult, SaveStatus
from .sealed_stream import SealedStream
from .user_messages import UserMessages

__all__ = ["SaveReports"]


class SaveReports:
    """Tells `observe` what becomes of the saves of one process. The faults it gives are for the streams' viewers."""

    def __init__(self, observe: Callable[[Observation], None]) -> None:
        self._observe = observe

    def made(self, sealed: SealedStream, running: RunningSave, seconds: float) -> None:
        """A save ended after so many seconds. Nothing is told of one that was broken off, or had nothing to do."""
        result = running.result
        if result is None or result.status is SaveStatus.NOTHING:
            return
        fields: dict[str, str | int | float | None] = {"binding": sealed.binding, "seconds": seconds}
        if result.status in (SaveStatus.SAVED, SaveStatus.SUPERSEDED):
            signal = Signal.REPLY_SAVED
            fields["outcome"] = sealed.seal.outcome
        else:
            signal = Signal.SAVE_FAILED
            fields.update(reason=result.reason, attempts=running.attempts.failures)
        self._observe(Observation.about(sealed, signal, error=result.error, fields=fields))

    def over(self, sealed: SealedStream, user_messages: UserMessages | None, result: SaveResult) -> tuple[Fault, ...]:
        """The faults of a save that is over, observed."""
        fault = fault_of_result(sealed, None if user_messages is None else user_messages.last_user_id, result)
        faults = [] if fault is None else [fault]
        if fault is not None:
            self.fault(sealed, fault, result)
        for refused in result.refused:
            faults.append(fault_of_refused_message(sealed, refused))
            self.fault(sealed, faults[-1], SaveResult(SaveStatus.REFUSED, error=refused.error))
        return tuple(faults)

    def waiting(self, sealed: SealedStream, running: RunningSave) -> Fault:
        """The fault of a save that takes longer than its stream's end, observed."""
        fault = fault_of_wait(sealed, running.user_messages.last_user_id, failing=running.failing)
        self.fault(sealed, fault, None)
        return fault

    def fault(self, sealed: SealedStream, fault: Fault, result: SaveResult | None) -> None:
        """Something is wrong with a stream's save."""
        error = None if result is None else result.error
        self._observe(Observation.about(sealed, Signal.FAULT, fault=fault, error=error, fields=sealed.told))

    def owed(self, sealed: SealedStream, reason: str | None) -> None:
        """A save is in the outbox."""
        fields = {"binding": sealed.binding, "reason": reason}
        self._observe(Observation.about(sealed, Signal.SAVE_OWED, fields=fields))

    def breaker_changed(self, is_open: bool) -> None:
        """A message store is not asked any more, or again."""
        signal = Signal.BREAKER_OPENED if is_open else Signal.BREAKER_CLOSED
        self._observe(Observation(signal, fields={"breaker": "messages"}))
