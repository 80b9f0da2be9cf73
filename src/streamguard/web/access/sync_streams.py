"""How many sync generators one process runs at once: each takes a thread for as long as it runs."""

from __future__ import annotations

from typing import Final

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...locks import step_lock

__all__ = ["SyncSlot", "SyncStreams"]

RETRY_AFTER_SECONDS: Final = 2


class SyncSlot:
    """The right to run one sync generator. Given back once: by `release`, or when it is collected unused."""

    __slots__ = ("_pool",)

    def __init__(self, pool: SyncStreams) -> None:
        self._pool: SyncStreams | None = pool

    def release(self) -> None:
        """Give it back. Idempotent; from any thread."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.give_back()

    def __del__(self) -> None:
        self.release()


class SyncStreams:
    """How many sync generators may run at once in this process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = step_lock()  # a slot that is collected in the midst of `take` gives itself back
        self.running: int = 0

    def take(self) -> SyncSlot:
        """Take the right to run one more.

        Raises:
            FaultError: `limit_streams` with status 503: this process is full.
        """
        with self._lock:
            if self.running >= self._limit:
                raise FaultError(
                    Fault.of(
                        FaultCode.LIMIT_STREAMS,
                        status=503,
                        reason="max_sync_streams",
                        retry_after_seconds=RETRY_AFTER_SECONDS,
                    )
                )
            self.running += 1
        return SyncSlot(self)

    def give_back(self) -> None:
        """One less runs; called by `SyncSlot.release`."""
        with self._lock:
            self.running -= 1
