"""Turns any value of a host into JSON, for parts, messages and answers. No other module does this.

The rules, which `docs/explanation/values.md` explains to users:

1. Text is valid: adjacent halves of a surrogate pair are joined, a lone half becomes U+FFFD.
2. Values become what a pydantic response model returns: `null` for NaN and the infinities, keys as text, an enum as
   its value, a model as its JSON form, sets, tuples and generators as an array. `bytes` are read as UTF-8 text; invalid
   bytes become U+FFFD. If two keys become the same text, the later one stays.
3. A value that still has no JSON form is replaced, alone, by `placeholder`: an object that pydantic refuses, one whose
   own code raises, a cycle, or a value nested deeper than `MAX_DEPTH`. The caller learns of it and tells the client.

Departures from pydantic, which refuses these: any mapping, sequence and set of the abstract types counts as one, any
integral or real number (NumPy's) as a number, and a `memoryview` as bytes.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import math
import re
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from enum import Enum, StrEnum
from numbers import Integral, Real
from typing import Final, NamedTuple, TypeAlias, Union, cast

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from .sse import encode_text

__all__ = [
    "MAX_DEPTH",
    "Encoded",
    "Json",
    "Normal",
    "Reason",
    "Replaced",
    "ValueTooLargeError",
    "dumped",
    "encode_json",
    "normal",
    "on_one_line",
    "placeholder",
    "valid_text",
]

Json: TypeAlias = Union[bool, int, float, str, list["Json"], dict[str, "Json"], None]  # noqa: UP007 - it is recursive

MAX_DEPTH: Final = 100
"""How deeply objects and arrays may be nested. Every reader of the value recurses: the fold, a database's driver, a
client. pydantic stops at 255; Python's own recursion stops at about 300 in a copy."""

MOST_REPLACED: Final = 100
"""How many replacements in one value are listed. One notice covers all of them."""

WHOLE_BYTES: Final = 268_435_456
"""Default size limit of a value, in bytes: a generator may never end."""


class Reason(StrEnum):
    """Why a value was replaced."""

    UNENCODABLE = "unencodable"
    """The value has no form in JSON, or its own code raised."""
    CYCLE = "cycle"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    UNKNOWN_PART = "unknown_part"
    """The part has a type that the client's version does not take."""


class Replaced(NamedTuple):
    """A value that was replaced, without its content."""

    reason: Reason
    type_name: str
    """The class of the value, for operators."""


class Normal(NamedTuple):
    """A value in its normal form."""

    value: Json
    replaced: Sequence[Replaced] = ()


class Encoded(NamedTuple):
    """A value as compact UTF-8 JSON on one line, for every reader's definition of a line (see `on_one_line`)."""

    data: bytes
    replaced: Sequence[Replaced] = ()


class ValueTooLargeError(Exception):
    """A value is over its size limit."""


def placeholder(reason: Reason) -> str:
    """The text that replaces a value."""
    return f"[left out by streamguard: {reason}]"


_STRICT: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_BRACKETS: Final = ("[", "{")
_AS_TEXT: Final = (
    *(ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network),
    *(ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network),
    SecretStr,
)
"""Their text is what pydantic makes of them; versions from 2.7 to 2.10 do so only where a schema names the type."""


def encode_json(value: object, limit_bytes: int = WHOLE_BYTES, *, max_depth: int = MAX_DEPTH) -> Encoded:
    """Any `value` as JSON. `max_depth` is for a value that contains values whose own depth was checked before.

    Raises:
        ValueTooLargeError: the JSON takes more than `limit_bytes`.
    """
    # Nearly every value is JSON already, and the standard encoder is fast and runs no host's code. Values that it
    # refuses, or treats by another rule, take the slow way.
    replaced: Sequence[Replaced] = ()
    try:
        text = _STRICT.encode(value)
        data = (text if text.isascii() else on_one_line(text)).encode()
    except (TypeError, ValueError, RecursionError):
        data = None
    if data is None or '"null":' in text or not _is_shallow(value, text, max_depth):
        value, replaced = normal(value, limit_bytes, max_depth=max_depth)
        data = on_one_line(_STRICT.encode(value)).encode()
    if len(data) > limit_bytes:
        raise ValueTooLargeError
    return Encoded(data, replaced)


def _is_shallow(value: object, text: str, max_depth: int) -> bool:
    """Whether a JSON value, whose text is `text`, is nested at most `max_depth` deep."""
    if sum(map(text.count, _BRACKETS)) <= max_depth:
        return True
    level = [value]
    for _ in range(max_depth):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else cast("Sequence[object]", node))
            if isinstance(child, (dict, list, tuple))
        ]
        if not level:
            return True
    return False


def normal(value: object, limit_bytes: int = WHOLE_BYTES, *, max_depth: int = MAX_DEPTH) -> Normal:
    """`value` as JSON's own types. The result shares no objects with `value`.

    Raises:
        ValueTooLargeError: the JSON takes more than `limit_bytes`. The walk stops as soon as that is known.
    """
    walk = _Walk(limit_bytes, max_depth)
    return Normal(walk.value(value, 0), walk.replaced)


