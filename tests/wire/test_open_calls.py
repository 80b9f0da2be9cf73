"""What ends the tool calls of an answer that ended early: each gets an end and an input, in any order of parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamguard.wire import UIMessage, fold, protocol_named
from streamguard.wire.base import Encoder
from streamguard.wire.closed_calls import CALL_CLOSED
from streamguard.wire.ui_message.tool_results import with_tool_results

UI = protocol_named("ui-message")

STEP = {"type": "start-step"}


def start(call_id: str = "c1", **more: object) -> dict[str, object]:
    return {"type": "tool-input-start", "toolCallId": call_id, "toolName": "shell", **more}


def delta(text: str, call_id: str = "c1") -> dict[str, object]:
    return {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": text}


def whole(call_id: str = "c1", **more: object) -> dict[str, object]:
    return {"type": "tool-input-available", "toolCallId": call_id, "toolName": "shell", "input": {"q": 1}, **more}


def of_call(kind: str, **more: object) -> dict[str, object]:
    return {"type": kind, "toolCallId": "c1", **more}


def broken_off(items: Sequence[object], *, answered: Sequence[dict[str, object]] = ()) -> tuple[list[bytes], Encoder]:
    """What was said of these until the answer broke off, and the encoder, which is still to abandon it."""
    encoder = UI.encoder(message_id="m1", max_event_bytes=1_000_000)
    encoder.answered(answered)
    payloads = list(encoder.begin())
    for item in items:
        payloads += encoder.encode(item)
    return payloads, encoder


def ends(*items: object, answered: Sequence[dict[str, object]] = ()) -> list[dict[str, object]]:
    _, encoder = broken_off(items, answered=answered)
    return [json.loads(payload) for payload in encoder.abandon()]


def closing(call_id: str = "c1", **more: object) -> dict[str, object]:
    return {"type": "tool-output-error", "toolCallId": call_id, "errorText": CALL_CLOSED, **more}


def test_a_call_that_waits_for_its_output_gets_an_error() -> None:
    assert ends(whole()) == [closing()]
    assert ends(whole(), of_call("tool-approval-request", approvalId="a1")) == [closing()]
    assert ends(whole(), of_call("tool-approval-response", approvalId="a1", approved=True)) == [closing()]
    assert ends(whole(providerExecuted=True)) == [closing()]


def test_a_dynamic_call_is_named_so_for_5_0_0() -> None:
    assert ends(whole(dynamic=True)) == [closing(dynamic=True)]


@pytest.mark.parametrize(
    "end",
    [
        of_call("tool-output-available", output=1),
        of_call("tool-output-available", output=1, preliminary=True),
        of_call("tool-output-error", errorText="no"),
        of_call("tool-output-denied"),
        of_call("tool-input-error", toolName="shell", input={}, errorText="no"),
    ],
)
def test_a_call_that_has_its_end_is_left_alone(end: dict[str, object]) -> None:
    assert ends(start(), delta("{}"), whole(), end) == []


def test_an_input_that_is_not_whole_counts_as_far_as_it_goes() -> None:
    """A page may be showing it: a document, say."""
    items = [start(), delta('{"text": "Once up'), delta("on a")]
    assert ends(*items) == [closing()]
    payloads, encoder = broken_off(items)
    (call,) = fold("m1", [*payloads, *encoder.abandon()]).parts
    assert (call["state"], call["input"]) == ("output-error", {"text": "Once upon a"})


def test_a_call_without_an_input_gets_an_empty_one() -> None:
    assert ends(start()) == [delta("{}"), closing()]
    assert ends(start(), delta(" "), delta("\n")) == [delta("{}"), closing()]
    assert ends(start(), delta(" "), delta("{")) == [closing()]


def test_an_input_that_is_no_object_begins_again() -> None:
    """Anthropic takes only objects."""
    assert ends(start(dynamic=True), delta("[1")) == [start(dynamic=True), delta("{}"), closing(dynamic=True)]


def test_a_text_input_stays_a_text() -> None:
    assert ends(start(inputEncoding="text"), delta("SELECT")) == [closing()]
    assert ends(start(inputEncoding="text")) == [delta(""), closing()]


def test_an_input_of_an_earlier_step_is_not_touched() -> None:
    """Version 7 would make a new call of a piece of it."""
    assert ends(start(), STEP) == [closing()]


def test_calls_of_a_step_that_was_reset_are_gone() -> None:
    assert ends(whole("c0"), STEP, whole(), start("c2"), {"type": "reset-step"}) == [closing("c0")]


def test_what_was_held_back_is_no_call() -> None:
    assert ends({"type": "finish"}, whole()) == []


def test_a_result_that_was_held_back_is_no_end() -> None:
    assert ends(whole(), {"type": "finish"}, of_call("tool-output-available", output=1)) == [closing()]


def test_a_natural_end_that_is_overruled_still_ends_its_calls() -> None:
    _, encoder = broken_off(["text", whole()])
    encoder.finish()
    assert [json.loads(payload) for payload in encoder.abandon()] == [closing()]


def test_only_answered_approvals_of_an_earlier_stream_are_this_streams_to_end() -> None:
    parts: list[dict[str, object]] = [
        {"type": "tool-shell", "toolCallId": "c1", "state": "approval-responded"},
        {"type": "dynamic-tool", "toolName": "x", "toolCallId": "c2", "state": "approval-responded"},
        {"type": "tool-shell", "toolCallId": "c3", "state": "approval-requested"},
        {"type": "tool-shell", "toolCallId": "c4", "state": "input-available"},
        {"type": "text", "text": "t"},
    ]
    assert ends(answered=parts) == [closing(), closing("c2", dynamic=True)]
    assert ends(of_call("tool-output-denied"), answered=parts) == [closing("c2", dynamic=True)]


@pytest.mark.parametrize("protocol", ["plain", "opaque"])
def test_other_protocols_have_no_calls(protocol: str) -> None:
    assert protocol_named(protocol).open_parts() is None


def test_our_error_does_not_undo_a_result() -> None:
    done = {"type": "tool-shell", "toolCallId": "c1", "state": "output-available", "input": {}, "output": 1}
    before = UIMessage.from_dict({"id": "m1", "role": "assistant", "parts": [done]})  # type: ignore[list-item]
    assert fold("m1", [json.dumps(closing()).encode()], before).parts == before.parts
    theirs = {**closing(), "errorText": "the disk is full"}
    assert fold("m1", [json.dumps(theirs).encode()], before).parts[0]["errorText"] == "the disk is full"


def closed(*items: object) -> UIMessage:
    payloads, encoder = broken_off(items)
    return fold("m1", [*payloads, *encoder.abandon()])


def result(state: str, **more: object) -> dict[str, object]:
    return {"type": "tool-shell", "toolCallId": "c1", "state": state, **more}


def merged(message: UIMessage, given: dict[str, object]) -> dict[str, object] | None:
    after = with_tool_results(message, [given])  # type: ignore[list-item]
    return None if after is message else dict(after.parts[0])


def test_a_late_result_replaces_our_error() -> None:
    late = result("output-available", output="here")
    assert merged(closed(whole()), late) == {**late, "input": {"q": 1}}
    assert merged(closed(start(), delta('{"q": 1')), late) == {**late, "input": {"q": 1}}
    failed = result("output-error", errorText="no such file")
    assert merged(closed(whole()), failed) == {**failed, "input": {"q": 1}}


def test_a_late_approval_replaces_our_error() -> None:
    asked = closed(whole(), of_call("tool-approval-request", approvalId="a1"))
    late = result("approval-responded", approval={"id": "a1", "approved": True})
    assert merged(asked, late) == {**late, "input": {"q": 1}}
    assert merged(asked, result("approval-responded", approval={"id": "a2", "approved": True})) is None


def test_a_late_result_replaces_no_error_of_the_hosts() -> None:
    payloads, _ = broken_off([whole(), of_call("tool-output-error", errorText="the disk is full")])
    assert merged(fold("m1", payloads), result("output-available", output="forged")) is None


def test_our_error_sent_back_changes_nothing() -> None:
    assert merged(closed(whole()), result("output-error", errorText=CALL_CLOSED)) is None


ids = st.sampled_from(["c1", "c2"])
inputs = st.builds(start, ids) | st.builds(delta, st.sampled_from(["{", '{"a": "b', "[", "x", " ", '"']), ids)
outputs = st.builds(
    lambda kind, call_id: {"type": kind, "toolCallId": call_id, "output": 1, "errorText": "e", "approvalId": "a"},
    st.sampled_from(["tool-output-available", "tool-output-error", "tool-output-denied", "tool-approval-request"]),
    ids,
)
spans = st.builds(
    lambda what, step: {"type": f"{what}-{step}", "id": "t", "delta": "d"},
    st.sampled_from(["text", "reasoning"]),
    st.sampled_from(["start", "delta", "end"]),
)
steps = st.sampled_from(["start-step", "finish-step", "reset-step"]).map(lambda kind: {"type": kind})
items = st.lists(st.text("ab", max_size=2) | inputs | st.builds(whole, ids) | outputs | spans | steps, max_size=15)


def with_ids_of_one_step(items: Sequence[object]) -> list[object]:
    """Without calls that take the id of one from an earlier step: no part can name that any more."""
    step, begun = 0, dict[object, int]()
    kept: list[object] = []
    for item in items:
        kind = item.get("type") if isinstance(item, dict) else ""
        step += kind == "start-step"
        if kind in ("tool-input-start", "tool-input-available"):
            assert isinstance(item, dict)
            if begun.setdefault(item["toolCallId"], step) != step:
                continue
        kept.append(item)
    return kept


REASONING_GOES_ON: Final = [
    {"type": "reasoning-start", "id": "t"},
    {"type": "start-step"},
    {"type": "reasoning-delta", "id": "t", "delta": "d"},
]
"""In the next step, whose first part is a delta."""


@example(REASONING_GOES_ON)
@given(items.map(with_ids_of_one_step))
def test_nothing_is_open_after_an_early_end_and_a_log_says_what_its_encoder_says(said: list[object]) -> None:
    payloads, encoder = broken_off(said)
    reader = UI.open_parts()
    assert reader is not None
    for payload in payloads:
        reader.add(payload)
    ended = list(encoder.abandon())
    assert sorted(reader.ends()) == sorted(ended)
    assert list(encoder.abandon()) == list(reader.ends()) == []
    for part in fold("m1", [*payloads, *ended]).parts:
        if "toolCallId" in part:
            assert part["state"] in ("output-available", "output-error", "output-denied")
        elif {"type": "reset-step"} not in said:  # which has clients forget texts that began before the step
            assert part.get("state") in ("done", None)


def test_a_log_that_cannot_be_read_opens_nothing() -> None:
    reader = UI.open_parts()
    assert reader is not None
    for payload in (b"\xff", b"{", b"[]", b"3", b'{"type":3}', b'{"type":"tool-input-delta"}'):
        reader.add(payload)
    assert list(reader.ends()) == []
