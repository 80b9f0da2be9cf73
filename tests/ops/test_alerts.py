"""Every alert fires once where its fault is, and none where there is no fault.

The series are what `PrometheusMetrics` answers when it is told of a minute's facts, scraped as Prometheus would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry

from streamguard.faults import Fault, FaultCode
from streamguard.observations import Observation, Signal
from streamguard.telemetry.metrics import PREFIX, TABLE, PrometheusMetrics

from .promtool import unit_tested
from .recording import Recording
from .rules import ALERTS, FILES, OPS, metrics_in

NAMED: Final = frozenset().union(*(metrics_in(file.read_text()) for file in FILES))
"""The metrics that rules read."""
BEFORE: Final = 12
"""Healthy minutes before the fault."""
AFTER: Final = 38
"""Healthy minutes after it: a page's short windows, of up to 30 minutes, have passed."""

FIRING: Final = 'ALERTS{alertstate="firing"}'


class Process:
    """A worker: what its metrics are told, and what was scraped of them."""

    def __init__(self) -> None:
        self._metrics = PrometheusMetrics(registry=CollectorRegistry())
        self.recording = Recording(lambda: self._metrics.exposition().decode(), only=NAMED)
        self.reconciles = True
        self.process: dict[str, float | str | bool] = {}
        self.store: dict[str, float] = {}
        self.get_well()

    def get_well(self) -> None:
        """What is measured is as in a process that lacks nothing."""
        self.reconciles = True
        self.process |= {"streams": 3, "viewers": 3, "loop_lag_seconds": 0.001, "draining": False}
        self.process |= {"breaker": "closed", "message_breaker": "closed"}
        self.process["observer_errors"] = 0
        self.store = dict.fromkeys(("outbox", "outbox_oldest_seconds", "dead_letters", "expired_leases"), 0)
        self.store |= {"reservations": 3, "reservations_oldest_seconds": 20, "quota_drift_units": 0}

    def tell(
        self,
        signal: Signal,
        times: int = 1,
        *,
        about: Mapping[str, str | float | bool] | None = None,
        fault: Fault | None = None,
        samples: Mapping[str, Sequence[float]] | None = None,
        **fields: str | float | bool,
    ) -> None:
        for _ in range(times):
            self._metrics(Observation(signal, fault=fault, samples=samples or {}, fields={**(about or {}), **fields}))

    def answers(self, times: int, *, seconds: float = 0.002, persisted: str = "yes") -> None:
        about = {"binding": "chat", "protocol": "ui-message"}
        self.tell(Signal.STREAM_OPENED, times, about=about, degraded=False, seconds=seconds)
        self.tell(Signal.STREAM_ENDED, times, about=about, outcome="completed", persisted=persisted, seconds=4.0)

    def appends(self, seconds: float) -> None:
        self.tell(Signal.LOG_WRITTEN, commits=50, samples={"append_seconds": [seconds] * 50})

    def busy(self) -> None:
        """What a minute with ten answers tells, beside what is measured."""
        self.answers(10)
        self.appends(0.0008)
        self.tell(Signal.REPLY_SAVED, 10, binding="chat", seconds=0.01)
        self.tell(Signal.STREAM_RESUMED, 2, state="open")
        self.tell(Signal.RESUME_EMPTY, 3, reason="none")
        self.tell(Signal.RESUME_REFUSED, fault=Fault.of(FaultCode.RESUME_FAILED, reason="stream_gone"))
        self.tell(Signal.FAULT, fault=Fault.of(FaultCode.LIMIT_RATE))

    def scraped(self) -> None:
        self.tell(Signal.PROCESS_MEASURED, about=self.process)
        self.tell(Signal.STORE_MEASURED, about=self.store)
        if self.reconciles:
            self.tell(Signal.RECONCILED, outcome="ok", seconds=0.01)
        self.recording.scrape()


