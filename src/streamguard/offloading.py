"""Running work in a thread that would block the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

__all__ = ["offloaded"]

T = TypeVar("T")

THREADS: Final = 2
"""Threads per event loop. The work shares the processor with the loop, so more threads would not finish it sooner."""

_LIMITER: Final[RunVar[CapacityLimiter]] = RunVar("streamguard-offloading")


async def offloaded(work: Callable[[], T], *, large: bool) -> T:
    """What `work` returns or raises. `large` work runs in a thread, once one is free; other work runs at once.

    `work` must be pure. A cancelled call returns at once: the thread runs to its end, and its result is dropped.
    """
    if not large:
        return work()
    try:
        limiter = _LIMITER.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS)
        _LIMITER.set(limiter)
    return await to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=True)
