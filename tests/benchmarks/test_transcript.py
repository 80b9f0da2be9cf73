"""A benchmark whose streams were wrong must not have figures: what a transcript accepts, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from benchmarks.contenders.contract import Wire
from benchmarks.pieces import PIECE_BYTES, as_plain_block, as_ui_block, piece
from benchmarks.transcript import Expected, Reading, Transcript, percentiles

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nX-Session-Id: ses_1\r\ntransfer-encoding: chunked\r\n\r\n"
)
LAST = b"0\r\n\r\n"
STREAM = 7


def chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


def transcript(*parts: bytes) -> Transcript:
    """Each part arrived by itself, a nanosecond after the one before."""
    return Transcript(asked=0, chunks=list(parts), times=list(range(1, len(parts) + 1)))


def bare(events: int) -> Expected:
    return Expected(STREAM, events, Wire())


def guarded(events: int) -> Expected:
    return Expected(STREAM, events, Wire(ids=True, end="event: streamguard.end"))


def logged(seq: int) -> bytes:
    return chunk(b"id: 1.0123456789abcdef01234567.7.%d\n" % seq + as_plain_block(STREAM, seq))


END = chunk(b"id: 1.0123456789abcdef01234567.7.3\nevent: streamguard.end\ndata: {}\n\n")


def test_a_piece_has_the_size_that_figures_are_quoted_for() -> None:
    assert len(piece(0, 1)) == len(piece(99_999, 999_999)) == PIECE_BYTES


@pytest.mark.parametrize("form", [as_plain_block, as_ui_block])
def test_a_complete_response_gives_its_events_with_their_times(form: Callable[[int, int], bytes]) -> None:
    answer = transcript(HEAD, chunk(form(STREAM, 1)), chunk(form(STREAM, 2) + form(STREAM, 3)), LAST)

    reading = answer.read(bare(3))

    assert isinstance(reading, Reading)
    assert reading.arrived == [2, 3, 3]
    assert reading.ended == 4
    assert reading.made == sorted(reading.made)


def test_an_event_cut_by_the_network_arrived_with_its_last_byte() -> None:
    block = chunk(as_plain_block(STREAM, 1))

    reading = transcript(HEAD + block[:20], block[20:], LAST).read(bare(1))

    assert isinstance(reading, Reading)
    assert reading.arrived == [2]


def test_an_event_cut_by_the_server_is_one_event() -> None:
    events = logged(1) + logged(2)
    body = b"".join(events.split(b"\r\n")[1::2])
    end = END.split(b"\r\n")[1]
    for at in range(1, len(body)):
        answer = transcript(HEAD, chunk(body[:at]), chunk(body[at:] + end), LAST)

        reading = answer.read(guarded(2))

        assert isinstance(reading, Reading), (at, reading)
        assert set(reading.arrived) <= {2, 3}


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([b"HTTP/1.1 503 Service Unavailable\r\n\r\n", LAST], "503"),
        ([HEAD, chunk(as_plain_block(STREAM, 1))], "broke off"),
        ([HEAD, chunk(as_plain_block(STREAM, 1)), LAST], "1 of 2 events"),
        ([HEAD, chunk(as_plain_block(STREAM, 2)), chunk(as_plain_block(STREAM, 1)), LAST], "came as event 1"),
        ([HEAD, chunk(as_plain_block(STREAM, 1)), chunk(as_plain_block(STREAM, 1)), LAST], "came as event 2"),
        ([HEAD, chunk(as_plain_block(STREAM + 1, 1)), LAST], "came as event 1"),
    ],
    ids=["status", "cut", "missing", "reordered", "repeated", "foreign"],
)
def test_a_wrong_response_has_no_figures(parts: list[bytes], complaint: str) -> None:
    reading = transcript(*parts).read(bare(2))

    assert isinstance(reading, str)
    assert complaint in reading


def test_a_guarded_response_needs_a_cursor_on_every_event() -> None:
    """Without one the event was not logged: the cell would have measured degraded mode."""
    complete = transcript(HEAD, logged(1), logged(2), END, LAST).read(guarded(2))
    degraded = transcript(HEAD, logged(1), chunk(as_plain_block(STREAM, 2)), END, LAST).read(guarded(2))
    unended = transcript(HEAD, logged(1), logged(2), LAST).read(guarded(2))

    assert isinstance(complete, Reading)
    assert isinstance(degraded, str)
    assert "only 1 of 2 events were logged" in degraded
    assert isinstance(unended, str)
    assert "no end" in unended


def test_the_session_id_comes_from_the_headers() -> None:
    assert transcript(HEAD[:30], HEAD[30:], logged(1)).session_id == "ses_1"
    assert transcript(b"HTTP/1.1 200 OK\r\n\r\nx-session-id: no\r\n").session_id is None


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentiles([3, 1, 2], 0, 50, 99) == [1, 2, 3]
    with pytest.raises(ValueError, match="no values"):
        percentiles([], 50)
