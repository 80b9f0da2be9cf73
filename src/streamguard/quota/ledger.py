"""One owner's reservations and counters, step by step: the executable specification. Pure; times are milliseconds.

The Lua scripts beside this module do the same to an owner's keys in Redis.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from ..errors import QuotaConflictError
from ..values import SessionKey, StreamRef
from .limits import MAX_AMOUNT, Quota, ends_ms, index_at
from .records import (
    Admitted,
    Audit,
    Counted,
    OwnerStatus,
    Refused,
    Reservation,
    ReservationState,
    Settlement,
    Standing,
    refusal,
)
from .timing import Timing

__all__ = ["MAX_PENDING", "SWEEP", "Ledger", "Name", "Schedule"]

SWEEP: Final = 1_000
"""How many reservations one step lets expire, and how many it forgets, at most, so that no step takes long. The
others are held, or remembered, until the next step."""

MAX_PENDING: Final = 1_000
"""How far `pending_release` is counted."""

Name = tuple[str, str]
"""Session and stream: the key of a reservation within its owner's ledger."""

T = TypeVar("T", bound=tuple[str, ...])


class Schedule(Generic[T]):
    """Keys ordered by the time at which they are due. Putting a key again moves it."""

    def __init__(self) -> None:
        self._at: dict[T, int] = {}
        self._heap: list[tuple[int, T]] = []
        """Includes entries that were moved or removed: those are dropped when they come up, or become too many."""

    def put(self, name: T, at_ms: int) -> None:
        """Add a key, or move it."""
        self._at[name] = at_ms
        heapq.heappush(self._heap, (at_ms, name))
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = self.sorted()

    def enter(self, name: T, at_ms: int) -> None:
        """Add a key, unless it is there."""
        if name not in self._at:
            self.put(name, at_ms)

    def remove(self, name: T) -> None:
        """Remove a key, if it is there."""
        self._at.pop(name, None)

    def next(self, at_ms: int) -> T | None:
        """The first key that is due. It stays."""
        while self._heap:
            due_ms, name = self._heap[0]
            if self._at.get(name) != due_ms:
                heapq.heappop(self._heap)
            elif due_ms <= at_ms:
                return name
            else:
                break
        return None

    def counted(self, at_ms: int) -> tuple[int, int, int]:
        """How many keys there are, how many of them are due, and when the first of those was; `at_ms` for none."""
        due = [due_ms for due_ms in self._at.values() if due_ms <= at_ms]
        return len(self._at), len(due), min(due, default=at_ms)

    def sorted(self) -> list[tuple[int, T]]:
        """All of them, in the order of their times."""
        return sorted((at_ms, name) for name, at_ms in self._at.items())


@dataclass(slots=True, eq=False)
class _Window:
    """The counters of one quota's present window."""

    index: int = 0
    used: int = 0
    held: int = 0
    folded: int = 0
    """The part of `used` that was charged by reservations that are forgotten."""


@dataclass(slots=True, eq=False)
class _Record:
    """One reservation."""

    state: ReservationState
    deadline_ms: int
    amounts: dict[str, int]
    windows: tuple[tuple[str, int, int], ...]
    """The unit, period and number of each window it counts in."""
    charged: dict[str, int] = field(default_factory=dict)
    late: bool = False

    def settlement(self, *, changed: bool = False, conflict: bool = False) -> Settlement:
        return Settlement(self.state, self.charged, changed, conflict, self.late)


