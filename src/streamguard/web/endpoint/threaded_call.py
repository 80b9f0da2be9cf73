"""Calls a plain function in a thread, and closes what it returns where nobody waits for that any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import anyio.to_thread

from ...contained import Contained
from .closing import close_unread

__all__ = ["threaded_call"]


async def threaded_call(call: Callable[[], object]) -> object:
    """What `call` returns, from one of anyio's threads; what it raises is raised here.

    Cancelling it cannot end a call that has begun: that keeps its place among the threads until it returns, and what it
    returns is closed then, unless the event loop has ended. A call that has not begun is not made.
    """
    threaded = _ThreadedCall(call)
    work = Contained(threaded.run, name="streamguard-call")
    try:
        await asyncio.wait({work.task})
        return work.result()
    except asyncio.CancelledError:
        if not work.task.done():
            if not threaded.leave():
                work.task.cancel()
        elif work.error is None and not work.task.cancelled():
            await close_unread(work.result())
        raise
    finally:
        del work  # which knows what the call raised


class _ThreadedCall:
    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._lock = threading.Lock()
        """Held to change the two below: a call begins or is left first."""
        self._begun = False
        self._left = False
        """Nobody waits for it any more."""

    def leave(self) -> bool:
        """Wait for the call no more. Returns whether it has begun; if not, it never will."""
        with self._lock:
            self._left = True
            return self._begun

    async def run(self) -> object:
        returned = await anyio.to_thread.run_sync(self._in_thread, abandon_on_cancel=True)
        if self._left:
            await close_unread(returned)
        return returned

    def _in_thread(self) -> object:
        with self._lock:
            if self._left:
                return None
            self._begun = True
        return self._call()
