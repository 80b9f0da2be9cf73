"""How much one stream may say: the size of an event, and the size and number of all of them."""

from __future__ import annotations

from ..errors import EventTooLargeError, StreamLimitError
from ..faults import FaultCode
from ..model import EventKind, StreamRef
from ..settings import Settings
from .feed import EVENT_BYTES, Feed

__all__ = ["Bounds"]


class Bounds:
    """The limits of one stream, held against its feed."""

    __slots__ = ("_feed", "_ref", "_settings")

    def __init__(self, ref: StreamRef, feed: Feed, settings: Settings) -> None:
        self._ref = ref
        self._feed = feed
        self._settings = settings

    def check(self, kind: EventKind, size: int) -> None:
        """Whether an event of `size` bytes may be said; only data counts towards the whole.

        Raises:
            EventTooLargeError: the payload is over `max_event_bytes`.
            StreamLimitError: the stream would grow past its size or event count.
        """
        feed, settings = self._feed, self._settings
        if size > settings.max_event_bytes:
            raise EventTooLargeError(protocol=feed.protocol.name, size_bytes=size, limit_bytes=settings.max_event_bytes)
        if kind is not EventKind.DATA:
            return
        if feed.data_bytes + size > settings.max_stream_bytes:
            raise self._passed("max_stream_bytes", f"{settings.max_stream_bytes} bytes")
        if feed.emitted >= settings.max_stream_events:
            raise self._passed("max_stream_events", f"{settings.max_stream_events} events")

    def _passed(self, limit: str, what: str) -> StreamLimitError:
        text = f"stream {self._ref.stream_id} passed {what} ({limit})"
        return StreamLimitError(text, limit=limit, code=FaultCode.TOO_LONG)

    def free_bytes(self) -> int:
        """Until the feed's `said_bytes` has grown to this, `check` cannot fail for data: an event adds more than its
        payload to them, and at least `EVENT_BYTES`."""
        feed, settings = self._feed, self._settings
        return feed.said_bytes + min(
            settings.max_event_bytes,
            settings.max_stream_bytes - feed.data_bytes,
            EVENT_BYTES * (settings.max_stream_events - feed.emitted),
        )
