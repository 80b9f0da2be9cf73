"""What operators and clients are told of saves."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import MessageStoreError
from ..faults import Fault
from ..observations import Observation, Signal
from ..values import StreamRef
from .attempts import Attempts
from .faults import fault_of_refused_message, fault_of_result, fault_of_wait
from .running_saves import RunningSave
from .save_result import SaveResult, SaveStatus, result_of_error
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
            fields.update(reason=result.reason, attempts=running.attempts.failures, retried=False)
        self._observe(Observation.about(sealed, signal, error=result.error, fields=fields))

    def save_retried(self, sealed: SealedStream, attempts: Attempts) -> None:
        """An attempt at a step of a save failed; another one follows."""
        fields = _of_attempt(sealed.binding, attempts)
        self._observe(Observation.about(sealed, Signal.SAVE_FAILED, error=attempts.error, fields=fields))

    def attempt_failed(self, ref: StreamRef, binding: str, attempts: Attempts) -> None:
        """An attempt at what comes before a stream's reply failed. Another follows, with the reply at the latest."""
        fields = _of_attempt(binding, attempts)
        self._observe(Observation(Signal.SAVE_FAILED, ref=ref, error=attempts.error, fields=fields))

    def over(self, sealed: SealedStream, user_messages: UserMessages | None, result: SaveResult) -> tuple[Fault, ...]:
        """The faults of a save that is over, observed."""
        fault = fault_of_result(sealed, None if user_messages is None else user_messages.last_user_id, result)
        faults = [] if fault is None else [fault]
        if fault is not None:
            self.fault(sealed, fault, result.error)
        for refused in result.refused:
            faults.append(fault_of_refused_message(sealed, refused))
            self.fault(sealed, faults[-1], refused.error)
        return tuple(faults)

    def waiting(self, sealed: SealedStream, running: RunningSave) -> Fault:
        """The fault of a save that takes longer than its stream's end, observed."""
        error = running.error
        fault = fault_of_wait(sealed, running.user_messages.last_user_id, error)
        self.fault(sealed, fault, error)
        return fault

    def fault(self, sealed: SealedStream, fault: Fault, error: BaseException | None) -> None:
        """Something is wrong with a stream's save."""
        self._observe(Observation.about(sealed, Signal.FAULT, fault=fault, error=error, fields=sealed.told))

    def owed(self, sealed: SealedStream, reason: str | None) -> None:
        """A save is in the outbox."""
        fields = {"binding": sealed.binding, "reason": reason}
        self._observe(Observation.about(sealed, Signal.SAVE_OWED, fields=fields))

    def breaker_changed(self, error: MessageStoreError | None) -> None:
        """A message store is not asked any more, because of this error, or again, without one."""
        signal = Signal.BREAKER_CLOSED if error is None else Signal.BREAKER_OPENED
        self._observe(Observation(signal, error=error, fields={"breaker": "messages"}))


def _of_attempt(binding: str, attempts: Attempts) -> dict[str, str | int | float | None]:
    reason = None if attempts.error is None else result_of_error(attempts.error).reason
    return {
        "binding": binding,
        "reason": reason,
        "attempts": attempts.failures,
        "seconds": attempts.seconds,
        "retried": True,
    }
