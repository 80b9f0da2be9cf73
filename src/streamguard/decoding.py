"""Reading stored text and JSON that may be damaged.

This module alone knows what reading a damaged record may raise. All code that reads stored bytes calls it; a test
looks for calls of `json.loads` anywhere else.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

__all__ = ["DAMAGE", "decoding", "read_json", "read_text"]

DAMAGE: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error)
"""What reading damaged bytes raises: invalid or too large numbers, missing fields, values of the wrong type, JSON
nested too deeply, invalid UTF-8, lengths that do not fit."""


class decoding:  # noqa: N801 -- used as a function is
    """Raise `damaged()` in place of any exception in `DAMAGE`. Our own errors pass unchanged.

    Hot path, several in each exchange: a generator as context manager takes three times as long.
    """

    __slots__ = ("_damaged",)

    def __init__(self, damaged: Callable[[], Exception]) -> None:
        self._damaged = damaged

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc, DAMAGE):
            raise self._damaged() from exc


def read_json(data: bytes | str) -> Any:
    """The value of a stored JSON text.

    Raises:
        ValueError: the text is not JSON, not UTF-8, or nested too deeply to be read.
    """
    try:
        # Decode here: given bytes, `json` guesses the encoding and would read some damaged ones as UTF-16.
        return json.loads(data if isinstance(data, str) else data.decode())
    except RecursionError:  # without the cause: its traceback is as deep as the JSON
        raise ValueError("the JSON is nested too deeply") from None


def read_text(data: object) -> str:
    """A stored text.

    Raises:
        TypeError: the field is missing.
        ValueError: the field is not UTF-8.
    """
    if not isinstance(data, bytes):
        raise TypeError("a required field is missing")
    return data.decode("utf-8", "surrogatepass")
