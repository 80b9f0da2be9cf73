"""A circuit breaker for one message store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import MessageStoreError, MessageUnavailableError
from ..unavailable import UnavailableReason
from ..values import SessionKey

__all__ = ["FAILURES", "SaveBreaker", "SavingPausedError"]

FAILURES: Final = 5
"""So many calls in a row that failed open a breaker."""

_OF_ONE_SESSION: Final = frozenset({UnavailableReason.TIMEOUT, UnavailableReason.LOCKED, UnavailableReason.DEADLOCK})
"""What a lock on one session may lead to, while the store answers for all others."""


class SavingPausedError(MessageUnavailableError):
    """The message store was not asked, since it failed each time of late."""


class SaveBreaker:
    """Keeps calls from a message store that is down.

    Closed until `FAILURES` calls in a row failed; then for `pause_seconds` no call passes, then one, the probe, whose
    end decides. Of the failures in a row, one session's timeouts count once: somebody may hold its lock.

    `on_change` is told the error of the call that opened it, and None when it closes.
    """

    def __init__(
        self,
        *,
        pause_seconds: float,
        clock: Callable[[], float],
        on_change: Callable[[MessageStoreError | None], None] = lambda _: None,
    ) -> None:
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._on_change = on_change
        self._failures = 0
        """In a row."""
        self._waited: set[SessionKey] = set()
        """The sessions of which a timeout is among them; as many at most."""
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
                reason=UnavailableReason.PAUSED,
            )
        self._probing = True
        return True

    def answered(self) -> None:
        """A call came back with an answer, were it a refusal."""
        self._failures = 0
        self._waited.clear()
        if self._opened_at is not None:
            self._opened_at = None
            self._on_change(None)

    def failed(self, error: MessageStoreError, key: SessionKey | None = None) -> None:
        """A call, about the session of `key` if it was about one, failed in a way that another may fail in too."""
        if self._opened_at is not None:
            self._failures += 1
            self._opened_at = self._clock()
            return
        if key is not None and getattr(error, "reason", None) in _OF_ONE_SESSION:
            if key in self._waited:
                return
            self._waited.add(key)
        self._failures += 1
        if self._failures >= FAILURES:
            self._opened_at = self._clock()
            self._waited.clear()
            self._on_change(error)

    def probed(self) -> None:
        """The probe is over, whatever came of it."""
        self._probing = False
