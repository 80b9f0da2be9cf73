"""Which first texts of a stream are server-sent events written by hand, and which are a model's own."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard import InvalidPartError
from streamguard.wire.base import Encoder
from streamguard.wire.plain import PlainProtocol
from streamguard.wire.raw_sse import MOST_HELD
from streamguard.wire.sse import encode_block
from streamguard.wire.ui_message import UIMessageProtocol

PROTOCOLS = {"ui-message": UIMessageProtocol(), "plain": PlainProtocol()}


def encoder(protocol: str) -> Encoder:
    return PROTOCOLS[protocol].encoder(message_id="m", max_event_bytes=1_000_000)


def payloads(protocol: str, texts: list[object]) -> list[bytes]:
    found = encoder(protocol)
    return [payload for text in texts for payload in found.encode(text)] + [*found.finish()]


BLOCKS: list[list[object]] = [
    ["data: x\n\n"],
    ["data: x\r\n\r\n"],
    ["event: e\ndata: x\n\n"],
    ["id: 1\n\n"],
    [": ping\n\n"],
    ["retry: 3000\n\n", "data: x\n\n"],
    ["data: a\n\ndata: b\n\n"],
    ["data: a\n\nda"],  # an upstream's body, cut anywhere
    ["data: a\n", "\n"],
    ["event: e\n", "data: x\n", "\n"],
    ['data: {"a":1}'],  # an upstream's lines
    ['data: {"a":1}\n'],
    ["data: [DONE]\n"],
    ["", "data: x\n\n"],
]
TEXTS: list[list[object]] = [
    ["Hello"],
    ["data: hello"],
    ["data: [DONE]"],  # what somebody asks to have repeated
    ["data: 5\n\nHello there."],
    ["data", ": x", "\n\n"],
    ["id", ": 12", "\n\n"],
    ["id: 12\n", "\n", "is its number"],
    [":\n\n", "- a list"],
    [":)\n\n"],
    ["id: 5\n", "name: x\n"],  # YAML, line by line
    ["An event:\n\n", "data: x\n\n"],
    ["data: x\n"] * (MOST_HELD + 2),
    ["data: x\n"],
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("texts", BLOCKS, ids=repr)
def test_blocks_are_refused_before_anything_of_them_goes_out(protocol: str, texts: list[object]) -> None:
    found = encoder(protocol)
    out: list[bytes] = []
    with pytest.raises(InvalidPartError, match="protocol='opaque'"):
        out.extend(payload for text in texts for payload in found.encode(text))
    assert out == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("texts", TEXTS, ids=lambda texts: repr(texts[:3]))
def test_what_a_model_may_say_arrives_whole(protocol: str, texts: list[object]) -> None:
    assert said(protocol, payloads(protocol, texts)) == "".join(map(str, texts))


def test_a_part_that_says_it_is_text_is_not_looked_at() -> None:
    part = {"type": "text-delta", "id": "a", "delta": "data: x\n\n"}
    assert said("ui-message", payloads("ui-message", [part, "data: y\n"])) == "data: x\n\ndata: y\n"


def test_what_was_kept_back_comes_before_a_part_and_before_an_early_end() -> None:
    found = encoder("ui-message")
    assert found.encode("data: x\n") == ()
    part = {"type": "source-url", "sourceId": "s", "url": "u"}
    assert kinds_of(found.encode(part)) == ["text-start", "text-delta", "source-url"]
    ended = encoder("ui-message")
    assert ended.encode("data: x\n") == ()
    assert kinds_of(ended.abandon()) == ["text-start", "text-delta", "text-end"]
    plain = encoder("plain")
    assert plain.encode("data: x\n") == ()
    assert list(plain.abandon()) == [b"data: x\n"]


@given(st.text(min_size=1), st.none() | st.sampled_from(["e", "é"]), st.none() | st.sampled_from(["1", "a b"]))
def test_every_block_is_known(data: str, event: str | None, event_id: str | None) -> None:
    block = encode_block(data, event=event, event_id=event_id).decode()
    for protocol in PROTOCOLS:
        with pytest.raises(InvalidPartError):
            encoder(protocol).encode(block)


def kinds_of(found: Sequence[bytes]) -> list[str]:
    return [json.loads(payload)["type"] for payload in found]


def said(protocol: str, found: list[bytes]) -> str:
    if protocol == "plain":
        return b"".join(found).decode()
    fold = PROTOCOLS["ui-message"].folding("m")
    for payload in found:
        fold.add(payload)
    return "".join(str(part["text"]) for part in fold.message().parts if part["type"] == "text")
