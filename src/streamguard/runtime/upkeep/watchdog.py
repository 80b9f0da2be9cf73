"""The watchdog of a process: it ends silent, overlong and unwatched streams, keeps quiet connections alive, and drops
viewers that hang.

One timer looks at everything, because a timer per wait costs more than the wait (measured: 7 µs a timeout scope).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Final

from ...deadlines import LoopClock
from ...faults import Fault, FaultCode
from ...observations import Observation, Signal
from ...settings import Settings
from ...values import Outcome
from ..producing.stream import LiveStream
from ..request import Ending
from ..viewing.viewer import Viewer
from .unwatched import Unwatched

__all__ = ["Watchdog"]

STUCK_SECONDS: Final = 1.0
"""A viewer past its backlog is dropped when its current write has hung this long."""
CANCEL_GRACE_SECONDS: Final = 5.0
"""How long a cancelled endpoint may clean up before its stream ends without it."""


class Watchdog:
    """Looks at every stream and viewer of the process a few times a second."""

    def __init__(
        self,
        settings: Settings,
        clock: LoopClock,
        *,
        streams: Callable[[], Iterable[LiveStream]],
        viewers: Callable[[], Iterable[Viewer]],
        abandon: Callable[[LiveStream], None],
        unwatched: Unwatched,
        observe: Callable[[Observation], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._stalled_seconds = clock.stalled_seconds
        """How long this process itself had stood still at the last tick. That time counts against neither endpoints nor
        viewers."""
        self._streams = streams
        self._viewers = viewers
        self._abandon = abandon
        """Ends a stream that has no producer yet, or whose producer ignores its cancellation."""
        self._unwatched = unwatched
        self._observe = observe

    async def run(self) -> None:
        """Tick until cancelled."""
        shortest = min(
            self._settings.first_item_seconds,
            self._settings.stall_seconds,
            self._settings.keep_alive_seconds,
            self._settings.abandon_after_seconds or math.inf,
        )
        interval = min(max(shortest / 4, 0.02), 0.25)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(interval)
            self.tick(loop.time())

    def tick(self, now: float) -> None:
        """Look at everything once; `now` is loop time."""
        stalled = self._clock.stalled_seconds - self._stalled_seconds
        if stalled > 0:
            self._stalled_seconds += stalled
            self._extend_waits(stalled)
        for stream in list(self._streams()):
            self._look_at_stream(stream, now)
        for viewer in list(self._viewers()):
            self._look_at_viewer(viewer, now)

    def _extend_waits(self, seconds: float) -> None:
        """This process stood still and could hear nobody: extend every wait by that time, also new ones."""
        for stream in self._streams():
            stream.activity.extend(seconds)
            stream.feed.watched_at += seconds
        for viewer in self._viewers():
            viewer.last_at += seconds
            if viewer.sending_since is not None:
                viewer.sending_since += seconds

    def _look_at_stream(self, stream: LiveStream, now: float) -> None:
        if stream.finalising:
            return
        activity, request, settings = stream.activity, stream.request, self._settings
        if activity.cancelled_at is not None:
            if stream.producer is None or now - activity.cancelled_at > CANCEL_GRACE_SECONDS:
                self._abandon(stream)
            return
        age = now - activity.opened_at
        silent = activity.silent_seconds(now, held_back=stream.backlog.over_capacity and not stream.degraded)
        if age > (request.max_stream_seconds or settings.max_stream_seconds):
            code, reason = FaultCode.TOO_LONG, "max_stream_seconds"
        elif activity.items == 0 and silent > (activity.first_item_seconds or settings.first_item_seconds):
            code, reason = FaultCode.PROVIDER_TIMEOUT, "first_item_seconds"
        elif activity.items > 0 and silent > (request.stall_seconds or settings.stall_seconds):
            code, reason = FaultCode.STALLED, "stall_seconds"
        else:
            self._unwatched.look(stream, now)
            return
        fault = Fault.about(stream, code, reason=reason)
        stream.cancel(Ending(Outcome.FAILED, fault))

    def _look_at_viewer(self, viewer: Viewer, now: float) -> None:
        since = viewer.sending_since
        if viewer.cut_reason is not None:
            return
        if viewer.position != viewer.position_seen:
            viewer.position_seen, viewer.last_at = viewer.position, now
        if since is not None:
            behind = viewer.feed is not None and viewer.position < viewer.feed.base
            if now - since > (STUCK_SECONDS if behind else self._settings.viewer_send_seconds):
                viewer.drop("slow")
                self._observe(Observation.about(viewer.subject, Signal.VIEWER_CUT, fields={"reason": "slow"}))
        elif now - viewer.last_at >= self._settings.keep_alive_seconds:
            viewer.last_at = now
            viewer.keep_alive()
