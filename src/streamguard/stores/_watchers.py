"""Who watches which stream in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..values import EventKind, StreamRef
from ._records import StreamEntry
from .base import Hint

__all__ = ["Watchers"]


@dataclass(slots=True, eq=False)
class _Watcher:
    on_hint: Callable[[Hint], None]
    data: bool
    active: bool = True

    def deliver(self, hint: Hint) -> None:
        # Hints are scheduled; one that was under way when the watcher left must not arrive.
        if self.active:
            self.on_hint(hint)


class Watchers:
    """Tells watchers of streams about changes, always after the step that made them, never inside it."""

    def __init__(self) -> None:
        self._watching: dict[StreamRef, list[_Watcher]] = {}

    @contextmanager
    def watching(self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool) -> Iterator[None]:
        """While entered, `on_hint` is scheduled for each change; for appends only with `data`."""
        watcher = _Watcher(on_hint, data)
        self._watching.setdefault(ref, []).append(watcher)
        try:
            yield
        finally:
            watcher.active = False
            watchers = self._watching[ref]
            watchers.remove(watcher)
            if not watchers:
                del self._watching[ref]

    def tell(self, stream: StreamEntry, *, after_seq: int | None = None, append: bool = False) -> None:
        """Schedule a hint with the stream's events after `after_seq`, or an empty one."""
        # The first test spares a store nobody watches the hash of a ref, which costs as much as the append itself.
        if not self._watching or not (watchers := self._watching.get(stream.ref)):
            return
        events: Sequence[tuple[EventKind, bytes]] = () if after_seq is None else tuple(stream.events[after_seq:])
        hint = Hint(
            stream.last_seq + 1 - len(events),
            events,
            stream.stop_requested,
            stream.last_epoch if events else 0,
        )
        loop = asyncio.get_running_loop()
        for watcher in watchers:
            if watcher.data or not append:
                loop.call_soon(watcher.deliver, hint)
