"""What a host gives as `observers`: whether a guard can call each."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from ..errors import ConfigurationError
from ..observations import Observer, Signal

__all__ = ["checked_observers"]

_NOT_WAITING: Final = ("scope", "traceparent")
"""Methods that an observer may have besides, and that are called on the event loop as it is."""


def checked_observers(observers: object) -> tuple[Observer, ...]:
    """The observers, each of which can be called with an observation.

    Raises:
        ConfigurationError: this is no collection of observers, or one of them is a class, waits, or names signals that
            there are not.
    """
    if isinstance(observers, (str, bytes)) or not isinstance(observers, Iterable):
        raise ConfigurationError(f"observers is a tuple of observers, not {_named(observers)}: observers=(observer,)")
    return tuple(map(_checked, observers))


def _checked(observer: object) -> Observer:
    if isinstance(observer, type):
        raise ConfigurationError(
            f"an observer is called with each observation, but {observer.__name__} is a class: give an object of it"
        )
    if not callable(observer):
        raise ConfigurationError(f"an observer is called with each observation, but {_named(observer)} is not callable")
    if inspect.iscoroutinefunction(observer) or inspect.iscoroutinefunction(type(observer).__call__):
        raise ConfigurationError(
            f"an observer must not wait, but {_named(observer)} is an async function: put what it is told into a "
            "queue, and read that in a task of your own"
        )
    for name in _NOT_WAITING:
        if inspect.iscoroutinefunction(getattr(observer, name, None)):
            raise ConfigurationError(f"{name} of {_named(observer)} is an async function, but it must not wait")
    _check_signals(observer)
    return observer


def _check_signals(observer: object) -> None:
    """An observer whose `signals` were read as none would be told nothing, and nobody would notice."""
    signals: object = getattr(observer, "signals", None)
    if signals is None:
        return
    fix = "signals = frozenset({Signal.FAULT, Signal.STREAM_ENDED})"
    if isinstance(signals, (str, Mapping)) or not isinstance(signals, Collection):
        raise ConfigurationError(f"signals of {_named(observer)} is {_named(signals)}, and no set of signals: {fix}")
    for one in signals:
        if not isinstance(one, Signal):
            raise ConfigurationError(f"signals of {_named(observer)} names {one!r}, which is no Signal: {fix}")


def _named(value: object) -> str:
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else f"a {type(value).__name__}"
