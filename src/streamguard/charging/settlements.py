"""Settling what streams reserved, in the steps of their end and after: once, and with the truth told about it.

It comes after the save, for a save that fails costs its user nothing less. What cannot be settled in time is owed:
beside the save, in the stream's one outbox entry. Of a stream without a log nothing can be owed; its process goes on
trying for as long as it lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ..deadlines import Deadline
from ..errors import QuotaCorruptError, QuotaError, StoreError, StoreUnavailableError
from ..faults import Fault, FaultCode
from ..loops import StartTask
from ..observations import Observation, Signal
from ..quota import ReservationState
from ..retrying import Backoff
from ..saving.bindings import Bindings
from ..saving.end_steps import EndResult, EndStep, LocalStream
from ..saving.outbox_payload import NewerPayloadError
from ..saving.save_outbox import UNSETTLED, SaveOutbox
from ..saving.save_result import SaveResult, SaveStatus
from ..saving.sealed_stream import SealedStream
from ..settings import Settings
from ..stores.records import OutboxEntry, Seal, StreamMeta
from ..stores.store import StreamStore
from ..values import Outcome, Persisted, QuotaState, StreamRef, StreamState
from .charge import Charge, state_on_record
from .outbox_payload import add_settlement, read_settlement
from .reservations import Reservations
from .terms import QuotaBindings, QuotaTerms

__all__ = ["Settlements"]

BACKOFF: Final = Backoff(0.1, 1.0)
"""While a stream's end waits."""
LATE_BACKOFF: Final = Backoff(1.0, 30.0)
"""From memory, when nobody waits any more."""
MARK_BACKOFF: Final = Backoff(0.1, 30.0)
"""At telling the stream store of a settlement that was made from memory."""


