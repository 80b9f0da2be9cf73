"""Text over plain SSE, read with a parser that is not ours."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamguard.errors import InvalidPartError
from streamguard.faults import Fault, FaultCode
from streamguard.values import Event, EventKind, Outcome
from streamguard.wire.plain import PlainProtocol

from .chunking import chunked, independent_events
from .encoding import encoded

PROTOCOL = PlainProtocol()
CURSOR = "1.0123456789abcdef01234567.7.5"


def payloads(*items: object) -> list[bytes]:
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=1000)
    out = [*enc.begin()]
    for item in items:
        out += encoded(enc, item)
    out += enc.finish()
    assert enc.held == []
    return out


def received(*items: object) -> str:
    events = [Event(i, EventKind.DATA, data) for i, data in enumerate(payloads(*items), 1)]
    assert PROTOCOL.text(events) == "".join(event.data.decode() for event in events)
    stream = b"".join(PROTOCOL.frame(event, f"c{event.seq}") for event in events)
    seen = independent_events(stream)
    assert [event.id for event in seen] == [f"c{event.seq}" for event in events]
    assert {event.event for event in seen} <= {"message"}
    return "".join(event.data for event in seen)


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (["a", "", "b"], "ab"),
        (["a\rb\r\nc\n"], "a\nb\nc\n"),
        (["a\r", "\nb"], "a\nb"),
        (["a\r", "\n", "\nb"], "a\n\nb"),
        (["a\r", "", "\nb"], "a\nb"),
        (["\r", "\r\n"], "\n\n"),
        ([" a", "\tb ", ": c", "data: d\n\nid: 9\n\n"], " a\tb : cdata: d\n\nid: 9\n\n"),
        (["\0\u2028\u2029\x85\x0b\ufeff"], "\0\u2028\u2029\x85\x0b\ufeff"),
        (["a\ud83d", "\ude00b"], "a😀b"),
        (["a\ud83d", "", "b"], "a\ufffdb"),
        (["\ude00", "\ud83d"], "\ufffd\ufffd"),
        (["a\r", "\ud83d", "\n"], "a\n\ufffd\n"),
        (["\n", "\n"], "\n\n"),
    ],
)
def test_text_arrives_with_lf_as_its_only_line_end(items: list[str], text: str) -> None:
    assert received(*items) == text


@given(st.text(st.sampled_from("ab \r\n\0:\u2028\ud83d\ude00"), max_size=30), st.lists(st.integers(0, 30), max_size=6))
@example("a\r\nb", [2])
def test_any_chunking_gives_the_same_text(text: str, at: list[int]) -> None:
    pieces = [
        piece.decode("utf-32-le", "surrogatepass")
        for piece in chunked(
            text.encode("utf-32-le", "surrogatepass"), [4 * cut for cut in at if 4 * cut <= 4 * len(text)]
        )
    ]
    assert received(*pieces) == received(text)


@pytest.mark.parametrize("item", [b"x", None, 7, {"type": "text-delta"}], ids=str)
def test_only_str_is_text(item: object) -> None:
    with pytest.raises(InvalidPartError) as caught:
        payloads(item)
    assert caught.value.protocol == "plain"


@pytest.mark.parametrize("text", ["x" * 100, "€" * 100, "a€" * 50, "\r\n" * 50, "\0😀" * 30, "😀" * 2 + "\ud83d"])
def test_text_over_the_limit_becomes_several_events(text: str) -> None:
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=10)
    logged = [*enc.encode(text), *enc.finish()]
    assert max(map(len, logged)) <= 10
    assert len(logged) <= 3 * len(b"".join(logged)) // 10 + 1
    whole = PROTOCOL.encoder(message_id="m", max_event_bytes=10_000)
    assert b"".join(logged) == b"".join([*whole.encode(text), *whole.finish()])


def test_a_stream_broken_off_gives_up_what_waited() -> None:
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=1000)
    enc.encode("a\ud83d")
    assert enc.abandon() == ("\ufffd".encode(),)
    assert enc.abandon() == ()


@pytest.mark.parametrize(
    ("code", "name"),
    [(FaultCode.NOT_RESUMABLE, "notice"), (FaultCode.PERSISTENCE_FAILED, "notice"), (FaultCode.STALLED, "error")],
)
def test_faults_have_event_names(code: FaultCode, name: str) -> None:
    fault = Fault.of(code)
    (event,) = independent_events(PROTOCOL.frame(Event(3, EventKind.NOTICE, fault.to_json()), CURSOR))
    assert (event.event, event.id, event.json()) == (f"streamguard.{name}", CURSOR, fault.as_dict())


def test_the_end_carries_the_terminal_record() -> None:
    record = {"outcome": "completed", "persisted": "yes"}
    for cursor in (CURSOR, None):
        frame = PROTOCOL.frame(Event(9, EventKind.TERMINAL, json.dumps(record).encode()), cursor)
        (event,) = independent_events(frame)
        assert (event.event, event.id, event.json()) == ("streamguard.end", cursor or "", record)


def test_faults_outside_the_log() -> None:
    warning, error = Fault.of(FaultCode.NOT_RESUMABLE), Fault.of(FaultCode.RESUME_FAILED)
    (event,) = independent_events(PROTOCOL.fault_frame(warning))
    assert (event.event, event.id, event.json()) == ("streamguard.notice", "", warning.as_dict())
    (event,) = independent_events(PROTOCOL.fault_frame(error, CURSOR))
    assert (event.event, event.id, event.json()) == ("streamguard.error", CURSOR, error.as_dict())


def test_frames_without_ids() -> None:
    assert PROTOCOL.frame(Event(1, EventKind.DATA, b"a\nb"), None) == b"data: a\ndata: b\n\n"


@pytest.mark.parametrize("outcome", Outcome)
def test_there_are_no_closing_parts(outcome: Outcome) -> None:
    assert list(PROTOCOL.closing(outcome, None, ())) == []
