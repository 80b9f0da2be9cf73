"""Pauses between attempts at something that failed: they grow, are bounded, and differ between processes.

    retries = Backoff(0.1, 1.0).retries(deadline)
    while True:
        try:
            return await step()
        except StoreUnavailableError:
            if not await retries.pause():
                raise

What failed in such a way that trying again helps, and when to give up otherwise, is the caller's to say.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from .deadlines import Deadline

__all__ = ["JITTER", "Backoff", "Retries", "jittered"]

JITTER: Final = 0.5
"""By which part of itself a pause may be shorter. Jitter never makes a pause longer: the pauses that settings and
constants name are upper bounds, and callers add them up to know how long something takes at most."""
_MOST_DOUBLINGS: Final = 30
"""After so many the longest pause is reached; bounds the exponent of a count that comes from outside."""


def jittered(seconds: float, jitter: float = JITTER) -> float:
    """So many seconds, or up to the part `jitter` of them fewer: keeps processes from acting all at once."""
    return seconds * random.uniform(1.0 - jitter, 1.0)  # noqa: S311 -- no secret


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to pause after each failure: twice as long each time, up to a bound.

    Raises:
        ValueError: the pauses would not grow, or the jitter is no part of one.
    """

    first_seconds: float
    """The pause after the first failure, at most. More than 0."""
    longest_seconds: float
    """No pause is longer. With `first_seconds` here too, pauses do not grow."""
    jitter: float = JITTER
    """By which part of itself a pause may be shorter: 0.0 for none, at most 1.0."""

    def __post_init__(self) -> None:
        if not 0.0 < self.first_seconds <= self.longest_seconds:
            raise ValueError(f"pauses grow from {self.first_seconds} to {self.longest_seconds} seconds")
        if not 0.0 <= self.jitter <= 1.0:
            raise ValueError(f"jitter is between 0.0 and 1.0, not {self.jitter}")

    def bound_seconds(self, failures: int) -> float:
        """The pause after `failures` in a row, at least one, without jitter."""
        return min(self.first_seconds * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), self.longest_seconds)

    def pause_seconds(self, failures: int) -> float:
        """The pause after `failures` in a row, at least one."""
        return jittered(self.bound_seconds(failures), self.jitter)

    def retries(self, deadline: Deadline | None = None, *, most: int | None = None) -> Retries:
        """The pauses of one run of attempts, which ends at `deadline` and has at most `most` of them."""
        return Retries(self, deadline, most)


class Retries:
    """The pauses between one run of attempts."""

    __slots__ = ("_backoff", "_deadline", "_most", "failures")

    def __init__(self, backoff: Backoff, deadline: Deadline | None = None, most: int | None = None) -> None:
        self._backoff = backoff
        self._deadline = deadline
        self._most = most
        self.failures: int = 0
        """How many attempts in a row have failed."""

    async def pause(self, *, wake: asyncio.Event | None = None, begins: Callable[[], None] | None = None) -> bool:
        """An attempt failed: wait before the next one, until `wake` is set at most. `begins` is called before that.

        Returns False, at once, when there is to be no other attempt: the deadline would come first, or as many as may
        were made.
        """
        self.failures += 1
        seconds = self._backoff.pause_seconds(self.failures)
        if self._most is not None and self.failures > self._most:
            return False
        if self._deadline is not None and self._deadline.left_seconds <= seconds:
            return False
        if begins is not None:
            begins()
        if wake is None:
            await asyncio.sleep(seconds)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # noqa: TID251 -- a pause judges nobody
                    await wake.wait()
        return True

    def reset(self) -> None:
        """An attempt succeeded: the next pause is the first again."""
        self.failures = 0
