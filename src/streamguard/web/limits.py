"""Limits of one process, per owner: viewers at once, and resumes a minute."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ..errors import FaultError
from ..faults import Fault, FaultCode

__all__ = ["ResumeRate", "ViewerSlot", "ViewerSlots"]

VIEWER_RETRY_SECONDS: Final = 5
MAX_OWNERS: Final = 65_536
"""Owners a rate is remembered for; past it the longest unseen is forgotten, and so has a full allowance again."""


class ViewerSlot:
    """One open response of an owner. Given back by `release`, or when a response that was never sent is collected."""

    __slots__ = ("_owner", "_slots")

    def __init__(self, slots: ViewerSlots, owner: str) -> None:
        self._slots: ViewerSlots | None = slots
        self._owner = owner

    def release(self) -> None:
        """Give it back. Idempotent."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.give_back(self._owner)

    def __del__(self) -> None:
        self.release()


class ViewerSlots:
    """How many responses each owner has open in this process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[str, int] = {}

    def take(self, owner: str) -> ViewerSlot:
        """One more response for `owner`.

        Raises:
            FaultError: `limit_viewers`.
        """
        count = self._open.get(owner, 0)
        if count >= self._limit:
            raise FaultError(Fault.of(FaultCode.LIMIT_VIEWERS, retry_after_seconds=VIEWER_RETRY_SECONDS))
        self._open[owner] = count + 1
        return ViewerSlot(self, owner)

    def give_back(self, owner: str) -> None:
        """One response less; what `ViewerSlot.release` calls."""
        left = self._open[owner] - 1
        if left:
            self._open[owner] = left
        else:
            del self._open[owner]


class ResumeRate:
    """`per_minute` resumes at once, refilled evenly over a minute (the generic cell rate algorithm).

    One number per owner, the time at which its allowance is full again; a full one is no different from an unknown.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._each_seconds = 60 / per_minute
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def spend(self, owner: str) -> None:
        """One resume.

        Raises:
            FaultError: `limit_rate`, with the time until the next is allowed.
        """
        now = self._clock()
        full_at = max(self._full_at.get(owner, now), now) + self._each_seconds
        over_seconds = full_at - now - 60
        if over_seconds > 1e-9:
            raise FaultError(Fault.of(FaultCode.LIMIT_RATE, retry_after_seconds=max(1, math.ceil(over_seconds))))
        self._full_at[owner] = full_at
        self._full_at.move_to_end(owner)
        if len(self._full_at) > MAX_OWNERS:
            self._full_at.popitem(last=False)
