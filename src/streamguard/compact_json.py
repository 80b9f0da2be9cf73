"""JSON without spaces, for records, events and the members of indexes."""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable
from typing import Final, NoReturn

__all__ = ["compact_json"]

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
"""Made once: `json.dumps` makes a new one for every call that names separators."""


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _encode_of(make: Callable[..., Callable[[object, int], tuple[str, ...]]] | None) -> Callable[[object], str]:
    """What encodes with the interpreter's own encoder, made once: measured, `JSONEncoder.encode` takes twice as long,
    since it makes one for each value. Without one, as in PyPy, `JSONEncoder.encode`."""
    if make is None:
        return _ENCODER.encode
    # No markers: what is encoded here is made here, and has no cycles.
    encode = make(None, _refuse, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
    return lambda value: "".join(encode(value, 0))


_encode: Final = _encode_of(getattr(json.encoder, "c_make_encoder", None))


def compact_json(value: object) -> bytes:
    """`value`, which has no cycles, as JSON, in ASCII.

    Raises:
        TypeError, ValueError: JSON has no such value.
    """
    return _encode(value).encode()
