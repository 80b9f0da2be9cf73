"""Passing a provider's SSE through, byte for byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamguard.errors import InvalidPartError
from streamguard.faults import REGISTRY, Fault, FaultCode
from streamguard.values import Event, EventKind, Outcome
from streamguard.wire.base import LeftOut
from streamguard.wire.opaque import OpaqueProtocol
from streamguard.wire.sse import BOM, BlockSplitter, EventParser
from streamguard.wire.upstream import UpstreamEncoder

from .chunking import chunked, cuts, event_stream_bytes, independent_events

PROTOCOL = OpaqueProtocol()
CURSOR = "1.0123456789abcdef01234567.7.5"

CHAT = (
    b": PROCESSING\n\n"
    b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n'
    b"retry: 100\n\n"
    b'data: {"choices":[{"delta":{"content":"lo"}}]}\r\n\r\n'
    b"\n"
    b"data: [DONE]\n\n"
    b": bye\n\n"
)


def encoder(limit: int = 1_048_576) -> UpstreamEncoder:
    return PROTOCOL.encoder(message_id="m", max_event_bytes=limit)


def logged(*chunks: bytes | bytearray | memoryview | str) -> tuple[list[bytes], list[bytes]]:
    enc = encoder()
    out = [*enc.begin()]
    for chunk in chunks:
        out += enc.encode(chunk)
    out += enc.finish()
    return out, enc.held


def stream(data: list[bytes], held: list[bytes], *, ids: bool) -> bytes:
    """What a viewer of the whole, completed stream gets."""
    closing = list(PROTOCOL.closing(Outcome.COMPLETED, None, held))
    events = [Event(i, EventKind.DATA, raw) for i, raw in enumerate(data, 1)]
    events += [Event(i, EventKind.CLOSING, raw) for i, raw in enumerate(closing, len(data) + 1)]
    events.append(Event(len(events) + 1, EventKind.TERMINAL, b"{}"))
    return b"".join(PROTOCOL.frame(event, f"c{event.seq}" if ids else None) for event in events)


@given(event_stream_bytes, cuts)
def test_without_ids_a_completed_stream_is_the_hosts_bytes(body: bytes, at: list[int]) -> None:
    data, held = logged(*chunked(body, at))
    assert stream(data, held, ids=False) == body
    assert (data, held) == logged(body)


@given(event_stream_bytes)
@example(b"\n\xef\xbb\xbfdata: 1\nid: 7\ndata: 2\n\n")
def test_with_ids_the_events_are_the_same(body: bytes) -> None:
    plain, with_ids = EventParser(), EventParser()
    data, held = logged(body)
    before = [(event.data, event.event) for event in plain.feed(body)]
    after = [(event.data, event.event) for event in with_ids.feed(stream(data, held, ids=True))]
    assert after == before


@given(event_stream_bytes)
@example(b"\r\xef\xbb\xbf")
@example(b"\xef\xbb\xbf\xef\xbb\xbf")
@example(b"\n\xef\xbb\xbfdata: 1\nid: 7\ndata: 2\n\n")
def test_with_ids_no_blank_line_comes_without_data(body: bytes) -> None:
    data, held = logged(body)
    for block in BlockSplitter().feed(stream(data, held, ids=True)):
        assert block.has_data


def test_ids_name_each_blocks_own_position() -> None:
    data, held = logged(CHAT)
    seen = independent_events(stream(data, held, ids=True))
    assert [event.id for event in seen] == ["c2", "c4", "c6"]


def test_an_upstream_id_wins() -> None:
    for raw in (b"id: up\ndata: x\n\n", b"data: x\nid\n\n"):
        assert PROTOCOL.frame(Event(1, EventKind.DATA, raw), CURSOR) == raw


def test_an_id_the_client_ignores_does_not_win() -> None:
    raw = b"id: a\0b\ndata: x\n\n"
    assert PROTOCOL.frame(Event(1, EventKind.DATA, raw), CURSOR) == b"id: " + CURSOR.encode() + b"\n" + raw


def test_a_block_without_data_loses_its_blank_line_and_its_event_name() -> None:
    def framed(raw: bytes) -> bytes:
        return PROTOCOL.frame(Event(2, EventKind.DATA, raw), CURSOR)

    assert framed(b": PROCESSING\r\n\r\n") == b": PROCESSING\n"
    assert framed(b"event: nothing\nevent\nretry: 5\r\r") == b"retry: 5\n"
    assert framed(b"eventual: x\n\n") == b"eventual: x\n"
    assert framed(b"\n") == b""


def test_a_byte_order_mark_goes_when_ids_come() -> None:
    (first, second), _ = logged(BOM + b"data: 1\n\n" + b"data: 2\n\n")
    assert first == BOM + b"data: 1\n\n"
    assert PROTOCOL.frame(Event(1, EventKind.DATA, first), "c") == b"id: c\ndata: 1\n\n"
    assert PROTOCOL.frame(Event(2, EventKind.DATA, second), "c") == b"id: c\ndata: 2\n\n"


def test_done_and_all_after_it_are_held() -> None:
    data, held = logged(CHAT)
    assert b"".join(data) + b"".join(held) == CHAT
    assert held == [b"data: [DONE]\n\n", b": bye\n\n"]


@pytest.mark.parametrize(
    "done",
    [b"data:[DONE]\n\n", b"data: [DONE] \r\n\r\n", b"event: end\nid: 7\ndata: [DONE]\n\n", BOM + b"data: [DONE]\n\n"],
)
def test_done_is_known_in_any_spelling(done: bytes) -> None:
    assert logged(done) == ([], [done])


@pytest.mark.parametrize("text", [b'data: {"content":"[DONE]"}\n\n', b": [DONE]\n\n", b"data: [DONE]\ndata: x\n\n"])
def test_done_within_something_else_is_not_the_end(text: bytes) -> None:
    assert logged(text) == ([text], [])


def test_bytes_that_are_no_utf_8_survive() -> None:
    body = b"X: \xff\xfe\ndata: \xc3\x28\0\n\n"
    assert logged(body) == ([body], [])
    assert PROTOCOL.text([Event(1, EventKind.DATA, body)]) == body.decode("utf-8", "replace")


def test_text_chunks_may_be_cut_anywhere() -> None:
    assert logged("data: 1\r", "\n\r", "\ndata: €\ud83d\n\n", bytearray(b"data: 3\n"), memoryview(b"\n")) == (
        [b"data: 1\r\n\r\n", "data: €\ufffd\n\n".encode(), b"data: 3\n\n"],
        [],
    )


def test_an_unfinished_block_is_discarded_when_the_stream_breaks_off() -> None:
    enc = encoder()
    assert list(enc.encode(b'data: 1\n\ndata: {"half')) == [b"data: 1\n\n"]
    assert list(enc.abandon()) == []
    assert (list(enc.finish()), enc.held) == ([], [])


def test_an_unfinished_block_at_the_natural_end_is_passed_on_last() -> None:
    """Held, so that an error block can never melt into it, should the stream not count as completed after all."""
    assert logged(b"data: 1\n\ndata: 2\r\n") == ([b"data: 1\n\n"], [b"data: 2\r\n"])
    rest = Event(2, EventKind.CLOSING, b"data: 2\r\n")
    assert PROTOCOL.frame(rest, CURSOR) == b"data: 2\r\n"


@pytest.mark.parametrize("item", [None, 7, {"type": "x"}], ids=str)
def test_other_items_are_refused(item: object) -> None:
    with pytest.raises(InvalidPartError) as caught:
        encoder().encode(item)
    assert caught.value.protocol == "opaque"


def test_a_block_over_the_limit_is_left_out_and_told_of() -> None:
    told: list[LeftOut] = []
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=100, on_left_out=told.append)
    body = b"data: 1\n\ndata: " + b"x" * 500 + b"\n\ndata: 2\n\n"
    out = [block for at in range(0, len(body), 30) for block in enc.encode(body[at : at + 30])]
    assert out == [b"data: 1\n\n", b"data: 2\n\n"]
    assert [(one.part, one.reason) for one in told] == [("block", "too_large")]


def test_held_parts_are_bounded_together() -> None:
    told: list[LeftOut] = []
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=100, on_left_out=told.append)
    enc.encode(b"data: [DONE]\n\n")
    enc.encode(b": bye\n\n" * 20)
    assert enc.held[0] == b"data: [DONE]\n\n"
    assert sum(map(len, enc.held)) <= 100
    assert {(one.part, one.reason) for one in told} == {("block", "too_large")}


def test_a_notice_is_a_comment_with_one_newline() -> None:
    fault = Fault.of(FaultCode.NOT_RESUMABLE, message="zwei\r\nZeilen\u2028")
    for frame in (PROTOCOL.frame(Event(2, EventKind.NOTICE, fault.to_json()), CURSOR), PROTOCOL.fault_frame(fault)):
        assert frame.startswith(b": streamguard {")
        assert frame.count(b"\n") == 1
        assert json.loads(frame.removeprefix(b": streamguard ")) == fault.as_dict()


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.INTERRUPTED, Outcome.STOPPED])
def test_a_stream_that_did_not_complete_ends_in_the_universal_error(outcome: Outcome) -> None:
    fault = Fault.of(FaultCode.STALLED)
    (block,) = PROTOCOL.closing(outcome, fault, [b"data: [DONE]\n\n"])
    assert block == (
        b'event: error\ndata: {"type":"error","error":{"type":"streamguard_error","code":"stalled","message":"'
        + fault.message.encode()
        + b'"}}\n\n'
    )
    (event,) = independent_events(PROTOCOL.frame(Event(9, EventKind.CLOSING, block), CURSOR))
    assert (event.event, event.id) == ("error", CURSOR)


@given(st.sampled_from([Outcome.FAILED, Outcome.INTERRUPTED, Outcome.STOPPED]))
def test_without_a_fault_the_registrys_words_are_used(outcome: Outcome) -> None:
    code = {Outcome.FAILED: FaultCode.INTERNAL, Outcome.STOPPED: FaultCode.STOPPED}.get(outcome, FaultCode.INTERRUPTED)
    (event,) = independent_events(PROTOCOL.closing(outcome, None, ())[0])
    assert event.json()["error"] == {
        "type": "streamguard_error",
        "code": code,
        "message": REGISTRY[code].message,
    }


def test_a_failure_outside_the_log_is_the_universal_error() -> None:
    fault = Fault.of(FaultCode.RESUME_FAILED)
    (event,) = independent_events(PROTOCOL.fault_frame(fault, CURSOR))
    assert (event.event, event.id, event.json()["error"]["code"]) == ("error", CURSOR, "resume_failed")


def test_the_terminal_has_no_wire_form() -> None:
    assert PROTOCOL.frame(Event(9, EventKind.TERMINAL, b"{}"), CURSOR) == b""
    assert not PROTOCOL.terminal_visible
    assert not PROTOCOL.ids_by_default
