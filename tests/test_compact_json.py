"""Compact JSON is the same with and without the interpreter's own encoder."""

from __future__ import annotations

import json
from json import encoder

import pytest

from streamguard.compact_json import _encode_of, compact_json

VALUES: list[object] = [
    {"a": [1, -2.5, None, True, 'ü\u2028"\\'], "b": {}, "": []},
    ["ann", "ses_1", "0f"],
    "\ud800",
    {1: 2},
    2**70,
]


@pytest.mark.parametrize("made", [getattr(encoder, "c_make_encoder", None), None], ids=["own", "none"])
def test_both_ways_give_what_the_standard_library_gives(made: object) -> None:
    encode = _encode_of(made)  # type: ignore[arg-type] # not in typeshed
    for value in VALUES:
        assert encode(value) == json.dumps(value, separators=(",", ":"))
    with pytest.raises(TypeError, match="not JSON serializable"):
        encode({"a": object()})


def test_it_is_ascii() -> None:
    assert compact_json({"a": "ü"}) == b'{"a":"\\u00fc"}'
