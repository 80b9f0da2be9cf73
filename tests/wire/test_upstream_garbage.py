"""Whatever an upstream sends, its bytes pass, and nothing raises."""

from __future__ import annotations

import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.values import Event, EventKind
from streamguard.wire import protocol_named, recognise
from streamguard.wire.partial_json import Json
from streamguard.wire.sse import BlockSplitter

from .chunking import chunked, cuts, event_stream_bytes
from .transcripts import LINES, SSE, TRANSCRIPTS, transcript
from .upstreams import cut, folded, logged

NAMES: Final = ["openai", "anthropic", "ui-message-raw", "opaque", "ndjson"]

every_upstream: Final = pytest.mark.parametrize("name", NAMES)

EVENTS: Final[list[tuple[str, dict[str, Json]]]] = [
    (one.protocol_name, json.loads(block.data))
    for one in TRANSCRIPTS
    for block in BlockSplitter().feed(one.body)
    if one.protocol_name in NAMES[:3] and block.data.startswith(b"{")
] + [("ndjson", json.loads(line)) for one in TRANSCRIPTS if "ollama" in one.name for line in one.body.splitlines()]

odd_json: Final[st.SearchStrategy[Json]] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "\ud800", "x\0", "[DONE]", "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "text", "x"]), inner),
    max_leaves=6,
)


@st.composite
def odd_events(draw: st.DrawFn) -> tuple[str, list[dict[str, Json]]]:
    """A protocol and some of its events, one of whose values is something else."""
    name = draw(st.sampled_from([*NAMES[:3], "ndjson"]))
    events = [event for of, event in EVENTS if of == name]
    found: list[dict[str, Json]] = []
    for event in draw(st.lists(st.sampled_from(events), min_size=1, max_size=12)):
        one: dict[str, Json] = json.loads(json.dumps(event))
        place: Json = one
        while isinstance(place, (dict, list)) and place:
            keys: list[str] | list[int] = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            inner: Json = place[key]  # type: ignore[call-overload, index]  # a key of this very object
            if not isinstance(inner, (dict, list)) or draw(st.booleans()):
                if draw(st.booleans()):
                    place[key] = draw(odd_json)  # type: ignore[call-overload, index]  # as above
                break
            place = inner
        found.append(one)
    return name, found


@given(odd_events())
def test_events_with_other_values_than_documented_cost_neither_bytes_nor_message(
    case: tuple[str, list[dict[str, Json]]],
) -> None:
    name, events = case
    protocol = protocol_named(name)
    before, after = ("", "\n") if name == "ndjson" else ("data: ", "\n\n")
    body = "".join(f"{before}{json.dumps(event)}{after}" for event in events).encode()
    got = logged(protocol, [body])
    assert b"".join(got.frames(ids=False)) == body
    message = folded(protocol, got.payloads)
    json.dumps(message.as_dict(), ensure_ascii=False, allow_nan=False).encode()
    assert all(type(amount) is int and amount >= 0 for amount in got.encoder.usage.values())
    parts = protocol.open_parts()
    assert parts is not None
    for payload in got.data:
        parts.add(payload)
    parts.ends()
    protocol.text([Event(seq, EventKind.DATA, payload) for seq, payload in enumerate(got.payloads, 1)])
    cut(protocol, body[:-5])
    recognise(SSE, False, body)


@given(st.sampled_from(NAMES[:4]), event_stream_bytes, cuts)
def test_any_bytes_pass(name: str, body: bytes, at: list[int]) -> None:
    protocol = protocol_named(name)
    got = logged(protocol, chunked(body, at))
    assert b"".join(got.frames(ids=False)) == body
    folded(protocol, got.payloads)
    protocol.usage(got.held)
    got.frames(ids=True)
    for ui_message in (False, True):
        recognise(SSE, ui_message, body)


@given(st.binary(), cuts)
def test_any_lines_pass(body: bytes, at: list[int]) -> None:
    protocol = protocol_named("ndjson")
    got = logged(protocol, chunked(body, at))
    assert b"".join(got.frames(ids=False)) == b"".join(got.frames(ids=True)) == body
    found = recognise(LINES, False, body)
    assert found is not None
    assert found.name == "ndjson"


@pytest.mark.parametrize("name", NAMES[:3])
@pytest.mark.parametrize(
    "event",
    [
        "event: later\ndata: {}\n\n",
        'data: {"type":"response.telepathy.delta","delta":"x"}\n\n',
        'event: later\ndata: {"type":"later","text":"x"}\n\n',
        "data: no JSON\n\n",
        'data: ["a","list"]\n\n',
        'data: {"cut":\n\n',
        "data\n\n",
        'data: {"choices":[{"index":0,"delta":{"telepathy":"x"}}]}\n\n',
        'data: {"type":"content_block_start","index":9,"content_block":{"type":"telepathy","text":"x"}}\n\n',
        'data: {"type":"telepathy-start","id":"x"}\n\n',
        f"data: {'[' * 5_000}\n\n",
        f'data: {{"a":{"[" * 5_000}{"]" * 5_000}}}\n\n',
    ],
)
def test_an_event_of_an_unknown_type_passes_and_means_nothing(name: str, event: str) -> None:
    protocol = protocol_named(name)
    got = logged(protocol, [event.encode()])
    assert (list(got.data), list(got.held)) == ([event.encode()], [])
    assert folded(protocol, got.data).parts == ()
    encoder = cut(protocol, event.encode()).encoder
    assert (dict(encoder.usage), encoder.failure) == ({}, None)


@pytest.mark.parametrize("name", ["openai-chat-text", "anthropic-text", "openai-responses-text", "ui-message-text"])
def test_unknown_events_between_others_change_nothing(name: str) -> None:
    one = transcript(name)
    blocks = [block.raw for block in BlockSplitter().feed(one.body)]
    body = b'event: later\ndata: {"later":true}\n\n'.join(blocks)
    got = logged(one.protocol, [body])
    assert list(folded(one.protocol, got.payloads).parts) == list(one.parts)
    assert (dict(got.encoder.usage), got.encoder.failure) == (one.usage, one.failure)
