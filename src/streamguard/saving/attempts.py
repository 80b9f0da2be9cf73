"""The attempts of one save at the steps it consists of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..deadlines import Deadline
from ..errors import MessageStoreError, StoreCorruptError, StoreError
from ..retrying import Backoff
from .save_breaker import SavingPausedError

__all__ = ["Attempts"]

T = TypeVar("T")

BACKOFF: Final = Backoff(0.2, 5.0)


class Attempts:
    """Repeats steps that failed, with pauses that grow, until the deadline of their save."""

    def __init__(self, seconds: float, *, retries: bool = True) -> None:
        self.deadline: Deadline = Deadline.after(seconds)
        self._retries = retries
        self.failures: int = 0
        """How many steps failed so far."""

    async def __call__(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do `step`, which must be safe to repeat.

        Raises:
            MessageStoreError, StoreError: the last failure, when the time is up, or repeating cannot help.
        """
        retries = BACKOFF.retries(self.deadline)
        while True:
            try:
                return await step()
            except (SavingPausedError, StoreCorruptError):
                self.failures += 1
                raise
            except (MessageStoreError, StoreError) as exc:
                if isinstance(exc, MessageStoreError) and not exc.retryable:
                    raise  # an answer
                self.failures += 1
                if not self._retries or not await retries.pause():
                    raise

    @property
    def remaining_seconds(self) -> float:
        """What is left of its time; never negative."""
        return self.deadline.left_seconds
