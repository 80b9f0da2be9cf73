"""Parts of AI SDK that are passed on: what their clients get besides the upstream's bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from streamguard.faults import Fault, FaultCode
from streamguard.values import Event, EventKind, Outcome
from streamguard.wire import UIMessage, protocol_named
from streamguard.wire.closed_calls import CALL_CLOSED

from .chunking import independent_events
from .transcripts import transcript
from .upstreams import cut, folded, logged

PROTOCOL = protocol_named("ui-message-raw")
CURSOR = "1.0123456789abcdef01234567.7.1"


def block(part: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(part)}\n\n".encode()


def parts(frames: list[bytes]) -> list[dict[str, object]]:
    return [event.json() for event in independent_events(b"".join(frames)) if event.data != "[DONE]"]


# -- the message's id --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        b'data: {"type":"start"}\n\n',
        b'data:{"type":"start","messageMetadata":{"a":1}}\r\n\r\n',
        b': comment\nevent: x\ndata: \t{ "type": "start" }\n\n',
        b'data: {\ndata: "type":"start"}\n\n',
        b'\xef\xbb\xbfdata: {"type":"start"}\n\n',
    ],
)
def test_a_start_without_a_message_id_gets_ours_where_ids_are_asked_for(start: bytes) -> None:
    got = logged(PROTOCOL, [start], message_id='m"1')
    assert b"".join(got.frames(ids=False)) == start
    (with_ids,) = independent_events(b"".join(got.frames(ids=True)))
    assert with_ids.json()["messageId"] == 'm"1'
    assert with_ids.json()["type"] == "start"
    assert with_ids.id


def test_only_the_first_start_gets_it() -> None:
    start = {"type": "start"}
    first, second = parts(logged(PROTOCOL, [block(start) * 2]).frames(ids=True))
    assert (first, second) == ({"type": "start", "messageId": "m"}, start)


@pytest.mark.parametrize("named", ["msg-1", "", None, 7])
def test_a_start_that_names_its_message_stays_as_it_is(named: object) -> None:
    start = {"type": "start", "messageId": named}
    assert parts(logged(PROTOCOL, [block(start)]).frames(ids=True)) == [start]


@pytest.mark.parametrize(
    ("beginning", "found"),
    [
        (b'data: {"type":"start","messageId":"msg-1"}\n\n', "msg-1"),
        (b': hi\n\ndata: {"type":"start","messageId":"msg-1"}\n\ndata: {', "msg-1"),
        (b'data: {"type":"start"}\n\n', None),
        (b'data: {"type":"start","messageId":"msg-1"}\n', None),
        (b'data: {"type":"start","messageId":7}\n\n', None),
        (b'data: {"type":"start","messageId":"a\\nb"}\n\n', None),
        (block({"type": "start", "messageId": "x" * 300}), None),
        (b'data: {"type":"text-start","id":"1"}\n\n', None),
        (b"", None),
    ],
)
def test_the_upstreams_own_message_id_is_found_in_the_beginning(beginning: bytes, found: str | None) -> None:
    assert PROTOCOL.message_id_in(beginning) == found


def test_the_message_keeps_the_streams_id() -> None:
    """A store would not find it under another one."""
    assert folded(PROTOCOL, [block({"type": "start", "messageId": "other"})]).id == "m"


# -- the end -----------------------------------------------------------------------------------------------------------


def test_a_failure_closes_what_is_open_and_ends_as_ai_sdk_expects() -> None:
    one = transcript("ui-message-tools")
    beginning = one.body[: one.body.index(b'data: {"type":"tool-output-available"')]
    fault = Fault.of(FaultCode.PROVIDER_ABORTED)
    frames = cut(PROTOCOL, beginning).frames(ids=True, outcome=Outcome.FAILED, fault=fault)
    *_, call, notice, error = parts(frames)
    assert call == {"type": "tool-output-error", "toolCallId": "c1", "errorText": CALL_CLOSED}
    assert (notice["type"], notice["transient"]) == ("data-streamguard-error", True)
    assert error == {"type": "error", "errorText": fault.message}
    assert independent_events(b"".join(frames))[-1].data == "[DONE]"


def test_another_worker_finds_the_same_open_parts() -> None:
    one = transcript("ui-message-tools")
    for count in range(1, 13):
        said = logged(PROTOCOL, [one.body]).data[:count]
        encoder = PROTOCOL.encoder(message_id="m", max_event_bytes=10_000)
        found = PROTOCOL.open_parts()
        assert found is not None
        for payload in said:
            encoder.encode(payload.replace(b"\0m\n", b""))
            found.add(payload)
        assert list(found.ends()) == list(encoder.abandon())


def test_a_stop_is_an_abort() -> None:
    assert PROTOCOL.closing(Outcome.STOPPED, None, ()) == (b'data: {"type":"abort"}\n\n', b"data: [DONE]\n\n")


def test_a_call_that_the_client_answered_is_ended_too() -> None:
    encoder = PROTOCOL.encoder(message_id="m", max_event_bytes=10_000)
    encoder.answered([{"type": "tool-x", "toolCallId": "c", "state": "approval-responded"}])
    encoder.encode(block({"type": "start", "messageId": "m"}))
    (end,) = encoder.abandon()
    assert json.loads(end.removeprefix(b"data: "))["toolCallId"] == "c"


def test_a_failure_outside_the_log_ends_the_stream() -> None:
    notice, error, done = independent_events(PROTOCOL.fault_frame(Fault.of(FaultCode.RESUME_FAILED), CURSOR))
    assert (notice.id, notice.json()["data"]["code"]) == (CURSOR, "resume_failed")
    assert (error.json()["type"], done.data) == ("error", "[DONE]")


# -- that it is saved --------------------------------------------------------------------------------------------------


def test_clients_with_ids_are_told_that_the_message_is_saved() -> None:
    (payload,) = PROTOCOL.persisted("m", stream_id="s", session_id="c")
    event = Event(7, EventKind.CLOSING, payload)
    (told,) = independent_events(PROTOCOL.frame(event, CURSOR))
    assert told.json() == {
        "type": "data-streamguard-persisted",
        "id": "sgp_s",
        "transient": True,
        "data": {"message_id": "m", "stream_id": "s", "session_id": "c"},
    }
    assert PROTOCOL.frame(event, None) == b"", "no byte is added for the others"
    assert folded(PROTOCOL, [payload]).parts == ()


def test_a_message_is_continued() -> None:
    waiting = {"type": "tool-x", "toolCallId": "c", "state": "input-available", "input": {}}
    previous = UIMessage("m", (waiting,))  # type: ignore[arg-type]  # a part as a client sends it
    said = block({"type": "tool-output-available", "toolCallId": "c", "output": 1})
    (part,) = folded(PROTOCOL, [said], previous).parts
    assert (part["state"], part["output"]) == ("output-available", 1)


def test_the_text_is_the_models_words() -> None:
    one = transcript("ui-message-text")
    events = [Event(seq, EventKind.DATA, data) for seq, data in enumerate(logged(PROTOCOL, [one.body]).data, 1)]
    assert PROTOCOL.text(events) == "Grüße, 世界"
