"""The limits of one stream, to the byte and to the event."""

from __future__ import annotations

import pytest

from streamguard.errors import EventTooLargeError, StreamLimitError
from streamguard.runtime.producing.bounds import MESSAGE_BYTES, NOTICE_BYTES, Bounds
from streamguard.runtime.viewing.feed import Feed
from streamguard.settings import Settings
from streamguard.values import START, EventKind, SessionKey, StreamRef
from streamguard.wire import protocol_named

REF = StreamRef(SessionKey("ana", "chat"), "a" * 24)


def bounds_of(**settings: int) -> tuple[Bounds, Feed]:
    feed = Feed(protocol_named("plain"), REF.stream_id, start=START, limit_bytes=1_000_000)
    return Bounds(REF, feed, Settings.model_validate(settings)), feed


def test_a_notice_may_be_as_large_as_an_event_and_no_larger() -> None:
    bounds, _ = bounds_of(max_event_bytes=2_000, max_stream_bytes=100_000)
    assert bounds.admit_notice(2_000)
    assert not bounds.admit_notice(2_001)


def test_notices_have_a_tenth_of_the_events() -> None:
    bounds, _ = bounds_of(max_stream_events=50)
    assert [bounds.admit_notice(1) for _ in range(6)] == [True] * 5 + [False]


def test_one_notice_is_possible_in_the_shortest_stream() -> None:
    bounds, feed = bounds_of(max_stream_events=1)
    assert bounds.admit_notice(1)
    feed.push(EventKind.NOTICE, b"x")
    assert not bounds.admit_notice(1)


def test_a_stream_that_has_all_its_events_takes_no_notice() -> None:
    bounds, feed = bounds_of(max_stream_events=20)
    for _ in range(19):
        feed.push(EventKind.DATA, b"x")
    assert bounds.admit_notice(1)
    feed.push(EventKind.NOTICE, b"x")
    assert not bounds.admit_notice(1)


def test_notices_have_a_tenth_of_the_bytes() -> None:
    bounds, _ = bounds_of(max_event_bytes=100_000, max_stream_bytes=100_000)
    assert bounds.admit_notice(9_999)
    assert not bounds.admit_notice(2)
    assert bounds.admit_notice(1)
    assert not bounds.admit_notice(1)


def test_a_small_stream_still_takes_a_few_notices() -> None:
    bounds, _ = bounds_of(max_event_bytes=10_000, max_stream_bytes=10_000)
    assert bounds.admit_notice(NOTICE_BYTES)
    assert not bounds.admit_notice(1)


def test_a_notice_does_not_take_a_stream_past_its_bytes() -> None:
    bounds, feed = bounds_of(max_event_bytes=10_000, max_stream_bytes=10_000)
    feed.push(EventKind.DATA, b"x" * 9_000)
    assert not bounds.admit_notice(1_001)
    assert bounds.admit_notice(1_000)


def test_a_refused_notice_takes_no_share() -> None:
    bounds, _ = bounds_of(max_event_bytes=2_000, max_stream_bytes=100_000, max_stream_events=10)
    assert not bounds.admit_notice(2_001)
    assert bounds.admit_notice(2_000)


def test_data_is_bounded_by_its_event_its_stream_and_their_number() -> None:
    bounds, feed = bounds_of(max_event_bytes=2_000, max_stream_bytes=5_000, max_stream_events=3)
    with pytest.raises(EventTooLargeError):
        bounds.check(EventKind.DATA, 2_001)
    for _ in range(2):
        bounds.check(EventKind.DATA, 2_000)
        feed.push(EventKind.DATA, b"x" * 2_000)
    with pytest.raises(StreamLimitError) as passed:
        bounds.check(EventKind.DATA, 1_001)
    assert passed.value.limit == "max_stream_bytes"
    bounds.check(EventKind.DATA, 1_000)
    feed.push(EventKind.DATA, b"x")
    with pytest.raises(StreamLimitError) as passed:
        bounds.check(EventKind.DATA, 1)
    assert passed.value.limit == "max_stream_events"
    bounds.check(EventKind.CLOSING, 2_000)  # what ends it is always said


def test_messages_to_save_are_bounded_as_the_stream_is() -> None:
    bounds, _ = bounds_of(max_event_bytes=1_000, max_stream_bytes=2 * MESSAGE_BYTES + 300)
    bounds.count_message(100)
    bounds.count_message(200)
    with pytest.raises(StreamLimitError):
        bounds.count_message(0)
