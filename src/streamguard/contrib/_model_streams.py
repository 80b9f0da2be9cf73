"""Reads a model library's stream to its end, and closes it however the reading ends."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from functools import partial
from typing import TypeAlias, TypeVar, cast

from pydantic_core import to_jsonable_python

from ..errors import FaultError
from ..faults import Fault, FaultCode
from ._ui_parts import Item

__all__ = [
    "AsyncSource",
    "EventReader",
    "ModelItems",
    "Source",
    "broken_off",
    "close_stream",
    "field_of",
    "items_of",
    "iter_items_of",
    "plain_of",
    "text_in",
]

T = TypeVar("T")

AsyncSource: TypeAlias = (
    AsyncIterable[object] | AbstractAsyncContextManager[AsyncIterable[object]] | Awaitable[AsyncIterable[object]]
)
"""An asynchronous stream; or the context manager that opens it, or the awaitable that makes it."""

Source: TypeAlias = Iterable[object] | AbstractContextManager[Iterable[object]]
"""A synchronous stream, or the context manager that opens it."""


class EventReader(ABC):
    """Turns the events of one model call into items, in order. Pure: no loop, no clock."""

    def begin(self, stream: object) -> None:  # noqa: B027 -- most readers need nothing of it but its events
        """Look at the library's stream, before its first event."""

    @abstractmethod
    def read(self, event: object) -> Iterable[Item]:
        """The items of one event. An event that tells nothing has none."""

    @abstractmethod
    def end(self) -> Iterable[Item]:
        """The items after the last event.

        Raises:
            FaultError: the stream ended without the event that ends an answer: it was broken off.
        """


def items_of(source: AsyncSource, reader: EventReader) -> AsyncIterator[Item]:
    """The items of an asynchronous stream. Closing them closes the stream, and so the provider's connection, also if
    none was asked for.

    Raises:
        TypeError: `source` is no asynchronous stream.
        Exception: what the stream raises, unchanged.
    """
    return ModelItems(_items_of(source, reader), partial(close_stream, source))


def iter_items_of(source: Source, reader: EventReader) -> Iterator[Item]:
    """The items of a synchronous stream. Closing them closes the stream, and so the provider's connection, also if none
    was asked for.

    Raises:
        TypeError: `source` is no synchronous stream.
        Exception: what the stream raises, unchanged.
    """
    return _IterModelItems(_iter_items_of(source, reader), getattr(source, "close", None))


class ModelItems(AsyncIterator[T]):
    """A generator's items. `aclose` closes the generator; one that was never begun has no `finally` to run, so then
    `close_unread` closes what it would have read."""

    def __init__(self, items: AsyncIterator[T], close_unread: Callable[[], Awaitable[None]]) -> None:
        self._items = items
        self._close_unread: Callable[[], Awaitable[None]] | None = close_unread
        """None once an item was asked for."""

    def __anext__(self) -> Awaitable[T]:
        self._close_unread = None
        return self._items.__anext__()

    async def aclose(self) -> None:
        close, self._close_unread = self._close_unread, None
        await cast("AsyncGenerator[T]", self._items).aclose()
        if close is not None:
            await close()


class _IterModelItems(Iterator[Item]):
    """The same, of a plain generator."""

    def __init__(self, items: Iterator[Item], close_unread: Callable[[], object] | None) -> None:
        self._items = items
        self._close_unread = close_unread

    def __next__(self) -> Item:
        self._close_unread = None
        return next(self._items)

    def close(self) -> None:
        close, self._close_unread = self._close_unread, None
        cast("Generator[Item]", self._items).close()
        if close is not None:
            close()


async def _items_of(source: AsyncSource, reader: EventReader) -> AsyncIterator[Item]:
    async with AsyncExitStack() as opened:
        stream: object = await source if inspect.isawaitable(source) else source
        if not hasattr(stream, "__aiter__") and hasattr(stream, "__aenter__"):
            manager = cast("AbstractAsyncContextManager[AsyncIterable[object]]", stream)
            stream = await opened.enter_async_context(manager)
        if not hasattr(stream, "__aiter__"):
            raise TypeError(
                f"{type(stream).__name__} is no asynchronous stream: pass stream=True, and an asynchronous client; "
                "a synchronous stream is read by the function of the same name with iter_ before it"
            )
        opened.push_async_callback(close_stream, stream)
        reader.begin(stream)
        async for event in cast("AsyncIterable[object]", stream):
            for item in reader.read(event):
                yield item
        for item in reader.end():
            yield item


def _iter_items_of(source: Source, reader: EventReader) -> Iterator[Item]:
    with ExitStack() as opened:
        stream: object = source
        if not hasattr(stream, "__iter__") and hasattr(stream, "__enter__"):
            stream = opened.enter_context(cast("AbstractContextManager[Iterable[object]]", stream))
        if not hasattr(stream, "__iter__") or isinstance(stream, (str, bytes, Mapping)):
            raise TypeError(
                f"{type(stream).__name__} is no synchronous stream: pass stream=True, and a synchronous client; "
                "an asynchronous stream is read by the function of the same name without iter_"
            )
        close = getattr(stream, "close", None)
        if close is not None:
            opened.callback(close)
        reader.begin(stream)
        for event in cast("Iterable[object]", stream):
            yield from reader.read(event)
        yield from reader.end()


async def close_stream(stream: object) -> None:
    """Close a stream through whichever of `aclose` and `close` it has; a task that makes one is cancelled."""
    if isinstance(stream, asyncio.Future):
        stream.cancel()
        return
    close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
    if close is None:
        return
    closing = close()
    if inspect.isawaitable(closing):
        await closing


def broken_off() -> FaultError:
    """The error for a stream that ended before its answer did. Client libraries take that for a whole answer."""
    return FaultError(Fault.of(FaultCode.PROVIDER_ABORTED))


def field_of(value: object, name: str) -> object:
    """A field of a library's object, or of the same as a mapping; None when it is missing."""
    if isinstance(value, Mapping):
        return value.get(name)
    return getattr(value, name, None)


def plain_of(value: object) -> object:
    """A field's value as plain JSON, without what is None in a library's objects."""
    return to_jsonable_python(value, exclude_none=True, by_alias=True, fallback=str)


def text_in(value: object, name: str) -> str:
    """A field that is a text; empty when it is missing or something else."""
    found = field_of(value, name)
    return found if isinstance(found, str) else ""
