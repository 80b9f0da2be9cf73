"""Frames of a log's events: cut anywhere, they are what framing each event by itself gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.cursor import Cursor
from streamguard.runtime.viewing.log_chunk import LogEnd, framed
from streamguard.runtime.viewing.log_events import LOG_LOST
from streamguard.stores.records import Terminal
from streamguard.values import START, Event, EventKind, Outcome, Persisted, Position, QuotaState
from streamguard.wire import protocol_named

STREAM = "a" * 24


def terminal(reason: str | None = None) -> bytes:
    return Terminal(Outcome.COMPLETED, Persisted.NOT_ASKED, QuotaState.NONE, "m", reason=reason).to_json()


@given(
    epochs=st.lists(st.integers(1, 3), min_size=1, max_size=12).map(sorted),
    payloads=st.lists(st.sampled_from([b"", b"a", b"two\nlines", "é".encode(), b"x" * 300]), min_size=12, max_size=12),
    ids=st.booleans(),
    protocol=st.sampled_from(["plain", "opaque"]),
    ends=st.booleans(),
)
def test_any_part_of_it_is_what_each_event_gives(
    epochs: list[int], payloads: list[bytes], ids: bool, protocol: str, ends: bool
) -> None:
    wire = protocol_named(protocol)
    events = [Event(seq, EventKind.DATA, payloads[seq - 1], epoch) for seq, epoch in enumerate(epochs, 1)]
    if ends:
        events[-1] = events[-1]._replace(kind=EventKind.TERMINAL, data=terminal())
    chunks = list(framed(wire, STREAM, START, events, ids=ids))
    assert len(chunks) == len(set(epochs))
    at = START
    for chunk in chunks:
        assert chunk.after == at
        assert chunk.end is (LogEnd.WHOLE if ends and chunk is chunks[-1] else LogEnd.NONE)
        for begin in range(chunk.after.seq, chunk.last.seq):
            after = at if begin == at.seq else Position(chunk.last.epoch, begin)
            assert chunk.goes_on(after)
            assert not chunk.goes_on(after._replace(epoch=9))
            for up_to in range(begin, chunk.last.seq + 1):
                expected = [
                    wire.frame(event, str(Cursor(STREAM, event.epoch, event.seq)) if ids else None)
                    for event in events[begin:up_to]
                ]
                assert chunk.bytes_between(begin, up_to) == b"".join(expected)
        at = chunk.last
        assert not chunk.goes_on(at)
    assert at == Position(epochs[-1], len(epochs))


@pytest.mark.parametrize("before", [0, 3])
def test_a_tombstone_is_no_event(before: int) -> None:
    events = [Event(seq, EventKind.DATA, b"x", 1) for seq in range(1, before + 1)]
    events.append(Event(before + 1, EventKind.TERMINAL, terminal(LOG_LOST), 2))
    (chunk,) = framed(protocol_named("plain"), STREAM, START, events, ids=True)
    assert chunk.end is LogEnd.LOST
    assert chunk.last.seq == before
    assert chunk.goes_on(START) is (before > 0)
    assert not chunk.goes_on(Position(1, before)) or before == 0
