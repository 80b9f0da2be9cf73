"""The Prometheus sink: counts what it is told, for a registry of prometheus-client."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from ...distribution import install_command
from ...errors import ConfigurationError
from ...observations import Observation, Signal
from ..safety import plain_text
from .exposition import MetricsApp, exposition
from .metric import OTHER, Kind, Label, Metric
from .table import PREFIX, TABLE

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["PrometheusMetrics"]

MOST_VALUES: Final = 100
"""Values of one label that applications name; further ones are counted as `other`."""
MOST_CHARACTERS: Final = 120
"""Of such a value: a binding is a module and a qualified name."""


class PrometheusMetrics:
    """An observer that counts: `StreamGuard(…, observers=(PrometheusMetrics(),))`.

    Guards of one process may share a registry; their numbers are then those of all of them together, except for gauges,
    of which the last guard's stand. With `PROMETHEUS_MULTIPROC_DIR` in the environment every worker counts into files
    there, and each answers for all (prometheus-client's multiprocess mode).

    Args:
        variant: the value of the label `variant` on every metric: what tells a canary's numbers from the others'.
        registry: where the metrics are registered: prometheus-client's own by default.

    Raises:
        ConfigurationError: prometheus-client is not installed, or the registry has other metrics of these names.
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
        self._by_signal: dict[Signal, tuple[_Counted, ...]] = {
            signal: tuple(
                _Counted(metric, families[metric.name], self._variant) for metric in TABLE if signal in metric.signals
            )
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


_Family = "Counter | Gauge | Histogram"

_KNOWN: Final[WeakKeyDictionary[CollectorRegistry, dict[str, _Bounded]]] = WeakKeyDictionary()
"""The metrics of each registry: a registry takes a name once, and guards share it."""


def _families(registry: CollectorRegistry) -> dict[str, _Bounded]:
    """This library's metrics in a registry; they are made the first time.

    Raises:
        ConfigurationError: others registered metrics of these names.
    """
    known = _KNOWN.get(registry)
    if known is None:
        try:
            known = {metric.name: _Bounded(metric, _family(metric, registry)) for metric in TABLE}
        except ValueError as exc:
            raise ConfigurationError(f"this registry has metrics of other makers under our names: {exc}") from exc
        _KNOWN[registry] = known
    return known


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


class _Bounded:
    """A metric in a registry, and the values that its labels have had."""

    def __init__(self, metric: Metric, family: Any) -> None:
        self._family = family
        self._seen: dict[str, set[str]] = {name: set() for name in metric.label_names}
        self._children: dict[tuple[str, ...], Any] = {}

    def child(self, values: tuple[str, ...]) -> Any:
        """The series of these values, `variant` first."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._family.labels(*values)
        return child

    def bounded(self, name: str, value: str) -> str:
        """A value that applications name, or `other` when there were too many."""
        seen = self._seen[name]
        if value in seen:
            return value
        if len(seen) >= MOST_VALUES:
            return OTHER
        value = plain_text(value)[:MOST_CHARACTERS]
        seen.add(value)
        return value


class _Counted:
    """One metric of one sink."""

    def __init__(self, metric: Metric, bounded: _Bounded, variant: str) -> None:
        self._metric = metric
        self._bounded = bounded
        self._variant = variant
        self._counted = 0.0
        """What a cumulative number was when it was read last."""
        self._allowed = {label.name: frozenset(label.values) for label in metric.labels if label.values is not None}
        if not metric.label_names:  # so that it is there, with 0, before anything happens
            bounded.child((variant,))

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
                    observe(value)
        else:
            self._take_value(seen)

    def _take_value(self, seen: Observation) -> None:
        metric = self._metric
        value = 1.0 if metric.read is None else metric.read(seen)
        if value is None:
            return
        if metric.cumulative:
            value, self._counted = value - self._counted, value
        child = self._child(seen)
        match metric.kind:
            case Kind.COUNTER:
                child.inc(max(value, 0.0))
            case Kind.GAUGE:
                child.set(value)
            case Kind.HISTOGRAM:
                child.observe(value)

    def _take_units(self, seen: Observation) -> None:
        beginning = self._metric.by_unit
        for name, amount in seen.fields.items():
            if name.startswith(beginning) and isinstance(amount, (int, float)):
                unit = self._bounded.bounded("unit", name.removeprefix(beginning))
                self._bounded.child((self._variant, unit)).inc(max(amount, 0))

    def _child(self, seen: Observation) -> Any:
        values = tuple(self._value(label, seen) for label in self._metric.labels)
        return self._bounded.child((self._variant, *values))

    def _value(self, label: Label, seen: Observation) -> str:
        read = label.read(seen)
        value = "" if read is None else str(read)
        allowed = self._allowed.get(label.name)
        if allowed is None:
            return self._bounded.bounded(label.name, value)
        return value if value in allowed or not value else OTHER
