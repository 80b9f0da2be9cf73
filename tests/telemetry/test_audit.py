"""The audit trail: who did what, when, and how it went."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import structlog
from structlog.testing import LogCapture

from streamguard import Fault, FaultCode, Observation, Signal
from streamguard.telemetry.audit import (
    Actor,
    AuditAction,
    AuditRecord,
    AuditSink,
    AuditTrail,
    StructlogAudit,
)
from streamguard.telemetry.safety import short_hash
from streamguard.values import SessionKey, StreamRef

REF = StreamRef(SessionKey("ann@example.org", "s"), "a" * 24)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Kept:
    """A sink that keeps its records."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    def write(self, record: AuditRecord) -> None:
        self.records.append(record)


def one(number: int = 1) -> AuditRecord:
    return AuditRecord(at=AT, action=AuditAction.START, actor=Actor.OWNER, stream_id=str(number))


def recorded(observation: Observation, **options: Callable[[str], str]) -> list[AuditRecord]:
    kept = Kept()
    sink: AuditSink = kept
    AuditTrail(sink, now=lambda: AT, **options)(observation)
    return kept.records


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_a_start_names_who_what_and_when() -> None:
    (record,) = recorded(Observation(Signal.STREAM_OPENED, ref=REF, message_id="m", request_id="r"))
    assert record.as_dict() == {
        "at": "2026-01-02T03:04:05.000Z",
        "action": "start",
        "actor": "owner",
        "owner": short_hash("ann@example.org"),
        "session_id": "s",
        "stream_id": "a" * 24,
        "message_id": "m",
        "request_id": "r",
        "outcome": "granted",
    }


def test_owners_are_in_the_clear_only_where_the_host_asks() -> None:
    observation = Observation(Signal.SESSION_ERASED, owner="ann@example.org", fields={"session_id": "s"})
    assert recorded(observation)[0].owner == short_hash("ann@example.org")
    assert recorded(observation, owner_name=str)[0].owner == "ann@example.org"
    assert recorded(observation, owner_name=lambda owner: f"user {len(owner)}")[0].owner == "user%2015"


def test_an_owner_who_cannot_be_named_is_recorded_as_a_hash() -> None:
    def fails(_: str) -> str:
        raise LookupError

    observation = Observation(Signal.SESSION_ERASED, owner="ann@example.org", fields={"session_id": "s"})
    assert recorded(observation, owner_name=fails)[0].owner == short_hash("ann@example.org")


@pytest.mark.parametrize(
    ("signal", "fields", "expected"),
    [
        (Signal.STOP_REQUESTED, {}, ("stop", "owner", "granted", None)),
        (Signal.STREAM_RESUMED, {}, ("resume", "owner", "granted", None)),
        (Signal.RESUME_EMPTY, {"reason": "finished"}, ("resume", "owner", "empty", "finished")),
        (Signal.ORPHAN_SETTLED, {"outcome": "interrupted"}, ("takeover", "system", "interrupted", None)),
        (Signal.SAVE_RECOVERED, {}, ("reconcile", "system", "saved", None)),
        (Signal.SAVE_BURIED, {"reason": "gone"}, ("save_given_up", "system", "dead_letter", "gone")),
        (Signal.STREAM_ENDED, {"outcome": "stopped"}, ("end", "system", "stopped", None)),
        (Signal.QUOTA_SETTLED, {"outcome": "charged"}, ("settle", "system", "charged", None)),
        (Signal.RESERVATION_EXPIRED, {}, ("settle", "system", "expired", None)),
        (Signal.TOOL_CALLED, {"outcome": "called", "tool": "search"}, ("tool_call", "system", "called", None)),
        (Signal.RECONCILED, {"outcome": "ok", "found": 2}, ("reconcile", "system", "ok", None)),
        (Signal.RECONCILED, {"outcome": "failed", "found": 0}, ("reconcile", "system", "failed", None)),
    ],
)
def test_each_action_has_its_actor_and_outcome(
    signal: Signal, fields: dict[str, str | int], expected: tuple[str, str, str, str | None]
) -> None:
    (record,) = recorded(Observation(signal, ref=REF, fields=fields))
    assert (record.action, record.actor, record.outcome, record.reason) == expected


def test_what_was_denied_is_recorded_with_its_fault() -> None:
    fault = Fault.of(FaultCode.QUOTA_EXCEEDED, reason="spent", session_id="s", request_id="r")
    (record,) = recorded(Observation(Signal.FAULT, fault=fault, request_id="r", owner="ann@example.org"))
    assert (record.action, record.outcome, record.code, record.reason) == (
        "quota_denied",
        "denied",
        "quota_exceeded",
        "spent",
    )
    assert (record.fault_id, record.owner) == (fault.fault_id, short_hash("ann@example.org"))
    (record,) = recorded(Observation(Signal.RESUME_REFUSED, fault=Fault.of(FaultCode.NOT_FOUND), request_id="r"))
    assert (record.action, record.outcome, record.code) == ("resume", "denied", "not_found")
    (record,) = recorded(Observation(Signal.FAULT, fault=Fault.of(FaultCode.UNAUTHENTICATED), request_id="r"))
    assert (record.action, record.owner) == ("refuse", None)
    (record,) = recorded(Observation(Signal.FAULT, ref=REF, fault=Fault.of(FaultCode.PROVIDER_ERROR)))
    assert (record.action, record.actor) == ("fault", "system")


def test_what_concerns_nobodys_stream_is_not_recorded() -> None:
    assert recorded(Observation(Signal.FAULT, fault=Fault.of(FaultCode.INTERNAL))) == []
    assert recorded(Observation(Signal.VIEWER_CUT, ref=REF)) == []
    assert recorded(Observation(Signal.SETTLEMENT_RECOVERED, ref=REF)) == []  # told of as QUOTA_SETTLED too
    assert recorded(Observation(Signal.RECONCILED, fields={"outcome": "ok", "found": 0})) == []


def test_an_id_that_a_client_chose_forges_nothing() -> None:
    ref = StreamRef(SessionKey("o", 's" \n{"action":"erase"}'), "a" * 24)
    (record,) = recorded(Observation(Signal.STREAM_OPENED, ref=ref))
    assert record.session_id == "s%22%20%0A{%22action%22:%22erase%22}"


# -- structlog ---------------------------------------------------------------------------------------------------------


def test_records_become_log_events() -> None:
    capture = LogCapture()
    structlog.configure(processors=[capture])
    try:
        StructlogAudit().write(one())
    finally:
        structlog.reset_defaults()
    (entry,) = capture.entries
    assert (entry["event"], entry["action"], entry["log_level"]) == ("streamguard.audit", "start", "info")


def test_without_structlog_they_go_to_the_standard_library(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "streamguard.audit"):
        StructlogAudit().write(one())
    assert json.loads(caplog.messages[0].removeprefix("streamguard.audit "))["action"] == "start"
