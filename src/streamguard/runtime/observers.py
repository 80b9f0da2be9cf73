"""Telling every telemetry sink, whatever becomes of one."""

from __future__ import annotations

from collections.abc import Iterable

from ..model import Observation, Observer

__all__ = ["Observers"]


class Observers:
    """Many observers as one. What one raises is contained, and counted in `errors`."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)
        self.errors: int = 0
        """How many calls of an observer raised."""

    def __call__(self, observation: Observation, /) -> None:
        for observer in self._observers:
            try:
                observer(observation)
            except Exception:  # noqa: BLE001 -- a sink that fails must hurt neither streams nor other sinks
                self.errors += 1
