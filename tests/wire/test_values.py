"""What becomes of whatever a host gives: JSON, in one normal form, and word of what had none."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import math
import sys
from collections import ChainMap, OrderedDict, UserList, deque, namedtuple
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer
from pydantic.dataclasses import dataclass as pydantic_dataclass

from streamguard.wire.values import MAX_DEPTH, ValueTooLargeError, encode_json, normal, placeholder
from tests.wire.odd_values import odd_values

ID = UUID("12345678-1234-5678-1234-567812345678")


class Colour(enum.Enum):
    RED = "red"
    LATER = datetime(2026, 1, 1, tzinfo=UTC)


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


@dataclasses.dataclass
class Point:
    x: float
    y: object = None


class Row(BaseModel):
    mean: float = Field(serialization_alias="Mean")
    raw: bytes = b""
    more: Any = None
    hidden: int = Field(default=1, exclude=True)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


@pydantic_dataclass
class Pair:
    left: bytes
    right: int = 1


Named = namedtuple("Named", "a b")  # noqa: PYI024 -- the untyped kind is meant


class Torn(BaseModel):
    secret: SecretStr = SecretStr("s")
    value: int = 1

    @field_serializer("value")
    def _fail(self, value: int) -> int:
        raise LookupError(value)


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Hostile(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise LookupError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def numbers() -> Iterator[object]:
    yield 1
    yield float("nan")


def broken_off() -> Iterator[object]:
    yield 1
    raise LookupError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("half \ud83e", "half \ufffd"),
        ("\ud83d" + "\ude00", "😀"),
        ("\0\u2028\x7f", "\0\u2028\x7f"),
        (float("nan"), None),
        (-math.inf, None),
        (10**400, 10**400),
        (-0.0, -0.0),
        (b"bytes", "bytes"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (bytearray("é", "utf-8"), "é"),
        (memoryview(b"x"), "x"),
        ({ID: 1, 2: 3, None: 4, b"b": 7}, {str(ID): 1, "2": 3, "None": 4, "b": 7}),
        ({True: 5, 1.5: 6, 1e16: 7, Decimal("2.0"): 8}, {"true": 5, "1.5": 6, "1e+16": 7, "2.0": 8}),
        ({"half \ud83e": [1]}, {"half \ufffd": [1]}),
        ({(1, 2): 3}, {"1,2": 3}),
        ({Colour.RED: Colour.RED, Level.HIGH: Level.HIGH, Word.YES: Word.YES}, {"red": "red", "3": 3, "yes": "yes"}),
        (Colour.LATER, "2026-01-01T00:00:00Z"),
        (ID, str(ID)),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (date(2026, 1, 1), "2026-01-01"),
        (timedelta(days=3), "P3D"),
        (Decimal("1.50"), "1.50"),
        (Fraction(1, 2), 0.5),
        (Path("/a"), "/a"),
        (ip_address("127.0.0.1"), "127.0.0.1"),
        (SecretStr("s"), "**********"),
        ((1, (2,)), [1, [2]]),
        ({7}, [7]),
        (frozenset([7]), [7]),
        (deque([1]), [1]),
        (UserList([1]), [1]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.values(), [1]),
        (Named(1, math.nan), [1, None]),
        (OrderedDict(a=1), {"a": 1}),
        (ChainMap({"a": math.nan}), {"a": None}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Point(math.inf, {"\ud800"}), {"x": None, "y": ["\ufffd"]}),
        (Row(mean=math.nan), {"Mean": None, "raw": "", "more": None}),
        (Row(mean=1, raw=b"\xff", more={1: b"\xff"}), {"Mean": 1.0, "raw": "\ufffd", "more": {"1": "\ufffd"}}),
        (Open.model_validate({"k": b"\xff"}), {"k": "\ufffd"}),
        (Pair(b"\xff"), {"left": "\ufffd", "right": 1}),
        ([Row(mean=1)], [{"Mean": 1.0, "raw": "", "more": None}]),
        (numbers(), [1, None]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_becomes_what_a_response_model_gives(value: object, expected: object) -> None:
    data, replaced = encode_json({"value": value})
    assert json.loads(data) == {"value": expected}
    assert list(replaced) == []


cycle: dict[str, object] = {"a": 1}
cycle["again"] = [cycle]
UNENCODABLE = placeholder("unencodable")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "expected", "reason", "kind"),
    [
        (object(), UNENCODABLE, "unencodable", "builtins.object"),
        (ValueError("secret"), UNENCODABLE, "unencodable", "builtins.ValueError"),
        (int, UNENCODABLE, "unencodable", "builtins.type"),
        (Unprintable(), UNENCODABLE, "unencodable", f"{__name__}.Unprintable"),
        (Torn(), UNENCODABLE, "unencodable", f"{__name__}.Torn"),
        (Hostile(), UNENCODABLE, "unencodable", f"{__name__}.Hostile"),
        (broken_off(), [1, UNENCODABLE], "unencodable", "builtins.generator"),
        ({object(): 1}, {UNENCODABLE: 1}, "unencodable", "builtins.object"),
        (Row(mean=1, more=Torn()), {"Mean": 1.0, "raw": "", "more": UNENCODABLE}, "unencodable", f"{__name__}.Torn"),
        (10**10_000, "[left out by streamguard: too_large]", "too_large", "builtins.int"),
        (cycle, {"a": 1, "again": ["[left out by streamguard: cycle]"]}, "cycle", "builtins.dict"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_form_is_replaced_alone_and_told_of(
    value: object, expected: object, reason: str, kind: str
) -> None:
    data, replaced = encode_json([value, "stays"])
    assert json.loads(data) == [expected, "stays"]
    assert [(one.reason, one.type_name) for one in replaced] == [(reason, kind)]
    assert b"secret" not in data


def nested(depth: int, make: str = "list") -> object:
    value: object = "bottom"
    for _ in range(depth):
        value = [value] if make == "list" else {"k": value}
    return value


@pytest.mark.parametrize("make", ["list", "dict"])
@pytest.mark.parametrize("extra", [None, math.nan])
def test_what_is_nested_too_deeply_is_cut_there(make: str, extra: object) -> None:
    """Whichever way the value goes."""
    fits = encode_json([nested(MAX_DEPTH - 1, make), extra])
    assert json.loads(fits.data) == [nested(MAX_DEPTH - 1, make), None]
    assert list(fits.replaced) == []
    for depth in (MAX_DEPTH, 5_000):
        data, replaced = encode_json([nested(depth, make), extra])
        assert data.count(b"too_deep") == 1
        assert [one.reason for one in replaced] == ["too_deep"]
        assert json.loads(data)[1] is None


def test_brackets_in_text_are_no_depth() -> None:
    assert encode_json(["[" * 500]).data == b'["' + b"[" * 500 + b'"]'


def test_what_is_too_large_is_found_before_it_is_walked_to_its_end() -> None:
    for value in ((0 for _ in itertools.count()), ["x" * 2_000], ["x" * 2_000, math.nan], [math.nan] * 1_000):
        with pytest.raises(ValueTooLargeError):
            encode_json(value, 1_000)


def test_what_is_made_normal_is_no_longer_the_hosts() -> None:
    given: dict[str, list[int]] = {"a": [1]}
    value = normal(given).value
    given["a"].append(2)
    assert value == {"a": [1]}


@given(odd_values)
def test_any_value_has_one_normal_form(value: object) -> None:
    """Which the fast way and the long way agree on, which is JSON, and which stays as it is."""
    found, replaced = normal(value)
    data, others = encode_json(value)
    assert json.loads(data) == found
    assert len(others) == len(replaced)
    assert normal(found) == (found, [])
    assert encode_json(found).data == data
    assert sys.getrecursionlimit() > MAX_DEPTH * 4
