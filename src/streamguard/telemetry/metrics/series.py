"""The series of one metric in one registry, and how many there may be."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

from ...locks import step_lock
from ..safety import plain_text
from .metric import OTHER, Merging, Metric

__all__ = ["MOST_CHARACTERS", "MOST_SERIES", "MOST_VALUES", "Series"]

MOST_VALUES: Final = 100
"""Values of one label that applications name; further ones are counted as `other`."""
MOST_SERIES: Final = 500
"""Combinations of values of one metric; in further ones, each label that applications name is `other`."""
MOST_CHARACTERS: Final = 120
"""Of such a value: a binding is a module and a qualified name."""


class Series:
    """A metric in a registry, and the values that its labels have had. Threads may use it at once, as guards in several
    event loops do that share a registry.

    `family` is prometheus-client's object, whose first label is `variant`.
    """

    def __init__(self, metric: Metric, family: Any) -> None:
        self._family = family
        self._lock = step_lock()
        """Held while anything below changes, and while a gauge is set to what all sinks say."""
        self._merging = metric.merging
        self._named = {label.name for label in metric.labels if label.values is None} | (
            {"unit"} & {*metric.label_names}
        )
        """The labels whose values applications name."""
        self._names = ("variant", *metric.label_names)
        self._seen: dict[str, set[str]] = {name: set() for name in self._named}
        self._children: dict[tuple[str, ...], Any] = {}
        self._parts: dict[str, WeakKeyDictionary[object, float]] = {}
        """Of a gauge: by variant, what each sink set last."""

    def child(self, values: tuple[str, ...]) -> Any:
        """The series of these values, `variant` first."""
        child = self._children.get(values)
        return self._new_child(values) if child is None else child

    def _new_child(self, values: tuple[str, ...]) -> Any:
        with self._lock:
            if len(self._children) >= MOST_SERIES:
                values = tuple(
                    OTHER if name in self._named else value for name, value in zip(self._names, values, strict=True)
                )
            child = self._children.get(values) or self._family.labels(*values)
            self._children[values] = child
            return child

    def bounded(self, name: str, value: str) -> str:
        """A value that applications name, or `other` when there were too many."""
        seen = self._seen[name]
        if value in seen:
            return value
        value = plain_text(value)[:MOST_CHARACTERS]
        with self._lock:
            if value in seen:
                return value
            if len(seen) >= MOST_VALUES:
                return OTHER
            seen.add(value)
        return value

    def set(self, sink: object, variant: str, value: float) -> None:
        """Set a gauge, which has no label but `variant`, to what all sinks that share the registry say together."""
        with self._lock:
            parts = self._parts.setdefault(variant, WeakKeyDictionary())
            parts[sink] = value
            match self._merging:
                case Merging.SUM:
                    value = sum(parts.values())
                case Merging.WORST | Merging.LATEST:
                    value = max(parts.values())
                case Merging.LAST:
                    pass
            self.child((variant,)).set(value)
