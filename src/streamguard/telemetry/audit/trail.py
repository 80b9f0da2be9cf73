"""Makes audit records of observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final

from anyio import CapacityLimiter, to_thread

from ...faults import FaultCode
from ...observations import Observation, Signal
from ...values import trace_id_of
from ..reasons import told_reason
from ..safety import id_text, plain_text, short_hash
from .records import Actor, AuditAction, AuditRecord, AuditSink, ClosableSink

__all__ = ["AuditTrail", "signals_of"]

CLOSE_SECONDS: Final = 1.0
"""How long the end of a guard waits for the sink."""

_ACTIONS: Final[Mapping[Signal, tuple[AuditAction, Actor, str | None]]] = {
    Signal.STREAM_OPENED: (AuditAction.START, Actor.OWNER, "granted"),
    Signal.STREAM_ENDED: (AuditAction.END, Actor.SYSTEM, None),
    Signal.STREAM_WITHDRAWN: (AuditAction.END, Actor.SYSTEM, "withdrawn"),
    Signal.STOP_REQUESTED: (AuditAction.STOP, Actor.OWNER, "granted"),
    Signal.STREAM_RESUMED: (AuditAction.RESUME, Actor.OWNER, "granted"),
    Signal.RESUME_EMPTY: (AuditAction.RESUME, Actor.OWNER, "empty"),
    Signal.RESUME_REFUSED: (AuditAction.RESUME, Actor.OWNER, "denied"),
    Signal.STREAM_SUPERSEDED: (AuditAction.FAULT, Actor.SYSTEM, None),
    Signal.ORPHAN_SETTLED: (AuditAction.TAKEOVER, Actor.SYSTEM, None),
    Signal.SAVE_RECOVERED: (AuditAction.RECONCILE, Actor.SYSTEM, "saved"),
    Signal.SAVE_BURIED: (AuditAction.SAVE_GIVEN_UP, Actor.SYSTEM, "dead_letter"),
    Signal.QUOTA_SETTLED: (AuditAction.SETTLE, Actor.SYSTEM, None),
    Signal.RESERVATION_EXPIRED: (AuditAction.SETTLE, Actor.SYSTEM, "expired"),
    Signal.RECONCILED: (AuditAction.RECONCILE, Actor.SYSTEM, None),
    Signal.TOOL_CALLED: (AuditAction.TOOL_CALL, Actor.SYSTEM, None),
    Signal.SESSION_ERASED: (AuditAction.ERASE, Actor.OWNER, "erased"),
}
"""What each signal is in the trail: the action, who acted, and the outcome unless the observation names one. Faults are
told apart by `_fault_action`."""


class AuditTrail:
    """An observer that writes an `AuditRecord` for everything that was done to a stream, and by whom.

        StreamGuard(store, …, observers=(AuditTrail(JsonLinesAudit("/var/log/chat/audit.jsonl")),))

    Args:
        sink: keeps the records.
        owner_name: makes the owner's name in records of the owner that the host's `authenticate` returned; by default
            the hash that the log has too. `owner_name=str` records owners in the clear: whoever can read the trail
            then knows who talked when. Where it raises, the hash is recorded.
    """

    signals: frozenset[Signal] = frozenset({*_ACTIONS, Signal.FAULT})
    """What it has to be told."""

    def __init__(
        self,
        sink: AuditSink,
        *,
        owner_name: Callable[[str], str] = short_hash,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sink = sink
        self._owner_name = owner_name
        self._now = now

    def __call__(self, observation: Observation) -> None:
        """Record one observation, if it belongs in the trail."""
        known = _fault_action(observation) if observation.name is Signal.FAULT else _ACTIONS.get(observation.name)
        if known is None or _is_idle_round(observation):
            return
        self._sink.write(self._record(observation, *known))

    async def aclose(self) -> None:
        """Close the sink, if it can be closed: called when a guard has stopped. Another guard may go on with it.

        A cancelled call returns at once; the sink is closed nevertheless.
        """
        if isinstance(self._sink, ClosableSink):
            close = partial(self._sink.close, CLOSE_SECONDS)
            await to_thread.run_sync(close, abandon_on_cancel=True, limiter=CapacityLimiter(1))

    def _record(self, observation: Observation, action: AuditAction, actor: Actor, outcome: str | None) -> AuditRecord:
        ref, fault, fields = observation.ref, observation.fault, observation.fields
        session_id = ref.key.session_id if ref is not None else fields.get("session_id") or (fault and fault.session_id)
        reason = told_reason(fault) if fault is not None and fault.reason is not None else fields.get("reason")
        if reason is None and fault is not None and outcome == "denied":  # then the code is all that there is to say
            reason = str(fault.code)
        return AuditRecord(
            at=self._now(),
            action=action,
            actor=actor,
            owner=self._owner(observation),
            session_id=_id(session_id),
            stream_id=_id(ref.stream_id if ref is not None else fault and fault.stream_id),
            message_id=_id(observation.message_id or (fault and fault.message_id)),
            request_id=_id(observation.request_id or (fault and fault.request_id)),
            trace_id=trace_id_of(observation.trace) or (None if fault is None else fault.trace_id),
            outcome=_text(fields.get("outcome", outcome)),
            reason=_text(reason),
            code=None if fault is None else str(fault.code),
            fault_id=None if fault is None else fault.fault_id,
            tool=_text(fields.get("tool")),
            tool_call_id=_id(fields.get("tool_call_id")),
            count=found if isinstance(found := fields.get("found"), int) else None,
        )

    def _owner(self, observation: Observation) -> str | None:
        owner = observation.owner if observation.ref is None else observation.ref.key.owner
        if owner is None:
            return None
        try:
            return id_text(str(self._owner_name(owner)))
        except Exception:  # noqa: BLE001 -- a host's function; the record matters more than the name
            return short_hash(owner)


def _fault_action(observation: Observation) -> tuple[AuditAction, Actor, str | None] | None:
    fault = observation.fault
    if fault is None or (observation.ref is None and observation.request_id is None):
        return None  # about the process, not about anybody's stream
    if fault.code is FaultCode.QUOTA_EXCEEDED:
        return AuditAction.QUOTA_DENIED, Actor.OWNER, "denied"
    if observation.ref is None:
        return AuditAction.REFUSE, Actor.OWNER, "denied"
    return AuditAction.FAULT, Actor.SYSTEM, None


def _is_idle_round(observation: Observation) -> bool:
    """A round of the reconciler, of which there is one every few seconds, that found nothing to do."""
    fields = observation.fields
    return observation.name is Signal.RECONCILED and fields.get("outcome") == "ok" and not fields.get("found")


def signals_of(action: AuditAction) -> tuple[Signal, ...]:
    """The signals that a record of this action is made of."""
    made_of = tuple(signal for signal, (known, _, _) in _ACTIONS.items() if known is action)
    if action in (AuditAction.QUOTA_DENIED, AuditAction.REFUSE, AuditAction.FAULT):
        return (Signal.FAULT, *made_of)
    return made_of


def _id(value: object) -> str | None:
    return None if value is None else id_text(str(value))


def _text(value: object) -> str | None:
    return None if value is None else plain_text(str(value))
