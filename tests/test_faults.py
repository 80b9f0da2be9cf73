from __future__ import annotations

import dataclasses
import json
import re
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamguard.errors import FaultError
from streamguard.faults import REGISTRY, Fault, FaultCode, Phase, Severity
from streamguard.values import short_hash

texts = st.text(st.characters() | st.sampled_from("\r\n\0\u2028\ud800"), min_size=1, max_size=20)
faults = st.builds(
    Fault.of,
    st.sampled_from(FaultCode),
    phase=st.none() | st.sampled_from(Phase),
    severity=st.none() | st.sampled_from(Severity),
    retryable=st.none() | st.booleans(),
    message=st.none() | texts,
    status=st.none() | st.integers(200, 599),
    reason=st.none() | texts,
    retry_after_seconds=st.none() | st.integers(0, 3600),
    actions=st.lists(texts, max_size=3).map(tuple),
    session_id=st.none() | texts,
    stream_id=st.none() | texts,
    message_id=st.none() | texts,
    user_message_id=st.none() | texts,
    request_id=st.none() | texts,
)


def test_every_code_has_its_spec() -> None:
    assert set(REGISTRY) == set(FaultCode)


@pytest.mark.parametrize("code", FaultCode)
def test_specs_are_sound(code: FaultCode) -> None:
    spec = REGISTRY[code]
    assert code == code.name.lower()
    assert code is FaultCode.STOPPED or 400 <= spec.status <= 599
    assert re.fullmatch(r"[A-Z][^\n]*\.", spec.message)
    assert (spec.severity is Severity.FATAL) is (Fault.of(code).severity is Severity.FATAL)


def test_429_is_ours_alone() -> None:
    ours = {code for code, spec in REGISTRY.items() if spec.status == 429}
    assert ours == {FaultCode.LIMIT_STREAMS, FaultCode.LIMIT_VIEWERS, FaultCode.LIMIT_RATE, FaultCode.QUOTA_EXCEEDED}


@pytest.mark.parametrize("code", FaultCode)
def test_a_fault_says_what_the_registry_says(code: FaultCode) -> None:
    fault, spec = Fault.of(code), REGISTRY[code]
    assert (fault.status, fault.phase, fault.severity) == (spec.status, spec.phase, spec.severity)
    assert (fault.retryable, fault.message) == (spec.retryable, spec.message)


def test_an_unknown_code_is_named() -> None:
    with pytest.raises(ValueError, match="'made_up' is not a valid FaultCode"):
        Fault.of("made_up")  # type: ignore[arg-type]


def test_an_error_says_what_failed_and_of_which_stream() -> None:
    fault = Fault.of(FaultCode.RESUME_FAILED, reason="stream_gone", session_id="c1", stream_id="a" * 24)
    ids = f"reason stream_gone, session_hash {short_hash('c1')}, stream_id {'a' * 24}"
    assert str(FaultError(fault)) == f"resume_failed: {fault.message} ({ids})"
    assert str(FaultError(Fault.of(FaultCode.STALLED))) == f"stalled: {Fault.of(FaultCode.STALLED).message}"


def test_one_occurrence_may_differ() -> None:
    fault = Fault.of(FaultCode.RESUME_FAILED, status=409, retryable=True, reason="not_registered", message="Mine.")
    assert (fault.status, fault.retryable, fault.reason, fault.message) == (409, True, "not_registered", "Mine.")
    assert not Fault.of(FaultCode.STALLED, retryable=False).retryable


def test_each_fault_has_an_id_and_a_time() -> None:
    one, other = Fault.of(FaultCode.INTERNAL), Fault.of(FaultCode.INTERNAL)
    assert one.fault_id != other.fault_id
    assert re.fullmatch(r"sg_[0-9a-f]{20}", one.fault_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one.timestamp)
    assert datetime.fromisoformat(one.timestamp).utcoffset() == timedelta(0)


@settings(deadline=None)  # a busy machine is not a failure
@given(faults)
def test_faults_survive_json(fault: Fault) -> None:
    raw = fault.to_json()
    assert Fault.from_json(raw) == fault
    assert Fault.from_dict(json.loads(raw)) == fault
    assert raw.isascii()
    assert b"\n" not in raw
    assert b"\r" not in raw


@settings(deadline=None)  # a busy machine is not a failure
@given(faults)
def test_absent_fields_are_left_out_and_keys_are_snake_case(fault: Fault) -> None:
    """AI SDK's strict schemas refuse null."""
    wire = fault.as_dict()
    assert None not in wire.values()
    assert wire.keys() <= {field.name for field in dataclasses.fields(Fault)}
    assert all(re.fullmatch(r"[a-z_]+", key) for key in wire)


@settings(deadline=None)  # a busy machine is not a failure
@given(faults)
def test_the_envelope_is_the_fault_with_its_type(fault: Fault) -> None:
    body = json.loads(fault.envelope())
    assert body == {"error": {"type": "streamguard_error", "param": None, **json.loads(fault.to_json())}}


def test_keys_of_a_newer_version_are_ignored() -> None:
    fault = Fault.of(FaultCode.STALLED)
    assert Fault.from_dict({**fault.as_dict(), "future": 1}) == fault


@pytest.mark.parametrize(
    ("name", "safest"), [("code", FaultCode.INTERNAL), ("phase", Phase.INTERNAL), ("severity", Severity.ERROR)]
)
def test_what_a_later_version_added_reads_as_the_safest_and_is_passed_on(name: str, safest: str) -> None:
    raw = {**Fault.of(FaultCode.STALLED).as_dict(), name: "of_tomorrow"}
    fault = Fault.from_dict(raw)
    assert getattr(fault, name) is safest
    assert fault.unknown == ((name, "of_tomorrow"),)
    assert fault.as_dict() == raw
    assert Fault.from_json(fault.to_json()) == fault


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"null",
        b"nope",
        b"{}",
        b'{"code":"stalled"}',
        json.dumps({**Fault.of(FaultCode.STALLED).as_dict(), "code": 5}).encode(),
        json.dumps({**Fault.of(FaultCode.STALLED).as_dict(), "status": "no"}).encode(),
        b"[" * 100_000,
        b"\xff",
        json.dumps({**Fault.of(FaultCode.STALLED).as_dict(), "actions": 5}).encode(),
    ],
)
def test_what_is_no_fault_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        Fault.from_json(raw)