# -- faults: what one minute of each tells -----------------------------------------------------------------------------


def admission_slow(process: Process, _: int) -> None:
    process.answers(10, seconds=0.05)


def appends_slow(process: Process, _: int) -> None:
    process.appends(0.05)


def saves_fail(process: Process, minute: int) -> None:
    process.answers(10, persisted="pending")
    process.tell(Signal.SAVE_FAILED, 10, binding="chat", reason="unavailable")
    process.tell(Signal.SAVE_OWED, 10, binding="chat", reason="unavailable")
    process.store |= {"outbox": 10 * minute, "outbox_oldest_seconds": 60 * minute}


def resumes_fail(process: Process, _: int) -> None:
    process.tell(Signal.RESUME_REFUSED, 2, fault=Fault.of(FaultCode.RESUME_FAILED, reason="cursor_ahead"))


def clients_come_back(process: Process, _: int) -> None:
    process.tell(Signal.STREAM_RESUMED, 500, state="open")


def provider_fails(process: Process, _: int) -> None:
    process.tell(Signal.FAULT, 5, fault=Fault.of(FaultCode.PROVIDER_ERROR), binding="chat", begun=True)


def record_damaged(process: Process, minute: int) -> None:
    process.tell(Signal.RECORD_UNREADABLE, 1 if minute == 1 else 0, record="meta")


def saved_differently(process: Process, minute: int) -> None:
    """Of a code that no minute counted before: the series begins with 1."""
    process.tell(Signal.FAULT, 1 if minute == 1 else 0, fault=Fault.of(FaultCode.SAVE_CONFLICT))


def answer_lost(process: Process, minute: int) -> None:
    process.tell(Signal.STREAM_DEGRADED, 1 if minute == 1 else 0, reason="unavailable")


def streams_taken(process: Process, _: int) -> None:
    process.tell(Signal.STREAM_SUPERSEDED, 3, binding="chat")


def sink_fails(process: Process, _: int) -> None:
    process.process["observer_errors"] = 1


def reconciler_hangs(process: Process, _: int) -> None:
    process.reconciles = False


def store(**fields: float) -> Callable[[Process, int], None]:
    def measured(process: Process, _: int) -> None:
        process.store |= fields

    return measured


def process(**fields: float | str) -> Callable[[Process, int], None]:
    def measured(worker: Process, _: int) -> None:
        worker.process |= fields

    return measured


def one_save_waits(process: Process, minute: int) -> None:
    process.store |= {"outbox": 1, "outbox_oldest_seconds": 60 * minute}


SCENARIOS: Final[Mapping[str, tuple[Callable[[Process, int], None], int, set[str]]]] = {
    "admission slow": (admission_slow, 10, {"StreamguardStreamStartBurnsFast", "StreamguardStreamStartBurnsSlow"}),
    "appends slow": (appends_slow, 10, {"StreamguardAppendBurnsFast", "StreamguardAppendBurnsSlow"}),
    "saves fail": (
        saves_fail,
        8,
        {
            "StreamguardPersistenceBurnsFast",
            "StreamguardPersistenceBurnsSlow",
            "StreamguardPendingSaveOld",
            "StreamguardOutboxBacklog",
        },
    ),
    "one save waits": (one_save_waits, 8, {"StreamguardPendingSaveOld"}),
    "resumes fail": (resumes_fail, 10, {"StreamguardResumeBurnsFast", "StreamguardResumeBurnsSlow"}),
    "clients come back": (clients_come_back, 4, {"StreamguardReconnectStorm"}),
    "provider fails": (provider_fails, 8, {"StreamguardProviderFailing"}),
    "record damaged": (record_damaged, 3, {"StreamguardInvariantViolated"}),
    "saved differently": (saved_differently, 3, {"StreamguardInvariantViolated"}),
    "reconciler hangs": (reconciler_hangs, 5, {"StreamguardReconcilerSilent"}),
    "quota drifts": (store(quota_drift_units=-5), 15, {"StreamguardQuotaDrift"}),
    "reservations stuck": (store(reservations_oldest_seconds=900), 10, {"StreamguardReservationsStuck"}),
    "streams stuck": (store(expired_leases=2), 6, {"StreamguardStreamsStuck"}),
    "dead letter": (store(dead_letters=1), 6, {"StreamguardDeadLetters"}),
    "loop blocked": (process(loop_lag_seconds=0.5), 6, {"StreamguardLoopLag"}),
    "streams' breaker open": (process(breaker="open"), 9, {"StreamguardBreakerOpen"}),
    "messages' breaker open": (process(message_breaker="open"), 9, {"StreamguardBreakerOpen"}),
    "streams taken": (streams_taken, 4, {"StreamguardFencedSpike"}),
    "answer lost": (answer_lost, 3, {"StreamguardAcceptedNotDurable"}),
    "sink fails": (sink_fails, 3, {"StreamguardSinkFailing"}),
    "no worker": (lambda _process, _: None, 15, {"StreamguardMetricsAbsent"}),
    "nothing": (lambda _process, _: None, 15, set()),
}