class Settlements(EndStep):
    """Settles what was reserved, after the save. `start` runs a task of the runtime's; `changed` is told when one is
    over."""

    def __init__(
        self,
        store: StreamStore,
        reservations: Reservations,
        bindings: Bindings,
        terms: QuotaBindings,
        settings: Settings,
        outbox: SaveOutbox,
        *,
        observe: Callable[[Observation], None],
        start: StartTask,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._reservations = reservations
        self._bindings = bindings
        self._terms = terms
        self._settings = settings
        self._outbox = outbox
        self._observe = observe
        self._start = start
        self._changed = changed
        self._given_up = asyncio.Event()
        self.under_way: int = 0
        """How many settlements are still tried from memory."""

    def give_up(self) -> None:
        """The process ends: what is tried from memory is left to expire."""
        self._given_up.set()

    # -- in a stream's end --------------------------------------------------------------------------------------------

    def has_nothing_to_do(self, ref: StreamRef, binding: str) -> bool:
        return self._reservations.held(ref) is None

    async def finish(self, sealed: SealedStream, local: LocalStream | None, result: EndResult) -> EndResult:
        """Settle a stream whose log is whole. Takes `settle_visible_seconds` at most."""
        if local is None and self._reservations.service is not None and self._bindings.is_others(sealed.binding):
            return _owing(result, None, 0.0)
        charge = self._charge(sealed, local)
        if charge is None or (local is not None and not local.owned()):
            return result
        held = self._reservations.held(sealed.ref)
        if held is not None and held.state not in (None, QuotaState.PENDING):
            return replace(result, quota=held.state)  # settled before the store came back
        state, error = await self._settle(sealed.ref, charge, self._visible_seconds(local))
        self._note(sealed.ref, state)
        if state is not None:
            return replace(result, quota=state)
        result = replace(result, notices=(*result.notices, self._told(sealed, error)))
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
        state, error = await self._settle(sealed.ref, charge, self._visible_seconds(local))
        self._note(sealed.ref, state)
        if state is not None:
            return replace(result, quota=state)
        self._reservations.keep(sealed.ref)
        self.under_way += 1
        late = _Late()
        self._start(partial(self._settle_late, sealed.ref, charge, late))
        notices = (*result.notices, self._told(sealed, error))
        return replace(result, quota=QuotaState.PENDING, notices=notices, quota_by_now=lambda: late.state)

    def _charge(self, sealed: SealedStream, local: LocalStream | None) -> Charge | None:
        """What to settle with; None where nothing was reserved."""
        if self._reservations.service is None:
            return None
        terms = self._terms.terms_of(sealed.binding)
        if local is None:
            return None if terms is None else terms.charge(sealed.seal, said_nothing=_said_nothing(sealed.seal))
        held = self._reservations.held(sealed.ref)
        if held is None:
            return None
        terms = terms or QuotaTerms(held.demand.quotas)
        return terms.charge(sealed.seal, said_nothing=_said_nothing(sealed.seal))

    def _visible_seconds(self, local: LocalStream | None) -> float:
        visible = self._settings.settle_visible_seconds
        return visible if local is not None else min(visible, self._settings.lease_seconds / 3)

    def _note(self, ref: StreamRef, state: QuotaState | None) -> None:
        held = self._reservations.held(ref)
        if held is not None:
            held.state = state or QuotaState.PENDING

    async def _settle(
        self, ref: StreamRef, charge: Charge, seconds: float
    ) -> tuple[QuotaState | None, Exception | None]:
        """Settle within so many seconds. Answers the state that stands, or what the last attempt failed with."""
        retries = BACKOFF.retries(Deadline.after(seconds))
        while True:
            state, error = await self._attempt(ref, charge)
            if state is not None or (isinstance(error, QuotaError) and not error.retryable):
                return state, error
            if self._given_up.is_set() or not await retries.pause():
                return None, error

    async def _attempt(self, ref: StreamRef, charge: Charge) -> tuple[QuotaState | None, Exception | None]:
        service = self._reservations.service
        if service is None:
            return QuotaState.NONE, None
        try:
            async with Deadline.after(self._settings.quota_seconds).limit():
                settlement = await charge.carry_out(service, ref)
        except QuotaCorruptError as exc:  # it answered: one owner's ledger, or one reservation, says nothing of others
            return None, exc
        except Exception as exc:  # noqa: BLE001 -- a host's service may raise what it likes
            self._reservations.failing = True
            return None, exc
        self._reservations.failing = False
        return state_on_record(settlement.state, attempted=True), None

    async def _settle_late(self, ref: StreamRef, charge: Charge, late: _Late) -> None:
        """Go on trying while this process lives; once it is done, the stream's record says so, or is going to.

        A process that ends before leaves its reservation to expire, and whoever sees to that puts it on record.
        """
        retries = LATE_BACKOFF.retries()
        try:
            while not self._given_up.is_set():
                await retries.pause(wake=self._given_up)
                state, error = await self._attempt(ref, charge)
                if isinstance(error, QuotaCorruptError):  # asking again never helps
                    self._tell_given_up(ref, error)
                    return
                if state is not None:
                    late.state = state
                    self._note(ref, state)
                    self._tell_recovered(ref)
                    await self._marked(ref, state)
                    return
        finally:
            self._reservations.let_go(ref)
            self.under_way -= 1
            self._changed()

    async def _marked(self, ref: StreamRef, state: QuotaState) -> None:
        """Put on record what became of a reservation. A stream without one gets it with the right word."""
        retries = MARK_BACKOFF.retries()
        while not self._given_up.is_set():
            try:
                await self._store.update_meta(ref, quota=state)
            except StoreUnavailableError:
                await retries.pause(wake=self._given_up)
            except StoreError:  # nobody can read it
                return
            else:
                return

    def look_again(self, meta: StreamMeta) -> None:
        """Put right, in the background, the record of a stream that lost its log, which says `pending` though nobody is
        on it any more: its process ended between settling and saying so."""
        if meta.quota is QuotaState.PENDING and meta.lost and meta.state is StreamState.CLOSED:
            self._start(partial(self._looked_again, meta.ref))

    async def _looked_again(self, ref: StreamRef) -> None:
        store = self._reservations.store
        if store is None or self._reservations.keeps(ref):
            return
        with suppress(QuotaError, StoreError, TimeoutError):
            async with Deadline.after(self._settings.quota_seconds).limit():
                found = await store.find(ref)
            state = state_on_record(ReservationState.UNKNOWN if found is None else found.state)
            if state is not QuotaState.PENDING:
                await self._store.update_meta(ref, quota=state)

    # -- what is owed -------------------------------------------------------------------------------------------------

    async def settle_owed(self, owed: OutboxEntry, meta: StreamMeta) -> SaveResult | None:
        """Settle what a closed stream owes, and put on record what came of it. None when its save is to be tried now.

        Raises:
            StoreError: the stream store failed; the claim runs out.
        """
        try:
            work = read_settlement(owed.payload)
        except NewerPayloadError:
            return await self._outbox.release_claim(owed.ref, meta.message_id, "newer_format", attempts=owed.attempts)
        except ValueError as exc:
            damaged = SaveResult(SaveStatus.REFUSED, "payload_unreadable", exc)
            await self._outbox.dead_letter(owed.ref, meta.message_id, damaged, attempts=owed.attempts)
            return damaged
        if not work.settles or meta.quota is not QuotaState.PENDING:
            return None if work.saves and _is_unsaved(meta, work.settles) else await self._completed(owed, None)
        charge, seal, terms = work.charge, meta.seal, self._terms.terms_of(meta.binding)
        state: QuotaState | None = QuotaState.NONE
        error: Exception | None = None
        if charge is None and terms is not None and seal is not None:
            charge = terms.charge(seal, said_nothing=_said_nothing(seal))
        if charge is not None:
            if self._reservations.service is None:
                return await self._outbox.release_claim(owed.ref, meta.message_id, "no_quota", attempts=owed.attempts)
            state, error = await self._attempt(owed.ref, charge)
        saves = work.saves and _is_unsaved(meta, True)
        if state is not None:
            if charge is not None:
                self._tell_recovered(owed.ref)
            if not saves:
                return await self._completed(owed, state)
            await self._store.update_meta(owed.ref, quota=state)
            return None
        if saves:
            return None  # whatever comes of the save, the entry stays until this is settled too
        failed = SaveResult(SaveStatus.FAILED, UNSETTLED, error)
        if isinstance(error, QuotaError) and not error.retryable:
            failed = SaveResult(SaveStatus.REFUSED, "quota_refused", error)
        if failed.status is SaveStatus.REFUSED or owed.attempts + 1 >= self._settings.max_outbox_attempts:
            code = FaultCode.QUOTA_RELEASE_FAILED
            await self._outbox.dead_letter(owed.ref, meta.message_id, failed, attempts=owed.attempts + 1, code=code)
        else:
            await self._outbox.retry_later(owed.ref, failed.reason, attempts=owed.attempts)
        return failed

    async def _completed(self, owed: OutboxEntry, state: QuotaState | None) -> SaveResult:
        await self._store.complete(owed.ref, quota=state, retention_seconds=self._settings.finished_ttl_seconds)
        return SaveResult(SaveStatus.NOTHING, "settled")

    # -- telling ------------------------------------------------------------------------------------------------------

    def _told(self, sealed: SealedStream, error: Exception | None) -> Fault:
        fault = Fault.about(sealed, FaultCode.QUOTA_RELEASE_FAILED)
        fields = {"outcome": sealed.seal.outcome}
        self._observe(Observation.about(sealed, Signal.FAULT, fault=fault, error=error, fields=fields))
        return fault

    def _tell_given_up(self, ref: StreamRef, error: QuotaCorruptError) -> None:
        fault = Fault.of(
            FaultCode.QUOTA_RELEASE_FAILED,
            retryable=False,
            reason="quota_refused",
            session_id=ref.key.session_id,
            stream_id=ref.stream_id,
        )
        self._observe(Observation(Signal.FAULT, ref=ref, fault=fault, error=error))

    def _tell_recovered(self, ref: StreamRef) -> None:
        self._observe(Observation(Signal.SETTLEMENT_RECOVERED, ref=ref))


def _owing(result: EndResult, charge: Charge | None, due_seconds: float) -> EndResult:
    """The same, with the settlement owed too. A save that is still running is not to be met by the outbox."""
    return replace(
        result,
        quota=QuotaState.PENDING,
        outbox_payload=add_settlement(result.outbox_payload, charge),
        due_seconds=due_seconds if result.outbox_payload is None else result.due_seconds,
    )


def _said_nothing(seal: Seal) -> bool:
    """Whether it ended before it had said anything, or was shown to nobody. By the seal alone, so that its own worker
    and any other come to the same."""
    if seal.outcome is Outcome.COMPLETED:
        return False
    if seal.fault is not None and seal.fault.code is FaultCode.NOT_FOUND:
        return True
    return seal.silent or seal.last_seq == 0


@dataclass(slots=True)
class _Late:
    """A settlement that is tried from memory."""

    state: QuotaState = QuotaState.PENDING


def _is_unsaved(meta: StreamMeta, also_settles: bool) -> bool:
    """Whether a save that is owed is still to be made. An entry of nothing else stands for itself."""
    return not also_settles or meta.persisted in (Persisted.PENDING, Persisted.NO)
