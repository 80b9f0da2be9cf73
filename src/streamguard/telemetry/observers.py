"""What a host gives as `observers`: whether a guard can call each."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from ..errors import ConfigurationError
from ..observations import Observer

__all__ = ["checked_observers"]


def checked_observers(observers: object) -> tuple[Observer, ...]:
    """The observers, each of which can be called with an observation.

    Raises:
        ConfigurationError: this is no collection of observers, or one of them is a class or an async function.
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
    return observer


def _named(value: object) -> str:
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else f"a {type(value).__name__}"