class Ledger:
    """One owner's ledger. Every step first expires and forgets the reservations that are due."""

    def __init__(self, owner: str, timing: Timing) -> None:
        self._owner = owner
        self._timing = timing
        self._at = 0
        self._records: dict[Name, _Record] = {}
        self._open: Schedule[Name] = Schedule()
        """What is reserved, by when it expires."""
        self._done: Schedule[Name] = Schedule()
        """What is settled, by when it is forgotten."""
        self._windows: dict[tuple[str, int], _Window] = {}
        """The counters by unit and period."""
        self._conflicts = 0

    @property
    def size(self) -> int:
        """How many reservations it remembers."""
        return len(self._records)

    @property
    def idle(self) -> bool:
        """Whether it can be forgotten, as of the last step."""
        return not self._records and all(self._window(*of).used == 0 for of in self._windows)

    def begin(self, at_ms: int) -> None:
        """A step begins."""
        self._at = at_ms
        for _ in range(SWEEP):
            if (name := self._open.next(at_ms)) is None:
                break
            self._expire(name, self._records[name])
        for _ in range(SWEEP):
            if (name := self._done.next(at_ms)) is None:
                break
            self._forget(name)

    # -- the contract's steps -----------------------------------------------------------------------------------------

    def reserve(self, name: Name, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        """See `QuotaService.reserve`; the amounts are sorted by unit."""
        record = self._record(name)
        if record is None:
            refused = refusal(self._standings(quotas), amounts)
            if refused is not None:
                return refused
            deadline_ms = self._at + self._timing.hold_ms
            windows = tuple((q.unit, q.period_ms, self._window(q.unit, q.period_ms).index) for q in quotas)
            record = _Record(ReservationState.RESERVED, deadline_ms, dict(amounts), windows)
            for window, unit in self._counting(record):
                window.held += amounts[unit]
            self._records[name] = record
            self._open.put(name, deadline_ms)
        elif record.amounts != amounts:
            self._conflicts += 1
            raise QuotaConflictError(
                "reserve: this stream has a reservation of other amounts; an id is never used twice",
                operation="reserve",
            )
        return Admitted(self._shown(name, record), self._standings(quotas))

    def commit(self, name: Name, amounts: Mapping[str, int]) -> Settlement:
        """See `QuotaService.commit`."""
        record = self._record(name)
        if record is None:
            return Settlement(ReservationState.UNKNOWN)
        charged = {unit: amounts.get(unit, reserved) for unit, reserved in record.amounts.items()}
        if record.state in (ReservationState.RESERVED, ReservationState.EXPIRED):
            record.late = record.state is ReservationState.EXPIRED
            record.charged = charged
            self._finish(name, record, ReservationState.COMMITTED, self._at + self._timing.remember_ms)
            return record.settlement(changed=True)
        conflict = record.state is ReservationState.RELEASED or record.charged != charged
        self._conflicts += conflict
        return record.settlement(conflict=conflict)

    def release(self, name: Name) -> Settlement:
        """See `QuotaService.release`."""
        record = self._record(name)
        if record is None:
            return Settlement(ReservationState.UNKNOWN)
        if record.state is ReservationState.RESERVED:
            self._finish(name, record, ReservationState.RELEASED, self._at + self._timing.remember_ms)
            return record.settlement(changed=True)
        conflict = record.state is ReservationState.COMMITTED
        self._conflicts += conflict
        return record.settlement(conflict=conflict)

    def renew(self, name: Name) -> ReservationState:
        """See `QuotaStore.renew`."""
        record = self._record(name)
        if record is None:
            return ReservationState.UNKNOWN
        if record.state is ReservationState.RESERVED:
            record.deadline_ms = max(record.deadline_ms, self._at + self._timing.hold_ms)
            self._open.put(name, record.deadline_ms)
        return record.state

    def settled(self, name: Name) -> Settlement:
        """How it stands, for `QuotaStore.expire`."""
        record = self._record(name)
        return Settlement(ReservationState.UNKNOWN) if record is None else record.settlement()

    def reserved(self, name: Name) -> bool:
        """Whether it is reserved, as of the last step."""
        record = self._records.get(name)
        return record is not None and record.state is ReservationState.RESERVED

    def find(self, name: Name) -> Reservation | None:
        """See `QuotaStore.find`."""
        record = self._record(name)
        return None if record is None else self._shown(name, record)

    def held(self, limit: int) -> list[Reservation]:
        """See `QuotaStore.held`."""
        return [self._shown(name, self._records[name]) for _, name in self._open.sorted()[:limit]]

    def status(self, quotas: Sequence[Quota]) -> OwnerStatus:
        """See `QuotaStore.status`."""
        until_ms = self._at + self._timing.hold_ms - self._timing.stale_ms
        pending = sum(at_ms <= until_ms for at_ms, _ in self._open.sorted())
        return OwnerStatus(self._standings(quotas), min(pending, MAX_PENDING))

    def audit(self, quotas: Sequence[Quota], *, repair: bool) -> Audit:
        """See `QuotaStore.audit`."""
        found = []
        for quota in quotas:
            window = self._window(quota.unit, quota.period_ms)
            used, held = window.folded, 0
            for record in self._records.values():
                if (quota.unit, quota.period_ms, window.index) in record.windows:
                    used += record.charged.get(quota.unit, 0)
                    held += record.amounts[quota.unit] if record.state is ReservationState.RESERVED else 0
            used = min(used, MAX_AMOUNT)
            found.append(Counted(quota, window.used, used, window.held, held))
            if repair:
                window.used, window.held = used, held
        return Audit(tuple(found), self._conflicts)

    # -- parts --------------------------------------------------------------------------------------------------------

    def _record(self, name: Name) -> _Record | None:
        """A reservation, expired if its time has come: a step may have begun with more to do than it does at once."""
        record = self._records.get(name)
        if record is not None and record.state is ReservationState.RESERVED and record.deadline_ms <= self._at:
            self._expire(name, record)
        return record

    def _expire(self, name: Name, record: _Record) -> None:
        self._finish(name, record, ReservationState.EXPIRED, record.deadline_ms + self._timing.late_ms)

    def _finish(self, name: Name, record: _Record, state: ReservationState, forget_at_ms: int) -> None:
        """End a reservation: free what it holds, and charge what it is charged."""
        for window, unit in self._counting(record):
            if record.state is ReservationState.RESERVED:
                window.held -= record.amounts[unit]
            window.used = min(window.used + record.charged.get(unit, 0), MAX_AMOUNT)
        record.state = state
        self._open.remove(name)
        self._done.put(name, forget_at_ms)

    def _forget(self, name: Name) -> None:
        record = self._records.pop(name)
        for window, unit in self._counting(record):
            window.folded = min(window.folded + record.charged.get(unit, 0), MAX_AMOUNT)
        self._done.remove(name)

    def _window(self, unit: str, period_ms: int) -> _Window:
        """The counters of the present window. A clock that was set back does not bring an earlier one back."""
        window = self._windows.setdefault((unit, period_ms), _Window())
        index = index_at(period_ms, self._at)
        if index > window.index:
            window.index, window.used, window.held, window.folded = index, 0, 0, 0
        return window

    def _counting(self, record: _Record) -> Iterable[tuple[_Window, str]]:
        """The windows a reservation counts in that are not past, and in which unit."""
        for unit, period_ms, index in record.windows:
            window = self._window(unit, period_ms)
            if window.index == index:
                yield window, unit

    def _standings(self, quotas: Sequence[Quota]) -> tuple[Standing, ...]:
        found = []
        for quota in quotas:
            window = self._window(quota.unit, quota.period_ms)
            resets_ms = ends_ms(quota.period_ms, window.index) - self._at
            found.append(Standing(quota, window.used, window.held, resets_ms / 1000))
        return tuple(found)

    def _shown(self, name: Name, record: _Record) -> Reservation:
        left_ms = record.deadline_ms - self._at if record.state is ReservationState.RESERVED else 0
        ref = StreamRef(SessionKey(self._owner, name[0]), name[1])
        return Reservation(ref, record.state, dict(record.amounts), dict(record.charged), left_ms / 1000, record.late)
