"""The reservations of this process's streams: made before a stream is registered, renewed until it is settled."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from ..contained import passes
from ..deadlines import Deadline
from ..errors import ConfigurationError, FaultError, QuotaCorruptError, QuotaError, QuotaExceededError
from ..faults import Fault, FaultCode
from ..loops import StartTask
from ..observations import Observation, Signal
from ..quota import Quota, QuotaService, QuotaStore, RefusalReason, Refused, Standing
from ..retrying import Backoff
from ..settings import Settings
from ..stores.budget import Budget
from ..values import QuotaState, StreamRef, Subject
from .charge import RELEASE
from .settlement_report import by_unit, report_settled
from .terms import Demand

__all__ = ["HeldReservation", "QuotaRefusedError", "Reservations"]

RETRY_AFTER_SECONDS: Final = 5
RELEASE_BACKOFF: Final = Backoff(0.2, 3.2)
RELEASE_RETRIES: Final = 5
"""Of a release that nobody waits for. After them the reservation is left to expire."""
BATCH: Final = 500
LEAST_SECONDS: Final = 0.25
"""What a reservation may take although the request's budget is spent: the quota has a connection of its own."""
LATEST_OWNERS: Final = 16
"""So many owners are remembered, so that their counters can be looked at."""
RENEWALS: Final = 3
"""How often a reservation is renewed while it would last: two renewals may fail."""


class QuotaRefusedError(FaultError):
    """The quota is used up. `standings` say how the owner stands, as far as the service tells."""

    def __init__(self, fault: Fault, standings: tuple[Standing, ...]) -> None:
        super().__init__(fault)
        self.standings = standings


@dataclass(slots=True)
class HeldReservation:
    """What one stream of this process has reserved."""

    demand: Demand
    binding: str = ""
    standings: tuple[Standing, ...] = ()
    """How its owner stood when it was reserved."""
    state: QuotaState | None = None
    """What settling it came to; None while that was not attempted."""
    owing: bool = False
    """An earlier reply of the session is still to be settled: its client has to be told."""


