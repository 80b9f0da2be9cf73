"""One odd value in one part of an answer: the part says so, everything else arrives."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, field_serializer

from streamguard.wire.base import LeftOut
from streamguard.wire.folding import fold
from streamguard.wire.ui_message import UIMessageProtocol

PROTOCOL = UIMessageProtocol()
ID = UUID("12345678-1234-5678-1234-567812345678")
UNENCODABLE = "[left out by streamguard: unencodable]"
TOO_LARGE = "[left out by streamguard: too_large]"
LIMIT = 2_000
LARGE = "x" * 5_000


def sent(*items: object) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """What a client gets of these items, between text before and after, and what was told of."""
    told: list[LeftOut] = []
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=LIMIT, on_left_out=told.append)
    payloads: list[bytes] = []
    for item in ("before", *items, "after"):
        payloads += enc.encode(item)
    payloads += [*enc.finish(), *enc.held]
    assert max(map(len, payloads)) <= LIMIT
    message = fold("m", payloads)
    texts = [part["text"] for part in message.parts if part["type"] == "text"]
    assert "".join(map(str, texts)) == "beforeafter"
    parts = [json.loads(payload) for payload in payloads]
    return [part for part in parts if not _is_text(part)], [(one.part, one.reason) for one in told]


def _is_text(part: dict[str, Any]) -> bool:
    return part["type"].startswith("text-") or part == {"type": "finish"}


class Torn(BaseModel):
    type: str = "data-row"
    data: int = 1

    @field_serializer("data")
    def _fail(self, value: int) -> int:
        raise LookupError(value)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"type": "tool-output-available", "toolCallId": ID, "output": {ID: [math.nan, b"\xff", "\ud83e"]}},
            {"type": "tool-output-available", "toolCallId": str(ID), "output": {str(ID): [None, "\ufffd", "\ufffd"]}},
        ),
        (
            {"type": "source-url", "sourceId": 7, "url": "u", "title": "\ud83e"},
            {"type": "source-url", "sourceId": "7", "url": "u", "title": "\ufffd"},
        ),
        (
            {"type": "tool-approval-response", "approvalId": "a", "approved": 1},
            {"type": "tool-approval-response", "approvalId": "a", "approved": True},
        ),
        ({"type": "data-\ud83e", "data": 1, "\ud83e": 2}, {"type": "data-\ufffd", "data": 1, "\ufffd": 2}),
        ({"type": "data-x", "data": 1, 5: 2}, {"type": "data-x", "data": 1, "5": 2}),
        (
            {"type": "message-metadata", "messageMetadata": {"rate": math.inf}},
            {"type": "message-metadata", "messageMetadata": {"rate": None}},
        ),
    ],
)
def test_what_has_a_form_is_sent_in_it(item: object, expected: dict[str, Any]) -> None:
    assert sent(item) == ([expected], [])


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"type": "tool-output-error", "toolCallId": "c", "errorText": ValueError("secret")},
            {"type": "tool-output-error", "toolCallId": "c", "errorText": UNENCODABLE},
        ),
        (
            {"type": "tool-output-error", "toolCallId": "c", "errorText": None},
            {"type": "tool-output-error", "toolCallId": "c", "errorText": UNENCODABLE},
        ),
        (
            {"type": "tool-input-available", "toolCallId": "c", "toolName": "t", "input": [object()]},
            {"type": "tool-input-available", "toolCallId": "c", "toolName": "t", "input": [UNENCODABLE]},
        ),
        (
            {"type": "file", "url": object(), "mediaType": "image/png"},
            {"type": "file", "url": UNENCODABLE, "mediaType": "image/png"},
        ),
        ({"type": "data-x", "data": 1, "transient": "yes"}, {"type": "data-x", "data": 1}),
        (
            {"type": "tool-approval-response", "approvalId": "a", "approved": "yes"},
            {"type": "tool-approval-response", "approvalId": "a", "approved": False},
        ),
        (
            {"type": "file", "url": "u", "mediaType": "m", "providerMetadata": []},
            {"type": "file", "url": "u", "mediaType": "m"},
        ),
        (Torn(), {"type": "data-streamguard-replaced", "data": {"type": "data-row", "reason": "unencodable"}}),
    ],
)
def test_what_has_none_is_replaced_and_told_of(item: object, expected: dict[str, Any]) -> None:
    parts, told = sent(item)
    assert parts == [expected]
    assert [reason for _, reason in told] == ["unencodable"]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"type": "tool-output-available", "toolCallId": "c", "output": [LARGE], "preliminary": True},
            {"type": "tool-output-available", "toolCallId": "c", "output": TOO_LARGE, "preliminary": True},
        ),
        (
            {"type": "tool-input-available", "toolCallId": "c", "toolName": "t", "input": {LARGE: 1}},
            {"type": "tool-input-available", "toolCallId": "c", "toolName": "t", "input": TOO_LARGE},
        ),
        (
            {"type": "tool-output-error", "toolCallId": "c", "errorText": LARGE},
            {"type": "tool-output-error", "toolCallId": "c", "errorText": TOO_LARGE},
        ),
        (
            {"type": "tool-input-start", "toolCallId": "c", "toolName": "t", "providerMetadata": {"p": LARGE}},
            {"type": "tool-input-start", "toolCallId": "c", "toolName": "t"},
        ),
        (
            {"type": "reasoning-start", "id": "r", "providerMetadata": {"p": {"s": LARGE}}},
            {"type": "reasoning-start", "id": "r"},
        ),
        ({"type": "finish-step", "usage": [LARGE]}, {"type": "finish-step"}),
        ({"type": "file", "url": f"data:,{LARGE}", "mediaType": "m"}, "file"),
        ({"type": "data-x", "id": "i", "data": LARGE}, "data-x"),
        ({"type": "data-x", "data": (0 for _ in iter(int, 1))}, "data-x"),
        ({"type": "message-metadata", "messageMetadata": {"m": LARGE}}, "message-metadata"),
        ({"type": "tool-output-available", "toolCallId": "c", "output": 1, "toolMetadata": {"m": LARGE}}, None),
        ({"type": "tool-input-start", "toolCallId": "c", "toolName": LARGE}, "tool-input-start"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else str(value),
)
def test_a_part_over_the_limit_makes_room_for_a_smaller_one(
    item: dict[str, Any], expected: dict[str, Any] | str | None
) -> None:
    parts, told = sent(item)
    if isinstance(expected, str):
        left_out = {"type": expected, "reason": "too_large"}
        expected = {"type": "data-streamguard-replaced", "data": left_out}
    elif expected is None:
        expected = {"type": "tool-output-available", "toolCallId": "c", "output": TOO_LARGE}
    assert [part for part in parts if part["type"] != "reasoning-end"] == [expected]
    assert [reason for _, reason in told] == ["too_large"]


def test_a_finish_over_the_limit_still_finishes() -> None:
    told: list[LeftOut] = []
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=LIMIT, on_left_out=told.append)
    enc.encode({"type": "finish", "finishReason": "stop", "messageMetadata": {"m": LARGE}})
    assert [json.loads(held) for held in enc.held] == [{"type": "finish", "finishReason": "stop"}]
    assert [(one.part, one.reason) for one in told] == [("finish", "too_large")]


def test_an_id_that_is_too_long_still_ties_its_parts_together() -> None:
    parts, told = sent(
        {"type": "tool-input-start", "toolCallId": LARGE, "toolName": "t"},
        {"type": "tool-input-delta", "toolCallId": LARGE, "inputTextDelta": "{}"},
        {"type": "tool-input-available", "toolCallId": LARGE, "toolName": "t", "input": {}},
    )
    assert len({part["toolCallId"] for part in parts}) == 1
    assert told == []


HALVES = [
    ["a\ud83d", "\ude00b"],
    ["\ud83d", "", "\ude00"],
    ["a\ud83d", "b"],
    ["\ude00", "a\ud83d"],
    ["\ud83d", "\ud83d", "\ude00"],
]


def _wrapped(kind: str, id_name: str, name: str, pieces: Sequence[str]) -> list[object]:
    return [{"type": kind, id_name: "1", name: piece} for piece in pieces] if kind else list(pieces)


@pytest.mark.parametrize("pieces", HALVES, ids=ascii)
@pytest.mark.parametrize(
    ("kind", "id_name", "name"),
    [
        ("", "id", "delta"),
        ("text-delta", "id", "delta"),
        ("reasoning-delta", "id", "delta"),
        ("tool-input-delta", "toolCallId", "inputTextDelta"),
    ],
)
@pytest.mark.parametrize("ends", ["by itself", "broken off"])
def test_halves_that_two_deltas_share_meet(kind: str, id_name: str, name: str, pieces: list[str], ends: str) -> None:
    """And one that meets no other is U+FFFD in the end."""
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=LIMIT)
    payloads = [payload for item in _wrapped(kind, id_name, name, pieces) for payload in enc.encode(item)]
    payloads += enc.finish() if ends == "by itself" else enc.abandon()
    deltas = [part for part in map(json.loads, payloads) if part["type"] == (kind or "text-delta")]
    said = "".join(part[name] for part in deltas)
    assert said == "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert not any(b"\\ud8" in payload for payload in payloads)


def test_halves_of_two_texts_do_not_meet() -> None:
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=LIMIT)
    payloads: list[bytes] = []
    for item in (
        {"type": "text-delta", "id": "a", "delta": "\ud83d"},
        {"type": "text-delta", "id": "b", "delta": "\ude00"},
        {"type": "text-end", "id": "a"},
    ):
        payloads += enc.encode(item)
    said = [(part["id"], part["delta"]) for part in map(json.loads, payloads) if "delta" in part]
    assert said == [("b", "\ufffd"), ("a", "\ufffd")]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (r'{"x":"\ud83e","n":1e999}', {"x": "\ufffd", "n": None}),
        (r'["\ud83d\ude00"]', ["😀"]),
        ("[" * 5_000, None),
    ],
)
def test_a_tools_input_that_streamed_in_is_normal_too(raw: str, expected: object) -> None:
    """Its text is valid, but what it stands for may not be."""
    enc = PROTOCOL.encoder(message_id="m", max_event_bytes=10_000)
    payloads: list[bytes] = []
    for item in (
        {"type": "tool-input-start", "toolCallId": "c", "toolName": "t"},
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": raw},
    ):
        payloads += enc.encode(item)
    (part,) = fold("m", payloads).parts
    assert part.get("input") == expected
