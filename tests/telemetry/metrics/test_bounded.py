"""However many different things happen, or are made to happen, the number of series stays small."""

from __future__ import annotations

import string
from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from streamguard import Fault, FaultCode, Observation, Run, Signal
from streamguard.telemetry.metrics import PREFIX, TABLE, Metric, PrometheusMetrics
from streamguard.telemetry.metrics.exposition import exposition

from ..faults import CANARIES
from ..faults.application import Application

FIELDS: Final = (
    *("binding", "protocol", "framework", "outcome", "persisted", "reason", "state", "task", "tool", "remote"),
    *("breaker", "degraded", "begun", "warning", "record", "origin", "part", "type", "misuse", "model"),
)
"""Those that are texts, and one that no observation has."""

MOST: Final = 500
"""Series of one metric, before each value of a label that applications name is `other`."""

Fields = dict[str, str | int | float | bool | None]


def most_of(metric: Metric) -> int:
    """How many series a metric may have: those, and one for each combination of the values that are fixed."""
    beyond = 1
    for label in metric.labels:
        beyond *= len(label.values) + 2 if label.values is not None else 1
    return MOST + beyond


def series_of(page: str) -> dict[str, set[tuple[tuple[str, str], ...]]]:
    """The combinations of labels of each metric in a page."""
    found: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
            found.setdefault(family.name, set()).add(labels)
    return found


def assert_bounded(metrics: PrometheusMetrics) -> None:
    page = metrics.exposition().decode()
    series = series_of(page)
    for metric in TABLE:
        name = (PREFIX + metric.name).removesuffix("_total")
        assert len(series.get(name, ())) <= most_of(metric), name
    assert max(map(len, page.splitlines())) < 1_000


def hostile(number: int) -> tuple[Fields, Fault]:
    """An observation's fields and fault of which each value is another one than in all others."""
    fields: Fields = {name: f"{name}-{number}" for name in FIELDS}
    fields |= {"seconds": 0.1, "bytes": 10, f"reserved_{number}": 1, f"spent_{number}": 1, "session_id": f"s{number}"}
    code = tuple(FaultCode)[number % len(FaultCode)]
    return fields, Fault.of(code, reason=f"reason-{number}", session_id=f"s{number}")


@pytest.mark.long
def test_ten_thousand_values_of_everything() -> None:
    metrics = PrometheusMetrics(registry=CollectorRegistry())
    signals = sorted(metrics.signals)
    for number in range(10_000):
        fields, fault = hostile(number)
        # Each signal gets every code and, over all, thousands of different values of each field.
        metrics(Observation(signals[number % len(signals)], fields=fields, fault=fault))
    assert_bounded(metrics)


@pytest.mark.long
def test_many_combinations_of_few_values() -> None:
    """A hundred values of each label are a million combinations of three."""
    metrics = PrometheusMetrics(registry=CollectorRegistry())
    for number in range(20_000):
        fields: Fields = {"binding": f"b{number % 97}", "reason": f"r{number % 89}", "begun": number % 2 == 0}
        fault = Fault.of(FaultCode.PROVIDER_ERROR, reason=f"r{number % 83}")
        metrics(Observation(Signal.FAULT, fields=fields, fault=fault))
        metrics(Observation(Signal.SAVE_FAILED, fields=fields))
    assert_bounded(metrics)
    counted = [
        sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if sample.name in ("streamguard_persist_failures_total", "streamguard_provider_aborts_total")
    ]
    assert sum(counted) == 40_000, "what has no series of its own is counted as other"


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=200))
names = st.one_of(
    st.sampled_from((*FIELDS, "seconds", "bytes", "streams", "outbox")),
    st.text(string.ascii_letters, max_size=9).map("reserved_{}".format),
    st.text(max_size=9).map("spent_{}".format),
)


@pytest.mark.long
@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(Signal),
            st.dictionaries(names, values, max_size=8),
            st.one_of(st.none(), st.builds(Fault.of, st.sampled_from(FaultCode), reason=st.text(max_size=50))),
            st.dictionaries(
                st.sampled_from(("append_seconds", "gap_seconds", "event_bytes")),
                st.lists(st.floats(0, 1e9), max_size=5),
            ),
        ),
        max_size=10,
    ),
    st.text(max_size=50),
)
def test_whatever_is_told_the_page_can_be_read(
    told: list[tuple[Signal, Mapping[str, str | int | float | bool | None], Fault | None, dict[str, list[float]]]],
    variant: str,
) -> None:
    """In both formats, and nothing told makes the sink raise."""
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(variant=variant, registry=registry)
    for signal, fields, fault, samples in told:
        metrics(Observation(signal, fields=fields, fault=fault, samples=samples))
    assert_bounded(metrics)
    page, kind = exposition(registry, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert {family.name for family in open_metrics_families(page.decode())}  # type: ignore[no-untyped-call]


@pytest.mark.anyio
@pytest.mark.long
async def test_an_application_under_attack_makes_no_series() -> None:
    """Other sessions, owners, tools, exceptions and reasons each time: the second hundred adds next to nothing."""

    async def script(app: Application, run: Run) -> AsyncIterator[object]:
        yield {"type": "tool-input-available", "toolCallId": run.stream_id, "toolName": run.session_id, "input": {}}
        raise type(f"Error{run.stream_id}", (RuntimeError,), {})(run.stream_id)

    metrics = PrometheusMetrics(registry=CollectorRegistry())
    app = Application(CANARIES, (metrics,), script=script, max_resumes_per_minute=10_000)
    sizes: list[int] = []
    async with app.running() as chat:
        for number in range(200):
            answer = await app.ask(chat, session=f"session-{number}", headers={"x-user": f"user-{number}"})
            await answer.whole()
            await chat.ended(answer)
            await chat.resume(f"session-{number}", after=f"1.{number:024}.1.{number}")
            await chat.resume(f"nothing-{number}", after=f"odd cursor {number}")
            await chat.request("GET", f"/api/chat/session-{number}/streams/{number}/raw")
            if number in (99, 199):
                sizes.append(sum(map(len, series_of(metrics.exposition().decode()).values())))
    assert sizes[1] < sizes[0] + 10, "but for what happens now and then"
    assert_bounded(metrics)
    assert "session-" not in metrics.exposition().decode()
