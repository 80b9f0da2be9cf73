"""JSON without spaces, for records, events and the members of indexes."""

from __future__ import annotations

import json
from typing import Final

__all__ = ["compact_json"]

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
"""Made once: `json.dumps` makes a new one for every call that names separators."""


def compact_json(value: object) -> bytes:
    """`value` as JSON, in ASCII.

    Raises:
        TypeError, ValueError: JSON has no such value.
    """
    return _ENCODER.encode(value).encode()
