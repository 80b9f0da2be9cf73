"""The Prometheus sink, by what it shows."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from streamguard import ConfigurationError, Fault, FaultCode, Observation, Signal
from streamguard.telemetry.metrics import PREFIX, TABLE, Kind, PrometheusMetrics

Fields = dict[str, str | int | float | bool | None]

MOST = 100
"""Values of a label that applications name."""


def shown(metrics: PrometheusMetrics) -> dict[str, float]:
    """Each series by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()) if value)
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def made(variant: str = "") -> PrometheusMetrics:
    return PrometheusMetrics(variant=variant, registry=CollectorRegistry())


def test_every_metric_of_the_table_is_registered() -> None:
    text = made().exposition().decode()
    for metric in TABLE:
        name = PREFIX + metric.name
        assert f"# TYPE {name} {metric.kind}" in text
        assert f"# HELP {name} {metric.help}" in text


def test_an_end_is_counted_by_outcome_and_endpoint() -> None:
    metrics = made("canary")
    fields: Fields = {"outcome": "completed", "persisted": "yes", "binding": "app:chat", "seconds": 1.5, "bytes": 900}
    metrics(Observation(Signal.STREAM_ENDED, fields=fields))
    series = shown(metrics)
    labels = "{binding=app:chat,outcome=completed,persisted=yes,variant=canary}"
    assert series[f"streamguard_stream_terminal_total{labels}"] == 1.0
    assert series["streamguard_stream_seconds_sum{binding=app:chat,outcome=completed,variant=canary}"] == 1.5


def test_samples_are_observed_one_by_one() -> None:
    metrics = made()
    samples = {"append_seconds": (0.001, 0.002), "queued_seconds": (0.5,)}
    metrics(Observation(Signal.LOG_WRITTEN, fields={"commits": 2, "events": 40}, samples=samples))
    series = shown(metrics)
    assert series["streamguard_append_seconds_count{}"] == 2.0
    assert series["streamguard_queued_seconds_sum{}"] == 0.5
    assert series["streamguard_log_events_total{}"] == 40.0


@pytest.mark.parametrize(
    ("signal", "persisted", "what"),
    [
        (Signal.STREAM_DEGRADED, None, "log"),
        (Signal.SAVE_BURIED, None, "message"),
        (Signal.STREAM_ENDED, "no", None),
        (Signal.STREAM_ENDED, "pending", None),
    ],
)
def test_what_was_accepted_and_not_kept(signal: Signal, persisted: str | None, what: str | None) -> None:
    metrics = made()
    metrics(Observation(signal, fields={} if persisted is None else {"persisted": persisted}))
    found = [one for one in shown(metrics) if one.startswith("streamguard_accepted_not_durable_total")]
    assert found == ([] if what is None else [f"streamguard_accepted_not_durable_total{{what={what}}}"])


@pytest.mark.parametrize(
    ("seen", "lost"),
    [
        (Observation(Signal.SAVE_BURIED, fault=Fault.of(FaultCode.PERSISTENCE_FAILED)), 1),
        (Observation(Signal.SAVE_BURIED, fault=Fault.of(FaultCode.QUOTA_RELEASE_FAILED)), 0),
        (Observation(Signal.SAVE_FAILED, fields={"reason": "timeout"}), 0),
        (Observation(Signal.SAVE_FAILED, fields={"reason": "erased"}), 0),
        (Observation(Signal.SAVE_FAILED, fields={"reason": "superseded"}), 0),
        (Observation(Signal.SAVE_FAILED, fields={"reason": "forbidden"}), 1),
        (Observation(Signal.STREAM_ENDED, fields={"persisted": "no", "unsaved": True}), 1),
    ],
)
def test_only_replies_that_nobody_owes_are_lost(seen: Observation, lost: int) -> None:
    metrics = made()
    metrics(seen)
    assert shown(metrics).get("streamguard_accepted_not_durable_total{what=message}", 0) == lost


