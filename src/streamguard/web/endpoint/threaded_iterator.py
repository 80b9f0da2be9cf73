"""Iterates a sync generator in a thread of its own, from its first line to its `finally`.

Frameworks iterate sync generators item by item in a thread pool. Measured: context variables are then lost over each
`yield`, and after a disconnect the generator neither finishes nor runs its `finally`.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from enum import Enum
from typing import Final, NamedTuple

from ..access.sync_streams import SyncSlot

__all__ = ["ThreadedIterator"]

_this_thread = threading.local()
"""`iterator`: the `ThreadedIterator` that runs in the thread."""

BUFFERED_ITEMS: Final = 64
"""How many items a generator may be ahead of its stream. Handing an item over wakes the event loop unless the stream is
busy anyway, so a few dozen keep both sides going."""


class _Posted(NamedTuple):
    """A call to make on the event loop between two items."""

    call: Callable[[], object]
    refuse: Callable[[], object]
    """Called instead if the event loop will never make the call."""


class _Consumer(Enum):
    """What the event loop does with the items. Never goes back to an earlier phase."""

    ITERATES = "it takes items"
    CLOSES = "it waits for the iterator to close, and still makes the calls that are posted"
    GONE = "nobody takes anything from the buffer any more"


class ThreadedIterator(AsyncIterator[object]):
    """Iterates a sync iterator in one dedicated thread, under a copy of the context in which this object is made.

    `aclose`, or the end of the iteration, closes the iterator in that same thread; calls that its `finally` posts are
    made meanwhile. A thread that hangs in the host's code cannot be stopped: it keeps its slot until it returns, and
    does not keep the process from ending. Once its `aclose` was cancelled, every call that it posts is refused.

    Args:
        make: makes the iterator; called in the thread.
        slot: held until the thread ends.
        stream: the stream whose items these are.
    """

    def __init__(self, make: Callable[[], Iterator[object]], slot: SyncSlot, stream: object) -> None:
        self.stream = stream
        self._make = make
        self._slot = slot
        self._loop = asyncio.get_running_loop()
        self._buffer: deque[object] = deque()
        self._space = threading.Semaphore(BUFFERED_ITEMS)
        self._waiter: asyncio.Future[None] | None = None
        self._waiting = False
        """The thread must wake the event loop for its next item. A needless wake does no harm."""
        self._consumer = _Consumer.ITERATES
        self._error: BaseException | None = None
        self._finished = False
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._iterate,), name="streamguard-sync-stream", daemon=True
        )
        self._thread.start()

    @staticmethod
    def of_this_thread() -> ThreadedIterator | None:
        """The iterator whose thread is the caller's; None in any other thread."""
        return getattr(_this_thread, "iterator", None)

    async def __anext__(self) -> object:
        """The next item; what the iterator raises is raised here.

        Cancelling it loses nothing.
        """
        while True:
            while self._buffer:
                item = self._buffer.popleft()
                self._space.release()
                if type(item) is not _Posted:
                    return item
                item.call()
            if self._finished:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            await self._more()

    async def aclose(self) -> None:
        """Close the iterator in its thread, make the calls that it posts until then, and wait for its end. Cancelling
        the wait does not undo the closing, but every call that is posted from then on is refused."""
        if self._consumer is _Consumer.ITERATES:
            self._consumer = _Consumer.CLOSES
        self._space.release()
        try:
            while True:
                while self._buffer:
                    item = self._buffer.popleft()
                    self._space.release()
                    if type(item) is _Posted:
                        item.call()
                if self._finished:
                    return
                await self._more()
        finally:
            self._consumer = _Consumer.GONE
            self._space.release()
            self._refuse_all()

    async def _more(self) -> None:
        """Wait until the buffer may have something, or the iterator has ended."""
        self._waiting = True
        if not (self._buffer or self._finished):  # else an item arrived since the last check
            self._waiter = self._loop.create_future()
            await self._waiter

    def post(self, call: Callable[[], object], refuse: Callable[[], object] = lambda: None) -> None:
        """From the iterator's own thread: make `call` on the event loop, after the items yielded before it. If nobody
        takes these any more, `refuse` is called instead, in any thread. Waits while the event loop is behind."""
        if self._consumer is not _Consumer.GONE:
            self._space.acquire()
        self._buffer.append(_Posted(call, refuse))
        if self._consumer is _Consumer.GONE:
            self._refuse_all()
        else:
            self._wake_soon()

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _iterate(self) -> None:
        _this_thread.iterator = self
        try:
            iterator = self._make()
            try:
                for item in iterator:
                    self._space.acquire()
                    if self._consumer is not _Consumer.ITERATES:
                        break
                    self._buffer.append(item)
                    self._wake_soon()
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()
        except BaseException as exc:  # noqa: BLE001 -- raised again on the event loop
            self._error = exc
            if isinstance(exc, asyncio.CancelledError | KeyboardInterrupt | StopAsyncIteration):
                # On the event loop, the first two would end the task, and the third would be the end of the items.
                self._error = RuntimeError(f"a sync endpoint raised {type(exc).__name__}")
                self._error.__cause__ = exc
        finally:
            self._slot.release()
            self._call_loop(self._end)

    def _refuse_all(self) -> None:
        """Empty the buffer: called by each thread that finds that nobody else will."""
        while True:
            try:
                item = self._buffer.popleft()
            except IndexError:
                return
            if type(item) is _Posted:
                item.refuse()

    def _wake_soon(self) -> None:
        if self._waiting:
            self._waiting = False
            self._call_loop(self._wake)

    def _call_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed
            self._consumer = _Consumer.GONE
            self._refuse_all()

    # -- on the event loop --------------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._finished = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
