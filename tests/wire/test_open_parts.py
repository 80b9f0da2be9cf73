"""Which parts of a UI message are open: each is closed once, before whatever would meet it open."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.wire.folding import fold

from .ui_messages import encoder, parsed, sent, types


def test_explicit_text_closes_what_strings_opened() -> None:
    logged, _ = sent("a", {"type": "text-start", "id": "t1"}, "b", {"type": "text-end", "id": "t1"})
    assert types(logged) == [
        "start",
        "text-start t0",
        "text-delta t0",
        "text-end t0",
        "text-start t1",
        "text-start t2",
        "text-delta t2",
        "text-end t2",
        "text-end t1",
    ]


@pytest.mark.parametrize("part", [{"type": "data-x", "data": 1}, {"type": "source-url", "sourceId": "s", "url": "u"}])
def test_asides_leave_the_text_open(part: dict[str, object]) -> None:
    logged, _ = sent("a", part, "b")
    assert [t.split()[0] for t in types(logged)].count("text-start") == 1


def test_a_tool_call_between_two_texts_stays_between_them() -> None:
    logged, held = sent("a", {"type": "tool-input-available", "toolCallId": "c", "toolName": "n", "input": {}}, "b")
    message = fold("msg_1", [json.dumps(part).encode() for part in logged + held])
    assert [part["type"] for part in message.parts] == ["text", "tool-n", "text"]


def test_ends_and_deltas_of_parts_that_are_not_open_do_no_harm() -> None:
    logged, _ = sent(
        {"type": "text-end", "id": "x"},
        {"type": "text-delta", "id": "x", "delta": "a"},
        {"type": "text-start", "id": "x"},
        {"type": "text-end", "id": "x"},
    )
    assert types(logged)[1:] == ["text-start x", "text-delta x", "text-end x", "text-start x", "text-end x"]


def test_every_part_is_closed_before_a_step_or_the_stream_ends() -> None:
    logged, held = sent(
        {"type": "start-step"},
        "a",
        {"type": "reasoning-start", "id": "r"},
        {"type": "finish-step"},
        {"type": "reasoning-end", "id": "r"},
        {"type": "text-start", "id": "x"},
        {"type": "finish"},
        {"type": "text-end", "id": "x"},
    )
    assert types(logged)[1:] == [
        *("start-step", "text-start t0", "text-delta t0", "text-end t0"),
        *("reasoning-start r", "reasoning-end r", "finish-step", "text-start x", "text-end x"),
    ]
    assert types(held) == ["finish"]


def test_a_reset_step_forgets_its_parts() -> None:
    logged, _ = sent({"type": "start-step"}, "a", {"type": "reset-step"}, "b")
    assert types(logged)[4:] == ["reset-step", "text-start t0", "text-delta t0", "text-end t0", "finish-step"]


def test_a_stream_broken_off_is_left_tidy() -> None:
    enc = encoder()
    enc.encode("a")
    enc.encode({"type": "reasoning-start", "id": "r"})
    enc.encode({"type": "text-start", "id": "x"})
    assert types(parsed(enc.abandon())) == ["reasoning-end r", "text-end x"]
    assert enc.abandon() == []


def test_what_was_opened_after_the_first_closing_part_is_not_closed_in_the_log() -> None:
    enc = encoder()
    assert types(parsed(enc.encode({"type": "abort", "reason": "r"}))) == []
    assert list(enc.encode("late")) == []
    assert list(enc.abandon()) == []


ids = st.sampled_from(["t0", "t1", "x"])
spans = st.builds(
    lambda what, step, part_id: {
        "type": f"{what}-{step}",
        "id": part_id,
        **({"delta": "d"} if step == "delta" else {}),
    },
    st.sampled_from(["text", "reasoning"]),
    st.sampled_from(["start", "delta", "end"]),
    ids,
)
others = st.sampled_from(["start", "start-step", "finish-step", "finish", "abort"]).map(lambda kind: {"type": kind})
any_items = st.lists(st.text("ab", max_size=2) | spans | others, max_size=20)


@given(any_items, st.integers(0, 20))
def test_no_client_ever_meets_a_part_that_is_not_open(items: list[object], broken_at: int) -> None:
    """In versions 5 and 6 `finish-step` forgets open parts, so the check does too."""
    enc = encoder()
    parts = parsed(enc.begin())
    for item in items[:broken_at]:
        parts += parsed(enc.encode(item))
    if broken_at < len(items):
        parts += parsed(enc.abandon())
    else:
        parts += parsed(enc.finish()) + parsed(enc.held)
    open_parts: set[tuple[str, object]] = set()
    assert [part["type"] for part in parts].count("start") == 1
    for part in parts:
        what, _, step = str(part["type"]).partition("-")
        key = (what, part.get("id"))
        if part["type"] == "finish-step":
            assert not open_parts
        elif what in ("text", "reasoning"):
            assert (key in open_parts) is (step != "start")
            if step == "start":
                open_parts.add(key)
            elif step == "end":
                open_parts.remove(key)
    assert not open_parts