def test_faults_tell_the_class_of_their_exception() -> None:
    metrics = made()
    fault = Fault.of(FaultCode.INTERNAL)
    metrics(Observation(Signal.FAULT, fault=fault, error=KeyError("what a user wrote")))
    assert shown(metrics)["streamguard_faults_total{code=internal,error=KeyError,phase=internal}"] == 1.0


@pytest.mark.parametrize(
    ("observation", "labels"),
    [
        (Observation(Signal.STREAM_RESUMED, fields={"state": "open"}), "reason=open,result=resumed"),
        (Observation(Signal.RESUME_EMPTY, fields={"reason": "none"}), "reason=none,result=empty"),
        (
            Observation(Signal.RESUME_REFUSED, fault=Fault.of(FaultCode.RESUME_FAILED, reason="trimmed")),
            "reason=trimmed,result=failed",
        ),
        (
            Observation(Signal.RESUME_REFUSED, fault=Fault.of(FaultCode.STORE_UNAVAILABLE)),
            "reason=store_unavailable,result=failed",
        ),
    ],
)
def test_resumes_tell_their_result_and_reason(observation: Observation, labels: str) -> None:
    metrics = made()
    metrics(observation)
    assert shown(metrics)[f"streamguard_resume_total{{{labels}}}"] == 1.0


def test_usage_is_counted_by_unit() -> None:
    metrics = made()
    metrics(Observation(Signal.QUOTA_RESERVED, fields={"reserved_tokens": 300, "reserved_requests": 1, "seconds": 0.1}))
    series = shown(metrics)
    assert series["streamguard_quota_reserved_units_total{unit=tokens}"] == 300.0
    assert series["streamguard_quota_reserved_units_total{unit=requests}"] == 1.0


def test_labels_are_bounded() -> None:
    """However many values an application, or a store that lies, comes up with."""
    metrics = made()
    for number in range(5 * MOST):
        fields = {
            "binding": f"module:{number}",
            "outcome": f"outcome {number}",
            "persisted": "\n\x00",
            "reason": "x" * 9999,
        }
        metrics(Observation(Signal.STREAM_ENDED, fields=fields))
        metrics(Observation(Signal.STREAM_DEGRADED, fields=fields))
        metrics(Observation(Signal.TASK_RESTARTED, fields={"task": f"task {number}"}))
        metrics(Observation(Signal.QUOTA_RESERVED, fields={f"reserved_{number}": 1}))
    series = shown(metrics)
    for prefix in (
        "streamguard_stream_terminal_total",
        "streamguard_task_restarts_total",
        "streamguard_quota_reserved_units_total",
    ):
        assert len([one for one in series if one.startswith(prefix)]) <= MOST + 1
        assert [one for one in series if one.startswith(prefix) and "other" in one]
    assert max(map(len, series)) < 500


def test_values_that_are_no_numbers_are_left_out() -> None:
    metrics = made()
    for value in (None, "many", float("nan"), float("inf")):
        metrics(Observation(Signal.PROCESS_MEASURED, fields={"streams": value, "breaker": "closed"}))
    assert shown(metrics)["streamguard_streams_active{}"] == 0.0


def test_two_guards_share_a_registry() -> None:
    registry = CollectorRegistry()
    first, second = PrometheusMetrics(registry=registry), PrometheusMetrics(variant="canary", registry=registry)
    first(Observation(Signal.STREAM_SUPERSEDED))
    second(Observation(Signal.STREAM_SUPERSEDED))
    series = shown(first)
    assert series["streamguard_fenced_total{}"] == series["streamguard_fenced_total{variant=canary}"] == 1.0


def test_a_registry_with_such_names_is_refused() -> None:
    registry = CollectorRegistry()
    Counter("streamguard_fenced_total", "Of somebody else.", registry=registry)
    with pytest.raises(ConfigurationError, match="streamguard_fenced"):
        PrometheusMetrics(registry=registry)


def test_every_metric_has_a_type_of_prometheus() -> None:
    assert {metric.kind for metric in TABLE} == set(Kind)
