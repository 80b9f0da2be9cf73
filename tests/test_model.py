from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamguard.cursor import MAX_CURSOR_BYTES, Cursor
from streamguard.errors import CursorInvalidError
from streamguard.values import MAX_EPOCH, MAX_SEQ, StreamState, is_stream_id, new_message_id, new_stream_id

STREAM = "0123456789abcdef01234567"


# -- cursors -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)  # a busy machine is not a failure
@given(st.builds(new_stream_id), st.integers(0, MAX_EPOCH), st.integers(0, MAX_SEQ))
def test_a_cursor_reads_back(stream_id: str, epoch: int, seq: int) -> None:
    text = str(Cursor(stream_id, epoch, seq))
    assert Cursor.parse(text) == Cursor(stream_id, epoch, seq)
    assert Cursor.parse(text).position == (epoch, seq)
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert len(text) <= MAX_CURSOR_BYTES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        "+",
        "-",
        "*",
        "0-1\0",
        "0-1",
        str(2**64),
        f"1.{STREAM}.7.{2**64}",
        f"1.{STREAM}.7.{MAX_SEQ + 1}",
        f"1.{STREAM}.7.-1",
        f"1.{STREAM}.7.+1",
        f"1.{STREAM}.7.01",
        f"1.{STREAM}.7.1\n",
        f"1.{STREAM}.7.1\0",
        f" 1.{STREAM}.7.1",
        f"1.{STREAM}.7. 1",
        f"1.{STREAM}.7.1.0",
        f"1.{STREAM}.7.1e3",
        f"1.{STREAM}.7.",
        f"1.{STREAM}.7.٣",
        f"1.{STREAM}.7.１",
        f"１.{STREAM}.7.1",
        f"1.{STREAM.upper()}.7.1",
        f"1.{STREAM[:-1]}.7.1",
        f"2.{STREAM}.7.1",
        f"1.{{{STREAM[2:]}}}.7.1",
        f"1.{STREAM}.7.1\r\nx: y",
        f"1.{STREAM}.1",
        f"1.{STREAM}..1",
        f"1.{STREAM}.{MAX_EPOCH + 1}.1",
        f"1.{STREAM}.{2**64}.1",
        f"1.{STREAM}.-7.1",
        f"1.{STREAM}.07.1",
        f"1.{STREAM}.٣.1",
        "1" * 1_048_576,
        f"1.{STREAM}.7." + "0" * 1_048_576,
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_hostile_cursors_are_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(CursorInvalidError) as caught:
        Cursor.parse(text)
    assert caught.value.cursor_bytes >= len(text)
    assert len(str(caught.value)) < 200
    assert len(text) < 4 or text not in str(caught.value)


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text(max_size=80))
def test_any_text_is_a_cursor_of_ours_or_refused(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except CursorInvalidError:
        return
    assert str(cursor) == text


# -- ids ---------------------------------------------------------------------------------------------------------------


def test_ids_have_their_form_and_do_not_repeat() -> None:
    streams = {new_stream_id() for _ in range(1000)}
    messages = {new_message_id() for _ in range(1000)}
    assert len(streams) == len(messages) == 1000
    assert all(map(is_stream_id, streams))
    assert not any(map(is_stream_id, messages))
    assert all(message.removeprefix("msg_").isalnum() for message in messages)


@pytest.mark.parametrize("text", ["", STREAM + "0", STREAM.upper(), STREAM[:-1] + "\n", "{" + STREAM[1:], "٠" * 24])
def test_other_texts_are_no_stream_ids(text: str) -> None:
    assert not is_stream_id(text)


# -- a stream's states -------------------------------------------------------------------------------------------------


def test_every_step_of_a_streams_life() -> None:
    legal = {(a, b) for a in StreamState for b in StreamState if a.may_become(b)}
    opened, sealed, closed = StreamState.OPEN, StreamState.SEALED, StreamState.CLOSED
    assert legal == {(opened, opened), (opened, sealed), (sealed, sealed), (sealed, closed), (closed, closed)}


@settings(deadline=None)  # a busy machine is not a failure
@given(st.lists(st.sampled_from(StreamState)))
def test_whatever_is_asked_a_stream_only_goes_forward_and_never_skips_its_seal(asked: list[StreamState]) -> None:
    state, visited = StreamState.OPEN, [StreamState.OPEN]
    for wish in asked:
        if state.may_become(wish):
            state = wish
            visited.append(state)
    assert visited == sorted(visited, key=list(StreamState).index)
    assert StreamState.CLOSED not in visited or StreamState.SEALED in visited
