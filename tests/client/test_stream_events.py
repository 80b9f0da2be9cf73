"""What events mean, in the form that each protocol gives them, and the bytes below them by two parsers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given

from streamguard.client import StreamEvent, StreamEventKind
from streamguard.client.stream_events import ReplyReader
from streamguard.faults import Fault, FaultCode, Severity
from streamguard.values import Event, EventKind, Outcome, Persisted
from streamguard.wire import EventParser, SseEvent, WireProtocol, protocol_named
from tests.harness.sse import EventReader
from tests.wire.chunking import chunked, cuts, event_stream_bytes

from .server import cursor

KIND = StreamEventKind
PROTOCOLS = ["ui-message", "ui-message-raw", "plain", "openai", "anthropic", "opaque"]
FAULTS = {
    Outcome.STOPPED: None,
    Outcome.FAILED: FaultCode.PROVIDER_ERROR,
    Outcome.INTERRUPTED: FaultCode.SHUTTING_DOWN,
}


def read(stream: bytes, *, ui_message: bool) -> tuple[ReplyReader, list[StreamEvent]]:
    reader = ReplyReader(ui_message=ui_message)
    events: list[StreamEvent] = []

    def comment(text: str) -> None:
        if (notice := reader.notice_in(text)) is not None:
            events.append(notice)

    for sse in EventParser(on_comment=comment).feed(stream):
        events.append(reader.read(sse))  # noqa: PERF401 -- comments add theirs meanwhile
    return reader, events


def ended(protocol: WireProtocol, outcome: Outcome, fault: Fault | None) -> bytes:
    """How a stream of this protocol ends, as the log has it."""
    notices = [] if fault is None else [(EventKind.NOTICE, fault.to_json())]
    closing = [(EventKind.CLOSING, payload) for payload in protocol.closing(outcome, fault, ())]
    terminal = f'{{"outcome":"{outcome}","persisted":"pending","quota":"none","message_id":"m"}}'.encode()
    events = [*notices, *closing, (EventKind.TERMINAL, terminal)]
    return b"".join(
        protocol.frame(Event(number, kind, data), cursor(number)) for number, (kind, data) in enumerate(events, 1)
    )


@pytest.mark.parametrize("outcome", FAULTS)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_how_an_answer_ended_is_told_by_every_protocol(name: str, outcome: Outcome) -> None:
    code = FAULTS[outcome]
    fault = None if code is None else Fault.of(code)
    reader, events = read(ended(protocol_named(name), outcome, fault), ui_message=name.startswith("ui"))
    assert reader.outcome is outcome
    assert reader.ended
    told = {event.fault.code for event in events if event.fault is not None}
    assert told == (
        {code} if code else set() if name in ("ui-message", "ui-message-raw", "plain") else {FaultCode.STOPPED}
    )


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_warning_is_a_notice_on_every_protocol(name: str) -> None:
    fault = Fault.of(FaultCode.PERSISTENCE_PENDING)
    frame = protocol_named(name).frame(Event(1, EventKind.NOTICE, fault.to_json()), cursor(1))
    reader, events = read(frame + b"\n", ui_message=name.startswith("ui"))
    assert [(event.kind, event.fault) for event in events] == [(KIND.NOTICE, fault)]
    assert (reader.outcome, reader.ended) == (None, False)


@pytest.mark.parametrize(
    ("stream", "outcome"),
    [
        (b'data: {"choices":[]}\n\ndata: [DONE]\n\n', Outcome.COMPLETED),
        (b'data: {"choices":[]}\n\ndata: {"error":{"message":"x"}}\n\ndata: [DONE]\n\n', Outcome.FAILED),
        (b'event: message_stop\ndata: {"type":"message_stop"}\n\n', Outcome.COMPLETED),
        (b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n', Outcome.FAILED),
        (b'event: response.completed\ndata: {"type":"response.completed"}\n\n', Outcome.COMPLETED),
        (b'event: response.failed\ndata: {"type":"response.failed"}\n\n', Outcome.FAILED),
        (b"data: a model said\n\ndata: [DONE]\n\n", None),
    ],
)
def test_the_ends_that_providers_give(stream: bytes, outcome: Outcome | None) -> None:
    reader, events = read(stream, ui_message=False)
    assert reader.outcome is outcome
    assert "".join(event.text for event in events if event.kind is KIND.DATA) or outcome


def test_the_terminal_record_of_a_plain_answer_says_what_is_saved() -> None:
    end = b'event: streamguard.end\ndata: {"outcome":"completed","persisted":"yes","quota":"none","message_id":"m"}\n\n'
    reader, events = read(b"data: a\ndata: b\n\n" + end, ui_message=False)
    assert (reader.outcome, reader.persisted, reader.over) == (Outcome.COMPLETED, Persisted.YES, True)
    assert [(event.kind, event.text) for event in events] == [(KIND.DATA, "a\nb"), (KIND.END, "")]
    later = end.replace(b"completed", b"adjourned").replace(b'"yes"', b'"soon"')
    reader, _ = read(later, ui_message=False)
    assert (reader.outcome, reader.persisted) == (Outcome.FAILED, None)


def test_parts_have_their_json_and_text() -> None:
    parts = b'data: {"type":"start","messageId":"m"}\n\ndata: {"type":"text-delta","id":"t","delta":"hi"}\n\n'
    saved = b'data: {"type":"data-streamguard-persisted","data":{}}\n\ndata: {"type":"abort"}\n\ndata: [DONE]\n\n'
    reader, events = read(parts + saved, ui_message=True)
    assert [event.text for event in events] == ["", "hi", "", "", ""]
    assert events[0].part == events[0].json() == {"type": "start", "messageId": "m"}
    assert (reader.persisted, reader.outcome, events[-1].kind) == (Persisted.YES, Outcome.STOPPED, KIND.END)


def test_a_fault_of_a_later_version_is_read() -> None:
    raw = {**Fault.of(FaultCode.STALLED).as_dict(), "code": "bored"}
    error = (
        b'event: error\ndata: {"type":"error","error":{"type":"streamguard_error","code":"bored","message":"m"}}\n\n'
    )
    _, (event,) = read(error, ui_message=False)
    assert event.fault is not None
    assert (event.fault.code, event.fault.as_dict()["code"]) == (FaultCode.INTERNAL, raw["code"])
    assert event.fault.severity is Severity.FATAL


def test_an_id_is_the_cursor_of_the_event_that_brings_it() -> None:
    stream = f"id: {cursor(1)}\ndata: a\n\ndata: b\n\nid: theirs\ndata: c\n\nid: {cursor(2)}\ndata: d\n\n".encode()
    reader, events = read(stream, ui_message=False)
    assert [event.id for event in events] == [cursor(1), None, None, cursor(2)]
    assert (reader.is_foreign_id("theirs"), reader.is_foreign_id(cursor(1))) == (True, False)


def by_the_specification(stream: bytes, at: Sequence[int]) -> list[tuple[str, str]]:
    reader = EventReader()
    return [(event.event, event.data) for chunk in chunked(stream, at) for event in reader.feed(chunk)]


def as_pairs(events: Sequence[SseEvent]) -> list[tuple[str, str]]:
    return [(event.event, event.data) for event in events]


@given(event_stream_bytes, cuts, cuts)
@example("data: a\u2028b\x0bc\x0cd\x85e\x1cf\n\n".encode(), [8, 9], [7])
@example(b"\xef\xbb\xbfdata: 1\r\n\r\ndata: 2\r\rdata: \xe2\x82\xac\n\n", [1, 2, 12], [26, 27, 28])
def test_bytes_in_any_pieces_give_what_the_specification_says(stream: bytes, one: list[int], other: list[int]) -> None:
    """The parser and the plainest reading of the specification agree, each on pieces of its own."""
    stream += b":"  # it decides what a CR at the end is
    parser = EventParser()
    events = [event for chunk in chunked(stream, one) for event in parser.feed(chunk)]
    assert as_pairs(events) == by_the_specification(stream, other)