class Reservations:
    """Reserves for streams, and renews what they hold.

    `service` is None where nothing is counted; `start` runs a task of the runtime's.
    """

    def __init__(
        self,
        service: QuotaService | None,
        settings: Settings,
        *,
        observe: Callable[[Observation], None],
        start: StartTask,
    ) -> None:
        self.service = service
        self.store: QuotaStore | None = service if isinstance(service, QuotaStore) else None
        """The service, if it can keep and list reservations."""
        self._settings = settings
        self._observe = observe
        self._start = start
        self._held: dict[StreamRef, HeldReservation] = {}
        self._kept: set[StreamRef] = set()
        self._reserved_for: dict[str, tuple[Quota, ...]] = {}
        """The last few owners for whom something was reserved, the latest last, and under what."""
        self.failing: bool = False
        """The last call of the service brought no answer."""

    def held(self, ref: StreamRef) -> HeldReservation | None:
        """What a stream of this process has reserved; None for nothing."""
        return self._held.get(ref) if self._held else None

    def keeps(self, ref: StreamRef) -> bool:
        """Whether this process renews the stream's reservation."""
        return ref in self._held or ref in self._kept

    @property
    def count(self) -> int:
        """How many reservations this process keeps."""
        return len(self._held) + len(self._kept)

    def latest_owners(self) -> dict[str, tuple[Quota, ...]]:
        """The last few owners for whom this process reserved something, the latest first, and the quotas of that."""
        return dict(reversed(self._reserved_for.items()))

    # -- before a stream ----------------------------------------------------------------------------------------------

    async def reserve(
        self, stream: Subject, demand: Demand, *, binding: str, budget: Budget | None = None
    ) -> HeldReservation:
        """Reserve for a stream that is about to be registered, within `quota_seconds`; where the service is on the
        stream store's server also within the request's `budget`.

        Raises:
            QuotaRefusedError: `quota_exceeded`.
            FaultError: `quota_unavailable`, or `internal` for amounts no quota takes. It has been observed.

        Without an answer, or cancelled, what may have been reserved is released in the background.
        """
        service, ref, request_id = self.service, stream.ref, stream.request_id
        begun = time.monotonic()
        if service is None:
            raise ConfigurationError("decorate endpoints that have quotas before the guard starts")
        try:
            async with Deadline.after(self._settings.quota_seconds).limit():
                if budget is None:
                    answer = await service.reserve(ref, demand.amounts, demand.quotas)
                else:
                    answer = await budget.ask_once(
                        lambda: service.reserve(ref, demand.amounts, demand.quotas),
                        at_least_seconds=LEAST_SECONDS,
                    )
        except QuotaExceededError as exc:
            answer = Refused(RefusalReason.SPENT, exc.retry_after_seconds)
        except asyncio.CancelledError:
            self._release_soon(stream)
            raise
        except BaseException as exc:  # a host's service may raise what it likes
            if passes(exc):
                raise
            corrupt = isinstance(exc, QuotaCorruptError)
            if isinstance(exc, QuotaError) and not exc.retryable and not corrupt:
                raise self._refusal(ref, request_id, FaultCode.INTERNAL, exc) from exc
            self.failing = not corrupt  # one owner's ledger says nothing of the service
            if demand.on_failure == "fail":
                self._release_soon(stream)
                raise self._refusal(ref, request_id, FaultCode.QUOTA_UNAVAILABLE, exc) from exc
            held = self._held[ref] = HeldReservation(demand, binding)  # it may be reserved: settling it finds out
            return held
        self.failing = False
        if isinstance(answer, Refused):
            raise self._refused(ref, request_id, answer)
        held = self._held[ref] = HeldReservation(demand, binding, answer.standings)
        self._remember(ref.key.owner, demand)
        fields: dict[str, str | float] = {"binding": binding, "seconds": time.monotonic() - begun}
        fields |= by_unit("reserved", demand.amounts)
        self._observe(Observation.about(stream, Signal.QUOTA_RESERVED, fields=fields))
        return held

    def _remember(self, owner: str, demand: Demand) -> None:
        self._reserved_for.pop(owner, None)
        self._reserved_for[owner] = tuple(demand.quotas)
        if len(self._reserved_for) > LATEST_OWNERS:
            del self._reserved_for[next(iter(self._reserved_for))]

    def drop(self, stream: Subject) -> None:
        """The stream does not begin: release what was reserved for it, in the background."""
        held = self._held.pop(stream.ref, None)
        if held is not None:
            self._release_soon(stream, held)

    async def release(self, stream: Subject) -> None:
        """There is no stream: release what was reserved for it. Waits for that, with a few retries."""
        held = self._held.pop(stream.ref, None)
        if held is not None:
            await self._released(stream, held)

    def note(self, ref: StreamRef, state: QuotaState | None) -> None:
        """Note what settling a stream's reservation came to; None when that is not known yet."""
        held = self._held.get(ref)
        if held is not None:
            held.state = state or QuotaState.PENDING

    def forget(self, ref: StreamRef) -> None:
        """The stream is over, and settled or left to the outbox."""
        if self._held:
            self._held.pop(ref, None)

    def _release_soon(self, stream: Subject, held: HeldReservation | None = None) -> None:
        self._start(partial(self._released, stream, held))

    async def _released(self, stream: Subject, held: HeldReservation | None) -> None:
        service, ref, begun = self.service, stream.ref, time.monotonic()
        if service is None:
            return
        retries = RELEASE_BACKOFF.retries(most=RELEASE_RETRIES)
        while True:
            try:
                async with Deadline.after(self._settings.quota_seconds).limit():
                    await RELEASE.carry_out(service, ref)
            except BaseException as exc:  # a host's service may raise what it likes
                if passes(exc):
                    raise
                error = exc
            else:
                if held is not None:
                    seconds = time.monotonic() - begun
                    report_settled(
                        self._observe, stream, "released", held.binding, reserved=held.demand.amounts, seconds=seconds
                    )
                return
            if not await retries.pause():
                break
        fault = Fault.of(
            FaultCode.QUOTA_RELEASE_FAILED, session_id=ref.key.session_id, stream_id=ref.stream_id, reason="expires"
        )
        self._observe(Observation.about(stream, Signal.FAULT, fault=fault, error=error))

    # -- while it runs ------------------------------------------------------------------------------------------------

    def keep(self, ref: StreamRef) -> None:
        """Go on renewing a reservation after its stream's end, until `let_go`: it is being settled from memory."""
        self._kept.add(ref)

    def let_go(self, ref: StreamRef) -> None:
        """Undo `keep`: the reservation is settled, or given up."""
        self._kept.discard(ref)

    async def run(self) -> None:
        """Renew until cancelled. Apart from the streams' leases, so that neither waits for the other's store."""
        store = self.store
        while store is not None:
            await asyncio.sleep(store.hold_seconds / RENEWALS)
            await self.renew()

    async def renew(self) -> None:
        """Renew every reservation that is not settled, once. One that is not renewed in time expires, and is charged
        late."""
        store = self.store
        if store is None:
            return
        refs = [ref for ref, held in self._held.items() if held.state in (None, QuotaState.PENDING)]
        refs += [ref for ref in self._kept if ref not in self._held]
        for begin in range(0, len(refs), BATCH):
            with suppress(QuotaError, TimeoutError):
                self.failing = True
                async with Deadline.after(self._settings.quota_seconds).limit():
                    await store.renew(refs[begin : begin + BATCH])
                self.failing = False

    # -- refusing -----------------------------------------------------------------------------------------------------

    def _refused(self, ref: StreamRef, request_id: str | None, refused: Refused) -> QuotaRefusedError:
        wait = refused.retry_after_seconds
        fault = Fault.of(
            FaultCode.QUOTA_EXCEEDED,
            reason=refused.reason,
            retryable=False if refused.reason is RefusalReason.TOO_LARGE or wait == math.inf else None,
            retry_after_seconds=None if wait is None or not math.isfinite(wait) else max(1, math.ceil(wait)),
            session_id=ref.key.session_id,
            request_id=request_id,
        )
        self._observe(Observation(Signal.FAULT, request_id=request_id, fault=fault, owner=ref.key.owner))
        return QuotaRefusedError(fault, refused.standings)

    def _refusal(self, ref: StreamRef, request_id: str | None, code: FaultCode, error: BaseException) -> FaultError:
        reason = "quota" if code is FaultCode.INTERNAL else None
        fault = Fault.of(
            code,
            reason="record_unreadable" if isinstance(error, QuotaCorruptError) else reason,
            retry_after_seconds=RETRY_AFTER_SECONDS if code is FaultCode.QUOTA_UNAVAILABLE else None,
            session_id=ref.key.session_id,
            request_id=request_id,
        )
        self._observe(Observation(Signal.FAULT, request_id=request_id, fault=fault, error=error, owner=ref.key.owner))
        return FaultError(fault)
