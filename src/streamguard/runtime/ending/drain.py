"""The drain: a process that is to exit ends the streams it produces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ...faults import Fault, FaultCode
from ...observations import Observation, Observer, Signal
from ...settings import Settings
from ...values import Outcome
from ..drain_state import DrainPhase, DrainState
from ..producing.stream import LiveStream
from ..request import Ending

__all__ = ["Drain"]

FINISH_SECONDS: Final = 5.0
"""How long streams may take to end after they were cancelled, before their retries are given up."""
HURRIED_FINISH_SECONDS: Final = 0.5
"""The same in a hurried drain, and how long streams may then take after that."""


class Drain:
    """Ends a process's streams, once. It waits for them, then interrupts them, then ends them without their store."""

    def __init__(
        self,
        settings: Settings,
        state: DrainState,
        *,
        streams: Callable[[], list[LiveStream]],
        busy: Callable[[], bool],
        changed: asyncio.Event,
        give_up: Callable[[], None],
        cut_viewers: Callable[[], None],
        measure: Callable[[], None],
        observe: Observer,
    ) -> None:
        """A drain that has not begun.

        Args:
            settings: how long to wait.
            state: is moved on from phase to phase, for those that ask.
            streams: gives the streams that have not ended.
            busy: whether anything is under way that should end first: a stream, an admission, a retried save.
            changed: set whenever `busy` may have changed.
            give_up: ends every retry.
            cut_viewers: ends the responses that are left.
            observe: is told when the drain begins and ends.
        """
        self._settings = settings
        self._state = state
        self._streams = streams
        self._busy = busy
        self._changed = changed
        self._give_up = give_up
        self._cut_viewers = cut_viewers
        self._measure = measure
        self._observe = observe
        self._task: asyncio.Task[None] | None = None
        self._hurried = False

    def begin(self, *, hurried: bool = False) -> asyncio.Task[None]:
        """Begin, if it has not begun. `hurried` shortens it to `development_drain_seconds`, also one that has begun."""
        if hurried and not self._hurried:
            self._hurried = True
            self._changed.set()
        if self._task is None:
            self._state.phase = DrainPhase.DRAINING
            self._task = asyncio.get_running_loop().create_task(self._run(), name="streamguard-drain")
        return self._task

    async def run(self) -> None:
        """Begin, or join the drain that has begun. Cancelling a caller does not cancel it."""
        await asyncio.shield(self.begin())

    def _stream_seconds(self) -> float:
        settings = self._settings
        seconds = settings.drain_seconds
        if self._hurried:
            seconds = min(seconds, settings.development_drain_seconds)
        return seconds - min(1.0, seconds * 0.1)

    def _finish_seconds(self) -> float:
        return HURRIED_FINISH_SECONDS if self._hurried else FINISH_SECONDS

    def _last_seconds(self) -> float:
        return HURRIED_FINISH_SECONDS if self._hurried else self._settings.command_seconds + 1.0

    async def _run(self) -> None:
        self._observe(Observation(Signal.DRAIN_STARTED, fields={"streams": len(self._streams())}))
        await self._wait_until_idle(self._stream_seconds)
        for stream in self._streams():
            stream.cancel(Ending(Outcome.INTERRUPTED, Fault.about(stream, FaultCode.SHUTTING_DOWN)))
        await self._wait_until_idle(self._finish_seconds)
        self._state.phase = DrainPhase.GIVEN_UP
        self._give_up()
        for stream in self._streams():
            if stream.backlog.unacked and not stream.finished:
                stream.degrade("drained")
        await self._wait_until_idle(self._last_seconds)
        self._cut_viewers()
        self._measure()
        self._observe(Observation(Signal.DRAIN_ENDED, fields={"streams": len(self._streams())}))

    async def _wait_until_idle(self, seconds: Callable[[], float]) -> None:
        """Wait until nothing is under way, for `seconds` at most, which may become fewer meanwhile."""
        clock = asyncio.get_running_loop().time
        began = clock()
        while self._busy() and (left := began + seconds() - clock()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):  # noqa: TID251 -- this process's own patience with itself
                    await self._changed.wait()
