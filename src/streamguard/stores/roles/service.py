"""What every part of a store answers for: that it starts, stops and can be asked whether it is there."""

from __future__ import annotations

from collections.abc import Callable

from ..damage import Unreadable

__all__ = ["StoreService"]


class StoreService:
    """The life of a store, and what a guard knows of it. Every method does nothing until a store has something to do.

    Every method of every role raises `StoreUnavailableError` when the store does not answer within its command timeout
    or refuses (then the step may or may not have happened: ask again), and `StoreCorruptError` for a record it cannot
    read. A cancelled call leaves the same doubt. No method retries by itself.
    """

    shared: bool = True
    """Whether other processes see the same streams."""

    server: str | None = None
    """What answers for the store outside this process: stores with the same server are down together, and a request
    that waits for several of them waits once. None: nothing does, or the store does not say."""

    on_unreadable: Callable[[Unreadable], None] | None = None
    """Called for what the store comes upon and cannot read where no caller asked for it: entries of indexes. It runs on
    the event loop; it must not raise or block. The runtime sets it."""

    def partly_down(self) -> bool:
        """Whether some of its servers fail while others answer: that a request waited in vain says nothing then of the
        streams that are elsewhere."""
        return False

    async def start(self) -> list[str]:
        """Connect. Returns warnings for the operator (an eviction policy that drops live streams, say).

        Must not raise for an unreachable store: the guard starts degraded and recovers.
        """
        return []

    async def aclose(self) -> None:
        """Release what this object opened. Nothing stored is touched."""

    async def ping(self) -> None:
        """Prove that the store answers and, if it takes writes, accepts them."""
