"""How message stores are called: so many at once, each within its time, retried, and not at all while one is down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..deadlines import Deadline, LoopClock
from ..errors import (
    MessageFailedError,
    MessageStoreError,
    MessageTimeoutError,
    MessageUnavailableError,
    StoreCorruptError,
    StoreError,
)
from ..messages.callable import host_error
from ..settings import Settings
from .bindings import Target

__all__ = ["Attempts", "SaveBreaker", "Saver", "SavingPausedError"]

T = TypeVar("T")

FAILURES: Final = 5
"""So many calls in a row that failed open a breaker."""
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0


class SavingPausedError(MessageUnavailableError):
    """The message store was not asked, since it failed each time of late."""


class SaveBreaker:
    """Keeps calls from a message store that is down.

    Closed until `FAILURES` calls in a row failed; then for `pause_seconds` no call passes, then one, the probe, whose
    end decides.
    """

    def __init__(
        self, *, pause_seconds: float, clock: Callable[[], float], on_change: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._on_change = on_change
        """Told whether it is open now."""
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def open(self) -> bool:
        return self._opened_at is not None

    def admit(self, operation: str) -> bool:
        """Let a call pass. Returns whether it is the probe.

        Raises:
            SavingPausedError: it does not pass.
        """
        if self._opened_at is None:
            return False
        if self._probing or self._clock() - self._opened_at < self._pause_seconds:
            raise SavingPausedError(
                f"{operation}: the message store failed {self._failures} times in a row; it is asked again shortly",
                operation=operation,
            )
        self._probing = True
        return True

    def answered(self) -> None:
        """A call came back with an answer, were it a refusal."""
        self._failures = 0
        if self._opened_at is not None:
            self._opened_at = None
            self._on_change(False)

    def failed(self) -> None:
        """A call failed in a way that another may fail in too."""
        self._failures += 1
        if self._opened_at is not None:
            self._opened_at = self._clock()
        elif self._failures >= FAILURES:
            self._opened_at = self._clock()
            self._on_change(True)

    def probed(self) -> None:
        """The probe is over, whatever came of it."""
        self._probing = False


class Saver:
    """The one way from this process to a message store (or function)."""

    def __init__(self, target: Target, settings: Settings, *, on_change: Callable[[bool], None]) -> None:
        self.target = target
        self.breaker: SaveBreaker = SaveBreaker(
            pause_seconds=settings.breaker_probe_seconds, clock=LoopClock.current().time, on_change=on_change
        )
        self._attempt_seconds = settings.save_attempt_seconds
        self._slots = asyncio.Semaphore(settings.max_concurrent_saves)

    async def call(self, operation: str, step: Callable[[], Awaitable[T]], *, deadline: Deadline) -> T:
        """One call, until `deadline` at the latest. Cancelling it leaves in doubt whether it happened.

        Raises:
            SavingPausedError: the store is not asked at present.
            MessageStoreError: what it raised, or should have: anything else counts as failed, unavailable or timeout.
        """
        probe = self.breaker.admit(operation)
        try:
            await self._slot(operation, deadline)
            try:
                if not probe:  # it may have opened while this call waited its turn
                    probe = self.breaker.admit(operation)
                return await self._asked(operation, step, deadline)
            finally:
                self._slots.release()
        finally:
            if probe:
                self.breaker.probed()

    async def _slot(self, operation: str, deadline: Deadline) -> None:
        try:
            async with deadline.limit():
                await self._slots.acquire()
        except TimeoutError as exc:
            raise MessageTimeoutError(
                f"{operation}: as many saves as may are under way (max_concurrent_saves)", operation=operation
            ) from exc

    async def _asked(self, operation: str, step: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        breaker = self.breaker
        try:
            async with deadline.within(self._attempt_seconds).limit():
                answer = await step()
        except MessageFailedError:  # of this message: it says nothing of the store
            raise
        except MessageStoreError as exc:
            if exc.retryable:
                breaker.failed()
            else:
                breaker.answered()
            raise
        except TimeoutError as exc:
            breaker.failed()
            raise MessageTimeoutError(
                f"{operation}: no answer within {self._attempt_seconds} s (save_attempt_seconds)", operation=operation
            ) from exc
        except Exception as exc:  # a host's own store may raise what it likes
            error = host_error(operation, "the message store failed", exc)
            if isinstance(error, MessageUnavailableError):
                breaker.failed()
            raise error from exc
        breaker.answered()
        return answer


class Attempts:
    """One save's patience: repeats steps that failed, with growing pauses, until its deadline."""

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
        pause = FIRST_PAUSE_SECONDS
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
                wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter
                if not self._retries or self.deadline.left_seconds <= wait:
                    raise
            await asyncio.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    @property
    def remaining_seconds(self) -> float:
        """What is left of its time; never negative."""
        return self.deadline.left_seconds
