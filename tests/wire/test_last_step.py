"""What an answer that ended early says where it had said nothing yet that a provider takes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from streamguard.wire import fold, protocol_named
from streamguard.wire.ui_message.last_step import CUT_OFF

UI = protocol_named("ui-message")

STEP = {"type": "start-step"}
CALL = {"type": "tool-input-available", "toolCallId": "c1", "toolName": "shell", "input": {}}
DATA = {"type": "data-progress", "data": 3}


def reasoning(text: str = "Hm") -> dict[str, object]:
    return {"type": "reasoning-delta", "id": "r", "delta": text}


def texts(*items: object) -> list[object]:
    """The texts of the message that these make, and then an early end; whoever makes that end."""
    encoder = UI.encoder(message_id="m1", max_event_bytes=1_000_000)
    payloads = [payload for item in items for payload in encoder.encode(item)]
    reader = UI.open_parts()
    assert reader is not None
    for payload in payloads:
        reader.add(payload)
    ends = list(encoder.abandon())
    assert list(reader.ends()) == ends
    assert list(encoder.abandon()) == list(reader.ends()) == []
    return [part["text"] for part in fold("m1", [*payloads, *ends]).parts if part["type"] == "text"]


@pytest.mark.parametrize(
    "items",
    [
        [reasoning()],
        [STEP, reasoning(), {"type": "reasoning-end", "id": "r"}],
        [DATA],
        [{"type": "file", "url": "https://x.test/a.png", "mediaType": "image/png"}],
        [CALL, STEP, reasoning()],
    ],
)
def test_a_step_without_a_text_gets_one(items: Sequence[object]) -> None:
    assert texts(*items) == [CUT_OFF]


def test_an_earlier_step_does_not_speak_for_the_last() -> None:
    assert texts("Let me see.", STEP, reasoning()) == ["Let me see.", CUT_OFF]


def test_an_open_text_of_spaces_goes_on() -> None:
    """Anthropic refuses a text of spaces, whatever comes after it."""
    assert texts("\n", " ") == ["\n " + CUT_OFF]
    assert texts({"type": "text-start", "id": "x"}, reasoning()) == [CUT_OFF]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [STEP],
        [CALL, reasoning()],
        [CALL, STEP],
        [{**DATA, "transient": True}],
        [{"type": "source-url", "sourceId": "s", "url": "https://x.test"}],
        [reasoning(), {"type": "reset-step"}],
    ],
)
def test_where_nothing_is_lacking_nothing_is_said(items: Sequence[object]) -> None:
    assert texts(*items) == []


def test_a_text_says_enough() -> None:
    assert texts(" ", "a", reasoning()) == [" a"]
    assert texts(reasoning(), {"type": "text-delta", "id": "x", "delta": "a"}) == ["a"]


def test_an_answer_that_ends_by_itself_is_left_as_it_is() -> None:
    encoder = UI.encoder(message_id="m1", max_event_bytes=1_000_000)
    payloads = [*encoder.encode(reasoning()), *encoder.finish(), *encoder.held]
    assert CUT_OFF not in json.dumps([json.loads(payload) for payload in payloads], ensure_ascii=False)