@pytest.mark.long
def test_each_alert_fires_once_and_for_its_fault_only(tmp_path: Path) -> None:
    unit_tested(tmp_path, FILES, [_test(name, *scenario) for name, scenario in SCENARIOS.items()])


def test_each_alert_has_a_fault_that_it_fires_for() -> None:
    assert set().union(*(fires for _, _, fires in SCENARIOS.values())) == set(ALERTS)


def test_every_metric_that_the_kit_names_is_in_the_table() -> None:
    table = {PREFIX + metric.name for metric in TABLE}
    for file in (*OPS.rglob("*.md"), *FILES, *OPS.rglob("*.json")):
        named = metrics_in(file.read_text())
        assert named <= table, (file.name, named - table)


def test_every_bound_that_an_objective_counts_by_is_one_of_its_histogram() -> None:
    bounds = {PREFIX + metric.name: metric.buckets for metric in TABLE}
    for file in FILES:
        for name, bound in re.findall(r'(streamguard_\w+)_bucket\{le="([\d.]+)"\}', file.read_text()):
            assert float(bound) in bounds[name], (name, bound)


def _test(name: str, fault: Callable[[Process, int], None], minutes: int, fires: set[str]) -> dict[str, Any]:
    process = _played(name, fault, minutes)
    end = process.recording.minutes - 1
    counts = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(fires)]
    never = [{**one, "value": 0} for one in counts]
    expectations = [
        # Nothing before the fault.
        (FIRING, BEFORE - 1, []),
        # Each as one alert, not one for every series; and no other.
        (f"count by (alertname) (count_over_time({FIRING}[{end}m]))", end, counts),
        # Once: it did not end and begin again.
        (f"max by (alertname) (changes(ALERTS_FOR_STATE{{alertname=~'{'|'.join(fires)}'}}[{end}m]))", end, never),
        # It ends with its fault. A slow burn's short window is of hours.
        ('ALERTS{alertstate="firing", alertname!~".*BurnsSlow"}', end, []),
    ]
    return {
        "name": name,
        "interval": "1m",
        "input_series": process.recording.series(),
        "promql_expr_test": [
            {"expr": expr, "eval_time": f"{at}m", "exp_samples": samples} for expr, at, samples in expectations
        ],
    }


def _played(name: str, fault: Callable[[Process, int], None], minutes: int) -> Process:
    process = Process()
    for _ in range(BEFORE):
        process.busy()
        process.scraped()
    if name == "no worker":
        process.recording.away(minutes)
    else:
        for minute in range(1, minutes + 1):
            process.busy()
            fault(process, minute)
            process.scraped()
    process.get_well()
    for _ in range(AFTER):
        process.busy()
        process.scraped()
    return process
