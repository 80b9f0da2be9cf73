"""Finds paths of selectors that lead nowhere, by annotations: `body.chat.id` of a model without `chat`.

Reports only what is certain. Only classes that declare the fields of their objects are checked: pydantic's models,
dataclasses, typed dictionaries, named tuples, attrs and msgspec classes, and Python's own plain values. Objects of any
other class may have any attributes.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import types
import typing
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final, NewType

from pydantic import BaseModel

__all__ = ["missing_field"]

_PLAIN: Final[frozenset[type]] = frozenset(
    {str, int, float, bool, complex, bytes, list, tuple, set, frozenset, uuid.UUID, decimal.Decimal}
    | {datetime.date, datetime.time, datetime.datetime, datetime.timedelta}
)
"""Classes whose objects have only the attributes of the class, unless a subclass adds some."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Missing:
    """There is no such field."""

    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of the objects of a type."""

    owner: str
    types: Mapping[str, object]
    """Their types, where known."""
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The clients' name for a field, where that differs."""


def missing_field(annotation: object, path: Iterable[str]) -> str | None:
    """Why `path` leads nowhere from a value of type `annotation`: a sentence that names the type and its fields.

    None if the path leads to a value, or if that is not certain.
    """
    current = annotation
    for name in path:
        options = list(_options(current))
        found = [_step(option, name) for option in options]
        there = [step for step in found if not isinstance(step, _Missing)]
        if found and not there:
            return next(step.reason for step in found if isinstance(step, _Missing))
        current = there[0] if len(there) == 1 else object  # of several types, it is unknown which it will be
    return None


def _options(annotation: object) -> Iterable[object]:
    """The types that a value of this annotation may have, without None."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):  # `type Alias = …`, of Python 3.12
            annotation = annotation.__value__
        elif origin in (typing.Union, types.UnionType):
            return [option for arg in typing.get_args(annotation) if arg is not type(None) for option in _options(arg)]
        else:
            return [annotation]


def _step(option: object, name: str) -> object:
    """The type of the field `name`; `object` if it is not known; a `_Missing` if there is no such field."""
    origin = typing.get_origin(option) or option
    if not isinstance(origin, type):
        return object
    if issubclass(origin, Mapping) and not _is_typed_dictionary(origin):
        arguments = typing.get_args(option)
        return arguments[1] if len(arguments) == 2 else object
    fields = _fields_of(origin)
    if fields is None:
        return object
    if name in fields.types:
        return fields.types[name]
    if not _is_typed_dictionary(origin) and hasattr(origin, name):  # a property, a method, a class variable
        return object
    if name in fields.aliases:
        return _Missing(f"{name!r} is only how clients write the field {fields.aliases[name]!r} of {fields.owner}")
    known = ", ".join(fields.types)
    return _Missing(f"{fields.owner} has no field {name!r}" + (f"; its fields are: {known}" if known else ""))


def _fields_of(cls: type) -> _Fields | None:
    """The fields of a class that declares them; None for any other class."""
    if _is_typed_dictionary(cls):
        return _Fields(cls.__name__, _hints_of(cls, cls.__annotations__))
    if issubclass(cls, BaseModel):
        return _fields_of_model(cls)
    if hasattr(cls, "__getattr__"):
        return None
    if dataclasses.is_dataclass(cls):
        return _Fields(cls.__name__, _hints_of(cls, [found.name for found in dataclasses.fields(cls)]))
    for listing in ("_fields", "__struct_fields__"):  # named tuples; msgspec
        names = getattr(cls, listing, None)
        if isinstance(names, tuple):
            return _Fields(cls.__name__, _hints_of(cls, names))
    attributes = getattr(cls, "__attrs_attrs__", None)
    if isinstance(attributes, tuple):
        return _Fields(cls.__name__, _hints_of(cls, [found.name for found in attributes]))
    if cls in _PLAIN:
        return _Fields(cls.__name__, {})
    return None


def _is_typed_dictionary(cls: type) -> bool:
    """Of `typing`, or of `typing_extensions`, which pydantic needs before Python 3.12."""
    return dict in cls.__mro__ and hasattr(cls, "__required_keys__")


def _fields_of_model(cls: type[BaseModel]) -> _Fields | None:
    if cls.model_config.get("extra") == "allow" or any("__getattr__" in vars(base) for base in _own_bases(cls)):
        return None
    if not cls.__pydantic_complete__:  # it names a class that was defined later
        with suppress(Exception):
            cls.model_rebuild(raise_errors=False)
    known: dict[str, object] = dict.fromkeys(cls.__pydantic_decorators__.computed_fields, object)
    aliases: dict[str, str] = {}
    for name, field in cls.model_fields.items():
        # One that pydantic cannot resolve is a `ForwardRef`, which is no class.
        known[name] = field.annotation
        for alias in (field.alias, field.validation_alias, field.serialization_alias):
            if isinstance(alias, str):
                aliases[alias] = name
    return _Fields(cls.__name__, known, aliases)


def _own_bases(cls: type[BaseModel]) -> list[type]:
    """The classes in its MRO before pydantic's own, which has a `__getattr__` for its private attributes."""
    return list(cls.__mro__[: cls.__mro__.index(BaseModel)])


def _hints_of(cls: type, names: Iterable[str]) -> dict[str, object]:
    """The types of some fields, where they can be resolved."""
    hints: dict[str, object] = {}
    with suppress(Exception):  # a name that is imported for type checkers only
        hints = typing.get_type_hints(cls)
    return {name: _unwrapped(hints.get(name, object)) for name in names}


def _unwrapped(hint: object) -> object:
    """Without `Required[…]` and its kin."""
    while typing.get_origin(hint) in (typing.Required, typing.NotRequired, typing.ClassVar, typing.Final):
        (hint,) = typing.get_args(hint)
    return hint
