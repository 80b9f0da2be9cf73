"""The body of an `async with`, which another task may cancel."""

from __future__ import annotations

import asyncio

__all__ = ["BodyScope"]


class BodyScope:
    """Cancels a body once, and takes that cancellation back when the body is left, as `asyncio.timeout` does.

    Made in the body's task, as the body begins. A cancellation by anyone else passes through: `Task.cancelling` tells
    the two apart.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("the body of an async with runs in a task")
        self._task = task
        self._cancelling_before = task.cancelling()
        self._cancelled = False
        self._left = False

    def cancel(self) -> None:
        """Cancel the body, unless it was cancelled or has been left. Returns at once."""
        if not (self._cancelled or self._left):
            self._cancelled = True
            self._task.cancel("the answer ended")

    @property
    def cancelled_by_others(self) -> bool:
        """Whether the task was cancelled by anyone else since the body began."""
        return self._task.cancelling() - self._cancelled > self._cancelling_before

    async def leave(self, error: BaseException | None) -> bool:
        """The body has been left with `error`. Returns whether that is this scope's cancellation, to be absorbed.

        Raises:
            asyncio.CancelledError: someone else cancelled the task too, at the very end of the body.
        """
        self._left = True
        if not self._cancelled:
            return False
        self._cancelled = False
        others = self._task.uncancel() > self._cancelling_before
        if isinstance(error, asyncio.CancelledError):
            return not others
        try:  # a body that ended without another await: its cancellation would arrive in the next one
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if others:
                raise
        return False
