"""JSON on the wire is on one line for every reader, also for one that splits text as `str.splitlines` does; what is
folded and saved has the characters themselves."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from streamguard.faults import Fault, FaultCode, Severity
from streamguard.stores.records import Terminal
from streamguard.values import Event, EventKind, Outcome, Persisted, QuotaState
from streamguard.wire import fold, protocol_named
from streamguard.wire.values import encode_json, on_one_line

BREAKS: Final = [line[-1] for line in "".join(map(chr, range(sys.maxunicode + 1))).splitlines(keepends=True)[:-1]]
"""Every character that Python takes for a line's end: CR, LF and nine more."""
UI: Final = protocol_named("ui-message")
ID_PREFIX: Final = b"id: 1.0123456789abcdef01234567.1."

texts = st.lists(st.sampled_from([*BREAKS, "a", "é", "☃", "😀", "\\", '"', "\\u2028", "\ud83d", "\ude00"])).map("".join)


class Model(BaseModel):
    text: str


def lines_of(frame: bytes) -> list[str]:
    """The lines of a frame by the specification; checks that a naive reader of text finds the same."""
    lines = frame.decode().split("\n")
    assert frame.decode().splitlines() == lines[:-1]
    return lines


def ui_payloads(items: Sequence[object], *, limit: int) -> list[bytes]:
    encoder = UI.encoder(message_id="m", max_event_bytes=limit)
    payloads = [*encoder.begin()]
    for item in items:
        payloads += encoder.encode(item)
    return [*payloads, *encoder.finish(), *encoder.held]


def test_there_are_more_line_ends_than_two() -> None:
    assert {"\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"} < set(BREAKS)


@given(st.lists(texts, min_size=1, max_size=4), st.sampled_from([150, 1_048_576]))
def test_a_ui_message_stream_is_on_one_line_a_part(pieces: list[str], limit: int) -> None:
    """Texts the fast way and cut to size; parts the fast way and, with a model in them, the long way."""
    items: list[object] = [
        *pieces,
        {"type": "reasoning-delta", "id": "r", "delta": pieces[0]},
        {"type": "tool-input-start", "toolCallId": "c", "toolName": "t", "title": pieces[0]},
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": pieces[0]},
        {"type": "data-page", "data": {pieces[0]: [Model(text=pieces[0])]}},
        {"type": "finish", "messageMetadata": {"said": pieces[0]}},
    ]
    payloads = ui_payloads(items, limit=limit)
    kinds = [EventKind.DATA] * len(payloads)
    for frame in (*UI.blocks(1, kinds, payloads, None), *UI.blocks(1, kinds, payloads, ID_PREFIX)):
        *_, data, _, _ = lines_of(frame)
        json.loads(data.removeprefix("data: "))


@given(texts)
def test_the_saved_text_has_the_characters_themselves(text: str) -> None:
    (expected,) = fold("m", [json.dumps(part).encode() for part in _as_parts(text)]).parts
    assert fold("m", ui_payloads([text], limit=1_048_576)).parts == ((expected,) if text else ())


def _as_parts(text: str) -> list[dict[str, str]]:
    """The parts of a text, by the standard library's own JSON, which is ASCII."""
    return [
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": text},
        {"type": "text-end", "id": "t"},
    ]


@given(texts)
def test_values_are_on_one_line_and_read_back(text: str) -> None:
    for value in ({text: [text]}, [Model(text=text)]):
        data = encode_json(value).data
        assert len(data.decode().splitlines()) == 1
        assert data.isascii() or not set(BREAKS) & set(data.decode())
    valid = json.loads(encode_json(text).data)
    assert [char for char in valid if char in BREAKS] == [char for char in text if char in BREAKS]


@pytest.mark.parametrize("name", ["ui-message", "plain", "opaque"])
def test_what_we_say_ourselves_is_on_one_line_a_field(name: str) -> None:
    """Notices, faults and the terminal record hold texts of the host's: an id, a notice's message."""
    protocol, text = protocol_named(name), "".join(BREAKS)
    fault = Fault.of(FaultCode.PROVIDER_ERROR, message=f"a{text}b", request_id=text)
    warning = Fault.of(FaultCode.NOT_RESUMABLE, severity=Severity.WARNING, message=f"a{text}b")
    terminal = Terminal(Outcome.FAILED, Persisted.NO, QuotaState.NONE, text, fault)
    frames = [
        protocol.frame(Event(1, EventKind.NOTICE, warning.to_json()), "1.a.1.1"),
        protocol.frame(Event(2, EventKind.TERMINAL, terminal.to_json()), None),
        protocol.fault_frame(fault),
        protocol.fault_frame(warning),
    ]
    closing = [
        *protocol.closing(Outcome.FAILED, fault, ()),
        *protocol.persisted(text, stream_id=text, session_id=text),
    ]
    for frame in (*frames, *(protocol.frame(Event(3, EventKind.CLOSING, payload), None) for payload in closing)):
        lines_of(frame)


def test_what_is_passed_on_is_not_touched() -> None:
    block = 'data: {"text":"a\u2028b"}\n\n'.encode()
    encoder = protocol_named("opaque").encoder(message_id="m", max_event_bytes=1_000)
    assert list(encoder.encode(block)) == [block]


def test_a_text_of_plain_has_no_escapes() -> None:
    """It is text, not JSON: only whoever reads SSE by the specification reads it whole."""
    encoder = protocol_named("plain").encoder(message_id="m", max_event_bytes=1_000)
    assert list(encoder.encode("a\u2028b\x85c")) == ["a\u2028b\x85c".encode()]


def test_a_large_text_may_be_escaped_in_pieces() -> None:
    text = json.dumps("\u2028\x85☃\u2029" * 10, ensure_ascii=False)
    assert on_one_line(text) == "".join(map(on_one_line, text))
    assert json.loads(on_one_line(text)) == json.loads(text)
    assert on_one_line("☃") == "☃"
