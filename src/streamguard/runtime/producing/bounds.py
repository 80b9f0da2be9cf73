"""The limits of one stream: the size of an event, and the size and number of all of them."""

from __future__ import annotations

from typing import Final

from ...errors import EventTooLargeError, StreamLimitError
from ...faults import FaultCode
from ...settings import Settings
from ...values import EventKind, StreamRef
from ..viewing.feed import EVENT_BYTES, Feed

__all__ = ["Bounds"]


NOTICE_SHARE: Final = 10
"""Notices may take this part of a stream's events and bytes, so that they never crowd out the answer."""
NOTICE_BYTES: Final = 4_096
"""How many bytes notices may take in any case, within the limits of the stream."""
MESSAGE_BYTES: Final = 1_024
"""Bytes that a message to save takes besides its content, rounded up."""


class Bounds:
    """The limits of one stream, held against its feed."""

    __slots__ = ("_feed", "_message_bytes", "_notice_bytes", "_notices", "_ref", "_settings")

    def __init__(self, ref: StreamRef, feed: Feed, settings: Settings) -> None:
        self._ref = ref
        self._feed = feed
        self._settings = settings
        self._notices = 0
        self._notice_bytes = 0
        self._message_bytes = 0

    def check(self, kind: EventKind, size: int) -> None:
        """Check that an event of `size` bytes may be emitted.

        Raises:
            EventTooLargeError: the payload is over `max_event_bytes`.
            StreamLimitError: the stream would grow past its size or event count.
        """
        feed, settings = self._feed, self._settings
        if size > settings.max_event_bytes:
            raise EventTooLargeError(protocol=feed.protocol.name, size_bytes=size, limit_bytes=settings.max_event_bytes)
        if kind is not EventKind.DATA:
            return
        if feed.payload_bytes + size > settings.max_stream_bytes:
            raise self._exceeded("max_stream_bytes", f"{settings.max_stream_bytes} bytes")
        if feed.emitted >= settings.max_stream_events:
            raise self._exceeded("max_stream_events", f"{settings.max_stream_events} events")

    def admit_notice(self, size: int) -> bool:
        """Whether a notice of `size` bytes may be emitted; if so, it counts."""
        feed, settings = self._feed, self._settings
        most_bytes = max(settings.max_stream_bytes // NOTICE_SHARE, NOTICE_BYTES)
        admitted = (
            size <= settings.max_event_bytes
            and self._notices < max(settings.max_stream_events // NOTICE_SHARE, 1)
            and feed.emitted < settings.max_stream_events
            and self._notice_bytes + size <= most_bytes
            and feed.payload_bytes + size <= settings.max_stream_bytes
        )
        if admitted:
            self._notices += 1
            self._notice_bytes += size
        return admitted

    def count_message(self, size: int) -> None:
        """Count a message that is to be saved before the reply.

        Raises:
            StreamLimitError: all of them are over `max_stream_bytes`.
        """
        self._message_bytes += size + MESSAGE_BYTES
        if self._message_bytes > self._settings.max_stream_bytes:
            raise self._exceeded("max_stream_bytes", f"{self._settings.max_stream_bytes} bytes of messages to save")

    def _exceeded(self, limit: str, what: str) -> StreamLimitError:
        text = f"stream {self._ref.stream_id} passed {what} ({limit})"
        return StreamLimitError(text, limit=limit, code=FaultCode.TOO_LONG)

    @property
    def first_bytes(self) -> int:
        """`free_bytes` of a stream that has no event."""
        settings = self._settings
        return min(settings.max_event_bytes, settings.max_stream_bytes, EVENT_BYTES * settings.max_stream_events)

    def free_bytes(self) -> int:
        """As long as the feed's `emitted_bytes` stay within this, `check` cannot fail for data: an event adds more than
        its payload to them, and at least `EVENT_BYTES`."""
        feed, settings = self._feed, self._settings
        return feed.emitted_bytes + min(
            settings.max_event_bytes,
            settings.max_stream_bytes - feed.payload_bytes,
            EVENT_BYTES * (settings.max_stream_events - feed.emitted),
        )
