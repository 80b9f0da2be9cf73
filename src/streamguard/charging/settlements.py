"""Settling what streams reserved, as the second step of their end: once, and with the truth told about it.

It comes after the save, because a failed save does not change what is charged. What cannot be settled in time is owed:
beside the save, in the stream's one outbox entry. For a stream without a log nothing can be owed; its process goes on
attempting it for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..faults import Fault, FaultCode
from ..observations import Observation, Signal
from ..saving.bindings import Bindings
from ..saving.end_steps import EndResult, EndStep, LocalStream
from ..saving.sealed_stream import SealedStream
from ..scopes import Work
from ..settings import Settings
from ..values import QuotaState, StreamRef
from .charge import Charge
from .outbox_payload import add_settlement
from .reservations import Reservations
from .settler import Settler
from .terms import QuotaBindings, QuotaTerms, said_nothing
from .unlogged_settlements import UnloggedSettlements

__all__ = ["Settlements"]


class Settlements(EndStep):
    """Settles what was reserved, after the save."""

    work = Work.SETTLE

    def __init__(
        self,
        reservations: Reservations,
        settler: Settler,
        unlogged: UnloggedSettlements,
        bindings: Bindings,
        terms: QuotaBindings,
        settings: Settings,
        *,
        observe: Callable[[Observation], None],
    ) -> None:
        self._reservations = reservations
        self._settler = settler
        self._unlogged = unlogged
        self._bindings = bindings
        self._terms = terms
        self._settings = settings
        self._observe = observe

    @property
    def under_way(self) -> int:
        """How many settlements are still attempted from memory."""
        return self._unlogged.under_way

    def give_up(self) -> None:
        """The process ends: what is attempted from memory is left to expire."""
        self._settler.given_up.set()

    def has_nothing_to_do(self, ref: StreamRef, binding: str) -> bool:
        return self._reservations.held(ref) is None

    async def finish(self, sealed: SealedStream, local: LocalStream | None, result: EndResult) -> EndResult:
        """Settle a stream whose log is whole. Takes `settle_visible_seconds` at most."""
        if local is None and self._settler.has_service and self._bindings.is_others(sealed.binding):
            return _owing(result, None, 0.0)
        charge = self._charge(sealed, local)
        if charge is None or (local is not None and not local.owned()):
            return result
        if (settled := self._settled(sealed.ref)) is not None:
            return replace(result, quota=settled)  # before the store came back
        state, error, _ = await self._settler.settle(sealed, sealed.binding, charge, self._visible_seconds(local))
        self._reservations.note(sealed.ref, state)
        if state is not None:
            return replace(result, quota=state)
        result = replace(result, notices=(*result.notices, self._tell_failed(sealed, error)))
        return _owing(result, charge, self._settings.outbox_retry_seconds)

    async def finish_unlogged(
        self,
        sealed: SealedStream,
        local: LocalStream | None,
        result: EndResult,
        payloads: Sequence[bytes],
        *,
        after_seq: int,
    ) -> EndResult:
        """Settle a stream whose log is not whole. Nothing can be owed for it."""
        charge = self._charge(sealed, local)
        if charge is None or (local is not None and await local.disowned()):
            return result
        if (settled := self._settled(sealed.ref)) is not None:
            return replace(result, quota=settled)  # before the store came back without its end
        state, error, _ = await self._settler.settle(sealed, sealed.binding, charge, self._visible_seconds(local))
        self._reservations.note(sealed.ref, state)
        if state is not None:
            return replace(result, quota=state)
        pending = self._unlogged.begin(sealed, sealed.binding, charge)
        notices = (*result.notices, self._tell_failed(sealed, error))
        return replace(result, quota=QuotaState.PENDING, notices=notices, quota_by_now=lambda: pending.state)

    def _settled(self, ref: StreamRef) -> QuotaState | None:
        """What settling the reservation of a stream of this process came to; None where that is not done."""
        held = self._reservations.held(ref)
        return None if held is None or held.state is QuotaState.PENDING else held.state

    def _charge(self, sealed: SealedStream, local: LocalStream | None) -> Charge | None:
        """What to settle with; None where nothing was reserved."""
        if not self._settler.has_service:
            return None
        terms = self._terms.terms_of(sealed.binding)
        if local is None:
            return None if terms is None else terms.charge(sealed.seal, said_nothing=said_nothing(sealed.seal))
        held = self._reservations.held(sealed.ref)
        if held is None:
            return None
        terms = terms or QuotaTerms(held.demand.quotas)
        return terms.charge(sealed.seal, said_nothing=said_nothing(sealed.seal))

    def _visible_seconds(self, local: LocalStream | None) -> float:
        visible = self._settings.settle_visible_seconds
        return visible if local is not None else min(visible, self._settings.lease_seconds / 3)

    def _tell_failed(self, sealed: SealedStream, error: BaseException | None) -> Fault:
        fault = Fault.about(sealed, FaultCode.QUOTA_RELEASE_FAILED)
        self._observe(Observation.about(sealed, Signal.FAULT, fault=fault, error=error, fields=sealed.told))
        return fault


def _owing(result: EndResult, charge: Charge | None, due_seconds: float) -> EndResult:
    """The same, with the settlement owed too. Where a save is owed, its due time stands: the outbox must not meet
    a save that is still running."""
    return replace(
        result,
        quota=QuotaState.PENDING,
        outbox_payload=add_settlement(result.outbox_payload, charge),
        due_seconds=due_seconds if result.outbox_payload is None else result.due_seconds,
    )
