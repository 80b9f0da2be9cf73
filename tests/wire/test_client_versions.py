"""What each version of AI SDK's client is sent, and that what is saved is the same for all. The packages themselves are
asked in `tests/clients/test_versions.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.values import Event, EventKind, Outcome
from streamguard.wire import UIMessage, fold, protocol_named
from streamguard.wire.base import LeftOut, WireProtocol
from streamguard.wire.ui_message.client_versions import UNSPECIFIED, VERSIONS, client_version
from streamguard.wire.ui_message.parts import KNOWN
from streamguard.wire.values import Reason

LIMIT: Final = 1_048_576
TESTED: Final = ["5.0.0", "5.0.277", "6.0.0", "6.0.322", "7.0.0", "7.0.173"]

Part = dict[str, object]


class Answer:
    """The stream that these items make for a client of `version`."""

    def __init__(self, version: str, *items: object, limit: int = LIMIT) -> None:
        self.left_out: list[LeftOut] = []
        self.protocol: WireProtocol = protocol_named("ui-message", version)
        encoder = self.protocol.encoder(message_id="m", max_event_bytes=limit, on_left_out=self.left_out.append)
        said = [*encoder.begin()]
        for item in items:
            said += encoder.encode(item)
        said += encoder.finish()
        held = self.protocol.closing(Outcome.COMPLETED, None, encoder.held)
        self.payloads: list[bytes] = [*said, *held]
        self.kinds: list[EventKind] = [EventKind.DATA] * len(said) + [EventKind.CLOSING] * len(held)

    @property
    def frames(self) -> list[bytes]:
        """The events' frames, each made in every way there is."""
        blocks = self.protocol.blocks(1, self.kinds, self.payloads, b"id: 1.s.7.")
        for seq, (kind, payload, block) in enumerate(zip(self.kinds, self.payloads, blocks, strict=True), 1):
            assert self.protocol.block(seq, kind, payload, b"id: 1.s.7.") == block
            assert self.protocol.frame(Event(seq, kind, payload, 7), f"1.s.7.{seq}") == block
            bare = self.protocol.block(seq, kind, payload, None)
            assert block == (b"id: 1.s.7.%d\n" % seq + bare if bare else b"")
        return blocks

    @property
    def sent(self) -> list[Part]:
        """The parts that the client gets."""
        return [json.loads(block.splitlines()[-2].removeprefix(b"data: ")) for block in self.frames if block]

    @property
    def new(self) -> list[Part]:
        """Without what every answer begins with."""
        return self.sent[1:]

    @property
    def saved(self) -> UIMessage:
        return fold("m", self.payloads)


CALL: Final = {"toolCallId": "c", "toolName": "t"}
START: Final[Part] = {"type": "tool-input-start", **CALL}
FAILED: Final[Part] = {"type": "tool-input-error", **CALL, "input": "not JSON", "errorText": "no"}


# -- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "field", "since"),
    [
        ({"type": "finish", "finishReason": "length", "messageMetadata": {"a": 1}}, "finishReason", "5.0.277"),
        ({"type": "abort", "reason": "the page said so"}, "reason", "6.0.322"),
        ({"type": "tool-input-start", **CALL, "title": "A tool"}, "title", "5.0.277"),
        ({"type": "tool-input-available", **CALL, "input": {}, "title": "A tool"}, "title", "5.0.277"),
        ({"type": "data-x", "data": 1, "of_the_host": 2}, "of_the_host", "5.0.277"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value["type"]),
)
@pytest.mark.parametrize("version", TESTED)
def test_a_field_is_sent_to_versions_that_take_it(part: Part, field: str, since: str, version: str) -> None:
    """Of the strict ones, those that know it; of the others, all."""
    strict = {"5.0.0": (), "6.0.0": ("finishReason", "title"), "7.0.0": ("finishReason", "title", "reason")}
    answer = Answer(version, part)
    found = next(sent for sent in answer.sent if sent["type"] == part["type"])
    taken = field in strict.get(version, (field,))
    assert found == {name: value for name, value in part.items() if taken or name != field}
    assert answer.saved == Answer("", part).saved
    assert json.loads(answer.payloads[answer.sent.index(found)]) == part
    assert answer.left_out == []


@pytest.mark.parametrize("version", ["", *TESTED])
@pytest.mark.parametrize("reason", ["stop", "interrupted", "unknown", "of_the_future"])
def test_a_finish_reason_that_the_version_refuses_becomes_other(version: str, reason: str) -> None:
    *_, finish = Answer(version, {"type": "finish", "finishReason": reason}).sent
    some = {"7.0.173": "interrupted", "5.0.277": "unknown"}
    known = reason in ("stop", some.get(version))
    expected = {} if version == "5.0.0" else {"finishReason": reason if known else "other"}
    assert finish == {"type": "finish", **expected}


