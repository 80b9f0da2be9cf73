"""Saves under way, each in a task of the runtime's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio

from ..deadlines import Deadline
from ..loops import StartTask
from .attempts import Attempts
from .save_result import SaveResult, SaveStatus
from .sealed_stream import SealedStream
from .stream_save import StreamSave
from .user_messages import UserMessages

__all__ = ["SHUTDOWN", "RunningSave", "RunningSaves"]

SHUTDOWN: Final = "shutdown"
"""Reason of a save that this process broke off: the next worker may begin at once."""


class RunningSave:
    """A save under way."""

    def __init__(self, save: StreamSave, user_messages: UserMessages) -> None:
        self.user_messages = user_messages
        self.attempts: Attempts = save.attempts
        self.result: SaveResult | None = None
        self._save = save
        self._scope = anyio.CancelScope()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Save. Never raises but for cancellation."""
        try:
            with self._scope:
                self.result = await self._save.run()
        finally:
            if self.result is None and self._scope.cancel_called:
                self.result = SaveResult(SaveStatus.FAILED, SHUTDOWN, self.error)
            elif self.result is None:
                self.result = SaveResult(SaveStatus.FAILED, "internal")
            self._over.set()

    async def wait(self, seconds: float | None = None) -> SaveResult | None:
        """What came of it; None when it goes on past `seconds`."""
        try:
            if seconds is None:
                await self._over.wait()
            else:
                async with Deadline.after(seconds).limit():
                    await self._over.wait()
        except TimeoutError:
            return None
        return self.result

    @property
    def error(self) -> Exception | None:
        """The last failure of an attempt at it; None when none has failed."""
        return self.attempts.error or self.user_messages.last_error

    def give_up(self) -> None:
        """Break it off."""
        self._scope.cancel()


class RunningSaves:
    """The saves of one process that are under way, and the steps that put on record what came of them.

    `start` runs a task of the runtime's; `changed` is told when a save or a step is over; `made` is told of each save
    that is over, with the seconds it took.
    """

    def __init__(
        self,
        *,
        start: StartTask,
        changed: Callable[[], None],
        made: Callable[[SealedStream, RunningSave, float], None],
    ) -> None:
        self._start = start
        self._changed = changed
        self._made = made
        self._running: set[RunningSave] = set()
        self._steps = 0
        self.given_up: bool = False
        """The process ends: saves were broken off."""

    @property
    def under_way(self) -> int:
        """How many saves this process is not done with."""
        return len(self._running) + self._steps

    def begin(self, sealed: SealedStream, save: StreamSave, user_messages: UserMessages) -> RunningSave:
        """Run a save."""
        running = RunningSave(save, user_messages)
        self._running.add(running)
        self._start(partial(self._run, sealed, running))
        return running

    def record(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run a step that puts on record what came of a save."""
        self._steps += 1
        self._start(partial(self._record, step))

    def give_up(self) -> None:
        """Break off every save."""
        self.given_up = True
        for running in self._running:
            running.give_up()

    async def _run(self, sealed: SealedStream, running: RunningSave) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await running.run()
        finally:
            self._running.discard(running)
            self._changed()
        self._made(sealed, running, loop.time() - begun)

    async def _record(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        finally:
            self._steps -= 1
            self._changed()
