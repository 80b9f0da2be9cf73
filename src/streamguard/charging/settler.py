"""Attempts at settling one stream's reservation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from ..contained import passes
from ..deadlines import Deadline
from ..errors import QuotaCorruptError, QuotaError
from ..observations import Observer
from ..retrying import Backoff
from ..settings import Settings
from ..values import QuotaState, StreamRef, Subject
from .charge import Charge, state_on_record
from .reservations import Reservations
from .settlement_report import outcome_of, report_settled

__all__ = ["Attempt", "Settler"]

BACKOFF: Final = Backoff(0.1, 1.0)
"""While a stream's end waits."""


class Attempt(NamedTuple):
    """What came of an attempt: one of the two is set."""

    state: QuotaState | None
    """How the reservation stands; None when that is not known."""
    error: BaseException | None
    charged: Mapping[str, int] = MappingProxyType({})
    """By unit; empty unless it was charged."""

    @property
    def refused(self) -> bool:
        """Whether asking again does not help."""
        return isinstance(self.error, QuotaError) and not self.error.retryable


class Settler:
    """Settles reservations with the quota service, if there is one."""

    def __init__(self, reservations: Reservations, settings: Settings, *, observe: Observer) -> None:
        self._observe = observe
        self._reservations = reservations
        self._settings = settings
        self.given_up: asyncio.Event = asyncio.Event()
        """The process ends: nothing is attempted again."""

    @property
    def has_service(self) -> bool:
        """Whether anything is counted here."""
        return self._reservations.service is not None

    async def settle(self, stream: Subject, binding: str, charge: Charge, seconds: float) -> Attempt:
        """Attempt it, again and again if need be, for so many seconds."""
        retries, begun = BACKOFF.retries(Deadline.after(seconds)), time.monotonic()
        while True:
            attempt = await self.attempt(stream.ref, charge)
            if attempt.state is not None or attempt.refused:
                break
            if self.given_up.is_set() or not await retries.pause():
                break
        self.report(stream, binding, charge, attempt, seconds=time.monotonic() - begun)
        return attempt

    def report(self, stream: Subject, binding: str, charge: Charge, attempt: Attempt, *, seconds: float) -> None:
        """Tell operators what came of settling a stream's reservation."""
        held = self._reservations.held(stream.ref)
        reserved: Mapping[str, int] = {} if held is None else held.demand.amounts
        outcome = outcome_of(attempt.state, attempt.charged, release=charge.release)
        # A host's own service does not say what it charged for a unit that it was to charge as reserved.
        spent = {**reserved, **attempt.charged} if outcome == "charged" else attempt.charged
        report_settled(self._observe, stream, outcome, binding, reserved=reserved, spent=spent, seconds=seconds)

    async def attempt(self, ref: StreamRef, charge: Charge) -> Attempt:
        """Attempt it once, within `quota_seconds`."""
        service = self._reservations.service
        if service is None:
            return Attempt(QuotaState.NONE, None)
        try:
            async with Deadline.after(self._settings.quota_seconds).limit():
                settlement = await charge.carry_out(service, ref)
        except QuotaCorruptError as exc:  # it answered: one owner's ledger, or one reservation, says nothing of others
            return Attempt(None, exc)
        except BaseException as exc:  # a host's service may raise what it likes
            if passes(exc):
                raise
            self._reservations.failing = True
            return Attempt(None, exc)
        self._reservations.failing = False
        return Attempt(state_on_record(settlement.state, attempted=True), None, settlement.charged)
