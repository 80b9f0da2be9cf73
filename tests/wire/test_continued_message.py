"""A message told as parts, before the log of a stream that continues it: whoever folds the parts holds the message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from streamguard.wire import UIMessage, protocol_named
from streamguard.wire.folding import fold
from streamguard.wire.sse import EventParser

from .golden import GOLDEN, fold_streams, load

LIMIT: Final = 1_048_576
FOLDS: Final = json.loads((Path(__file__).parent / "folds_of_ai_7_0_173.json").read_text())


REFUSED: Final = {"id": "a1", "approved": False}


def told(message: UIMessage, version: str = "7.0.173") -> list[dict[str, Any]]:
    frames = protocol_named("ui-message", version).continued(message, None, max_event_bytes=LIMIT)
    events = EventParser().feed(frames)
    assert {event.last_event_id for event in events} <= {""}
    return [json.loads(event.data) for event in events]


def held(message: UIMessage, version: str = "7.0.173") -> UIMessage:
    return fold("another", [json.dumps(part).encode() for part in told(message, version)])


def at_rest(part: Mapping[str, Any]) -> dict[str, Any]:
    """A text that goes on is told as one that has ended: its stream ended too. A call that was refused has the text of
    its input."""
    if part["type"] in ("text", "reasoning"):
        return {**part, "state": "done"}
    if part.get("state") in ("approval-responded", "output-denied"):
        return {**part, "rawInput": json.dumps(part["input"], ensure_ascii=False)}
    return dict(part)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("ui-message/")])
def test_a_recorded_message_is_told_whole(name: str) -> None:
    log = load(name)
    message = fold_streams(log, [stream.payloads for stream in log.streams])
    assert held(message) == UIMessage(message.id, tuple(map(at_rest, message.parts)), message.metadata)


@pytest.mark.parametrize("name", FOLDS)
def test_what_the_client_held_it_holds_again(name: str) -> None:
    message = UIMessage.from_dict(FOLDS[name]["message"])
    assert held(message) == UIMessage(message.id, tuple(map(at_rest, message.parts)), message.metadata)


def test_a_call_that_has_its_result_is_not_run_again() -> None:
    calls: list[dict[str, Any]] = [
        {"type": "tool-where", "toolCallId": "1", "state": "output-available", "input": {}, "output": "home"},
        {"type": "tool-where", "toolCallId": "2", "state": "output-error", "input": {}, "errorText": "no"},
        {"type": "tool-where", "toolCallId": "3", "state": "input-available", "input": {}},
        {"type": "tool-book", "toolCallId": "4", "state": "output-denied", "input": {}, "approval": REFUSED},
        {"type": "tool-book", "toolCallId": "5", "state": "approval-responded", "input": {}, "approval": REFUSED},
    ]
    run = [part["toolCallId"] for part in told(UIMessage("m", tuple(calls))) if part["type"] == "tool-input-available"]
    assert run == ["3"]


def test_a_version_gets_what_it_takes() -> None:
    call: dict[str, Any] = {"type": "tool-book", "toolCallId": "1", "state": "approval-responded", "input": {}}
    call["approval"] = {"id": "a1", "approved": True}
    message = UIMessage("m", ({"type": "text", "text": "May I?"}, call))
    assert [part["state"] for part in held(message, "6.0.322").parts[1:]] == ["approval-requested"]
    assert [part["state"] for part in held(message, "7.0.173").parts[1:]] == ["approval-responded"]


@pytest.mark.parametrize("version", ["5.0.0", "6.0.0", "7.0.0"])
def test_a_client_that_appends_what_it_resumes_is_told_nothing(version: str) -> None:
    assert told(UIMessage("m", ({"type": "text", "text": "It is there already."},)), version) == []


def test_protocols_whose_clients_hold_no_message_tell_nothing() -> None:
    message = UIMessage("m", ({"type": "text", "text": "before"},))
    for name in ("plain", "openai", "anthropic", "opaque"):
        assert protocol_named(name).continued(message, None, max_event_bytes=LIMIT) == b""
    assert protocol_named("ui-message-raw").continued(message, None, max_event_bytes=LIMIT) != b""
