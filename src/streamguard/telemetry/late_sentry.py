"""Sentry for a process that has not imported it when a guard starts.

Importing `sentry_sdk` takes an eighth of the time that importing this package takes, and a host without Sentry never
needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING

from ..observations import Observation, Observer, SelectiveObserver, Signal
from ..scopes import NO_SCOPE, StreamContext

if TYPE_CHECKING:
    from .sentry import SentryObserver

__all__ = ["LateSentryObserver", "is_sentry_imported"]


def is_sentry_imported() -> bool:
    """Whether anybody in this process can have initialised Sentry."""
    return sys.modules.get("sentry_sdk") is not None


class LateSentryObserver(SelectiveObserver):
    """Wants nothing until somebody in the process has imported `sentry_sdk`; from then on it is a `SentryObserver`.

    Args:
        sweep_seconds: as of `SentryObserver`.
        others: the other observers of the guard, one of which may make spans.
    """

    def __init__(self, *, sweep_seconds: float, others: Iterable[Observer]) -> None:
        self._sweep_seconds = sweep_seconds
        self._others = tuple(others)
        self._made: SentryObserver | None = None
        self._unusable: ModuleType | None = None
        """A `sentry_sdk` that is none, or not a whole one: a stub of the host's tests, say."""

    # Each of these is asked several times for a stream, nearly always in vain: that takes one look.

    def wants(self, signal: Signal, /) -> bool:
        if self._made is None and "sentry_sdk" not in sys.modules:
            return False
        observer = self._observer()
        return observer is not None and observer.wants(signal)

    def __call__(self, observation: Observation, /) -> None:
        observer = self._observer()
        if observer is not None:
            observer(observation)

    def traceparent(self) -> str | None:
        if self._made is None and "sentry_sdk" not in sys.modules:
            return None
        observer = self._observer()
        return None if observer is None else observer.traceparent()

    def scope(self, context: StreamContext) -> AbstractContextManager[None]:
        if self._made is None and "sentry_sdk" not in sys.modules:
            return NO_SCOPE
        observer = self._observer()
        return NO_SCOPE if observer is None else observer.scope(context)

    def _observer(self) -> SentryObserver | None:
        """The observer, if there can be one.

        Raises:
            Exception: what was imported as `sentry_sdk` is of no use. Only the first time: nothing is made of it then.
        """
        if self._made is None and is_sentry_imported() and (found := sys.modules["sentry_sdk"]) is not self._unusable:
            self._unusable = found
            from .sentry import SentryObserver  # noqa: PLC0415 -- it imports `sentry_sdk`

            made = SentryObserver(sweep_seconds=self._sweep_seconds)
            made.beside(self._others)
            self._made, self._unusable = made, None
        return self._made