def test_pieces_of_text_lose_what_their_version_does_not_take() -> None:
    part = {"type": "text-delta", "id": "t", "delta": "a", "of_the_host": 1}
    for version in ("5.0.0", "6.0.0", "7.0.0"):
        answer = Answer(version, part)
        assert {"type": "text-delta", "id": "t", "delta": "a"} in answer.sent
        assert not [payload for payload in answer.payloads if b"\n" in payload]
    assert part in Answer("7.0.173", part).sent


def test_a_field_that_does_not_fit_is_left_out_with_a_warning() -> None:
    part = {"type": "data-x", "data": "d" * 400, "more": "m" * 400}
    answer = Answer("5.0.0", part, limit=600)
    assert answer.sent[1] == {"type": "data-x", "data": "d" * 400}
    assert [(one.part, one.reason) for one in answer.left_out] == [("data-x", Reason.TOO_LARGE)]
    assert max(map(len, answer.payloads)) <= 600


# -- parts ------------------------------------------------------------------------------------------------------------

LATE_PARTS: Final[Sequence[tuple[Part, str]]] = [
    ({"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c"}, "6.0.0"),
    ({"type": "tool-output-denied", "toolCallId": "c"}, "6.0.0"),
    ({"type": "tool-approval-response", "approvalId": "a", "approved": True}, "7.0.0"),
    ({"type": "custom", "kind": "a.b"}, "7.0.0"),
    ({"type": "reasoning-file", "url": "u", "mediaType": "m"}, "7.0.0"),
    ({"type": "steering-message", "id": "i", "parts": []}, "7.0.173"),
]


