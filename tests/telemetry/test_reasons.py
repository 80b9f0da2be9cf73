"""Sinks tell streamguard's own reasons, and `other` for a host's, which may be anything."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import streamguard
from streamguard import Fault, FaultCode, Observation, Signal
from streamguard.quota import RefusalReason
from streamguard.telemetry import SentryObserver, StructlogObserver
from streamguard.telemetry.audit import AuditRecord, AuditTrail
from streamguard.telemetry.metrics import PrometheusMetrics
from streamguard.telemetry.reasons import REASONS, told_reason
from streamguard.telemetry.tracing.attributes import of_fault
from streamguard.values import SessionKey, StreamRef
from streamguard.wire.values import Reason

from ..harness.sources import modules_with
from .logged import logged
from .receiver import receiving, sent_to

CANARY: Final = "ann_at_example_org"
REF: Final = StreamRef(SessionKey("ann", "s"), "a" * 24)
SOURCE: Final = Path(streamguard.__file__).parent
PAGE: Final = SOURCE.parents[1] / "docs" / "reference" / "faults.md"


def literals() -> Iterator[str]:
    """The reasons that are written down where a fault is made."""
    for path, module in modules_with({"Fault"}, SOURCE):
        if path.relative_to(SOURCE).parts[0] in {"testing", "telemetry", "stores"}:
            continue
        for call in ast.walk(module):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in {"Fault.of", "Fault.about"}:
                for given in call.keywords:
                    if given.arg == "reason":
                        yield from (
                            str(node.value)
                            for node in ast.walk(given.value)
                            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value[0] != "_"
                        )


def documented() -> set[str]:
    """The reasons in the tables of the reference."""
    found: set[str] = set()
    for table in re.findall(r"^\| reason \|.*\n\|[- |]+\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE):
        for row in table.splitlines():
            found.update(re.findall(r"`(\w+)`", row.split("|")[1]))
    return found


def test_every_reason_of_ours_is_known() -> None:
    assert set(literals()) - REASONS == set()
    assert len(documented()) > 20
    assert (documented() | set(Reason) | set(RefusalReason)) - REASONS == set()


class Records:
    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    def write(self, record: AuditRecord) -> None:
        self.records.append(record)


@pytest.mark.parametrize("reason", [CANARY, f"{CANARY}:1", f"said {CANARY}", f"{CANARY}\n"])
def test_a_hosts_reason_is_told_to_no_sink(reason: str) -> None:
    fault = Fault.of(FaultCode.PROVIDER_ERROR, reason=reason)
    assert fault.as_dict()["reason"] == reason, "the client gets it"
    seen = Observation(Signal.FAULT, ref=REF, fault=fault, fields={"binding": "chat"})
    registry, audit = CollectorRegistry(), Records()
    PrometheusMetrics(registry=registry)(seen)
    AuditTrail(audit)(seen)
    with logged() as lines:
        StructlogObserver()(seen)
    with receiving() as receiver, sent_to(receiver):
        SentryObserver()(seen)
        (event,) = receiver.events()
        assert CANARY not in receiver.text()
    told = [
        event["contexts"]["streamguard"]["reason"],
        lines[0]["reason"],
        audit.records[0].reason,
        of_fault(fault)["streamguard.reason"],
    ]
    assert told == ["other"] * len(told)
    metrics = generate_latest(registry).decode()
    assert 'reason="other"' in metrics
    assert CANARY not in metrics


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_reason_of_ours_is_told(reason: str) -> None:
    assert told_reason(Fault.of(FaultCode.PROVIDER_ERROR, reason=reason)) == reason
