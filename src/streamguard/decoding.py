"""Reading what is stored: text and JSON that may be damaged.

The one place that knows what reading a damaged record may raise. Everything that reads stored bytes goes through here;
a test looks for calls of `json.loads` anywhere else.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["DAMAGE", "decoding", "read_json", "read_text"]

DAMAGE: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error)
"""What reading damaged bytes raises: numbers that are none or too large, missing fields, values of another type, JSON
nested too deeply, invalid UTF-8, lengths that do not fit."""


@contextmanager
def decoding(damaged: Callable[[], Exception]) -> Iterator[None]:
    """Raise `damaged()` for anything that reading a stored value fails with. Errors of ours pass as they are."""
    try:
        yield
    except DAMAGE as exc:
        raise damaged() from exc


def read_json(data: bytes | str) -> Any:
    """The value of a stored JSON text.

    Raises:
        ValueError: it is no JSON, no UTF-8, or is nested too deeply to be read.
    """
    try:
        # Decoded here: of bytes, `json` guesses the encoding, and would take some damaged ones for UTF-16.
        return json.loads(data if isinstance(data, str) else data.decode())
    except RecursionError:  # without the cause: its traceback is as deep as the JSON
        raise ValueError("the JSON is nested too deeply") from None


def read_text(data: object) -> str:
    """A stored text.

    Raises:
        TypeError: it is missing, or no text.
        ValueError: it is no UTF-8.
    """
    if not isinstance(data, bytes):
        raise TypeError("a required field is missing")
    return data.decode("utf-8", "surrogatepass")
