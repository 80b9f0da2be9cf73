"""Work that would hold up the event loop, done in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

__all__ = ["offloaded"]

T = TypeVar("T")

THREADS: Final = 2
"""For each event loop: such work shares the processor with the loop, and more of it at once is done no sooner."""

_LIMITER: Final[RunVar[CapacityLimiter]] = RunVar("streamguard-offloading")


async def offloaded(work: Callable[[], T], *, large: bool) -> T:
    """What `work` returns or raises; done at once unless it is `large`, else in a thread when one is free.

    `work` must be pure. Cancelling it leaves the thread to its end, and what comes of it to nobody.
    """
    if not large:
        return work()
    try:
        limiter = _LIMITER.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS)
        _LIMITER.set(limiter)
    return await to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=True)
