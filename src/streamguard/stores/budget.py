"""How long one request may wait for the stream store: one budget for all that it asks before its stream begins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..deadlines import Deadline, Interruption, LoopClock, Timer
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
        clock = self._clock
        begun = clock.time()
        wait = _Wait(
            clock,
            self._breaker,
            self._seconds,
            silent_since=begun - self._silent_seconds,
            floor=begun + at_least_seconds,
            most=begun + self._left_seconds,
        )
        until = wait.until
        if until <= begun:
            raise self._late()
        answered = False
        try:
            with wait.interruption:
                wait.begin(until)
                try:
                    answer = await step()
                    answered = True
                finally:
                    wait.end()
        except TimeoutError as exc:
            if not wait.interruption.happened:
                raise
            raise self._late() from exc
        finally:
            now = clock.time()
            self._left_seconds -= now - begun
            self._silent_seconds = 0.0 if answered else max(0.0, now - wait.heard)
        return answer

    def _late(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"no answer within {self._seconds} s (registration_seconds)", operation="register")


class _Wait:
    """One step's wait for its answer, which is cancelled once the store has been silent towards everybody for long
    enough. Times are the clock's."""

    __slots__ = ("_breaker", "_clock", "_floor", "_most", "_seconds", "_silent_since", "_timer", "interruption")

    def __init__(
        self, clock: LoopClock, breaker: Breaker, seconds: float, *, silent_since: float, floor: float, most: float
    ) -> None:
        self._clock = clock
        self._breaker = breaker
        self._seconds = seconds
        self._silent_since = silent_since
        self._floor = floor
        """Until then it goes on in any case."""
        self._most = most
        """Longer it does not, whoever is answered."""
        self._timer: Timer | None = None
        self.interruption: Interruption = Interruption()

    @property
    def heard(self) -> float:
        """When the store was last heard of."""
        return max(self._silent_since, self._breaker.answered_at)

    @property
    def until(self) -> float:
        """When it ends, as far as it is known now."""
        return max(self._floor, min(self._most, self.heard + self._seconds))

    def begin(self, until: float) -> None:
        """Interrupt the step at that time, unless the store is heard of meanwhile."""
        self._timer = Timer(self._clock, until, self._look)

    def end(self) -> None:
        """The step is over. Nothing refers to this from here on, so that no cycle keeps it in memory."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        if (until := self.until) > self._clock.time():  # somebody was answered meanwhile
            self.begin(until)
        else:
            self.interruption.happen()
