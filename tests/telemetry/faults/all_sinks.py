"""Runs every way to a fault with every sink there is, in a process of its own.

Sentry's integrations patch what they look at for good, which is why this is a program, a module to run without
arguments. It ends with a line of JSON on standard output: for each sink how many texts were looked at, each leak, on
which ways an exception of the host's was handed on to its framework, and what ran. What else it writes is for its
caller to look through.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from sentry_sdk.integrations.httpx import HttpxIntegration
from sentry_sdk.integrations.redis import RedisIntegration
from sentry_sdk.integrations.sqlalchemy import SqlalchemyIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration

from streamguard import Observation, Observer
from streamguard.telemetry import StructlogObserver
from streamguard.telemetry.audit import AuditTrail, JsonLinesAudit, StructlogAudit
from streamguard.telemetry.metrics import PrometheusMetrics
from streamguard.telemetry.sentry import before_breadcrumb, before_send, before_send_log, before_send_transaction
from streamguard.telemetry.tracing import OpenTelemetryTracing

from . import ALL_SCENARIOS, CANARIES, Scenario, of_answers, of_ends, of_hosts, of_responses
from .watched import Watched, watching

__all__ = ["main"]


LOOP_TELLS: Final = frozenset({*of_ends.SCENARIOS, of_hosts.WELL, of_hosts.WORKER_LOST, *of_answers.SCENARIOS[:1]})
"""Where the event loop logs each of its steps, with what tasks and callbacks hold. It takes long."""


class StandardLogging:
    """Logs as in a host that has configured only the standard library, while this one has configured structlog."""

    def __init__(self) -> None:
        self._observer = StructlogObserver()

    def __call__(self, observation: Observation) -> None:
        with _unconfigured():
            self._observer(observation)


@contextmanager
def _unconfigured() -> Iterator[None]:
    config = structlog.get_config()
    structlog.reset_defaults()
    try:
        yield
    finally:
        structlog.configure(**config)


class Scrubbed:
    """What our hooks leave of everything that Sentry sends: kept, while Sentry sends all of it."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.options: dict[str, Any] = {
            "before_send": self._beside(before_send),
            "before_send_transaction": self._beside(before_send_transaction),
            "before_send_log": self._beside(before_send_log),
            "before_breadcrumb": self._beside(before_breadcrumb),
        }

    def _beside(self, hook: Any) -> Any:
        def keep(item: Any, hint: dict[str, Any]) -> Any:
            self.kept.append(repr(hook(copy.deepcopy(item), hint)))
            return item

        return keep

    def taken(self) -> list[str]:
        kept, self.kept = self.kept, []
        return kept


class AllSinks:
    """Every sink of ours, and those of the host's that a stream's work reaches."""

    def __init__(self, watched: Watched, scrubbed: Scrubbed, directory: Path) -> None:
        self.watched = watched
        self.scrubbed = scrubbed
        self.spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.metrics = PrometheusMetrics(registry=CollectorRegistry())
        self._audit_path = directory / "audit.jsonl"
        self._audit = JsonLinesAudit(self._audit_path)
        self.observers: tuple[Observer, ...] = (
            self.metrics,
            OpenTelemetryTracing(provider),
            AuditTrail(self._audit),
            AuditTrail(StructlogAudit()),
            StandardLogging(),
        )

    async def run(self, scenario: Scenario) -> None:
        """One way to a fault, and what all sinks have of it."""
        watched = self.watched
        provoked = await scenario.run(observers=self.observers)
        watched.note_answers(provoked)
        watched.note("observations", *map(repr, provoked.observations))
        watched.note_errors([*provoked.raised, *(one.error for one in provoked.observations if one.error is not None)])
        del provoked
        self._gather()

    def _gather(self) -> None:
        watched = self.watched
        watched.gather()
        watched.note("metrics", self.metrics.exposition())
        watched.note("spans", *(span.to_json() for span in self.spans.get_finished_spans()))
        self.spans.clear()
        watched.note("scrubbed", *self.scrubbed.taken())
        self._audit.close(5)
        watched.note("audit", self._audit_path.read_text() if self._audit_path.exists() else "")
        self._audit_path.unlink(missing_ok=True)


async def run_all(watched: Watched, scrubbed: Scrubbed, names: list[str]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    leaks: list[str] = []
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 0.0
    handed_on: list[str] = []
    ran: list[str] = []
    gc.collect()
    gc.freeze()  # what was imported: it takes long to look through
    with tempfile.TemporaryDirectory() as directory:
        sinks = AllSinks(watched, scrubbed, Path(directory))
        for scenario in (*ALL_SCENARIOS, *of_hosts.SCENARIOS, *of_responses.SCENARIOS):
            if names and str(scenario) not in names:
                continue
            watched.envelopes.of_framework = 0
            loop.set_debug(scenario in LOOP_TELLS)
            await sinks.run(scenario)
            ran.append(str(scenario))
            if watched.envelopes.of_framework:
                handed_on.append(str(scenario))
            for sink, texts in watched.texts.items():
                counts[sink] = counts.get(sink, 0) + len(list(filter(None, texts)))
            leaks += [f"{scenario}: {leak}" for leak in watched.leaks(CANARIES)]
            watched.texts.clear()
    return {"counts": counts, "leaks": leaks, "handed_on": handed_on, "ran": ran}


def main(names: list[str]) -> None:
    """Run the scenarios with these names, or all."""
    warnings.simplefilter("always")
    logging.captureWarnings(capture=False)  # to standard error
    scrubbed = Scrubbed()
    integrations = (StarletteIntegration(), HttpxIntegration(), SqlalchemyIntegration(), RedisIntegration())
    options = {**scrubbed.options, "default_integrations": True, "auto_enabling_integrations": False}
    with watching(configured=True, integrations=integrations, options=options) as watched:
        report = asyncio.run(run_all(watched, scrubbed, names))
    sys.stdout.write(f"{json.dumps(report)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
