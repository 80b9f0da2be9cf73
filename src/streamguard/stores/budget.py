"""How long one request may wait for the stream store: one budget for all that it asks before its stream begins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..deadlines import Deadline, LoopClock, Timer
from ..errors import StoreUnavailableError
from .breaker import Breaker

__all__ = ["Budget"]

T = TypeVar("T")

RETRY_SECONDS: Final = 0.05
EXTENSIONS: Final = 3


class Budget:
    """Spent once the store has been silent for `seconds` towards every caller, while this request waited for it.

    A store that answers any caller is not down: a process that starts a hundred streams at once is late itself. So each
    answer to any caller begins the budget anew; but in all, a request waits no longer than `EXTENSIONS` budgets more.
    Waiting for something else, such as the end of a stream to be replaced, costs nothing.
    """

    def __init__(self, breaker: Breaker, seconds: float) -> None:
        self._breaker = breaker
        self._seconds = seconds
        self._clock = LoopClock.current()
        self.session_deadline: Deadline = Deadline(self._clock, self._clock.time() + seconds)
        """Until when the request may wait for word whether the session is its owner's, which is asked beside."""
        self._silent_seconds = 0.0
        """How long the store was waited for since it last answered."""
        self._left_seconds = seconds * (1 + EXTENSIONS)

    @property
    def first_commit_seconds(self) -> float:
        """How long the first commit of the request's stream may take: its client has heard nothing yet. The step before
        was answered, or its silence counts for as long as the store is not known to be back."""
        return max(0.0, self._seconds - self._silent_seconds) if self._breaker.open else self._seconds

    async def ask(self, step: Callable[[], Awaitable[T]]) -> T:
        """The answer of the store to `step`, which is repeated while it fails.

        Raises:
            StoreUnavailableError: the budget is spent.
        """
        while True:
            try:
                answer = await self.ask_once(step)
            except StoreUnavailableError as exc:
                self._breaker.stumbled(exc)
                if self._left_seconds <= 0 or self._silent_seconds + RETRY_SECONDS >= self._seconds:
                    raise self._late() from exc
            else:
                self._breaker.answered()
                return answer
            self._silent_seconds += RETRY_SECONDS
            self._left_seconds -= RETRY_SECONDS
            await asyncio.sleep(RETRY_SECONDS)

    async def ask_once(self, step: Callable[[], Awaitable[T]], *, at_least_seconds: float = 0.0) -> T:
        """What `step` answers, asked once: something on the store's server, which has `at_least_seconds` although the
        budget is spent.

        Raises:
            StoreUnavailableError: the budget is spent.
        """
        clock, begun = self._clock, self._clock.time()
        silent_since = begun - self._silent_seconds
        floor, most = begun + at_least_seconds, begun + self._left_seconds

        timer: Timer

        def heard() -> float:
            return max(silent_since, self._breaker.answered_at)

        def until() -> float:
            return max(floor, min(most, heard() + self._seconds))

        def look() -> None:
            nonlocal timer
            if until() > clock.time():  # somebody was answered meanwhile
                timer = Deadline(clock, until()).call(look)
            else:
                scope.reschedule(clock.loop.time())

        if until() <= begun:
            raise self._late()
        answered = False
        try:
            async with asyncio.timeout(None) as scope:  # noqa: TID251 -- ended by a `Deadline`
                timer = Deadline(clock, until()).call(look)
                try:
                    answer = await step()
                    answered = True
                finally:
                    timer.cancel()
        except TimeoutError as exc:
            if not scope.expired():
                raise
            raise self._late() from exc
        finally:
            now = clock.time()
            self._left_seconds -= now - begun
            self._silent_seconds = 0.0 if answered else max(0.0, now - heard())
        return answer

    def _late(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"no answer within {self._seconds} s (registration_seconds)", operation="register")
