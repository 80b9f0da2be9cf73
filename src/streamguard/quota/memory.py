"""`MemoryQuotaStore`: the quota of one process, and the executable specification of the contract.

No method awaits anything between its first and last line, and each holds one lock there, so each is one step for all
event loops that share a store. What a step does to an owner's counters stands in `ledger`; this module finds ledgers,
forgets them, and remembers who is due.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ..errors import QuotaUnavailableError
from ..locks import step_lock
from ..values import StreamRef
from .ledger import Ledger, Name, Schedule
from .limits import Quota, check_amounts, check_limit, check_owner, check_quotas, check_ref
from .measures import MeasuredQuota
from .records import (
    Admitted,
    Audit,
    OwnerStatus,
    QuotaDepths,
    Refused,
    Reservation,
    ReservationState,
    Settlement,
)
from .store import QuotaStore
from .timing import Timing, checked_claim, milliseconds

__all__ = ["MemoryQuotaStore"]

_VISITS: Final = 100
"""How many owners' ledgers one step tidies, at most."""

_UNKNOWN: Final = Settlement(ReservationState.UNKNOWN)

_Member = tuple[str, str, str]
"""Owner, session, stream."""


class MemoryQuotaStore(QuotaStore, MeasuredQuota):
    """Counts in this process's memory: for development, tests and servers of one process. Event loops of several
    threads may share a store: together they admit no more than the limit.

    Args:
        hold_seconds: How long a reservation lasts without being renewed: at least 1, a few heartbeats.
        stale_seconds: How long ago its last renewal may be before it counts as pending release; less than
            `hold_seconds`.
        remember_seconds: How long what was committed or released is remembered, so that a repeated step gets its
            outcome.
        late_seconds: How long what expired is remembered, so that a late commit is charged.
        max_reservations: How many are remembered in all; past it, `reserve` raises `QuotaUnavailableError`.
        clock: Unix time in seconds; for tests.

    Raises:
        ConfigurationError: a time is out of range.
    """

    def __init__(
        self,
        *,
        hold_seconds: float = 60.0,
        stale_seconds: float = 15.0,
        remember_seconds: float = 3_600.0,
        late_seconds: float = 604_800.0,
        max_reservations: int = 250_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._timing = Timing.of(
            hold_seconds=hold_seconds,
            stale_seconds=stale_seconds,
            remember_seconds=remember_seconds,
            late_seconds=late_seconds,
        )
        self.hold_seconds = hold_seconds
        self._lock = step_lock()
        """Held by each step from its first line to its last."""
        self._max_reservations = max_reservations
        self._clock = clock
        self._count = 0
        """How many reservations all ledgers remember."""
        self._ledgers: dict[str, Ledger] = {}
        self._visits: Schedule[tuple[str]] = Schedule()
        """Owners, by when to see whether anything of them is worth remembering."""
        self._due: Schedule[_Member] = Schedule()
        """Reservations by when to look at them. Renewals don't touch it: one that comes up early goes back."""

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        with self._lock:
            check_ref("reserve", ref)
            quotas = check_quotas(quotas)
            amounts = check_amounts("reserve", amounts, quotas=quotas)
            at_ms, owner = self._begin(), ref.key.owner
            ledger = self._ledger(owner, at_ms)
            if self._count >= self._max_reservations and (ledger is None or ledger.find(_name(ref)) is None):
                raise QuotaUnavailableError(
                    f"reserve: this store is full (max_reservations={self._max_reservations})", operation="reserve"
                )
            if ledger is None:
                ledger = self._ledgers[owner] = Ledger(owner, self._timing)
                ledger.begin(at_ms)
                self._visits.put((owner,), at_ms + self._timing.remember_ms)
            before = ledger.size
            # A retry too, as where the index is written before the record: what has expired is looked at once more.
            self._due.enter(_member(ref), at_ms + self._timing.hold_ms)
            answer = ledger.reserve(_name(ref), amounts, quotas)
            if ledger.size > before:
                self._count += 1
            elif isinstance(answer, Refused):
                self._due.remove(_member(ref))
            return answer

    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        with self._lock:
            check_ref("commit", ref)
            known = check_amounts("commit", amounts or {})
            ledger = self._ledger(ref.key.owner, self._begin())
            return self._settled(ref, _UNKNOWN if ledger is None else ledger.commit(_name(ref), known))

    async def release(self, ref: StreamRef) -> Settlement:
        with self._lock:
            check_ref("release", ref)
            ledger = self._ledger(ref.key.owner, self._begin())
            return self._settled(ref, _UNKNOWN if ledger is None else ledger.release(_name(ref)))

    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        with self._lock:
            for ref in refs:
                check_ref("renew", ref)
            at_ms = self._begin()
            found = []
            for ref in refs:
                ledger = self._ledger(ref.key.owner, at_ms)
                found.append(ReservationState.UNKNOWN if ledger is None else ledger.renew(_name(ref)))
            return found

    async def expire(self, ref: StreamRef) -> Settlement:
        with self._lock:
            check_ref("expire", ref)
            known = self._ledgers.get(ref.key.owner)
            reserved = known is not None and known.reserved(_name(ref))
            ledger = self._ledger(ref.key.owner, self._begin())
            answer = _UNKNOWN if ledger is None else ledger.settled(_name(ref))
            if answer.state is not ReservationState.RESERVED:
                self._due.remove(_member(ref))
            return replace(answer, changed=reserved and answer.state is ReservationState.EXPIRED)

    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        with self._lock:
            claim_ms = checked_claim(limit, claim_seconds)
            at_ms = self._begin()
            if not claim_ms:
                return self._shown(at_ms, limit)
            found: list[Reservation] = []
            for _ in range(limit):
                if (member := self._due.next(at_ms)) is None:
                    break
                ledger = self._ledger(member[0], at_ms)
                reservation = None if ledger is None else ledger.find(member[1:])
                if reservation is None:
                    self._due.remove(member)
                elif reservation.state is ReservationState.RESERVED:
                    self._due.put(member, at_ms + milliseconds(reservation.expires_in_seconds))
                elif reservation.state is ReservationState.EXPIRED:
                    self._due.put(member, at_ms + claim_ms)
                    found.append(reservation)
                else:
                    self._due.remove(member)
            return found

    async def find(self, ref: StreamRef) -> Reservation | None:
        with self._lock:
            check_ref("find", ref)
            ledger = self._ledger(ref.key.owner, self._begin())
            return None if ledger is None else ledger.find(_name(ref))

    async def held(self, owner: str, *, limit: int = 100) -> list[Reservation]:
        with self._lock:
            check_owner("held", owner)
            check_limit(limit)
            ledger = self._ledger(owner, self._begin())
            return [] if ledger is None else ledger.held(limit)

    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        with self._lock:
            check_owner("status", owner)
            quotas = check_quotas(quotas)
            return self._ledger_or_new(owner).status(quotas)

    async def audit(self, owner: str, quotas: Sequence[Quota], *, repair: bool = False) -> Audit:
        with self._lock:
            check_owner("audit", owner)
            quotas = check_quotas(quotas)
            return self._ledger_or_new(owner).audit(quotas, repair=repair)

    async def depths(self) -> QuotaDepths:
        with self._lock:
            at_ms = self._begin()
            all_, due, first_ms = self._due.counted(at_ms)
            return QuotaDepths(all_, due, (at_ms - first_ms) / 1000 if due else None)

    async def drift(self, owner: str, quotas: Sequence[Quota], *, most: int) -> int | None:
        with self._lock:
            check_owner("drift", owner)
            ledger = self._ledger(owner, self._begin())
            if ledger is None:
                return 0
            return None if ledger.size > most else ledger.audit(check_quotas(quotas), repair=False).drift

    def _begin(self) -> int:
        """The time, after some ledgers were tidied."""
        at_ms = round(self._clock() * 1000)
        for _ in range(_VISITS):
            visited = self._visits.next(at_ms)
            if visited is None:
                break
            ledger = self._ledger(visited[0], at_ms)
            if ledger is not None and ledger.idle:
                del self._ledgers[visited[0]]
                self._visits.remove(visited)
            else:
                self._visits.put(visited, at_ms + self._timing.remember_ms)
        return at_ms

    def _ledger(self, owner: str, at_ms: int) -> Ledger | None:
        """An owner's ledger at the beginning of a step; None for an owner without."""
        ledger = self._ledgers.get(owner)
        if ledger is not None:
            before = ledger.size
            ledger.begin(at_ms)
            self._count -= before - ledger.size
        return ledger

    def _ledger_or_new(self, owner: str) -> Ledger:
        """As `_ledger`, or an empty one that is not kept."""
        at_ms = self._begin()
        ledger = self._ledger(owner, at_ms)
        if ledger is None:
            ledger = Ledger(owner, self._timing)
            ledger.begin(at_ms)
        return ledger

    def _shown(self, at_ms: int, limit: int) -> list[Reservation]:
        """The due reservations that are not claimed."""
        members = [member for due_ms, member in self._due.sorted()[:limit] if due_ms <= at_ms]
        ledgers = [(member, self._ledger(member[0], at_ms)) for member in members]
        found = [None if ledger is None else ledger.find(member[1:]) for member, ledger in ledgers]
        return [one for one in found if one is not None and one.state is ReservationState.EXPIRED]

    def _settled(self, ref: StreamRef, answer: Settlement) -> Settlement:
        if answer.state not in (ReservationState.RESERVED, ReservationState.EXPIRED):
            self._due.remove(_member(ref))
        return answer


def _name(ref: StreamRef) -> Name:
    return ref.key.session_id, ref.stream_id


def _member(ref: StreamRef) -> _Member:
    return ref.key.owner, ref.key.session_id, ref.stream_id
