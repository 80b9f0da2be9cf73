"""The subscribers of streams, and the workers that are told about theirs, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from ...values import EventKind, StreamRef
from ..records import Hint
from ..worker_hints import WorkerHint
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


@dataclass(slots=True, eq=False)
class _Worker:
    on_hint: Callable[[WorkerHint], None]
    loop: asyncio.AbstractEventLoop
    active: bool = True

    def deliver(self, hint: WorkerHint) -> None:
        if self.active:  # as above
            self.on_hint(hint)


class Subscribers:
    """Tells subscribers about changes of their streams, always after the step that made them, never inside it.

    Each is told in its own event loop, which may be another one than that of the step, in another thread. `lock` is
    held by every step of the store, and so wherever subscribers are told.
    """

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._by_stream: dict[StreamRef, list[_Subscriber]] = {}
        self._workers: dict[str, _Worker] = {}

    @property
    def listening(self) -> bool:
        """Whether any stream has a subscriber."""
        return bool(self._by_stream)

    @contextmanager
    def subscribed(self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool) -> Iterator[None]:
        """While entered, `on_hint` is scheduled for each change; for appends only with `data`."""
        subscriber = _Subscriber(on_hint, data, asyncio.get_running_loop())
        with self._lock:
            self._by_stream.setdefault(ref, []).append(subscriber)
        try:
            yield
        finally:
            subscriber.active = False
            with self._lock:
                subscribers = self._by_stream[ref]
                subscribers.remove(subscriber)
                if not subscribers:
                    del self._by_stream[ref]

    @contextmanager
    def subscribed_worker(self, worker: str, on_hint: Callable[[WorkerHint], None]) -> Iterator[None]:
        """While entered, `on_hint` is scheduled for what `tell_worker` says of this worker's streams."""
        entered = _Worker(on_hint, asyncio.get_running_loop())
        with self._lock:
            self._workers[worker] = entered
        try:
            yield
        finally:
            entered.active = False
            with self._lock:
                if self._workers.get(worker) is entered:
                    del self._workers[worker]

    def tell_worker(self, stream: StreamEntry, *, gone: bool = False) -> None:
        """Schedule a hint for the worker that writes the stream."""
        worker = self._workers.get(stream.worker)
        if worker is not None:
            hint = WorkerHint(stream.ref.stream_id, 0 if gone else stream.epoch, stream.stop_requested)
            self._schedule(worker.loop, partial(worker.deliver, hint))

    @staticmethod
    def _schedule(loop: asyncio.AbstractEventLoop, deliver: Callable[[], None]) -> None:
        if loop is asyncio.get_running_loop():
            loop.call_soon(deliver)
        else:
            with suppress(RuntimeError):  # it is closed, or was at this moment, in its own thread
                loop.call_soon_threadsafe(deliver)

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
        for subscriber in subscribers:
            if subscriber.data or not append:
                self._schedule(subscriber.loop, partial(subscriber.deliver, hint))
