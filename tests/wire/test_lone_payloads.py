"""Items of one payload take a short way; it must come to the same as the long one."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.errors import InvalidPartError
from streamguard.wire import protocol_named

from .encoding import encoded

LIMIT: Final = 256
TEXTS: Final = [
    *("Hello", " world", "", "a\nb", "a\r\nb", "a\r", "\nb", "\r", "é", "\U0001f600", "\ud83d", "\ude00", "a\ud83d"),
    *(" ", "\n", '"', "\u2028", "\0", "x" * LIMIT, "x" * (LIMIT + 1), "é" * LIMIT, "data: a\n", "data: ", "\n\n"),
]
PARTS: Final[list[Any]] = [
    {"type": "start-step"},
    {"type": "finish-step"},
    {"type": "text-start", "id": "t0"},
    {"type": "text-delta", "id": "t0", "delta": "a\ud83d"},
    {"type": "text-end", "id": "t0"},
    {"type": "tool-input-start", "toolCallId": "c", "toolName": "look"},
    {"type": "reset-step"},
    {"type": "finish"},
    {"type": "error", "errorText": "e"},
]
BLOCKS: Final = [
    *("data: a\n\n", "data: {}\n\n", "event: e\ndata: é\n\n", "data: a\r\n\r\n", "data: a\n", "\n", "data: [DONE]\n\n"),
    *('data: {"type":"text-start","id":"t"}\n\n', 'data: {"type":"text-delta","id":"t","delta":"a"}\n\n', "", "\ud83d"),
    *('data: {"choices":[{"delta":{"content":"a"}}]}\n\n', '{"text":"a"}\n', '{"text":"', "data: " + "x" * LIMIT),
]
CHUNKS: Final = [*BLOCKS, *(block.encode("utf-8", "replace") for block in BLOCKS), bytearray(b"data: a\n\n")]
ITEMS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "plain": st.sampled_from(TEXTS) | st.text(max_size=8),
    "ui-message": st.sampled_from(TEXTS) | st.text(max_size=8) | st.sampled_from(PARTS),
    **dict.fromkeys(("opaque", "openai", "anthropic", "ui-message-raw", "ndjson"), st.sampled_from(CHUNKS)),
}


@pytest.mark.parametrize("name", ITEMS)
@given(st.data())
def test_the_short_way_gives_what_the_long_one_gives(name: str, data: st.DataObject) -> None:
    short, long = (protocol_named(name).encoder(message_id="m", max_event_bytes=LIMIT) for _ in range(2))
    for item in data.draw(st.lists(ITEMS[name], max_size=12)):
        found: list[object] = []
        for encode in (lambda item: encoded(short, item), long.encode):
            try:
                found.append(list(encode(item)))
            except InvalidPartError as exc:
                found.append(str(exc))
        assert found[0] == found[1]
    assert list(short.finish()) == list(long.finish())
    assert (short.held, short.usage, short.failure) == (long.held, long.usage, long.failure)


@pytest.mark.parametrize(
    ("name", "item", "payload"),
    [
        ("plain", "Hello", b"Hello"),
        ("ui-message", "Hé", '{"type":"text-delta","id":"t0","delta":"Hé"}'.encode()),
        ("opaque", b"data: a\n\n", b"data: a\n\n"),
        ("opaque", "data: a\n\n", b"data: a\n\n"),
        ("ndjson", b"{}\n", b"{}\n"),
    ],
)
def test_the_usual_items_after_the_first_take_it(name: str, item: object, payload: bytes) -> None:
    encoder = protocol_named(name).encoder(message_id="m", max_event_bytes=LIMIT)
    assert encoder.encode(item)
    assert encoder.lone_payload(item) == payload


def test_text_takes_it_again_once_no_half_waits() -> None:
    encoder = protocol_named("plain").encoder(message_id="m", max_event_bytes=LIMIT)
    for odd in ("a\r", "b\ud83d"):
        encoder.encode(odd)
        assert encoder.lone_payload("c") == b""
        encoder.encode("c")
        assert encoder.lone_payload("c") == b"c"
