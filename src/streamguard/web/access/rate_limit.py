"""How often each owner, or each client address, may ask.

In this process's memory, in a table of bounded size: with several workers each has its own.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ...errors import FaultError
from ...faults import Fault, FaultCode

__all__ = ["RateLimit"]

MAX_NAMES: Final = 65_536
"""How many owners, or addresses, a rate is remembered for. Past it the one that asked longest ago is forgotten, and may
ask again at once."""


class RateLimit:
    """`per_minute` requests at once, refilled evenly over a minute (the generic cell rate algorithm).

    Keeps one number per name: the time at which all its requests are available again. A name of which all are
    available is no different from an unknown one.
    """

    def __init__(self, per_minute: int, *, setting: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._each_seconds = 60 / per_minute
        self._setting = setting
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def check(self, name: str) -> None:
        """Check that one more request is allowed, without counting it.

        Raises:
            FaultError: `limit_rate`, with the time until it is.
        """
        if name in self._full_at:  # any other may make `per_minute` at once, which is one at least
            self._after_one_more(name)

    def spend(self, name: str) -> None:
        """Count one more request.

        Raises:
            FaultError: as `check`; the request is not counted then.
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
