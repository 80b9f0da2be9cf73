"""The subscribers of streams in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ...values import EventKind, StreamRef
from ..records import Hint
from .entries import StreamEntry

__all__ = ["Subscribers"]


@dataclass(slots=True, eq=False)
class _Subscriber:
    on_hint: Callable[[Hint], None]
    data: bool
    loop: asyncio.AbstractEventLoop
    """The subscriber's: a store may outlive an event loop, and a subscriber with it, if the loop was closed early."""
    active: bool = True

    def deliver(self, hint: Hint) -> None:
        # Hints are scheduled; one that was under way when the subscriber left must not arrive.
        if self.active:
            self.on_hint(hint)


class Subscribers:
    """Tells subscribers about changes of their streams, always after the step that made them, never inside it."""

    def __init__(self) -> None:
        self._by_stream: dict[StreamRef, list[_Subscriber]] = {}

    @contextmanager
    def subscribed(self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool) -> Iterator[None]:
        """While entered, `on_hint` is scheduled for each change; for appends only with `data`."""
        subscriber = _Subscriber(on_hint, data, asyncio.get_running_loop())
        self._by_stream.setdefault(ref, []).append(subscriber)
        try:
            yield
        finally:
            subscriber.active = False
            subscribers = self._by_stream[ref]
            subscribers.remove(subscriber)
            if not subscribers:
                del self._by_stream[ref]

    def tell(self, stream: StreamEntry, *, after_seq: int | None = None, append: bool = False) -> None:
        """Schedule a hint with the stream's events after `after_seq`, or an empty one."""
        # Hot path: without subscribers, no ref is hashed, which costs as much as the append itself.
        if not self._by_stream or not (subscribers := self._by_stream.get(stream.ref)):
            return
        events: Sequence[tuple[EventKind, bytes]] = () if after_seq is None else tuple(stream.events[after_seq:])
        hint = Hint(
            stream.last_seq + 1 - len(events),
            events,
            stream.stop_requested,
            stream.last_epoch if events else 0,
        )
        loop = asyncio.get_running_loop()
        for subscriber in subscribers:
            if subscriber.data or not append:
                if subscriber.loop is loop:
                    loop.call_soon(subscriber.deliver, hint)
                elif not subscriber.loop.is_closed():
                    subscriber.loop.call_soon_threadsafe(subscriber.deliver, hint)
