"""What the AI SDK's client would get, and what an endpoint may yield."""

from __future__ import annotations

import dataclasses
import enum
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from streamguard.errors import InvalidPartError
from streamguard.faults import Fault, FaultCode, Severity
from streamguard.values import Event, EventKind, Outcome
from streamguard.wire.base import LeftOut
from streamguard.wire.values import valid_text

from .chunking import independent_events
from .ui_messages import PROTOCOL, encoder, parsed, sent

CURSOR = "1.0123456789abcdef01234567.7.5"


def frames(data: bytes) -> list[dict[str, object] | str]:
    return [e.data if e.data == "[DONE]" else json.loads(e.data) for e in independent_events(data)]


# -- text -------------------------------------------------------------------------------------------------------------


def test_strings_become_one_text_part() -> None:
    assert sent("Hel", "", "lo") == (
        [
            {"type": "start", "messageId": "msg_1"},
            {"type": "text-start", "id": "t0"},
            {"type": "text-delta", "id": "t0", "delta": "Hel"},
            {"type": "text-delta", "id": "t0", "delta": "lo"},
            {"type": "text-end", "id": "t0"},
        ],
        [{"type": "finish"}],
    )


def test_a_stream_of_nothing_still_starts_and_finishes() -> None:
    assert sent() == ([{"type": "start", "messageId": "msg_1"}], [{"type": "finish"}])


hostile = ["a\rb\nc\r\nd", "\u2028\u2029\x85", "\0", 'quote " \\ end', "data: x\n\nid: 9\n\n", "[DONE]", "𝄞"]


@pytest.mark.parametrize("text", hostile)
def test_hostile_text_arrives_whole_and_injects_nothing(text: str) -> None:
    enc = encoder()
    enc.encode("A model says: ")
    for payload in enc.encode(text):
        frame = PROTOCOL.frame(Event(1, EventKind.DATA, payload), CURSOR)
        (event,) = independent_events(frame)
        assert (event.id, event.event) == (CURSOR, "message")
    assert event.json() == {"type": "text-delta", "id": "t0", "delta": text}


@given(st.lists(st.text(st.characters() | st.sampled_from("\ud83d\ude00\r\n\0\u2028"), max_size=8)))
def test_any_text_arrives(pieces: list[str]) -> None:
    enc = encoder()
    payloads = [payload for piece in pieces for payload in enc.encode(piece)] + [*enc.finish()]
    stream = b"".join(PROTOCOL.frame(Event(i, EventKind.DATA, data), "c") for i, data in enumerate(payloads, 1))
    parts = frames(stream)
    assert "".join(str(p["delta"]) for p in parts if isinstance(p, dict) and "delta" in p) == valid_text(
        "".join(pieces)
    )


def test_text_for_a_download_joins_what_two_deltas_share() -> None:
    enc = encoder()
    payloads = [p for item in ("a\ud83d", "\ude00", {"type": "start-step"}, "b\ud800") for p in enc.encode(item)]
    payloads.append(b'{"type":"reasoning-delta","id":"r","delta":"no"}')
    events = [Event(i, EventKind.DATA, payload) for i, payload in enumerate(payloads, 1)]
    events += [Event(90, EventKind.NOTICE, b"{}"), Event(91, EventKind.TERMINAL, b"{}")]
    assert PROTOCOL.text(events) == "a😀b"  # the half may still meet the other one


# -- the host's parts -------------------------------------------------------------------------------------------------


class Part(BaseModel):
    type: str
    tool_call_id: str = Field(serialization_alias="toolCallId")
    output: object = None
    title: str | None = None


@dataclasses.dataclass
class Delta:
    type: str
    id: str
    delta: str
    providerMetadata: dict[str, object] | None = None  # noqa: N815 - the wire's name


class Kind(str, enum.Enum):  # noqa: UP042 - `str()` of such a one is its name, which must not reach the wire
    STEP = "start-step"


