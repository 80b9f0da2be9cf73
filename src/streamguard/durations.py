"""Times that an application gives: in seconds, positive, and of a hundred years at most."""

from __future__ import annotations

from typing import Final, TypeGuard

from .errors import ConfigurationError

__all__ = ["MAX_SECONDS", "check_duration", "is_duration"]

MAX_SECONDS: Final = 3_153_600_000.0
"""A hundred years. Stores count in milliseconds: they would take `sys.maxsize` seconds at first, and then refuse every
stream."""


def is_duration(value: object) -> TypeGuard[float]:
    """Whether it is a positive number of seconds, of a hundred years at most."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MAX_SECONDS


def check_duration(name: str, value: object, *, or_none: bool = False) -> None:
    """Refuse an argument that is no time. `or_none`: None is allowed.

    Raises:
        ConfigurationError: it names the argument, and says what it takes.
    """
    if not (is_duration(value) or (or_none and value is None)):
        other = ", or None" if or_none else ""
        raise ConfigurationError(
            f"{name} is a positive number of seconds, of a hundred years at most{other}, not {value!r}"
        )
