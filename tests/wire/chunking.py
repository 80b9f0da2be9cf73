"""Cutting bytes into chunks, and reading SSE with a parser that is not ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from httpx_sse import ServerSentEvent
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from hypothesis import strategies as st


def chunked(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    """`data` in pieces, cut at the given places (taken modulo its length)."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        yield data[start:end]


cuts = st.lists(st.integers(0, 10_000), max_size=12)

_FRAGMENTS = (
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"data", b"data: ", b"data:x", b"id: 7", b"id", b"id: \0", b"event: e", b"event"),
    *(b": c", b"retry: 10", b"retry: x", b"\xef\xbb\xbf", b"\xe2\x82\xac", b"\xe2", b"\xff", b" ", b":", b"[DONE]"),
)

event_stream_bytes = st.lists(
    st.sampled_from(_FRAGMENTS) | st.binary(max_size=4),
    max_size=30,
).map(b"".join)
"""Bytes that look like an event stream often enough to reach its corners."""


def independent_events(data: bytes) -> list[ServerSentEvent]:
    """What httpx-sse makes of a whole body, events without data left out."""
    lines, decoder = SSELineDecoder(), SSEDecoder()
    text = data.decode("utf-8", "replace")
    # It gives an event for each blank line once it saw an id; the standard asks for data.
    events: list[ServerSentEvent] = []
    has_data = False
    for line in [*lines.decode(text), *lines.flush()]:
        has_data = has_data or line == "data" or line.startswith("data:")
        event = decoder.decode(line)
        if not line:
            if event is not None and has_data:
                events.append(event)
            has_data = False
    return events
