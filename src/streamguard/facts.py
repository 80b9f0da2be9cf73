"""Plain facts: objects of named values that nobody changes, made many times for each request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

__all__ = ["facts"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def facts(cls: type[T]) -> type[T]:
    """Make a dataclass of `cls` with slots, equality and a hash, which type checkers take for a frozen one.

    Only they do: measured, a dataclass that is frozen takes five times as long to make, 0.16 µs for each field, and a
    short stream has some hundred and fifty fields.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
