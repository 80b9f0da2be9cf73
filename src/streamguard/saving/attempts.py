"""The attempts of one save at the steps it consists of."""

from __future__ import annotations

import time
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
    """Repeats steps that failed, with pauses that grow, until the deadline of their save.

    `on_retry` is told of each failure that another attempt follows, before the pause; the last one is raised.
    """

    def __init__(
        self, seconds: float, *, retries: bool = True, on_retry: Callable[[Attempts], None] | None = None
    ) -> None:
        self.deadline: Deadline = Deadline.after(seconds)
        self._begun = time.monotonic()
        self._retries = retries
        self._on_retry = on_retry
        self.failures: int = 0
        """How many steps failed so far."""
        self.error: Exception | None = None
        """The last of these failures, whatever came after it."""

    async def __call__(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do `step`, which must be safe to repeat.

        Raises:
            MessageStoreError, StoreError: the last failure, when the time is up, or repeating cannot help.
        """
        retries = BACKOFF.retries(self.deadline)
        while True:
            try:
                return await step()
            except (SavingPausedError, StoreCorruptError) as exc:
                self._failed(exc)
                raise
            except (MessageStoreError, StoreError) as exc:
                if isinstance(exc, MessageStoreError) and not exc.retryable:
                    raise  # an answer
                self._failed(exc)
                if not self._retries or not await retries.pause(begins=self._tell):
                    raise

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self.error = error

    def _tell(self) -> None:
        if self._on_retry is not None:
            self._on_retry(self)

    @property
    def seconds(self) -> float:
        """How long they have gone on."""
        return time.monotonic() - self._begun

    @property
    def remaining_seconds(self) -> float:
        """What is left of its time; never negative."""
        return self.deadline.left_seconds
