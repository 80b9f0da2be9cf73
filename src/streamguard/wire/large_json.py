"""JSON of any size in short steps, for a thread that lets other threads run between two steps.

One call of `json` on fifty megabytes takes half a second, and nothing else in the process runs meanwhile.

Source: the documented behaviour of the standard library's `json`, which does the work for each step.
"""

from __future__ import annotations

import codecs
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

from ..decoding import read_json
from .partial_json import Json

__all__ = ["LARGE", "decode_text", "encode_text", "is_large", "json_pieces", "read_large_json"]

LARGE: Final = 262_144
"""Characters (or bytes) from which short steps are worthwhile: one call on so much takes a few milliseconds."""
_STEP: Final = 65_536

_UNITS: Final = re.compile(
    r"(?:[^\\]{1,256}|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^u]){1,512}"
)
"""A large piece of a JSON string's text that does not end inside an escape."""


def is_large(value: object) -> bool:
    """Whether a value's texts together have `LARGE` characters or more. Stops once that is known."""
    left = LARGE
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            left -= len(one)
        elif isinstance(one, Mapping):
            left -= 8 * len(one)
            waiting.extend(one.values())
        elif isinstance(one, (list, tuple)):
            left -= 8 * len(one)
            waiting.extend(one)
        else:
            left -= 8
        if left <= 0:
            return True
    return False


def json_pieces(
    value: object, *, sort_keys: bool = False, ensure_ascii: bool = False, allow_nan: bool = False
) -> Iterator[str]:
    """What `json.dumps` returns for `value`, without spaces, in pieces. Mappings count as objects.

    Raises:
        TypeError, ValueError, RecursionError: as `json.dumps` does.
    """
    encoder = json.JSONEncoder(
        sort_keys=sort_keys, ensure_ascii=ensure_ascii, allow_nan=allow_nan, separators=(",", ":"), default=dict
    )
    if not is_large(value):
        yield encoder.encode(value)
        return
    waiting: list[str] = []
    size = 0
    for token in _tokens(value, encoder.encode, sort_keys=sort_keys):
        waiting.append(token)
        size += len(token)
        if size >= _STEP:
            yield "".join(waiting)
            waiting.clear()
            size = 0
    yield "".join(waiting)


def _tokens(value: object, encode: Callable[[object], str], *, sort_keys: bool) -> Iterator[str]:
    if isinstance(value, str) and len(value) > _STEP:
        yield '"'
        for start in range(0, len(value), _STEP):
            yield encode(value[start : start + _STEP])[1:-1]
        yield '"'
    elif isinstance(value, Mapping):
        yield "{"
        between = ""
        for key, one in sorted(value.items()) if sort_keys else value.items():
            yield between
            between = ","
            if isinstance(key, str):
                yield from _tokens(key, encode, sort_keys=sort_keys)
                yield ":"
            else:
                yield encode({key: 0})[1:-2]  # as `json` writes such a key
            yield from _tokens(one, encode, sort_keys=sort_keys)
        yield "}"
    elif isinstance(value, (list, tuple)):
        yield "["
        between = ""
        for one in value:
            yield between
            between = ","
            yield from _tokens(one, encode, sort_keys=sort_keys)
        yield "]"
    else:
        yield encode(value)


def decode_text(data: bytes, errors: str = "strict") -> str:
    """Does what `data.decode("utf-8", errors)` does.

    Raises:
        UnicodeDecodeError: as `decode` does.
    """
    if len(data) < LARGE:
        return data.decode("utf-8", errors)
    decode = codecs.getincrementaldecoder("utf-8")(errors).decode
    pieces = [decode(data[start : start + _STEP]) for start in range(0, len(data), _STEP)]
    return "".join([*pieces, decode(b"", final=True)])


def encode_text(text: str) -> bytes:
    """Does what `text.encode()` does.

    Raises:
        UnicodeEncodeError: as `encode` does.
    """
    return b"".join([text[start : start + _STEP].encode() for start in range(0, len(text), _STEP)])


def read_large_json(data: bytes) -> Json:
    """Does what `read_json(data)` does, for JSON in UTF-8.

    Raises:
        ValueError: `data` is not JSON.
    """
    if len(data) < LARGE:
        return cast("Json", read_json(data))
    text = decode_text(data)
    long = list(_long_strings(text))
    if not long:
        return cast("Json", read_json(text))
    # Read each long string by itself, and the rest of the JSON with a name in its place. The name is random, because a
    # search for a free name would miss one that the text writes with escapes.
    name = secrets.token_hex(16)
    rest: list[str] = []
    strings: dict[str, str] = {}
    at = 0
    for start, end in long:
        strings[f"{name}{len(strings)}"] = _unescaped(text, start, end)
        rest += [text[at:start], name, str(len(strings) - 1)]
        at = end
    rest.append(text[at:])
    return _filled(read_json("".join(rest)), strings)


def _long_strings(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of the text inside the quotes, for each string of more than `_STEP` characters."""
    end = -1
    while (begin := text.find('"', end + 1)) >= 0:
        end = begin
        while True:
            end = text.find('"', end + 1)
            if end < 0:
                return  # not JSON: reading the rest raises
            if text[end - 1] != "\\" or not _escapes(text, begin, end):
                break
        if end - begin > _STEP:
            yield begin + 1, end


def _escapes(text: str, begin: int, end: int) -> bool:
    """Whether the backslashes before `end` escape the character at `end`."""
    backslashes = 0
    while end - backslashes - 1 > begin and text[end - backslashes - 1] == "\\":
        backslashes += 1
    return backslashes % 2 == 1


def _unescaped(text: str, start: int, end: int) -> str:
    pieces: list[str] = []
    while start < end:
        found = _UNITS.match(text, start, end)
        if found is None:
            raise ValueError("a text that is no JSON")
        pieces.append(read_json(f'"{found[0]}"'))
        start = found.end()
    return "".join(pieces)


def _filled(value: Json, strings: Mapping[str, str]) -> Json:
    if isinstance(value, str):
        return strings.get(value, value)
    if isinstance(value, list):
        return [_filled(one, strings) for one in value]
    if isinstance(value, dict):
        return {strings.get(key, key): _filled(one, strings) for key, one in value.items()}
    return value
