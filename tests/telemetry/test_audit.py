"""The audit trail: who did what, when, and how it went."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

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
    FlushableSink,
    JsonLinesAudit,
    StructlogAudit,
)
from streamguard.telemetry.safety import short_hash
from streamguard.values import SessionKey, StreamRef

REF = StreamRef(SessionKey("ann@example.org", "s"), "a" * 24)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WAIT = 10.0


class Kept:
    """A sink that keeps its records."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    def write(self, record: AuditRecord) -> None:
        self.records.append(record)


def one(number: int = 1) -> AuditRecord:
    return AuditRecord(at=AT, action=AuditAction.START, actor=Actor.OWNER, stream_id=str(number))


def recorded(observation: Observation, *, clear_owners: bool = False) -> list[AuditRecord]:
    kept = Kept()
    sink: AuditSink = kept
    AuditTrail(sink, clear_owners=clear_owners, now=lambda: AT)(observation)
    return kept.records


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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
    assert recorded(observation, clear_owners=True)[0].owner == "ann@example.org"


@pytest.mark.parametrize(
    ("signal", "fields", "expected"),
    [
        (Signal.STOP_REQUESTED, {}, ("stop", "owner", "granted", None)),
        (Signal.STREAM_RESUMED, {}, ("resume", "owner", "granted", None)),
        (Signal.RESUME_EMPTY, {"reason": "finished"}, ("resume", "owner", "empty", "finished")),
        (Signal.ORPHAN_SETTLED, {"outcome": "interrupted"}, ("takeover", "system", "interrupted", None)),
        (Signal.SAVE_RECOVERED, {}, ("reconcile", "system", "saved", None)),
        (Signal.SAVE_BURIED, {"reason": "gone"}, ("save_given_up", "system", "dead_letter", "gone")),
        (Signal.SETTLEMENT_RECOVERED, {}, ("settle", "system", "settled", None)),
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
    fault = Fault.of(FaultCode.QUOTA_EXCEEDED, reason="limit", session_id="s", request_id="r")
    (record,) = recorded(Observation(Signal.FAULT, fault=fault, request_id="r", owner="ann@example.org"))
    assert (record.action, record.outcome, record.code, record.reason) == (
        "quota_denied",
        "denied",
        "quota_exceeded",
        "limit",
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


# -- a file ------------------------------------------------------------------------------------------------------------


def test_records_are_appended_to_a_file_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"action":"before"}\n')
    sink: FlushableSink = JsonLinesAudit(path, fsync=True)
    sink.write(one())
    assert sink.flush(WAIT)
    assert [line["action"] for line in lines(path)] == ["before", "start"]
    other = JsonLinesAudit(tmp_path / "new.jsonl")
    other.write(one())
    assert other.flush(WAIT)
    assert (tmp_path / "new.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_drain_flushes(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(JsonLinesAudit(path))
    trail(Observation(Signal.STREAM_OPENED, ref=REF))
    trail(Observation(Signal.DRAIN_ENDED))
    assert [line["action"] for line in lines(path)] == ["start"]


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    sink = JsonLinesAudit(path)
    for number in (1, 2):
        sink.write(one(number))
        assert sink.flush(WAIT)
        if number == 1:
            path.rename(old)
    assert [line["stream_id"] for line in [*lines(old), *lines(path)]] == ["1", "2"]


def _append(path: str, begin: int) -> None:
    sink = JsonLinesAudit(path)
    for number in range(begin, begin + 300):
        sink.write(one(number))
    assert sink.flush(WAIT)


@pytest.mark.long
def test_several_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append, args=(os.fspath(path), begin)) for begin in (0, 1000)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted(int(line["stream_id"]) for line in lines(path)) == [*range(300), *range(1000, 1300)]


def test_a_full_disk_hurts_nobody_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    sink = JsonLinesAudit("/dev/full", capacity=5)
    for number in range(100):
        sink.write(one(number))
    assert not sink.flush(0.2)
    assert sink.dropped >= 90
    names = [message.split()[0] for message in caplog.messages]
    assert names.count("streamguard.audit_failed") == names.count("streamguard.audit_dropped") == 1


@pytest.mark.long
def test_records_wait_for_a_file_that_can_be_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "later" / "audit.jsonl"
    sink = JsonLinesAudit(path)
    sink.write(one())
    assert not sink.flush(0.1)
    path.parent.mkdir()
    assert sink.flush(WAIT)
    assert [line["action"] for line in lines(path)] == ["start"]
    assert "streamguard.audit_recovered" in caplog.text
