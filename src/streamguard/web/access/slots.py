"""How much each owner, each client address, and all together may have open at once in one process.

In this process's memory: with several workers each has its own.
"""

from __future__ import annotations

from typing import Final

from ...errors import FaultError
from ...faults import Fault, FaultCode

__all__ = ["Slot", "SlotPool"]

RETRY_SECONDS: Final = 5
"""When a slot may have become free."""


class Slot:
    """One thing that is open. Given back by `release`, or when its holder is collected without that."""

    __slots__ = ("_name", "_pool")

    def __init__(self, pool: SlotPool, name: str) -> None:
        self._pool: SlotPool | None = pool
        self._name = name

    def release(self) -> None:
        """Give it back. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.give_back(self._name)

    def __del__(self) -> None:
        if self._pool is not None:
            self.release()


class SlotPool:
    """How many slots each name (an owner, an address) has, and how many there are in all.

    Args:
        code: the fault when there is no slot.
        each: slots of one name; past them 429, with `each_setting` as the reason.
        total: slots of all names together; past them 503, with `total_setting` as the reason: this process is full,
            whatever the client has open.
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
        """How many slots are held."""

    def take(self, name: str) -> Slot:
        """Take a slot for `name`.

        Raises:
            FaultError: none is free.
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
        """Free a slot; called by `Slot.release`."""
        self.count -= 1
        left = self._held[name] - 1
        if left:
            self._held[name] = left
        else:
            del self._held[name]

    def _refusal(self, status: int | None, setting: str | None) -> FaultError:
        return FaultError(Fault.of(self._code, status=status, reason=setting, retry_after_seconds=RETRY_SECONDS))
