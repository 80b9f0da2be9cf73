"""Settlements of streams without a log, for which nothing can be owed: they are attempted from memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from ..deadlines import Deadline
from ..errors import QuotaCorruptError, QuotaError, StoreError, StoreUnavailableError
from ..faults import Fault, FaultCode
from ..loops import StartTask
from ..observations import Observation, Signal
from ..quota import ReservationState
from ..retrying import Backoff
from ..settings import Settings
from ..stores.records import StreamMeta
from ..stores.store import StreamStore
from ..values import QuotaState, StreamRef, StreamState, Subject
from .charge import Charge, state_on_record
from .reservations import Reservations
from .settler import Settler

__all__ = ["PendingSettlement", "UnloggedSettlements"]

BACKOFF: Final = Backoff(1.0, 30.0)
"""Between attempts, when nobody waits any more."""
RECORD_BACKOFF: Final = Backoff(0.1, 30.0)
"""Between attempts at putting a settlement on record."""


@dataclass(slots=True)
class PendingSettlement:
    """A settlement that is attempted from memory."""

    state: QuotaState = QuotaState.PENDING


class UnloggedSettlements:
    """Goes on settling for as long as the process lives. `start` runs a task of the runtime's; `changed` is told when
    one is over."""

    def __init__(
        self,
        store: StreamStore,
        reservations: Reservations,
        settler: Settler,
        settings: Settings,
        *,
        observe: Callable[[Observation], None],
        start: StartTask,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._reservations = reservations
        self._settler = settler
        self._settings = settings
        self._observe = observe
        self._start = start
        self._changed = changed
        self.under_way: int = 0
        """How many settlements are still attempted."""

    def begin(self, stream: Subject, binding: str, charge: Charge) -> PendingSettlement:
        """Settle in the background, and keep the reservation until then."""
        self._reservations.keep(stream.ref)
        self.under_way += 1
        pending = PendingSettlement()
        self._start(partial(self._settle, stream, binding, charge, pending))
        return pending

    async def _settle(self, stream: Subject, binding: str, charge: Charge, pending: PendingSettlement) -> None:
        """Attempt it while this process lives. Once it is settled, the stream's record says so, or is going to.

        A process that ends before leaves the reservation to expire; the worker that ends it puts that on record.
        """
        given_up, retries = self._settler.given_up, BACKOFF.retries()
        ref, begun = stream.ref, time.monotonic()
        try:
            while not given_up.is_set():
                await retries.pause(wake=given_up)
                attempt = await self._settler.attempt(ref, charge)
                state, error, _ = attempt
                if isinstance(error, QuotaCorruptError):  # asking again never helps
                    self._tell_given_up(stream, error)
                    return
                if state is not None:
                    pending.state = state
                    self._reservations.note(ref, state)
                    self._observe(Observation.about(stream, Signal.SETTLEMENT_RECOVERED))
                    self._settler.report(stream, binding, charge, attempt, seconds=time.monotonic() - begun)
                    await self._record(ref, state)
                    return
        finally:
            self._reservations.let_go(ref)
            self.under_way -= 1
            self._changed()

    async def _record(self, ref: StreamRef, state: QuotaState) -> None:
        """Put on record what became of a reservation. A stream that has no record yet gets one that says so."""
        given_up, retries = self._settler.given_up, RECORD_BACKOFF.retries()
        while not given_up.is_set():
            try:
                await self._store.update_meta(ref, quota=state)
            except StoreUnavailableError:
                await retries.pause(wake=given_up)
            except StoreError:  # the record cannot be read
                return
            else:
                return

    def correct_record(self, meta: StreamMeta) -> None:
        """Correct, in the background, the record of a stream that lost its log and still says `pending` although no
        process settles it any more: its process ended between settling and saying so."""
        if meta.quota is QuotaState.PENDING and meta.lost and meta.state is StreamState.CLOSED:
            self._start(partial(self._correct_record, meta.ref))

    async def _correct_record(self, ref: StreamRef) -> None:
        store = self._reservations.store
        if store is None or self._reservations.keeps(ref):
            return
        with suppress(QuotaError, StoreError, TimeoutError):
            async with Deadline.after(self._settings.quota_seconds).limit():
                found = await store.find(ref)
            state = state_on_record(ReservationState.UNKNOWN if found is None else found.state)
            if state is not QuotaState.PENDING:
                await self._store.update_meta(ref, quota=state)

    def _tell_given_up(self, stream: Subject, error: QuotaCorruptError) -> None:
        fault = Fault.about(stream, FaultCode.QUOTA_RELEASE_FAILED, retryable=False, reason="quota_refused")
        self._observe(Observation.about(stream, Signal.FAULT, fault=fault, error=error))
