"""A viewer whose response tells when each of its chunks was sent."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from ...event_times import EventTimes
from ...runtime import Viewer
from ...runtime.viewing.feed_viewer import OnNews

__all__ = ["ChunkSource", "TimedViewer"]


class ChunkSource(Protocol):
    """What a response sends: see `Viewer`."""

    live: bool
    position: int
    sending_since: float | None

    @property
    def drained(self) -> bool: ...

    @property
    def at_end(self) -> bool: ...

    def listen(self, on_news: OnNews) -> None: ...

    def poll(self) -> bytes | Awaitable[bytes] | None: ...

    def end(self) -> None: ...


class TimedViewer:
    """Passes on what a viewer gives, and logs the times of it."""

    def __init__(self, viewer: Viewer, times: EventTimes) -> None:
        self.live: bool = False
        """Each chunk's times are noted by the task that sends it."""
        self._viewer = viewer
        self._times = times
        self._woken_at: float | None = None
        """When it was last told of news; None since the last chunk."""
        self._sent_up_to = viewer.position
        self._began: float | None = None
        """When the server was given the present chunk."""

    def listen(self, on_news: OnNews) -> None:
        def wake(newest: bytes, seq: int) -> None:
            if self._woken_at is None:
                self._woken_at = self._times.now()
            on_news(newest, seq)

        self._viewer.listen(wake)

    def poll(self) -> bytes | Awaitable[bytes] | None:
        return self._viewer.poll()

    @property
    def position(self) -> int:
        """As the viewer's."""
        return self._viewer.position

    @position.setter
    def position(self, seq: int) -> None:
        self._viewer.position = seq

    @property
    def drained(self) -> bool:
        """As the viewer's."""
        return self._viewer.drained

    @property
    def at_end(self) -> bool:
        """As the viewer's."""
        return self._viewer.at_end

    def end(self) -> None:
        """As the viewer's."""
        self._viewer.end()

    @property
    def sending_since(self) -> float | None:
        """As the viewer's: set before a write, and None after it."""
        return self._viewer.sending_since

    @sending_since.setter
    def sending_since(self, since: float | None) -> None:
        self._viewer.sending_since = since
        if since is not None:
            self._began = self._times.now()
            return
        began, woken_at, position = self._began, self._woken_at, self._viewer.position
        self._began = self._woken_at = None
        if began is not None and position > self._sent_up_to:
            first, self._sent_up_to = self._sent_up_to + 1, position
            seconds = self._times.now() - began
            self._times.sent(self._viewer.subject, first, position, woken_at=woken_at, at=began, seconds=seconds)
