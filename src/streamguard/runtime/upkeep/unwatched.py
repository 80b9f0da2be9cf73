"""Ends streams that nobody watches any more, where their endpoint or the settings say after how long.

A stream is watched if it has a viewer in its writer's process, if its first request still waits for its first event, or
if another process reported within that time that it views it. For a stream that never had a viewer, the time counts
from its start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from ...errors import StoreError
from ...faults import ABANDONED, Fault, FaultCode
from ...scopes import StreamContext, Work, bound
from ...stores.roles.stream_log import StreamLog
from ...values import Outcome, StreamRef
from ..producing.stream import LiveStream
from ..request import Ending

__all__ = ["RequestWaiting", "StartTask", "Unwatched"]


class StartTask(Protocol):
    """Starts a task in the runtime's group."""

    def __call__(
        self, run: Callable[[LiveStream, float], Awaitable[None]], stream: LiveStream, after: float, /
    ) -> None: ...


class RequestWaiting:
    """While entered, the request that began the stream is there, though it has no viewer yet."""

    __slots__ = ("_stream",)

    def __init__(self, stream: LiveStream) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        self._stream.activity.request_waits = True

    def __exit__(self, *exc: object) -> None:
        activity = self._stream.activity
        activity.request_waits = False
        self._stream.feed.watched_at = activity.clock()


class Unwatched:
    """Looks at a stream whenever the watchdog does. Remembers only which streams it is asking the store about."""

    def __init__(self, store: StreamLog, *, start: StartTask) -> None:
        self._store = store
        self._start = start
        self._asking: set[StreamRef] = set()

    def look(self, stream: LiveStream, now: float) -> None:
        """End the stream if nobody has watched it for too long; `now` is loop time. A task of its own asks the store
        first whether other processes watch it."""
        after = stream.request.abandon_after_seconds
        if after is None:
            return
        feed = stream.feed
        if feed.viewers or stream.activity.request_waits:
            feed.watched_at = now
        elif now - feed.watched_at >= after and stream.ref not in self._asking:
            if stream.degraded:  # no client can resume it, and no other process has it
                _end(stream)
            else:
                self._asking.add(stream.ref)
                with bound(StreamContext.about(stream, Work.WATCH)):
                    self._start(self._ask, stream, after)

    async def _ask(self, stream: LiveStream, after: float) -> None:
        """Ask the store, then look again and end the stream in the same turn of the event loop."""
        loop, feed = asyncio.get_running_loop(), stream.feed
        try:
            meta = await self._store.meta(stream.ref)
        except StoreError:  # other workers could not report either: the time begins anew
            feed.watched_at = loop.time()
            return
        finally:
            self._asking.discard(stream.ref)
        if meta is not None and meta.viewed_seconds is not None:
            feed.watched_at = max(feed.watched_at, loop.time() - meta.viewed_seconds)
        if not (feed.viewers or stream.activity.request_waits) and loop.time() - feed.watched_at >= after:
            _end(stream)


def _end(stream: LiveStream) -> None:
    fault = Fault.about(stream, FaultCode.INTERRUPTED, reason=ABANDONED)
    stream.cancel(Ending(Outcome.INTERRUPTED, fault))
