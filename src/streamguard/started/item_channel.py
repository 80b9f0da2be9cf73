"""The hand-over of items from a body that sends them to the producer that iterates them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import NamedTuple

__all__ = ["ItemChannel"]


class _Offer(NamedTuple):
    """An item that a sender waits with."""

    item: object
    taken: asyncio.Future[None]
    """Done once the item is in the stream."""


class ItemChannel(AsyncIterator[object]):
    """The items of one body, in the order in which they were sent, for one producer.

    It holds no item of its own: a sender waits until the producer asks for the next item, which it does once this one
    is encoded and there is room for more.

    Args:
        on_close: called when the producer takes no more items though the body goes on.
        closed_error: makes the error of a sender that comes, or still waits, after that.
    """

    def __init__(self, *, on_close: Callable[[], None], closed_error: Callable[[], Exception]) -> None:
        self._on_close = on_close
        self._closed_error = closed_error
        self._offers: deque[_Offer] = deque()
        self._current: _Offer | None = None
        """What the producer is at work on."""
        self._wanted: asyncio.Future[None] | None = None
        """The producer waits for an item."""
        self._closed = False
        self._left = asyncio.Event()
        """The body sends no more."""
        self._error: BaseException | None = None
        """What the body raised."""

    # -- the body's side ----------------------------------------------------------------------------------------------

    async def send(self, item: object) -> None:
        """Wait until the item is in the stream. Cancelled before the producer took it, it is not sent.

        Raises:
            Exception: the closed error: the producer takes no more items.
        """
        if self._closed or self._left.is_set():
            raise self._closed_error()
        offer = _Offer(item, asyncio.get_running_loop().create_future())
        self._offers.append(offer)
        self._wake()
        try:
            await offer.taken
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._offers.remove(offer)
            raise

    @property
    def left(self) -> bool:
        """Whether the body has been left."""
        return self._left.is_set()

    def leave(self, error: BaseException | None = None) -> None:
        """The body has been left; `error` is what it raised, which the producer is to fail with."""
        self._error = error
        self._left.set()
        self._wake()

    # -- the producer's side ------------------------------------------------------------------------------------------

    async def __anext__(self) -> object:
        """The next item; what the body raised is raised here."""
        current, self._current = self._current, None
        if current is not None and not current.taken.done():
            current.taken.set_result(None)
        while not self._offers:
            if self._error is not None:
                raise self._error
            if self._left.is_set():
                raise StopAsyncIteration
            self._wanted = asyncio.get_running_loop().create_future()
            await self._wanted
        self._current = self._offers.popleft()
        return self._current.item

    async def aclose(self) -> None:
        """Take no more items, and wait until the body has been left."""
        self.close()
        await self._left.wait()

    def close(self) -> None:
        """Take no more items. Returns at once; later calls do nothing, nor does one after the body's end."""
        if self._closed or self._left.is_set():
            return
        self._closed = True
        self._on_close()
        waiting = [*([] if self._current is None else [self._current]), *self._offers]
        self._current = None
        self._offers.clear()
        for offer in waiting:  # the body itself is cancelled; its other tasks may wait too
            if not offer.taken.done():
                offer.taken.set_exception(self._closed_error())

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)
