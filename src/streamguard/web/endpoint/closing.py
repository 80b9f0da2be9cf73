"""Closes what an endpoint returned, whether it was read or not: it may hold a provider's connection.

A generator that was never begun has no `finally` to run, but what it would have iterated must be closed all the same.
Starlette's `StreamingResponse` puts such a generator around a synchronous iterator, and closing that one closes
nothing: the iterator is found in it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from functools import partial
from types import AsyncGeneratorType
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response

__all__ = ["ClosingWith", "aclose_if_possible", "body_of", "close_dropped", "close_unread", "closing_all"]

T = TypeVar("T")

_IN_THREADS: Final = iterate_in_threadpool.__code__
DROPPED_SECONDS: Final = 5
"""How long a response that nobody sends may take to be closed: as long as an endpoint that was cancelled."""


async def aclose_if_possible(chunks: object) -> None:
    """Close an async iterator, if it can be closed."""
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()


def body_of(response: Response) -> object:
    """What a response iterates, for `close_unread`; None without such. Found before it is begun: a generator that has
    ended does not know any more what it iterated."""
    items = getattr(response, "body_iterator", None)
    return closing_all(items) if isinstance(items, AsyncIterator) else items


async def close_unread(returned: object) -> None:
    """Close what an endpoint returned and nobody iterates: an iterator, or a response's."""
    items = getattr(returned, "body_iterator", returned)
    if isinstance(items, AsyncIterator):
        await aclose_if_possible(closing_all(items))
    elif isinstance(items, AsyncIterable):
        await aclose_if_possible(items)
    else:
        await _close_in_thread(items)


async def close_dropped(response: Response) -> None:
    """Close a response that will not be sent, as its request was cancelled."""
    with anyio.move_on_after(DROPPED_SECONDS, shield=True):  # noqa: TID251 -- bounds the host's own code, and judges no peer
        await close_unread(response)


def closing_all(chunks: AsyncIterator[object]) -> AsyncIterator[object]:
    """The chunks, not begun, whose `aclose` closes a synchronous iterator in them too."""
    if type(chunks) is not AsyncGeneratorType or chunks.ag_code is not _IN_THREADS or chunks.ag_frame is None:
        return chunks
    iterated = chunks.ag_frame.f_locals.get("iterator")
    return ClosingWith(chunks, partial(_close_in_thread, iterated)) if hasattr(iterated, "close") else chunks


class ClosingWith(AsyncIterator[T]):
    """Chunks whose `aclose` also closes what they are read from, once, with `close`; also if no chunk was asked for: a
    generator that was never begun would close nothing."""

    def __init__(self, chunks: AsyncIterator[T], close: Callable[[], Awaitable[None]]) -> None:
        self._chunks = chunks
        self._close: Callable[[], Awaitable[None]] | None = close

    def __anext__(self) -> Awaitable[T]:
        return self._chunks.__anext__()

    async def aclose(self) -> None:
        close, self._close = self._close, None
        try:
            await aclose_if_possible(self._chunks)  # waits for the thread
        finally:
            if close is not None:
                await close()


async def _close_in_thread(iterator: object) -> None:
    close = getattr(iterator, "close", None)
    if callable(close):  # a model may have a field of that name
        await anyio.to_thread.run_sync(close)
