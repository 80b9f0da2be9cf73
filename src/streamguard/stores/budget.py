"""How long one request may wait for the stream store: one budget for all that it asks before its stream begins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, TypeVar

from ..deadlines import Deadline, Interruption, LoopClock, Timer
from ..errors import StoreUnavailableError
from ..unavailable import UnavailableReason
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

    __slots__ = ("asked_at", "breaker", "clock", "left_seconds", "loop", "seconds", "silent_seconds")

    def __init__(self, breaker: Breaker, seconds: float, clock: LoopClock) -> None:
        """`clock` is that of the running event loop."""
        self.breaker: Breaker = breaker
        self.seconds: float = seconds
        self.clock: LoopClock = clock
        self.loop: asyncio.AbstractEventLoop = clock.loop
        """The clock's, found once."""
        self.asked_at: float | None = None
        """When the store was first waited for, on the clock."""
        self.silent_seconds: float = 0.0
        """How long the store was waited for since it last answered."""
        self.left_seconds: float = seconds * (1 + EXTENSIONS)
        """How long the request still waits at the longest, whoever is answered."""

    @property
    def session_deadline(self) -> Deadline:
        """Until when the request may wait for word whether the session is its owner's, which is asked beside."""
        begun = self.clock.time() if self.asked_at is None else self.asked_at
        return Deadline(self.clock, begun + self.seconds)

    @property
    def first_commit_seconds(self) -> float:
        """How long the first commit of the request's stream may take: its client has heard nothing yet. The step before
        was answered, or its silence counts for as long as the store is not known to be back."""
        return max(0.0, self.seconds - self.silent_seconds) if self.breaker.open else self.seconds

    async def ask(self, step: Callable[[], Awaitable[T]]) -> T:
        """The answer of the store to `step`, which is repeated while it fails.

        Raises:
            StoreUnavailableError: the budget is spent.
        """
        while True:
            wait = _Wait(self, 0.0)
            try:
                with wait:
                    answer = await step()
            except StoreUnavailableError as exc:
                self.breaker.stumbled(exc)
                if self.left_seconds <= 0 or self.silent_seconds + RETRY_SECONDS >= self.seconds:
                    raise self.late(exc) from exc
            else:
                self.breaker.answered(wait.ended_at)
                return answer
            self.silent_seconds += RETRY_SECONDS
            self.left_seconds -= RETRY_SECONDS
            await asyncio.sleep(RETRY_SECONDS)

    async def ask_once(self, step: Callable[[], Awaitable[T]], *, at_least_seconds: float = 0.0) -> T:
        """What `step` answers, asked once: something on the store's server, which has `at_least_seconds` although the
        budget is spent.

        Raises:
            StoreUnavailableError: the budget is spent.
        """
        with _Wait(self, at_least_seconds):
            return await step()

    def late(self, error: StoreUnavailableError | None = None) -> StoreUnavailableError:
        """The error for a budget that is spent: in silence, or with this error at last."""
        reason = UnavailableReason.TIMEOUT if error is None else error.reason
        text = f"no answer within {self.seconds} s (registration_seconds)"
        return StoreUnavailableError(text, operation="register", reason=reason)


class _Wait:
    """A block in which one step waits for its answer, within a budget. It is cancelled once the store has been silent
    towards everybody for long enough, and counts against the budget. Times are the clock's."""

    __slots__ = ("_begun", "_budget", "_floor", "_interruption", "_timer", "ended_at")

    def __init__(self, budget: Budget, at_least_seconds: float) -> None:
        self._budget = budget
        self._interruption = Interruption(budget.loop)
        self._begun = begun = budget.clock.time()
        if budget.asked_at is None:
            budget.asked_at = begun
        self._floor = begun + at_least_seconds
        """Until then it goes on in any case."""

    @property
    def heard(self) -> float:
        """When the store was last heard of."""
        budget = self._budget
        return max(self._begun - budget.silent_seconds, budget.breaker.answered_at)

    @property
    def until(self) -> float:
        """When it ends, as far as it is known now."""
        budget = self._budget
        return max(self._floor, min(self.heard + budget.seconds, self._begun + budget.left_seconds))

    def __enter__(self) -> None:
        until = self.until
        if until <= self._begun:
            raise self._budget.late()
        self._interruption.__enter__()
        self._timer = Timer(self._budget.clock, until, self._look)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()  # then it does not refer to this any more: no cycle keeps either in memory
        budget = self._budget
        self.ended_at: float = budget.clock.time()
        """When the step was over."""
        budget.silent_seconds = 0.0 if exc_type is None else max(0.0, self.ended_at - self.heard)
        budget.left_seconds -= self.ended_at - self._begun
        try:
            self._interruption.__exit__(exc_type, exc, traceback)
        except TimeoutError as error:
            raise budget.late() from error
        if self._interruption.happened and isinstance(exc, TimeoutError):
            raise budget.late() from exc

    def _look(self) -> None:
        """Interrupt the step, unless the store was heard of meanwhile."""
        if (until := self.until) > self._budget.clock.time():  # somebody was answered
            self._timer = Timer(self._budget.clock, until, self._look)
        else:
            self._interruption.happen()
