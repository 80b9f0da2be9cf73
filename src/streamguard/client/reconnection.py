"""How often, and after which pauses, a client reconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ..deadlines import Deadline
from ..retrying import Backoff
from .errors import GaveUpError, RefusedError

__all__ = ["Reconnection", "ReconnectionPolicy"]


@dataclass(frozen=True, slots=True)
class ReconnectionPolicy:
    """The bounds of reconnecting.

    Raises:
        ValueError: no bound, or none that can be kept.
    """

    attempts: int
    deadline_seconds: float
    backoff: Backoff

    def __post_init__(self) -> None:
        if self.attempts < 0 or not self.deadline_seconds > 0:
            raise ValueError("reconnecting has a number of attempts from 0, and a deadline over 0 seconds")


class Reconnection:
    """Counts the failures since the last progress, and pauses before the next attempt. Not thread-safe."""

    def __init__(self, policy: ReconnectionPolicy, position: Callable[[], tuple[str | None, str | None]]) -> None:
        self._policy = policy
        self._position = position
        """Session and cursor, for an error."""
        self._failures = 0
        self._deadline: Deadline | None = None

    def progressed(self) -> None:
        """An event or a keep-alive came: the bounds begin anew with the next failure."""
        self._failures = 0
        self._deadline = None

    async def pause(self, cause: Exception, *, least_seconds: float = 0.0) -> None:
        """An attempt failed: wait before the next one, for `least_seconds` and what `cause` asks for at least.

        Raises:
            GaveUpError: there is to be no other attempt.
        """
        policy = self._policy
        if self._deadline is None:
            self._deadline = Deadline.after(policy.deadline_seconds)
        self._failures += 1
        asked = cause.retry_after_seconds if isinstance(cause, RefusedError) else None
        seconds = max(policy.backoff.pause_seconds(self._failures), least_seconds, asked or 0.0)
        left = self._deadline.left_seconds
        if self._failures > policy.attempts or seconds >= left:
            elapsed = policy.deadline_seconds - left
            session_id, cursor = self._position()
            raise GaveUpError(
                f"no progress after {self._failures} attempts in {elapsed:.1f} s; the last one failed: {cause!r}",
                attempts=self._failures,
                elapsed_seconds=elapsed,
                cause=cause,
                session_id=session_id,
                cursor=cursor,
                retry_after_seconds=asked,
            ) from cause
        await asyncio.sleep(seconds)