def valid_text(text: str) -> str:
    """`text` without halves of surrogate pairs, as a plain `str`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return encode_text(text).decode()
    return str.__str__(text)


_SPLIT_ELSEWHERE: Final = re.compile("[\x85\u2028\u2029]")


def on_one_line(json_text: str) -> str:
    """JSON text with U+0085, U+2028 and U+2029 as escapes: the same value, on one line for every reader.

    SSE ends lines at CR and LF only, but a client that splits text as `str.splitlines` does (httpx's `iter_lines`, say)
    breaks a block's JSON at these as well. JSON text holds none of the other line ends of `splitlines`: `json` writes
    every control character below U+0020 as an escape.
    """
    if "\u2028" in json_text or "\u2029" in json_text or "\x85" in json_text:
        return _SPLIT_ELSEWHERE.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)
    return json_text


class _Walk:
    """Makes one value normal. `replaced` lists the replaced values; `_left` is how many bytes are left."""

    __slots__ = ("_inside", "_left", "_max_depth", "replaced")

    def __init__(self, limit_bytes: int, max_depth: int) -> None:
        self.replaced: list[Replaced] = []
        self._left = limit_bytes
        self._max_depth = max_depth
        self._inside: set[int] = set()
        """The objects that contain the current one, by identity."""

    def value(self, value: object, depth: int) -> Json:
        """The normal form of `value`, which is nested in `depth` others."""
        if value is None or value is True or value is False:
            self._spend(4)
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int):
            return self._integer(int(value))
        if isinstance(value, float):
            return self._number(float(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._text(bytes(value).decode("utf-8", "replace"))
        if id(value) in self._inside:
            return self._replace(Reason.CYCLE, value)
        if depth >= self._max_depth:
            return self._replace(Reason.TOO_DEEP, value)
        self._inside.add(id(value))
        try:
            return self._other(value, depth)
        except (ValueTooLargeError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 -- the value's own code may raise anything
            return self._replace(Reason.UNENCODABLE, value)
        finally:
            self._inside.discard(id(value))

    def _other(self, value: object, depth: int) -> Json:
        """The normal form of a value that is neither text nor number. Raises what the value's own code raises."""
        kind = type(value)
        if isinstance(value, Mapping):
            return self._object(value.items(), depth)
        if isinstance(value, (Sequence, AbstractSet, deque, ValuesView, Generator)):
            return self._array(value, depth)
        if isinstance(value, Enum):
            return self.value(value.value, depth + 1)
        if hasattr(kind, "__pydantic_serializer__"):
            return self.value(dumped(value), depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return self._object([(name, getattr(value, name)) for name in names], depth)
        if isinstance(value, Integral):
            return self._integer(int(value))
        if isinstance(value, Real):
            return self._number(float(value))
        if isinstance(value, _AS_TEXT):
            return self._text(str(value))
        return self.value(to_jsonable_python(value, inf_nan_mode="null"), depth + 1)

    def _object(self, items: Iterable[tuple[object, object]], depth: int) -> dict[str, Json]:
        out: dict[str, Json] = {}
        self._spend(2)
        for key, one in items:
            name = key if type(key) is str and key.isascii() else self._key(key)
            self._spend(len(name) + 4)
            out[name] = self.value(one, depth + 1)
        return out

    def _array(self, items: Iterable[object], depth: int) -> list[Json]:
        out: list[Json] = []
        self._spend(2)
        iterator = iter(items)
        while True:
            try:
                one = next(iterator)
            except StopIteration:
                return out
            except Exception:  # noqa: BLE001 -- a generator raised: its items so far stay
                out.append(self._replace(Reason.UNENCODABLE, items))
                return out
            self._spend(1)
            out.append(self.value(one, depth + 1))

    def _key(self, key: object) -> str:
        if isinstance(key, str):
            return valid_text(key)
        if isinstance(key, (bytes, bytearray)):
            return bytes(key).decode("utf-8", "replace")
        if isinstance(key, _AS_TEXT):
            return str(key)
        try:
            if isinstance(key, float) and math.isfinite(key):
                return float.__repr__(key)
            (name,) = to_jsonable_python({key: None}, inf_nan_mode="null")
            return valid_text(name)
        except Exception:  # noqa: BLE001 -- as in `value`
            return self._replace(Reason.UNENCODABLE, key)

    def _text(self, text: str) -> str:
        self._spend(len(text) + 2)
        return valid_text(text)

    def _integer(self, number: int) -> Json:
        try:
            text = int.__repr__(number)
        except ValueError:  # more digits than Python converts to text, or back
            return self._replace(Reason.TOO_LARGE, number)
        self._spend(len(text))
        return number

    def _number(self, number: float) -> float | None:
        self._spend(3)
        return number if math.isfinite(number) else None

    def _replace(self, reason: Reason, value: object) -> str:
        if len(self.replaced) < MOST_REPLACED:
            self.replaced.append(Replaced(reason, _name_of(type(value))))
        return self._text(placeholder(reason))

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueTooLargeError


def dumped(value: object) -> object:
    """A pydantic model or dataclass in its JSON mode. If a field has no JSON form, returns the fields unchanged, but
    only for a class without serializers of its own: a host's serializer may hide something.

    Raises:
        Exception: what the class's serializers raise.
    """
    try:
        return to_jsonable_python(value, inf_nan_mode="null")
    except Exception:
        if _has_serializers(type(value)):
            raise
        return _fields_of(value)


def _has_serializers(kind: type) -> bool:
    """Whether a model, or anything in it, may have its own serializers."""
    return "'serialization'" in repr(getattr(kind, "__pydantic_core_schema__", "'serialization'"))


def _fields_of(value: object) -> dict[str, object]:
    """The unchanged fields of a pydantic model or dataclass, under their names on the wire."""
    kind = type(value)
    # Before pydantic 2.10 models have `model_fields` alone, and dataclasses have never had it.
    declared: Mapping[str, FieldInfo] = getattr(kind, "__pydantic_fields__", None) or getattr(kind, "model_fields", {})
    found = {
        field.serialization_alias or field.alias or name: getattr(value, name)
        for name, field in declared.items()
        if not field.exclude
    }
    return found | (getattr(value, "__pydantic_extra__", None) or {})


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
