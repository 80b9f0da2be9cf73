"""Calls of one message store or function: so many at once, each within its time, and none while it is down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..contained import passes
from ..deadlines import Deadline, LoopClock
from ..errors import MessageFailedError, MessageStoreError, MessageTimeoutError, MessageUnavailableError
from ..messages.callable import host_error
from ..settings import Settings
from ..values import SessionKey
from .bindings import SaveTarget
from .save_breaker import SaveBreaker

__all__ = ["TargetClient"]

T = TypeVar("T")


class TargetClient:
    """The one way from this process to a message store or function."""

    def __init__(
        self, target: SaveTarget, settings: Settings, *, on_change: Callable[[MessageStoreError | None], None]
    ) -> None:
        self.target = target
        self.breaker: SaveBreaker = SaveBreaker(
            pause_seconds=settings.breaker_probe_seconds, clock=LoopClock.current().time, on_change=on_change
        )
        self._attempt_seconds = settings.save_attempt_seconds
        self._slots = asyncio.Semaphore(settings.max_concurrent_saves)

    async def call(
        self, operation: str, step: Callable[[], Awaitable[T]], *, deadline: Deadline, key: SessionKey | None = None
    ) -> T:
        """One call, about the session of `key`, until `deadline` at the latest. Cancelling it leaves in doubt whether
        it happened.

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
                return await self._asked(operation, step, deadline, key)
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

    async def _asked(
        self, operation: str, step: Callable[[], Awaitable[T]], deadline: Deadline, key: SessionKey | None
    ) -> T:
        breaker = self.breaker
        try:
            async with deadline.within(self._attempt_seconds).limit():
                answer = await step()
        except MessageFailedError:  # of this message: it says nothing of the store
            raise
        except MessageStoreError as exc:
            if exc.retryable:
                breaker.failed(exc, key)
            else:
                breaker.answered()
            raise
        except TimeoutError as exc:
            late = MessageTimeoutError(
                f"{operation}: no answer within {self._attempt_seconds} s (save_attempt_seconds)", operation=operation
            )
            breaker.failed(late, key)
            raise late from exc
        except BaseException as exc:  # a host's own store may raise what it likes
            if passes(exc):
                raise
            error = host_error(operation, "the message store failed", exc)
            if isinstance(error, MessageUnavailableError):
                breaker.failed(error, key)
            raise error from exc
        breaker.answered()
        return answer
