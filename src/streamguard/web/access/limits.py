"""Limits of one process: what an owner, a client address and everybody together may have open, and how often they may
ask.

All of it is in this process's memory, in tables of bounded size: with several workers each has its own.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ...errors import FaultError
from ...faults import Fault, FaultCode

__all__ = ["Rate", "Slot", "Slots"]

RETRY_SECONDS: Final = 5
"""When a place may have become free."""
MAX_NAMES: Final = 65_536
"""Owners, or addresses, a rate is remembered for; past it the longest unseen is forgotten, and so has a full allowance
again."""


class Slot:
    """A place that somebody holds. Given back by `release`, or when its holder is collected without that."""

    __slots__ = ("_name", "_slots")

    def __init__(self, slots: Slots, name: str) -> None:
        self._slots: Slots | None = slots
        self._name = name

    def release(self) -> None:
        """Give it back. Idempotent."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.give_back(self._name)

    def __del__(self) -> None:
        self.release()


class Slots:
    """How many places each name (an owner, an address) has, and how many there are in all.

    Args:
        code: what one more is refused with.
        each: places of one name; past them 429, with `each_setting` as the reason.
        total: places of all names together; past them 503, with `total_setting` as the reason: it is this process that
            is full, not the client's allowance.
    """

    def __init__(
        self,
        code: FaultCode,
        *,
        each: int,
        each_setting: str,
        total: int | None = None,
        total_setting: str | None = None,
    ) -> None:
        self._code = code
        self._each = each
        self._each_setting = each_setting
        self._total = total
        self._total_setting = total_setting
        self._held: dict[str, int] = {}
        self.count: int = 0
        """Places that are held."""

    def take(self, name: str) -> Slot:
        """One more for `name`.

        Raises:
            FaultError: there is none.
        """
        count = self._held.get(name, 0)
        if count >= self._each:
            raise self._refusal(None, self._each_setting)
        if self._total is not None and self.count >= self._total:
            raise self._refusal(503, self._total_setting)
        self._held[name] = count + 1
        self.count += 1
        return Slot(self, name)

    def give_back(self, name: str) -> None:
        """One less; what `Slot.release` calls."""
        self.count -= 1
        left = self._held[name] - 1
        if left:
            self._held[name] = left
        else:
            del self._held[name]

    def _refusal(self, status: int | None, setting: str | None) -> FaultError:
        return FaultError(Fault.of(self._code, status=status, reason=setting, retry_after_seconds=RETRY_SECONDS))


class Rate:
    """`per_minute` at once, refilled evenly over a minute (the generic cell rate algorithm).

    One number per name, the time at which its allowance is full again; a full one is no different from an unknown.
    """

    def __init__(self, per_minute: int, *, setting: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._each_seconds = 60 / per_minute
        self._setting = setting
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def check(self, name: str) -> None:
        """Whether one more is allowed, without counting it.

        Raises:
            FaultError: `limit_rate`, with the time until the next is.
        """
        self._after_one_more(name)

    def spend(self, name: str) -> None:
        """Count one more.

        Raises:
            FaultError: as `check`; then it was not counted.
        """
        self._full_at[name] = self._after_one_more(name)
        self._full_at.move_to_end(name)
        if len(self._full_at) > MAX_NAMES:
            self._full_at.popitem(last=False)

    def _after_one_more(self, name: str) -> float:
        now = self._clock()
        full_at = max(self._full_at.get(name, now), now) + self._each_seconds
        over_seconds = full_at - now - 60
        if over_seconds > 1e-9:
            wait = max(1, math.ceil(over_seconds))
            raise FaultError(Fault.of(FaultCode.LIMIT_RATE, reason=self._setting, retry_after_seconds=wait))
        return full_at
