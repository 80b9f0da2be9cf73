"""Folding parts into the message, against what AI SDK's own client made of the same parts.

`folds_of_ai_7_0_173.json` was written by `readUIMessageStream` of the npm package `ai` 7.0.173: for each case the
chunks put in and the last message that came out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.wire.folding import MessageFold, UIMessage, fold
from streamguard.wire.partial_json import Json, partial_json
from streamguard.wire.ui_message import UIMessageProtocol


class Case(TypedDict):
    chunks: list[dict[str, object]]
    message: dict[str, Json]


CASES: dict[str, Case] = json.loads((Path(__file__).parent / "folds_of_ai_7_0_173.json").read_text())


def payloads(chunks: Sequence[Mapping[str, object]]) -> list[bytes]:
    return [json.dumps(chunk).encode() for chunk in chunks]


@pytest.mark.parametrize("name", CASES)
def test_the_message_is_the_one_the_client_holds(name: str) -> None:
    assert fold("unused", payloads(CASES[name]["chunks"])).as_dict() == CASES[name]["message"]


@pytest.mark.parametrize("name", CASES)
def test_looking_at_any_point_changes_nothing_and_sees_the_prefix(name: str) -> None:
    parts = payloads(CASES[name]["chunks"])
    live = MessageFold("m")
    seen: list[UIMessage] = []
    for part in parts:
        live.add(part)
        seen.append(live.message())
    assert [message.as_dict() for message in seen] == [fold("m", parts[:n]).as_dict() for n in range(1, len(parts) + 1)]


calls = st.sampled_from(["a", "b"])
spans = st.builds(
    lambda what, step, part_id: {
        "type": f"{what}-{step}",
        "id": part_id,
        **({"delta": "d"} if step == "delta" else {}),
    },
    st.sampled_from(["text", "reasoning"]),
    st.sampled_from(["start", "delta", "end"]),
    calls,
)
tools = st.builds(
    lambda step, call: {"type": f"tool-{step}", "toolCallId": call, **_TOOL_FIELDS[step]},
    st.deferred(lambda: st.sampled_from(sorted(_TOOL_FIELDS))),
    calls,
)
_TOOL_FIELDS: dict[str, dict[str, object]] = {
    "input-start": {"toolName": "n"},
    "input-delta": {"inputTextDelta": '{"a":['},
    "input-available": {"toolName": "n", "input": {}},
    "output-available": {"output": 1},
    "output-error": {"errorText": "e"},
    "output-denied": {},
}
data = st.builds(lambda part_id, value: {"type": "data-x", "id": part_id, "data": value}, calls, st.integers())
steps = st.sampled_from([{"type": "start-step"}, {"type": "finish-step"}])
streams = st.lists(st.text("ab", max_size=2) | spans | tools | data | steps, max_size=15)


def encoded(items: list[object]) -> list[bytes]:
    encoder = UIMessageProtocol().encoder(message_id="msg_1", max_event_bytes=1_048_576)
    out = [*encoder.begin()]
    for item in items:
        out += encoder.encode(item)
    return [*out, *encoder.finish(), *encoder.held]


@given(st.lists(streams, min_size=1, max_size=3))
def test_a_continued_message_folds_the_same_in_pieces(replies: list[list[object]]) -> None:
    """Stream by stream, through storage in between, or all logs at once."""
    logs = [encoded(items) for items in replies]
    message: UIMessage | None = None
    for log in logs:
        message = fold("msg_1", log, message)
        message = UIMessage.from_dict(json.loads(json.dumps(message.as_dict())))
    assert message == fold("msg_1", [payload for log in logs for payload in log])


def test_a_tool_call_of_an_earlier_stream_gets_its_output() -> None:
    first = fold(
        "m", payloads([{"type": "tool-input-available", "toolCallId": "c", "toolName": "n", "input": {"x": 1}}])
    )
    second = fold(
        "m",
        payloads([{"type": "start-step"}, {"type": "tool-output-available", "toolCallId": "c", "output": 2}]),
        first,
    )
    assert second.parts == (
        {"type": "tool-n", "toolCallId": "c", "state": "output-available", "input": {"x": 1}, "output": 2},
        {"type": "step-start"},
    )
    assert first.parts[0]["state"] == "input-available"


def test_a_tool_input_of_an_earlier_stream_grows_on() -> None:
    first = fold(
        "m",
        payloads(
            [
                {"type": "tool-input-start", "toolCallId": "c", "toolName": "n"},
                {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"a":"b'},
            ]
        ),
    )
    assert first.parts[0]["input"] == {"a": "b"}
    second = fold("m", payloads([{"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": 'c"}'}]), first)
    assert second.parts[0]["input"] == {"a": "bc"}


def test_an_input_that_is_no_json_and_a_step_nobody_knows() -> None:
    message = fold(
        "m",
        payloads(
            [
                {"type": "tool-input-start", "toolCallId": "c", "toolName": "n"},
                {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "?"},
                {"type": "tool-of-the-future", "toolCallId": "c"},
            ]
        ),
    )
    assert message.parts == ({"type": "tool-n", "toolCallId": "c", "state": "input-streaming", "rawInput": "?"},)


def test_references_to_nothing_are_left_out() -> None:
    message = fold(
        "m",
        payloads(
            [
                {"type": "text-delta", "id": "t", "delta": "x"},
                {"type": "reasoning-end", "id": "t"},
                {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "x"},
                {"type": "tool-output-available", "toolCallId": "c", "output": 1},
                {"type": "tool-approval-response", "approvalId": "c", "approved": True},
                {"type": "of-the-future"},
                {"type": "error", "errorText": "e"},
            ]
        ),
    )
    assert message == UIMessage("m")
    assert message.as_dict() == {"id": "m", "role": "assistant", "parts": []}


def test_metadata_of_another_kind_replaces() -> None:
    parts = [
        {"type": "start", "messageMetadata": m} for m in ({"a": {"b": 1}}, {"a": "text", "__proto__": {"x": 1}}, "all")
    ]
    assert fold("m", payloads(parts[:2])).metadata == {"a": "text"}
    assert fold("m", payloads(parts)).metadata == "all"


def test_an_approved_call_keeps_what_the_provider_said() -> None:
    message = fold(
        "m",
        payloads(
            [
                {"type": "tool-input-available", "toolCallId": "c", "toolName": "n", "input": 1},
                {"type": "tool-approval-request", "toolCallId": "c", "approvalId": "a", "approvalDescriptor": {"d": 1}},
                {
                    "type": "tool-approval-response",
                    "approvalId": "a",
                    "approved": False,
                    "providerMetadata": {"p": {}},
                    "providerExecuted": True,
                },
            ]
        ),
    )
    assert message.parts[0] == {
        "type": "tool-n",
        "toolCallId": "c",
        "input": 1,
        "state": "approval-responded",
        "approval": {"id": "a", "descriptor": {"d": 1}, "approved": False},
        "callProviderMetadata": {"p": {}},
        "providerExecuted": True,
    }


@pytest.mark.parametrize("bad", [b"[]", b"nope", b'"x"'])
def test_a_payload_that_is_no_part_is_an_error(bad: bytes) -> None:
    with pytest.raises(ValueError):
        MessageFold("m").add(bad)


@pytest.mark.parametrize(
    "raw",
    [
        {"id": "m", "role": "user", "parts": []},
        {"role": "assistant", "parts": []},
        {"id": "m", "role": "assistant", "parts": {}},
        {"id": "m", "role": "assistant", "parts": ["x"]},
        {"id": "m", "role": "assistant", "parts": [{"text": "x"}]},
    ],
)
def test_what_is_no_assistant_message_is_refused(raw: dict[str, Json]) -> None:
    with pytest.raises(ValueError):
        UIMessage.from_dict(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.booleans())
@pytest.mark.long
def test_whole_json_is_read_as_it_is(value: Json, ascii_only: bool) -> None:
    assert partial_json(json.dumps(value, ensure_ascii=ascii_only)) == (value,)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=3), st.integers(0, 200))
def test_any_prefix_of_an_object_is_an_object_of_its_first_keys(value: dict[str, Json], at: int) -> None:
    text = json.dumps(value)
    got = partial_json(text[: 1 + at])
    assert got is not None
    (found,) = got
    assert isinstance(found, dict)
    assert list(found) == list(value)[: len(found)]
    assert all(found[key] == value[key] for key in list(found)[:-1])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":[1,-2.', {"a": [1, -2]}),
        ("[1e", [1]),
        ("[-", []),
        ("[1,", [1]),
        ('{"a":1,"b', {"a": 1}),
        ('{"a":1,"b"', {"a": 1}),
        ('{"a":1,"b":', {"a": 1}),
        ('{"a":1,', {"a": 1}),
        ('["x\\', ["x"]),
        ('["x\\u00e', ["x"]),
        ('["x\\\\', ["x\\"]),
        ('"\\"', '"'),
        ("tr", True),
        (" n", None),
        ("{", {}),
        ("[", []),
    ],
)
def test_what_breaks_off_counts_as_far_as_it_goes(text: str, value: Json) -> None:
    assert partial_json(text) == (value,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "nope",
        "[1 2]",
        '{"a" 1}',
        "{1:2}",
        "[1]]",
        '"\x01"',
        '"\\x"',
        "NaN",
        "01",
        "[1-2]",
        "?",
        "[" * 100_000,
        "truth",
        "truth,",
    ],
)
def test_what_is_no_json_has_no_value(text: str) -> None:
    assert partial_json(text) is None


def test_a_text_that_has_ended_is_joined_when_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks may do so in a thread; adding a part never takes longer than the part is long."""
    joinings: list[int] = []

    def counted(pieces: Sequence[str]) -> str:
        joinings.append(len(pieces))
        return "".join(pieces)

    monkeypatch.setattr("streamguard.wire.folding.joined", counted)
    folding = MessageFold("m1")
    for part in (
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": "a"},
        {"type": "text-delta", "id": "t", "delta": "b"},
        {"type": "text-end", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": "too late"},
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": "c"},
    ):
        folding.add(json.dumps(part).encode())
    assert joinings == []
    assert [part["text"] for part in folding.message().parts] == ["ab", "c"]
    assert joinings == [2, 1]
    assert [part["text"] for part in folding.message().parts] == ["ab", "c"]
    assert joinings == [2, 1, 1]
