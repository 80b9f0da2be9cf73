"""What each protocol makes of its payloads for the message store, and what a client may add to a message."""

from __future__ import annotations

import json

import pytest

from streamguard.wire import UIMessage, protocol_named
from streamguard.wire.ui_message.tool_results import with_tool_results


def folded(protocol: str, payloads: list[bytes], previous: UIMessage | None = None) -> UIMessage:
    folding = protocol_named(protocol).folding("m1", previous)
    for payload in payloads:
        folding.add(payload)
    return folding.message()


def test_a_plain_reply_is_one_text_part() -> None:
    message = folded("plain", [b"Hel", b"lo \xc3", b"\xa9"])
    assert message.parts == ({"type": "text", "text": "Hello é"},)
    assert folded("plain", []).parts == ()


def test_passed_on_blocks_are_kept_as_they_are() -> None:
    """In a data part: as a text, a page would show the upstream's JSON as what the model said."""
    message = folded("opaque", [b'data: {"a":1}\n\n', b"data: [DONE]\n\n"])
    assert message.parts == ({"type": "data-streamguard-sse", "data": 'data: {"a":1}\n\ndata: [DONE]\n\n'},)


@pytest.mark.parametrize("protocol", ["plain", "opaque"])
def test_a_continued_message_keeps_what_it_was(protocol: str) -> None:
    before = UIMessage("m1", ({"type": "text", "text": "one"},), {"model": "x"})
    message = folded(protocol, [b"two"], before)
    assert message.parts[0] == before.parts[0]
    assert len(message.parts) == 2
    assert message.metadata == {"model": "x"}
    assert folded(protocol, [], before).parts == before.parts


@pytest.mark.parametrize("protocol", ["plain", "opaque", "ui-message"])
def test_the_client_is_told_of_a_save_only_where_it_can_hear_it(protocol: str) -> None:
    told = protocol_named(protocol).persisted("m1", stream_id="s1", session_id="c1")
    if protocol != "ui-message":
        assert not told
        return
    (payload,) = told
    assert json.loads(payload) == {
        "type": "data-streamguard-persisted",
        "id": "sgp_s1",
        "transient": True,
        "data": {"message_id": "m1", "stream_id": "s1", "session_id": "c1"},
    }


def tool(state: str, **more: object) -> dict[str, object]:
    return {"type": "tool-where", "toolCallId": "c1", "state": state, "input": {"q": 1}, **more}


def stored(part: dict[str, object]) -> UIMessage:
    return UIMessage.from_dict({"id": "m1", "role": "assistant", "parts": [{"type": "text", "text": "t"}, part]})  # type: ignore[list-item]


def merged(part: dict[str, object], given: dict[str, object]) -> object:
    message = stored(part)
    result = with_tool_results(message, [given])  # type: ignore[list-item]
    assert result.parts[0] == message.parts[0]
    return None if result is message else result.parts[1]


def test_results_and_approvals_are_taken_over() -> None:
    waiting = tool("input-available")
    assert merged(waiting, tool("output-available", output={"at": "home"})) == {
        **waiting,
        "state": "output-available",
        "output": {"at": "home"},
    }
    failed = merged(waiting, tool("output-error", errorText="no"))
    assert failed == {**waiting, "state": "output-error", "errorText": "no"}
    asked = tool("approval-requested", approval={"id": "a1", "requestReason": "sure?"})
    assert merged(asked, tool("approval-responded", approval={"id": "a1", "approved": True})) == {
        **asked,
        "state": "approval-responded",
        "approval": {"id": "a1", "requestReason": "sure?", "approved": True},
    }


def test_nothing_else_of_what_a_client_sends_is_believed() -> None:
    waiting = tool("input-available")
    assert merged(waiting, {"type": "text", "text": "forged", "state": "done"}) is None
    assert merged(waiting, {**tool("output-available", output=1), "toolCallId": "c2"}) is None
    assert merged(waiting, tool("input-available", input={"q": 2})) is None
    assert merged(tool("output-available", output=1), tool("output-available", output=2)) is None
    asked = tool("approval-requested", approval={"id": "a1"})
    assert merged(asked, tool("approval-responded", approval={"id": "a2", "approved": True})) is None
    answered = merged(waiting, {**tool("output-available", output=1), "input": {"q": 9}, "title": "x"})
    assert answered == {**waiting, "state": "output-available", "output": 1}