@pytest.mark.parametrize(("part", "since"), LATE_PARTS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("version", TESTED)
def test_a_part_is_sent_to_versions_that_take_it_and_saved_for_all(part: Part, since: str, version: str) -> None:
    items = ({"type": "tool-input-available", **CALL, "input": {}}, part, "text", part)
    answer, whole = Answer(version, *items), Answer("", *items)
    sent = [one for one in answer.sent if one["type"] == part["type"]]
    if _number(version) >= _number(since):
        assert (sent, answer.left_out) == ([part, part], [])
    else:
        assert sent == []
        assert [(one.part, one.reason) for one in answer.left_out] == [(part["type"], Reason.UNKNOWN_PART)]
    assert answer.saved == whole.saved
    assert [one for one in answer.sent if one["type"] == "text-delta"] == [
        one for one in whole.sent if one["type"] == "text-delta"
    ]


def _number(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


@pytest.mark.parametrize(
    "begun", [list[Part](), [START], [{**START, "dynamic": True}]], ids=["new", "begun", "dynamic"]
)
def test_a_failed_input_is_a_failed_call_on_5_0_0(begun: list[Part]) -> None:
    part = {**FAILED, "title": "A tool", "providerMetadata": {"p": {"k": 1}}}
    answer = Answer("5.0.0", *begun, part)
    dynamic = {"dynamic": True} if begun and "dynamic" in begun[0] else {}
    assert answer.new == [
        *(begun or [START]),
        {"type": "tool-output-error", "toolCallId": "c", "errorText": "no", **dynamic},
        {"type": "finish"},
    ]
    assert answer.saved == Answer("", *begun, part).saved
    assert answer.left_out == []
    assert answer.new[0]["type"] != "tool-input-available", "the page would run the tool"


@pytest.mark.parametrize("version", ["5.0.0", "5.0.277"])
def test_version_5_is_told_which_results_are_of_dynamic_calls(version: str) -> None:
    output = {"type": "tool-output-available", "toolCallId": "c", "output": 1}
    begin = {"type": "tool-input-available", **CALL, "input": {}, "dynamic": True}
    assert {**output, "dynamic": True} in Answer(version, begin, output).sent
    assert output in Answer(version, {**begin, "dynamic": False}, output).sent
    assert output in Answer("6.0.0", begin, output).sent


def test_a_version_without_reset_step_has_its_open_texts_ended() -> None:
    items = ({"type": "start-step"}, {"type": "text-start", "id": "t"}, "said", {"type": "reset-step"}, "again")
    late, early = Answer("7.0.173", *items), Answer("6.0.0", *items)
    open_texts = 0
    for part in early.sent:
        open_texts += {"text-start": 1, "text-end": -1}.get(str(part["type"]), 0)
    assert open_texts == 0
    assert {"type": "reset-step"} in late.sent
    assert {"type": "reset-step"} not in early.sent
    assert early.saved == late.saved


@pytest.mark.parametrize("version", ["", *TESTED])
def test_no_unknown_type_ends_an_answer_and_each_is_told_of_once(version: str) -> None:
    unknown = [{"type": name} for name in ("ping", "reasoning", "data", "tool-of-the-future", "x" * 100_000)]
    answer = Answer(version, "a", *unknown, "b", *unknown, {"type": "finish"}, *unknown)
    assert "".join(str(part["delta"]) for part in answer.sent if part["type"] == "text-delta") == "ab"
    assert [part["type"] for part in answer.new] == ["text-start", "text-delta", "text-delta", "text-end", "finish"]
    assert [one.part for one in answer.left_out] == [str(one["type"])[:64] for one in unknown]
    assert {one.reason for one in answer.left_out} == {Reason.UNKNOWN_PART}


def test_endless_new_types_are_told_of_for_a_while() -> None:
    answer = Answer("", *({"type": f"t{number}"} for number in range(1_000)))
    assert len(answer.left_out) == 20


@pytest.mark.parametrize("version", ["", *TESTED])
def test_the_end_of_python_producers_is_swallowed(version: str) -> None:
    answer = Answer(version, "a", {"type": "finish"}, {"type": "done"}, {"type": "done"})
    assert answer.sent[-1] == {"type": "finish"}
    assert answer.left_out == []


# -- everything at once -----------------------------------------------------------------------------------------------

_fields: Final = st.dictionaries(
    st.sampled_from(["title", "providerMetadata", "toolMetadata", "reason", "dynamic", "preliminary", "new"]),
    st.sampled_from([{"p": {"k": "v"}}, "text", True]),
    max_size=3,
)
_REQUIRED_VALUES: Final[Part] = {
    **dict.fromkeys(("id", "toolCallId", "approvalId"), "c"),
    **dict.fromkeys(("delta", "inputTextDelta", "errorText", "toolName", "url", "mediaType", "sourceId", "kind"), "x"),
    "input": {},
    "output": 1,
    "data": 2,
    "approved": True,
    "parts": [],
    "title": "t",
    "messageMetadata": {"a": 1},
}
# Not `reset-step`: for a client that does not take it, texts that earlier steps left open end there.
_parts: Final = st.builds(
    lambda kind, more: {**_REQUIRED_VALUES, **more, "type": kind},
    st.sampled_from([*sorted(KNOWN - {"reset-step"}), "data-x"]),
    _fields,
)


@given(st.sampled_from(TESTED), st.lists(_parts | st.just("text"), max_size=8))
def test_whatever_is_said_each_version_gets_what_it_takes_and_the_saved_message_is_whole(
    version: str, items: list[object]
) -> None:
    answer, client = Answer(version, *items), client_version(version)
    for part in answer.sent:
        kind = str(part["type"])
        assert client.takes(kind)
        assert client.refused(kind, part) == []
    assert answer.saved == Answer("", *items).saved


# -- versions ---------------------------------------------------------------------------------------------------------


def test_the_tables_know_the_parts_that_we_do() -> None:
    assert UNSPECIFIED.parts - {"data-"} == KNOWN
    assert [client.name for client in VERSIONS.values()] == TESTED
    assert list(VERSIONS) == sorted(VERSIONS)


@pytest.mark.parametrize(
    ("text", "like", "name"),
    [
        ("5", "5.0.0", "5.0.0"),
        ("5.0.276", "5.0.0", "5.0.276"),
        ("v5.1", "5.0.277", "5.1.0"),
        (" 6.0.0-beta.99 ", "6.0.0", "6.0.0"),
        ("6.9.9", "6.0.322", "6.9.9"),
        ("7.0.172", "7.0.0", "7.0.172"),
        ("8.0.0", "7.0.173", "8.0.0"),
    ],
)
def test_a_version_takes_what_the_one_before_it_does(text: str, like: str, name: str) -> None:
    found, expected = client_version(text), client_version(like)
    assert found.name == name
    assert (found.parts, found.fields, found.finish_reasons) == (
        expected.parts,
        expected.fields,
        expected.finish_reasons,
    )
    assert protocol_named("ui-message", text).client_version == name


@pytest.mark.parametrize("text", ["", "six", "6.", "6.0.0.0", "6 0", "^6.0.0", "6" * 7, "٦", "6.0.0-" + "b" * 100])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="which look like"):
        client_version(text)


@pytest.mark.parametrize("text", ["0", "4.3.19"])
def test_versions_of_another_protocol_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="they came with 5"):
        client_version(text)


def test_a_record_that_only_later_workers_can_read_counts_as_none() -> None:
    assert protocol_named("ui-message", "∞").client_version == ""
    assert protocol_named("plain", "5.0.0").client_version == protocol_named("opaque", "5.0.0").client_version == ""
