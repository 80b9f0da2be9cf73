"""The items of one stream where the first of them are looked at, and all others are not."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["DivertedItems", "ItemSource"]


class DivertedItems(AsyncIterator[object]):
    """Items that a task of the host's sends. While the producer waits for one, they need not wait for its turn.

    Hot path: waking the producer for each item costs as much as everything else about the item.
    """

    @abstractmethod
    def divert(self, take: Callable[[object], bool]) -> None:
        """Call `take` with each item that is sent while `__anext__` waits, in the task that sends it, until that
        returns False: later items are to be iterated again. What `take` raises is raised by `__anext__`, and not in the
        task that sends."""


class ItemSource(AsyncIterator[object]):
    """Items in two parts. Iterate this for the first ones, then `rest`, if there is one, and close this in any case.

    Hot path: a generator between a host's iterator and the producer costs a call for each item, and another one
    whenever the host's code waits. So there is none, once what the first items decide is decided.

    Args:
        first: gives the first part; it calls `hand_over` before it ends, unless nothing follows.
    """

    def __init__(self, first: Callable[[ItemSource], AsyncIterator[object]]) -> None:
        self._closes: list[object] = []
        self.rest: AsyncIterator[object] | None = None
        """The iterator that all further items come from. Set when the first part has ended."""
        self._first: AsyncIterator[object] | None = first(self)

    def __anext__(self) -> Awaitable[object]:
        if self._first is None:
            raise StopAsyncIteration
        return self._first.__anext__()

    def close_later(self, iterator: object) -> None:
        """Close this, if it can be closed, when the source is closed: after what came later. What is named twice in a
        row, as an iterable and as its own iterator, is closed once."""
        if not self._closes or self._closes[-1] is not iterator:
            self._closes.append(iterator)

    def hand_over(self, rest: AsyncIterator[object]) -> None:
        """All further items come from there. The last act of the first part."""
        self.rest = rest

    async def aclose(self) -> None:
        """End the first part, and close what it opened. The first part may know this source: it is let go of, so that
        no cycle keeps either in memory."""
        first, self._first = self._first, None
        if first is not None:
            self._closes.append(first)
        while self._closes:
            close = getattr(self._closes.pop(), "aclose", None)
            if close is not None:
                try:
                    await close()
                except BaseException:
                    await self.aclose()
                    raise
