"""Whether the store is worth asking: open after a budget was exhausted, closed again by a successful probe."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from ..errors import StoreError, StoreUnavailableError
from ..observations import Observation, Signal
from ..unavailable import UnavailableReason, reason_of
from .roles.service import StoreService

__all__ = ["Breaker"]


class Breaker:
    """A circuit breaker: remembers that the store was found unreachable, so that later requests skip the wait.

    No request ever probes: `run` does, every `probe_seconds` while open, so that a store that is back is noticed
    without a request that waits for it. `clock` is a `LoopClock`'s.
    """

    def __init__(
        self,
        store: StoreService,
        *,
        probe_seconds: float,
        observe: Callable[[Observation], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._probe_seconds = probe_seconds
        self._observe = observe
        self._clock = clock
        self.open: bool = False
        """Whether the store was found unreachable, and has not answered a probe since."""
        self.reason: UnavailableReason = UnavailableReason.OTHER
        """Why it was found unreachable, the last time."""
        self._opened = asyncio.Event()
        self._passing = asyncio.Event()
        """Set while closed, and for good once `release`d."""
        self._passing.set()
        self._released = False
        self._outage_ended = clock()
        self.answered_at: float = -math.inf
        """When the store last did what it was asked. A caller that has had no answer since before then waits for a busy
        process, or asked for something that only it needs."""
        self._on_close: list[Callable[[], None]] = []

    @property
    def healthy_seconds(self) -> float:
        """How long the store has been answering, as far as this process has seen; 0 while open."""
        return 0.0 if self.open else self._clock() - self._outage_ended

    def when_closed(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the event loop each time an outage ends."""
        self._on_close.append(callback)

    def answered(self, at: float | None = None) -> None:
        """The store did what it was asked: just now, or at that time of the clock."""
        self.answered_at = self._clock() if at is None else at

    def stumbled(self, error: StoreUnavailableError) -> None:
        """One store call failed. That is no outage yet, but healthy time counts from here.

        It takes the error, so that only a store that did not answer, or refused, counts: one that answered with a
        record that cannot be read (`StoreCorruptError`) is well.
        """
        self._outage_ended = self._clock()

    def stood_still(self) -> None:
        """This process itself stood still for a while: healthy time counts from here, too."""
        self._outage_ended = self._clock()

    def exhausted(self, error: StoreUnavailableError) -> None:
        """Open: a request spent its whole budget on the store without success, the last time with this error. While
        only some of its servers are down, it stays closed: the streams on the others go on as before."""
        self._outage_ended = self._clock()
        if self._store.partly_down():
            return
        self.reason = reason_of(error)
        if not self.open:
            self.open = True
            self._opened.set()
            if not self._released:
                self._passing.clear()
            self._observe(Observation(Signal.BREAKER_OPENED, error=error))

    async def passed(self) -> None:
        """Wait until the breaker is closed, or was released."""
        await self._passing.wait()

    def release(self) -> None:
        """Let all waiters of `passed` go on, for good: the process ends."""
        self._released = True
        self._passing.set()

    async def run(self) -> None:
        """Probe while open, until cancelled."""
        while True:
            await self._opened.wait()
            await asyncio.sleep(self._probe_seconds)
            try:
                await self._store.ping()
            except StoreError:
                continue
            self._outage_ended = self._clock()
            self.open = False
            self._opened.clear()
            self._passing.set()
            self._observe(Observation(Signal.BREAKER_CLOSED))
            for callback in self._on_close:
                callback()
