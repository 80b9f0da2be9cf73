"""JSON values of parts, and reading JSON that is cut off, such as a tool's input that is still arriving."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from .sse import encode_text
from .values import MAX_DEPTH, Json, valid_text

__all__ = ["Json", "Part", "given", "joined", "partial_json", "text_of"]

Part: TypeAlias = dict[str, Json]

_ANY_JSON: Final = frozenset({"input", "output", "inputSchemaInput"})
"""Fields in which null is a value and does not mean that the field is missing."""

_STEP: Final = 65_536

_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_ESCAPE_BEGUN: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_RUN: Final = re.compile(r"[-+.0-9eE]+")
_NUMBER_BEGUN: Final = re.compile(r"-|\.|[eE][-+]?")
_WORD_RUN: Final = re.compile(r"[a-z]+")
_WORDS: Final[dict[str, Json]] = {"true": True, "false": False, "null": None}


def given(part: Part, *names: str) -> Part:
    """The named fields that `part` has."""
    return {name: part[name] for name in names if name in part and (part[name] is not None or name in _ANY_JSON)}


def text_of(part: Part, name: str) -> str:
    """A field that is a string; empty when it is missing or something else."""
    value = part.get(name)
    return value if isinstance(value, str) else ""


def joined(pieces: Sequence[str]) -> str:
    """The deltas joined into one text. Surrogate pairs that two deltas share are joined too."""
    text = "".join(pieces)
    valid: list[str] = []
    start = 0
    while start < len(text):  # in steps, so that other threads can run between them
        end = start + _STEP
        if text[end - 1 : end] and "\ud800" <= text[end - 1] <= "\udbff":
            end += 1
        step = text[start:end]
        valid.append(step if step.isascii() else encode_text(step).decode())
        start = end
    return "".join(valid)


def partial_json(text: str) -> tuple[Json] | None:
    """The value of a prefix of a JSON text, in a tuple of one; None while there is no value.

    Strings, words and numbers that are cut off count as far as they go; a key without its value does not count.
    Text that cannot begin a JSON text returns None, and so does text nested deeper than `MAX_DEPTH`. The value is
    normal (see `values`): half a surrogate pair in an escape becomes U+FFFD, and an infinity such as `1e999` null.
    """
    reader = _Reader(text)
    try:
        value = reader.value()
        reader.end()
    except (ValueError, RecursionError):
        return None
    return value


class _Reader:
    """Recursive descent over one text. `_broken` is true once the text has ended before its value."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._broken = False

    def _ended(self) -> bool:
        return self._broken

    def end(self) -> None:
        if self._peek() and not self._broken:
            raise ValueError("something follows the value")

    def value(self) -> tuple[Json] | None:
        char = self._peek()
        if not char:
            self._broken = True
            return None
        if char in "{[":
            if self._depth == MAX_DEPTH:
                raise ValueError("nested too deeply")
            self._depth += 1
            nested: Json = self._object() if char == "{" else self._array()
            self._depth -= 1
            return (nested,)
        if char == '"':
            return (self._string(),)
        if char in "-0123456789":
            return self._number()
        return (self._word(),)

    def _peek(self) -> str:
        """The next character that is not a space; empty at the end."""
        while (char := self._text[self._at : self._at + 1]) and char in " \t\n\r":
            self._at += 1
        return char

    def _accept(self, char: str) -> bool:
        """Read `char` if it comes next, and return whether it did. At the end of the text, sets `_broken`."""
        found = self._peek()
        self._broken = self._broken or not found
        if found == char:
            self._at += 1
            return True
        return False

    def _object(self) -> dict[str, Json]:
        self._at += 1
        out: dict[str, Json] = {}
        if self._accept("}"):
            return out
        while self._peek():
            if self._peek() != '"':
                raise ValueError("a key is a string")
            key = self._string()
            if self._ended() or not self._expect(":"):
                return out
            value = self.value()
            if value is not None:
                out[key] = value[0]
            if self._ended() or self._accept("}") or not self._expect(","):
                return out
        self._broken = True
        return out

    def _array(self) -> list[Json]:
        self._at += 1
        out: list[Json] = []
        if self._accept("]"):
            return out
        while self._peek():
            value = self.value()
            if value is not None:
                out.append(value[0])
            if self._ended() or self._accept("]") or not self._expect(","):
                return out
        self._broken = True
        return out

    def _expect(self, char: str) -> bool:
        """Read `char`; False when the text ends instead.

        Raises:
            ValueError: something else comes next.
        """
        if self._accept(char):
            return True
        if self._broken:
            return False
        raise ValueError(f"{char} must come next")

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        begun = '"' if match is None else match[0]
        self._at += len(begun)
        rest = self._text[self._at : self._at + 7]
        if rest.startswith('"'):
            self._at += 1
        elif not rest or _ESCAPE_BEGUN.fullmatch(rest):
            self._broken = True
        else:
            raise ValueError("a string with what JSON strings cannot hold")
        return valid_text(json.loads(begun + '"'))

    def _number(self) -> tuple[Json] | None:
        run = _NUMBER_RUN.match(self._text, self._at)
        number = _NUMBER.match(self._text, self._at)
        run_end = self._at if run is None else run.end()
        rest = self._text[self._at if number is None else number.end() : run_end]
        if run_end == len(self._text) and (not rest or _NUMBER_BEGUN.fullmatch(rest)):
            self._broken = True
        elif rest or number is None:
            raise ValueError("no number")
        if number is None:
            return None
        self._at = number.end()
        value = json.loads(number[0])
        return (value if math.isfinite(value) else None,)

    def _word(self) -> Json:
        run = _WORD_RUN.match(self._text, self._at)
        if run is None:
            raise ValueError("no value")
        self._at = run.end()
        if run[0] in _WORDS:
            return _WORDS[run[0]]
        if self._at == len(self._text):
            for word, value in _WORDS.items():
                if word.startswith(run[0]):
                    self._broken = True
                    return value
        raise ValueError("no value")
