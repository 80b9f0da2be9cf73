"""The drain: what a process that ends does for the streams it produces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ..faults import Fault, FaultCode
from ..model import Observation, Observer, Outcome, Signal
from ..settings import Settings
from .request import Ending
from .stream import LiveStream

__all__ = ["Drain"]

FINISH_SECONDS: Final = 5.0
"""After the drain: how long finalisers may go on before they are given up."""


class Drain:
    """Ends a process's streams, once: patiently, then as interrupted, then without their store."""

    def __init__(
        self,
        settings: Settings,
        *,
        streams: Callable[[], list[LiveStream]],
        busy: Callable[[], bool],
        changed: asyncio.Event,
        give_up: Callable[[], None],
        cut_viewers: Callable[[], None],
        observe: Observer,
    ) -> None:
        """Nothing is drained yet.

        Args:
            settings: how long to wait.
            streams: those that have not ended.
            busy: whether anything is under way that should end first: a stream, an admission, a retried save.
            changed: set whenever `busy` may have changed.
            give_up: has what still retries give up.
            cut_viewers: ends the responses that are left.
            observe: is told of its begin and end.
        """
        self._settings = settings
        self._streams = streams
        self._busy = busy
        self._changed = changed
        self._give_up = give_up
        self._cut_viewers = cut_viewers
        self._observe = observe
        self._task: asyncio.Task[None] | None = None
        self.given_up: bool = False
        """What retries should not any more."""

    @property
    def begun(self) -> bool:
        """Whether nothing more is admitted."""
        return self._task is not None

    async def run(self) -> None:
        """Begin, or join what was begun. Cancelling a caller does not cancel the drain."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="streamguard-drain")
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        settings = self._settings
        self._observe(Observation(Signal.DRAIN_STARTED, fields={"streams": len(self._streams())}))
        await self._quiet(loop.time() + settings.drain_seconds - min(1.0, settings.drain_seconds * 0.1))
        for stream in self._streams():
            stream.cancel(Ending(Outcome.INTERRUPTED, Fault.about(stream, FaultCode.SHUTTING_DOWN)))
        await self._quiet(loop.time() + FINISH_SECONDS)
        self.given_up = True
        self._give_up()
        for stream in self._streams():
            if stream.acked < stream.feed.emitted and not stream.finished:
                stream.degrade("drained")
        await self._quiet(loop.time() + settings.command_seconds + 1.0)
        self._cut_viewers()
        self._observe(Observation(Signal.DRAIN_ENDED, fields={"streams": len(self._streams())}))

    async def _quiet(self, deadline: float) -> None:
        """Wait until nothing is under way, or until a deadline in loop time."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):  # noqa: TID251 -- what a supervisor gives this process
                while self._busy():
                    self._changed.clear()
                    await self._changed.wait()
