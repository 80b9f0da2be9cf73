"""The Prometheus sink: counts what it is told, for a registry of prometheus-client."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from ...distribution import install_command
from ...errors import ConfigurationError
from ...locks import step_lock
from ...observations import Observation, Signal
from ..safety import plain_text
from .exposition import MetricsApp, exposition
from .metric import OTHER, Kind, Label, Metric
from .multiprocess import is_multiprocess
from .series import MOST_CHARACTERS, Series
from .table import PREFIX, TABLE

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["PrometheusMetrics"]


class PrometheusMetrics:
    """An observer that counts: `StreamGuard(…, observers=(PrometheusMetrics(),))`.

    Guards of one process may share a registry, each with an observer of its own: the numbers are then those of all of
    them together. Another `variant` for each keeps them apart. With `PROMETHEUS_MULTIPROC_DIR` in the environment every
    worker counts into files there, and each answers for all (prometheus-client's multiprocess mode), whatever its
    registry.

    Args:
        variant: the value of the label `variant` on every metric: what tells a canary's numbers from the others'.
        registry: where the metrics are registered: prometheus-client's own by default.

    Raises:
        ConfigurationError: prometheus-client is not installed, the registry has other metrics of these names, or
            `PROMETHEUS_MULTIPROC_DIR` is no directory, or was set after prometheus-client was imported.
    """

    signals: frozenset[Signal] = frozenset(signal for metric in TABLE for signal in metric.signals)
    """What it is told of."""

    def __init__(self, *, variant: str = "", registry: CollectorRegistry | None = None) -> None:
        try:
            client = import_module("prometheus_client")
        except ModuleNotFoundError as exc:
            raise ConfigurationError(f"metrics need prometheus-client: {install_command('metrics')}") from exc
        self._registry: CollectorRegistry = client.REGISTRY if registry is None else registry
        self._variant = plain_text(variant)[:MOST_CHARACTERS]
        families = _families(self._registry)
        counted = {metric.name: _Counted(metric, families[metric.name], self._variant) for metric in TABLE}
        self._by_signal: dict[Signal, tuple[_Counted, ...]] = {
            signal: tuple(counted[metric.name] for metric in TABLE if signal in metric.signals)
            for signal in self.signals
        }

    def __call__(self, observation: Observation) -> None:
        """Count one observation."""
        for counted in self._by_signal.get(observation.name, ()):
            counted.take(observation)

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format, of all workers in multiprocess mode."""
        return exposition(self._registry, "")[0]

    def asgi_app(self) -> MetricsApp:
        """An ASGI application that answers with the metrics, in the format that the request accepts: mount it at
        `/metrics`. It shows numbers of every tenant together; keep it inside your network."""
        return MetricsApp(self._registry)


_KNOWN: Final[WeakKeyDictionary[CollectorRegistry, Mapping[str, Series]]] = WeakKeyDictionary()
"""The metrics of each registry: a registry takes a name once, and guards share it."""

_OF_PROCESS: Final[dict[str, Series]] = {}
"""In multiprocess mode the metrics of every registry: a process has one file, in which each series has one place."""


_making: Final = step_lock()
"""Held while metrics are found or made: a registry refuses those that a second thread makes."""


def _families(registry: CollectorRegistry) -> Mapping[str, Series]:
    """This library's metrics in a registry; they are made the first time.

    Raises:
        ConfigurationError: see `PrometheusMetrics`.
    """
    with _making:
        if is_multiprocess():
            if not _OF_PROCESS:
                _OF_PROCESS.update(_made(registry))
            return _OF_PROCESS
        known = _KNOWN.get(registry)
        if known is None:
            known = _KNOWN[registry] = _made(registry)
        return known


def _made(registry: CollectorRegistry) -> dict[str, Series]:
    made: list[Any] = []
    try:
        made.extend(_family(metric, registry) for metric in TABLE)  # those before one that is refused are kept
    except ValueError as exc:
        for family in made:
            registry.unregister(family)
        raise ConfigurationError(
            f"this registry has metrics of other makers under our names: {exc}; give PrometheusMetrics another one"
        ) from exc
    return {metric.name: Series(metric, family) for metric, family in zip(TABLE, made, strict=True)}


def _family(metric: Metric, registry: CollectorRegistry) -> Any:
    client = import_module("prometheus_client")
    names = ("variant", *metric.label_names)
    name = PREFIX + metric.name
    match metric.kind:
        case Kind.COUNTER:
            return client.Counter(name, metric.help, names, registry=registry)
        case Kind.GAUGE:
            return client.Gauge(name, metric.help, names, registry=registry, multiprocess_mode=metric.merging.value)
        case Kind.HISTOGRAM:
            return client.Histogram(name, metric.help, names, registry=registry, buckets=metric.buckets)


MOST_UNITS: Final = 2.0**63
"""A count of usage that is not below it is none."""


class _Counted:
    """One metric of one sink."""

    def __init__(self, metric: Metric, series: Series, variant: str) -> None:
        self._metric = metric
        self._series = series
        self._variant = variant
        self._allowed = {label.name: frozenset(label.values) for label in metric.labels if label.values is not None}
        if not metric.label_names:  # so that it is there, with 0, before anything happens
            series.child((variant,))

    def take(self, seen: Observation) -> None:
        """Count one observation."""
        metric = self._metric
        if metric.only is not None and not metric.only(seen):
            return
        if metric.by_unit:
            self._take_units(seen)
        elif metric.sample:
            samples = seen.samples.get(metric.sample, ())
            if samples:
                observe = self._child(seen).observe
                for value in samples:
                    observe(max(value, 0.0))  # a sum that falls is no counter, and spoils the page
        else:
            self._take_value(seen)

    def _take_value(self, seen: Observation) -> None:
        metric = self._metric
        value = 1.0 if metric.read is None else metric.read(seen)
        if value is None:
            return
        match metric.kind:
            case Kind.COUNTER:
                self._child(seen).inc(max(value, 0.0))
            case Kind.GAUGE:
                self._series.set(self, self._variant, value)
            case Kind.HISTOGRAM:
                self._child(seen).observe(max(value, 0.0))

    def _take_units(self, seen: Observation) -> None:
        beginning = self._metric.by_unit
        for name, amount in seen.fields.items():
            if name.startswith(beginning) and isinstance(amount, (int, float)) and 0 < amount < MOST_UNITS:
                unit = self._series.bounded("unit", name.removeprefix(beginning))
                self._series.child((self._variant, unit)).inc(amount)

    def _child(self, seen: Observation) -> Any:
        values = tuple(self._value(label, seen) for label in self._metric.labels)
        return self._series.child((self._variant, *values))

    def _value(self, label: Label, seen: Observation) -> str:
        read = label.read(seen)
        value = "" if read is None else str(read)
        allowed = self._allowed.get(label.name)
        if allowed is None:
            return self._series.bounded(label.name, value)
        return value if value in allowed or not value else OTHER
