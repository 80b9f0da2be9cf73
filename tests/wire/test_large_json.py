"""JSON in steps is JSON in one."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamguard.wire import large_json, partial_json
from streamguard.wire.large_json import decode_text, encode_text, is_large, json_pieces, read_large_json

TEXTS = st.text(st.characters(), max_size=40)
"""Halves of surrogate pairs among them."""
KEYS = st.one_of(TEXTS)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large for this module begins with a few characters."""
    monkeypatch.setattr(large_json, "LARGE", 8)
    monkeypatch.setattr(large_json, "_STEP", 5)
    monkeypatch.setattr(partial_json, "_STEP", 5)


@given(VALUES, st.booleans(), st.booleans())
def test_pieces_are_what_json_gives(value: object, sort_keys: bool, ensure_ascii: bool) -> None:
    expected = json.dumps(value, sort_keys=sort_keys, ensure_ascii=ensure_ascii, separators=(",", ":"))
    assert "".join(json_pieces(value, sort_keys=sort_keys, ensure_ascii=ensure_ascii)) == expected


@given(VALUES, st.sampled_from([None, 1]))
def test_it_is_read_as_json_reads_it(value: object, indent: int | None) -> None:
    data = json.dumps(value, indent=indent).encode()
    assert read_large_json(data) == json.loads(data)


@given(st.text(max_size=60))
def test_texts_without_escapes_are_read(text: str) -> None:
    data = json.dumps([text, {text: text}], ensure_ascii=False).encode()
    assert read_large_json(data) == [text, {text: text}]


@given(st.binary(max_size=60))
def test_what_is_no_json_is_refused_alike(data: bytes) -> None:
    try:
        expected = json.loads(data.decode())
    except ValueError:
        with pytest.raises(ValueError):
            read_large_json(data)
    else:
        assert repr(read_large_json(data)) == repr(expected)  # NaN among them


@given(st.text(st.characters(), max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_deltas_are_joined_across_steps(text: str, cuts: list[int]) -> None:
    """Halves that met are one character again, wherever the cuts are; lone ones become U+FFFD."""
    halves = "".join(
        chr(0xD800 + ((ord(one) - 0x10000) >> 10)) + chr(0xDC00 + ((ord(one) - 0x10000) & 0x3FF))
        if ord(one) > 0xFFFF
        else one
        for one in text
    )
    edges = sorted({0, len(halves), *(min(cut, len(halves)) for cut in cuts)})
    pieces = [halves[start:end] for start, end in itertools.pairwise(edges)]
    expected = halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert partial_json.joined(pieces) == expected


@given(st.binary(max_size=60))
def test_bytes_are_decoded_as_in_one(data: bytes) -> None:
    assert decode_text(data, "replace") == data.decode("utf-8", "replace")


@given(st.text(max_size=60))
def test_text_is_encoded_as_in_one(text: str) -> None:
    assert encode_text(text) == text.encode()


def test_keys_and_mappings_are_taken_as_json_takes_them() -> None:
    value = MappingProxyType({2: "a" * 30, None: ["b" * 30], True: {"c": 1.5}})
    assert "".join(json_pieces(value)) == json.dumps(dict(value), separators=(",", ":"))


@pytest.mark.parametrize("value", [float("nan"), {"a": "x" * 20, "b": float("inf")}])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        list(json_pieces(value))
    assert "".join(json_pieces(value, allow_nan=True)) == json.dumps(value, separators=(",", ":"))


def test_too_deep_is_a_recursion_error() -> None:
    deep: list[object] = ["x" * 20]
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    with pytest.raises(RecursionError):
        list(json_pieces(deep))


@pytest.mark.parametrize("text", ['"long0"', '"long-0"', r'"lon\u00670"', r'{"\u006cong1": 1}'])
def test_no_text_is_taken_for_the_name_of_a_long_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where escapes hide what it is."""
    monkeypatch.setattr(large_json, "_STEP", 30)
    data = f'[{text}, "{"x" * 40}", {{"other": "{"y" * 40}"}}]'
    assert read_large_json(data.encode()) == json.loads(data)


@settings(max_examples=20)
@given(st.integers(0, 30))
def test_large_is_told_from_the_texts(length: int) -> None:
    assert is_large({"a": ["x" * length]}) == (length + 16 >= 8)
    assert not is_large("x" * 7)
    assert is_large("x" * 8)


def _escapes() -> Iterator[str]:
    yield from ("\\", '"', "\n", "\u2028", "\U0001f600", "\\u0041", '\\"')


@pytest.mark.parametrize("text", list(_escapes()))
def test_escapes_are_never_cut(text: str) -> None:
    for before in range(12):
        value = "a" * before + text * 30
        assert read_large_json(json.dumps(value).encode()) == value
        assert read_large_json(json.dumps(value, ensure_ascii=False).encode()) == value
