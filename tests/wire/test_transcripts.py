"""Streams of recorded shape, in any chunking: the client gets the upstream's bytes, the message is what was said."""

from __future__ import annotations

import json
from typing import Final

import pytest
from httpx_sse import ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st

from streamguard.faults import Fault, FaultCode
from streamguard.values import Event, EventKind, Outcome
from streamguard.wire import EventParser, recognise
from streamguard.wire.sse import BOM, KEEP_ALIVE, BlockSplitter

from .chunking import chunked, cuts, independent_events
from .transcripts import SSE, TRANSCRIPTS, Transcript
from .upstreams import STREAM, Logged, cut, folded, logged

STREAMS: Final = [one for one in TRANSCRIPTS if one.media_type == SSE]
READABLE: Final = [one for one in STREAMS if one.protocol_name != "opaque"]
PROVIDERS: Final = [one for one in READABLE if one.protocol_name != "ui-message-raw"]

every_transcript: Final = pytest.mark.parametrize("one", TRANSCRIPTS, ids=lambda one: one.name)
every_stream: Final = pytest.mark.parametrize("one", STREAMS, ids=lambda one: one.name)
every_readable: Final = pytest.mark.parametrize("one", READABLE, ids=lambda one: one.name)
every_provider: Final = pytest.mark.parametrize("one", PROVIDERS, ids=lambda one: one.name)


def whole(one: Transcript) -> Logged:
    return logged(one.protocol, [one.body])


def events_of(body: bytes) -> list[ServerSentEvent]:
    """The events of a body; httpx-sse knows no byte order mark."""
    return independent_events(body.removeprefix(BOM))


# -- byte for byte -----------------------------------------------------------------------------------------------------


