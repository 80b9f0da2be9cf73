"""What a record shows of itself, where a framework or Sentry writes down the local variables of a frame."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from sentry_sdk.serializer import serialize

import streamguard

WORDS: Final = frozenset(
    {"owner", "identity", "token", "prompt", "payload", "content", "text", "cookie", "secret", "password", "url"}
)
NO_CONTENT: Final[Mapping[tuple[str, str], str]] = {
    ("Backlog", "owner"): "an object: the part of the runtime that writes the log",
    ("_Fields", "owner"): "the name of a type",
}
CANARY: Final = "canary-7f3a"


def records() -> Iterator[type]:
    """Every dataclass and named tuple of the package."""
    seen: set[type] = set()
    for module in pkgutil.walk_packages(streamguard.__path__, "streamguard."):
        if module.name.endswith("__main__"):
            continue
        for thing in vars(importlib.import_module(module.name)).values():
            if not isinstance(thing, type) or thing in seen or not thing.__module__.startswith("streamguard."):
                continue
            seen.add(thing)
            if dataclasses.is_dataclass(thing) or hasattr(thing, "_fields"):
                yield thing


def fields_of(record: type) -> dict[str, str]:
    """Names and types."""
    if dataclasses.is_dataclass(record):
        return {field.name: str(field.type) for field in dataclasses.fields(record)}
    return {name: str(kind) for name, kind in record.__annotations__.items()}


def telling(record: type) -> set[str]:
    """The fields that hold what nobody else may read. A number or a yes is none."""
    return {
        name
        for name, kind in fields_of(record).items()
        if WORDS & set(name.split("_")) and kind not in ("bool", "int") and (record.__name__, name) not in NO_CONTENT
    }


def made(record: type) -> object:
    """One whose telling fields hold the canary; nothing of it is checked."""
    values: dict[str, Any] = {name: CANARY if name in telling(record) else None for name in fields_of(record)}
    if not dataclasses.is_dataclass(record):
        return record(**values)
    thing = object.__new__(record)
    for name, value in values.items():
        object.__setattr__(thing, name, value)
    return thing


TELLING: Final = [record for record in records() if telling(record)]


def test_there_are_some() -> None:
    assert {"ResponseIds", "SessionKey", "Close", "StreamContext", "Place"} <= {one.__name__ for one in TELLING}


@pytest.mark.parametrize("record", TELLING, ids=lambda record: f"{record.__module__}.{record.__name__}")
def test_a_record_does_not_show_whose_it_is_or_what_it_holds(record: type) -> None:
    assert CANARY not in repr(made(record)), f"{telling(record)}: field(repr=False)"


@pytest.mark.parametrize("record", TELLING, ids=lambda record: f"{record.__module__}.{record.__name__}")
def test_sentry_sends_no_more_of_it(record: type) -> None:
    """It sends a tuple's items, whatever its `repr` shows."""
    frame = {"vars": {"here": made(record)}}
    event: Any = {"exception": {"values": [{"stacktrace": {"frames": [frame]}}]}}
    assert CANARY not in str(serialize(event)), f"{telling(record)}: no named tuple, or __sentry_repr__"
