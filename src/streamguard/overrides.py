"""Whether the methods of a host's own store can be called as the contract says.

Python checks that a class has every method of an abstract one, and not what its methods take. One that was written for
an earlier version, or lacks a parameter with a default, would fail in the midst of a stream.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Final

from .errors import ConfigurationError

__all__ = ["check_overrides"]

_OURS: Final = __name__.partition(".")[0]


def check_overrides(given: object) -> None:
    """Check each method of a class of the host's that overrides one of ours. Without a call of it. A property is left
    alone: it may have its method only once the store has started.

    Raises:
        ConfigurationError: one of them cannot be called as ours is: it lacks a parameter, needs another one, or is
            async where ours is not.
    """
    for name, contract, owner in _overridden(type(given)):
        if isinstance(getattr(type(given), name), property | cached_property):
            continue
        wrong = _difference(getattr(given, name), contract)
        if wrong is not None:
            raise ConfigurationError(
                f"{type(given).__name__}.{name} cannot be called as {owner.__name__}.{name}({_told(contract)}): {wrong}"
            )


def _overridden(cls: type) -> Iterator[tuple[str, Callable[..., object], type]]:
    """The public methods of ours that a class of the host's overrides: the name of each, the method and its class, the
    most general one that has it."""
    found: dict[str, tuple[Callable[..., object], type]] = {}
    theirs: set[str] = set()
    for base in cls.__mro__:
        ours = base.__module__.partition(".")[0] == _OURS
        for name, value in vars(base).items():
            if name.startswith("_"):
                continue
            if not ours and name not in found:
                theirs.add(name)
            elif ours and inspect.isfunction(value):
                found[name] = value, base
    for name in sorted(theirs & found.keys()):
        yield name, *found[name]


def _difference(method: object, contract: Callable[..., object]) -> str | None:
    """Why a method cannot be called as the contract says; None where it can, or cannot be looked into."""
    if not callable(method):
        return f"it is a {type(method).__name__}"
    if inspect.isasyncgenfunction(method):
        return "it yields in an async function, which makes a generator of it: it may lack @asynccontextmanager"
    if inspect.iscoroutinefunction(method) and not inspect.iscoroutinefunction(contract):
        return "it is async, and that is not"
    try:
        # Of a decorated method what is called, and not what that calls: the decorator may add arguments of its own.
        signature = inspect.signature(method, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    _, *parameters = inspect.signature(contract).parameters.values()
    for wanted in (parameters, [one for one in parameters if one.default is one.empty]):
        positional = [one.name for one in wanted if one.kind is not one.KEYWORD_ONLY]
        named = {one.name: None for one in wanted if one.kind is one.KEYWORD_ONLY}
        try:
            signature.bind(*positional, **named)
        except TypeError as exc:
            return str(exc)
    return None


def _told(contract: Callable[..., object]) -> str:
    """The parameters, without their types."""
    signature = inspect.signature(contract)
    _, *parameters = signature.parameters.values()
    plain = [one.replace(annotation=one.empty) for one in parameters]
    return str(inspect.Signature(plain))[1:-1]