@every_transcript
def test_without_ids_the_client_gets_the_upstreams_bytes_wherever_they_are_cut(one: Transcript) -> None:
    expected = whole(one)
    assert b"".join(expected.frames(ids=False)) == one.body
    for at in range(1, len(one.body), max(1, len(one.body) // 400)):
        got = logged(one.protocol, [one.body[:at], one.body[at:]])
        assert (got.data, got.held) == (expected.data, expected.held), f"cut at {at}"


@every_transcript
@pytest.mark.parametrize("ids", [True, False])
def test_the_quick_way_to_a_block_is_the_slow_one(one: Transcript, ids: bool) -> None:
    data, prefix = whole(one).data, f"id: 1.{STREAM}.7.".encode() if ids else None
    slow = whole(one).frames(ids=ids)[: len(data)]
    kinds = [EventKind.DATA] * len(data)
    assert [one.protocol.block(seq, EventKind.DATA, each, prefix) for seq, each in enumerate(data, 1)] == slow
    assert one.protocol.blocks(1, kinds, data, prefix) == slow


@every_transcript
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_no_size_of_chunks_matters(one: Transcript, size: int) -> None:
    expected = whole(one)
    got = logged(one.protocol, [one.body[at : at + size] for at in range(0, len(one.body), size)])
    assert (got.data, got.held) == (expected.data, expected.held)
    assert (dict(got.encoder.usage), got.encoder.failure) == (one.usage, one.failure)


@given(st.sampled_from(TRANSCRIPTS), cuts)
def test_no_chunking_matters(one: Transcript, at: list[int]) -> None:
    got = logged(one.protocol, chunked(one.body, at))
    assert b"".join(got.frames(ids=False)) == one.body
    assert (got.data, got.held) == (whole(one).data, whole(one).held)


@every_stream
def test_with_ids_the_events_are_the_same(one: Transcript) -> None:
    body = b"".join(whole(one).frames(ids=True))
    before, after = events_of(one.body), independent_events(body)
    assert [event.event for event in after] == [event.event for event in before]
    for got, upstream in zip(after, before, strict=True):
        assert got.id
        if '"type":"start"' in upstream.data and "messageId" not in upstream.data:
            assert json.loads(got.data) == {**json.loads(upstream.data), "messageId": "m"}
        else:
            assert got.data == upstream.data


@every_stream
def test_with_ids_nothing_of_the_upstream_is_missing(one: Transcript) -> None:
    """But blank lines after no data, a byte order mark, and the names of events without data."""
    body = b"".join(whole(one).frames(ids=True))
    at = 0
    for line in one.body.removeprefix(BOM).splitlines():
        named = line.replace(b'{"type":"start"}', b'{"messageId":"m","type":"start"}')
        found = body.find(named, at)
        assert found >= 0, line
        at = found + len(named)


@every_stream
def test_with_ids_no_blank_line_comes_without_data(one: Transcript) -> None:
    body = b"".join(KEEP_ALIVE + frame for frame in whole(one).frames(ids=True))
    assert all(block.has_data for block in BlockSplitter().feed(body))


@every_stream
@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_line_ends_and_a_byte_order_mark_change_no_meaning(one: Transcript, line_end: bytes) -> None:
    for body in (
        one.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", line_end),
        BOM + one.body.removeprefix(BOM),
    ):
        got = logged(one.protocol, [body[:5], body[5:]])
        assert b"".join(got.frames(ids=False)) == body
        assert dict(got.encoder.usage) == one.usage
        assert len(got.held) == len(whole(one).held)
        if one.protocol_name != "opaque":
            assert list(folded(one.protocol, got.payloads).parts) == list(one.parts)
        again, before = EventParser(), EventParser()
        framed = again.feed(b"".join(got.frames(ids=True)) + b"\n")
        assert len(framed) == len(before.feed(body + b"\n"))


# -- what it means -----------------------------------------------------------------------------------------------------


@every_transcript
def test_it_is_recognised_as_soon_as_its_first_event_is_whole(one: Transcript) -> None:
    decided = [at for at in range(len(one.body) + 1) if recognise(one.media_type, one.ui_message, one.body[:at])]
    assert decided
    assert decided == list(range(decided[0], len(one.body) + 1))
    found = recognise(one.media_type, one.ui_message, one.body[: decided[0]])
    assert found is not None
    assert found.name == one.protocol_name
    if one.media_type == SSE:
        assert b"data" in one.body[: decided[0]]
        assert len([block for block in BlockSplitter().feed(one.body[: decided[0]]) if block.has_data]) == 1


@every_transcript
def test_it_folds_to_what_was_said(one: Transcript) -> None:
    assert list(folded(one.protocol, whole(one).payloads).parts) == list(one.parts)


@every_transcript
def test_usage_and_failure_are_told(one: Transcript) -> None:
    got = whole(one)
    assert (dict(got.encoder.usage), got.encoder.failure) == (one.usage, one.failure)


@every_transcript
def test_a_worker_without_the_encoder_finds_the_same_usage(one: Transcript) -> None:
    got = whole(one)
    parts = one.protocol.open_parts()
    found: dict[str, int] = {}
    if parts is not None:
        for payload in got.data:
            parts.add(payload)
        found.update(parts.usage)
    assert found | dict(one.protocol.usage(got.held)) == one.usage


@every_readable
def test_the_closing_parts_are_held_in_order(one: Transcript) -> None:
    got = whole(one)
    assert b"".join(got.payloads).replace(b"\0m\n", b"") == one.body
    assert got.held
    first = BlockSplitter().feed(got.held[0] + b"x")[0]
    ends = (b"[DONE]", b'"response.', b'"message_stop"', b'"finish"', b'"error"')
    assert any(end in first.data for end in ends)
    closing = (b"\ndata: [DONE]\n", b'{"type":"message_stop"', b'{"type":"finish"', b'{"type":"response.completed"')
    assert not any(end in b"\n" + block for block in got.data for end in closing)


@every_readable
def test_its_text_can_be_read_in_slices(one: Transcript) -> None:
    """A download reads the log piece by piece."""
    events = [Event(seq, EventKind.DATA, data) for seq, data in enumerate(whole(one).payloads, 1)]
    expected = "".join(str(part["text"]) for part in one.parts if part["type"] == "text")
    assert one.protocol.text(events) == expected
    for size in (1, 2, 3):
        slices = [events[at : at + size] for at in range(0, len(events), size)]
        assert "".join(map(one.protocol.text, slices)) == expected


# -- cut off -----------------------------------------------------------------------------------------------------------


@every_readable
def test_cut_after_any_block_the_message_has_no_open_part(one: Transcript) -> None:
    said = whole(one).data
    for count in range(1, len(said) + 1):
        beginning = one.body[: len(b"".join(said[:count]).replace(b"\0m\n", b""))]
        got = cut(one.protocol, beginning + b'data: {"half')
        assert b"half" not in b"".join(got.data)
        states = {part.get("state") for part in folded(one.protocol, got.data).parts}
        assert states <= {None, "done", "output-available", "output-error", "input-available"}
        if "input-available" in states:  # a call that the client may answer, since the upstream said that it is whole
            assert b'"finish_reason":"tool_calls"' in beginning


@every_readable
def test_usage_grows_as_the_upstream_tells_it(one: Transcript) -> None:
    """Cut anywhere, what was told is at most the whole; it is never counted twice."""
    said = whole(one).data
    for count in range(len(said) + 1):
        usage = cut(one.protocol, b"".join(said[:count]).replace(b"\0m\n", b"")).encoder.usage
        assert all(amount <= one.usage[unit] for unit, amount in usage.items())


def test_anthropic_tells_of_the_input_at_once() -> None:
    one = next(one for one in TRANSCRIPTS if one.name == "anthropic-text")
    got = cut(one.protocol, one.body[: one.body.index(b"content_block_delta")])
    assert got.encoder.usage["input_tokens"] == 325


# -- failures ----------------------------------------------------------------------------------------------------------


@every_provider
def test_a_failure_of_ours_is_the_universal_error_after_whole_blocks(one: Transcript) -> None:
    fault = Fault.of(FaultCode.PROVIDER_ABORTED)
    half = one.body[: len(one.body) // 2]
    for ids in (False, True):
        events = events_of(b"".join(cut(one.protocol, half).frames(ids=ids, outcome=Outcome.FAILED, fault=fault)))
        upstream = events_of(half)
        assert [event.data for event in events[:-1]] == [event.data for event in upstream]
        assert (events[-1].event, events[-1].json()["error"]["code"]) == ("error", "provider_aborted")
        assert events[-1].json()["type"] == "error"


@pytest.mark.parametrize("one", [one for one in READABLE if one.failure], ids=lambda one: one.name)
def test_an_upstream_that_tells_of_its_failure_is_not_talked_over(one: Transcript) -> None:
    got = whole(one)
    assert got.encoder.failure is not None
    fault = Fault.of(got.encoder.failure)
    events = independent_events(b"".join(got.frames(ids=False, outcome=Outcome.FAILED, fault=fault)))
    said = [event for event in events if "data-streamguard-error" not in event.data]
    assert [(event.event, event.data) for event in said] == [(event.event, event.data) for event in events_of(one.body)]


@every_stream
def test_a_warning_leaves_the_events_as_they_are(one: Transcript) -> None:
    for ids in (False, True):
        plain = events_of(one.body)
        warned = events_of(b"".join(whole(one).frames(ids=ids, warning=True)))
        said = [event for event in warned if "data-streamguard-error" not in event.data]
        assert len(said) == len(plain)
        assert len(warned) - len(said) == (one.protocol_name == "ui-message-raw")