def test_models_and_dataclasses_are_parts() -> None:
    logged, _ = sent(
        Part(type="tool-output-available", tool_call_id="c", output={"at": datetime(2026, 1, 1, tzinfo=UTC)}),
        Delta("reasoning-delta", "r", "hm"),
        {"type": Kind.STEP},
    )
    assert logged[1:] == [
        {"type": "tool-output-available", "toolCallId": "c", "output": {"at": "2026-01-01T00:00:00Z"}},
        {"type": "reasoning-start", "id": "r"},
        {"type": "reasoning-delta", "id": "r", "delta": "hm"},
        {"type": "start-step"},
        {"type": "reasoning-end", "id": "r"},
        {"type": "finish-step"},
    ]


def test_absent_fields_are_left_out_and_null_stays_where_it_is_a_value() -> None:
    logged, _ = sent(
        {"type": "source-url", "sourceId": "s", "url": "u", "title": None},
        {"type": "tool-output-available", "toolCallId": "c", "output": None},
        {"type": "data-x", "data": None, "id": None, "transient": True},
    )
    assert logged[1:] == [
        {"type": "source-url", "sourceId": "s", "url": "u"},
        {"type": "tool-output-available", "toolCallId": "c", "output": None},
        {"type": "data-x", "data": None, "transient": True},
    ]


@pytest.mark.parametrize(
    "item",
    [
        b"bytes",
        bytearray(b"x"),
        pytest.param(memoryview(b"x"), id="memoryview"),
        None,
        7,
        ["text"],
        Delta,
        {},
        {"type": 5},
        {"type": "text-delta", "id": "t"},
        {"type": "text-delta", "id": [], "delta": "x"},
        {"type": "text-start", "id": None},
        {"type": "data-x", "id": "i"},
        {"type": "file", "url": "u"},
    ],
    ids=lambda item: ascii(item)[:40],
)
def test_what_a_client_would_refuse_is_refused_here(item: object) -> None:
    enc = encoder()
    before = enc.encode("kept")
    with pytest.raises(InvalidPartError) as caught:
        enc.encode(item)
    assert caught.value.protocol == "ui-message"
    assert len(str(caught.value)) < 200
    assert parsed(before)[0]["type"] == "text-start"
    assert parsed(enc.abandon()) == [{"type": "text-end", "id": "t0"}]


def test_an_error_part_has_two_keys_only() -> None:
    _, held = sent({"type": "error", "errorText": "x", "code": "y", "detail": {}})
    assert held == [{"type": "error", "errorText": "x"}]


@pytest.mark.parametrize("reason", ["interrupted", "unknown", ""])
def test_a_finish_reason_some_client_refuses_becomes_other(reason: str) -> None:
    assert sent({"type": "finish", "finishReason": reason})[1] == [{"type": "finish", "finishReason": "other"}]


def test_a_good_finish_reason_and_metadata_stay() -> None:
    finish = {"type": "finish", "finishReason": "tool-calls", "messageMetadata": {"n": 1}}
    assert sent(finish, "late") == (
        [{"type": "start", "messageId": "msg_1"}],
        [
            finish,
            {"type": "text-start", "id": "t0"},
            {"type": "text-delta", "id": "t0", "delta": "late"},
            {"type": "text-end", "id": "t0"},
        ],
    )


def test_a_hosts_start_keeps_its_metadata_and_not_its_id() -> None:
    logged, _ = sent({"type": "start", "messageId": "theirs", "messageMetadata": {"m": 1}}, {"type": "start"})
    assert logged == [
        {"type": "start", "messageId": "msg_1"},
        {"type": "message-metadata", "messageMetadata": {"m": 1}},
    ]


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x" * 5_000, "\0" * 1_000, "€" * 2_000, "😀" * 1_000 + "\ud83d"])
@pytest.mark.parametrize(
    ("kind", "name", "others"),
    [
        ("", "delta", {}),
        ("text-delta", "delta", {"id": "t"}),
        ("reasoning-delta", "delta", {"id": "r", "providerMetadata": {"p": {"signature": "s" * 900}}}),
        ("tool-input-delta", "inputTextDelta", {"toolCallId": "c"}),
    ],
)
def test_text_over_the_limit_becomes_several_deltas(kind: str, name: str, others: dict[str, object], text: str) -> None:
    told: list[LeftOut] = []
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=1_000, on_left_out=told.append)
    payloads = [*enc.encode({"type": kind, name: text, **others} if kind else text), *enc.finish()]
    assert max(map(len, payloads)) <= 1_000
    said = "".join(str(part[name]) for part in parsed(payloads) if name in part)
    assert said == text.replace("\ud83d", "\ufffd")
    assert len(told) <= 1  # of a signature that leaves no room for text


