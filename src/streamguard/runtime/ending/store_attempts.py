"""Repeating the steps of a stream's end while the store is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ...deadlines import Deadline, LoopClock
from ...errors import StoreUnavailableError
from ...retrying import Backoff, Retries
from ...settings import Settings
from ...stores.breaker import Breaker

__all__ = ["StoreAttempts"]

T = TypeVar("T")

PAUSES: Final = Backoff(0.1, 1.0)


class StoreAttempts:
    """Attempts at steps of the store, each of which is safe to repeat.

    Every method answers None when the time was up, and raises `StoreCorruptError` when the stream's record cannot be
    read, because repeating does not help then.
    """

    def __init__(self, breaker: Breaker, settings: Settings, *, clock: LoopClock, given_up: Callable[[], bool]) -> None:
        self._breaker = breaker
        self._settings = settings
        self._clock = clock
        self._given_up = given_up
        """Whether retries against an unreachable store should end (the drain is over)."""

    def deadline(self) -> Deadline:
        """Until when viewers wait for a step that begins now."""
        return Deadline(self._clock, self._clock.time() + self._settings.append_deadline_seconds)

    def while_viewers_wait(
        self, step: Callable[[], Awaitable[T]], deadline: Deadline | None = None
    ) -> Awaitable[T | None]:
        """Attempt `step` until `deadline`, or that of now. When the time is up, the breaker opens."""
        return self._repeated(step, deadline or self.deadline())

    def until_given_up(self, step: Callable[[], Awaitable[T]]) -> Awaitable[T | None]:
        """Attempt `step` until the drain gives up, and only while the breaker lets it pass."""
        return self._repeated(step, None)

    async def _repeated(self, step: Callable[[], Awaitable[T]], deadline: Deadline | None) -> T | None:
        retries: Retries | None = None
        while True:
            try:
                return await step()
            except StoreUnavailableError as exc:
                self._breaker.stumbled(exc)
                error = exc
            retries = retries or PAUSES.retries(deadline)  # hardly ever
            if self._given_up() or not await retries.pause():
                if deadline is not None:
                    self._breaker.exhausted(error)
                return None
            if deadline is None:
                await self._breaker.passed()
