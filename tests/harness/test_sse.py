"""The independent SSE reader, on the WHATWG specification's own examples."""

from __future__ import annotations

import pytest

from .sse import EventReader, SseEvent


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [SseEvent(None, "message", "YHOO\n+2\n10")]),
        (b"data\n\ndata\ndata\n\ndata:", [SseEvent(None, "message", ""), SseEvent(None, "message", "\n")]),
        (b"data:test\n\ndata: test\n\n", [SseEvent(None, "message", "test")] * 2),
        (b"\xef\xbb\xbfid: 1\r\nevent: a\r\ndata:  two\r\n\r\n", [SseEvent("1", "a", " two")]),
        (b"id: 1\rdata: x\r\rdata: y\r\r.", [SseEvent("1", "message", "x"), SseEvent(None, "message", "y")]),
        ("data: a\u2028b\n\n".encode(), [SseEvent(None, "message", "a\u2028b")]),
        (b"event: a\nid: 7\n\ndata: x\n\n", [SseEvent(None, "message", "x")]),
        (b"id: 1\0\ndata: x\n\n", [SseEvent(None, "message", "x")]),
    ],
)
def test_events_under_any_split(stream: bytes, expected: list[SseEvent]) -> None:
    for cut in range(len(stream) + 1):
        reader = EventReader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == expected


def test_comments_retry_and_last_id_are_kept() -> None:
    reader = EventReader()
    assert reader.feed(b": hb\nretry: 10\nretry: x\nid: 3\n\n") == []
    assert (reader.comments, reader.retry_ms, reader.last_id) == (["hb"], 10, "3")