def test_held_parts_are_bounded_together() -> None:
    told: list[LeftOut] = []
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=200, on_left_out=told.append)
    enc.encode({"type": "finish"})
    enc.encode({"type": "data-x", "data": "x" * 100})
    enc.encode({"type": "data-x", "data": "x" * 100})
    assert sum(map(len, enc.held)) <= 200
    assert [(one.part, one.reason) for one in told] == [("data-x", "too_large")]


# -- frames -----------------------------------------------------------------------------------------------------------


FAULT = Fault.of(FaultCode.PROVIDER_ERROR, stream_id="s")
WARNING = Fault.of(FaultCode.NOT_RESUMABLE)


@pytest.mark.parametrize("kind", [EventKind.DATA, EventKind.CLOSING])
def test_parts_are_framed_with_their_id_inside(kind: EventKind) -> None:
    event = Event(5, kind, b'{"type":"start-step"}')
    assert PROTOCOL.frame(event, CURSOR) == b"id: " + CURSOR.encode() + b'\ndata: {"type":"start-step"}\n\n'
    assert PROTOCOL.frame(event, None) == b'data: {"type":"start-step"}\n\n'


def test_the_terminal_is_done() -> None:
    event = Event(9, EventKind.TERMINAL, b'{"outcome":"completed"}')
    assert PROTOCOL.frame(event, CURSOR) == b"id: " + CURSOR.encode() + b"\ndata: [DONE]\n\n"
    assert PROTOCOL.frame(event, None) == b"data: [DONE]\n\n"


def notice(fault: Fault) -> dict[str, object]:
    return {"type": "data-streamguard-error", "id": fault.fault_id, "transient": True, "data": fault.as_dict()}


def test_a_notice_is_a_transient_data_part_with_a_stable_id() -> None:
    event = Event(5, EventKind.NOTICE, FAULT.to_json())
    assert frames(PROTOCOL.frame(event, CURSOR)) == [notice(FAULT)]
    assert PROTOCOL.frame(event, CURSOR) == PROTOCOL.frame(event, CURSOR)
    assert independent_events(PROTOCOL.frame(event, CURSOR))[0].id == CURSOR


def test_a_notice_with_a_code_of_a_newer_version_passes() -> None:
    raw = json.dumps({**FAULT.as_dict(), "code": "of_the_future"}).encode()
    (part,) = frames(PROTOCOL.frame(Event(5, EventKind.NOTICE, raw), None))
    assert isinstance(part, dict)
    assert part["id"] == FAULT.fault_id


def test_a_warning_outside_the_log_is_the_data_part_alone() -> None:
    assert frames(PROTOCOL.fault_frame(WARNING)) == [notice(WARNING)]


@pytest.mark.parametrize("severity", [Severity.ERROR, Severity.FATAL])
def test_a_failure_outside_the_log_ends_the_clients_stream(severity: Severity) -> None:
    fault = Fault.of(FaultCode.RESUME_FAILED, severity=severity)
    data = PROTOCOL.fault_frame(fault, CURSOR)
    assert frames(data) == [notice(fault), {"type": "error", "errorText": fault.message}, "[DONE]"]
    assert {event.id for event in independent_events(data)} == {CURSOR}


def test_closing_parts() -> None:
    held = (b'{"type":"finish"}',)
    assert PROTOCOL.closing(Outcome.COMPLETED, None, held) == held
    assert parsed(PROTOCOL.closing(Outcome.STOPPED, FAULT, held)) == [{"type": "abort"}]
    for outcome in (Outcome.FAILED, Outcome.INTERRUPTED):
        error = {"type": "error", "errorText": FAULT.message}
        assert parsed(PROTOCOL.closing(outcome, FAULT, held)) == [error]
        (unknown,) = parsed(PROTOCOL.closing(outcome, None, held))
        assert unknown.keys() == {"type", "errorText"}
