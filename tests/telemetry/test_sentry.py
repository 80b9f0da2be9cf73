"""A real Sentry client that sends to a server on the loopback: what would leave the machine is read from the wire."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk

from streamguard import Fault, FaultCode, Observation, Severity, Signal
from streamguard.telemetry import SentryObserver, StructlogObserver
from streamguard.telemetry.safety import short_hash
from streamguard.values import SessionKey, StreamRef

from .receiver import Receiver, receiving, sent_to

pytestmark = pytest.mark.processes  # Sentry asks git for the release

REF = StreamRef(SessionKey("ann@example.org", "session of ann"), "a" * 24)
SECRETS = ("the prompt", "ann@example.org", "session of ann", "breadcrumb", "secret", "hunter2")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Sentry as a host might have initialised it, with everything on that leaks."""
    with receiving() as one, sent_to(one):
        sentry_sdk.add_breadcrumb(message="breadcrumb with the prompt")
        sentry_sdk.set_user({"email": "ann@example.org"})
        sentry_sdk.set_context("request", {"data": "secret"})
        yield one


def provider_failed() -> Exception:
    password = "hunter2"  # a local variable
    try:
        raise RuntimeError(f"the prompt was: secret {password}")
    except RuntimeError as error:
        error.__cause__ = LookupError("secret")
        return error


def observation(fault: Fault, error: Exception | None = None, **fields: str) -> Observation:
    return Observation(Signal.FAULT, ref=REF, message_id="m", request_id="r", fault=fault, error=error, fields=fields)


def test_a_fault_is_captured_with_tags_and_without_content(receiver: Receiver) -> None:
    fault = Fault.of(FaultCode.PROVIDER_ERROR, session_id="session of ann")
    SentryObserver()(observation(fault, provider_failed(), outcome="failed"))
    (event,) = receiver.events()
    assert event["level"] == "fatal"
    assert event["tags"] == {"phase": "provider", "code": "provider_error", "outcome": "failed"}
    assert event["fingerprint"] == ["streamguard", "provider", "RuntimeError"]
    context = event["contexts"]["streamguard"]
    assert context["session_hash"] == short_hash("session of ann")
    assert context["owner_hash"] == short_hash("ann@example.org")
    assert (context["stream_id"], context["message_id"], context["request_id"]) == ("a" * 24, "m", "r")
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["mechanism"]["type"]) == ("RuntimeError", "streamguard")
    assert exception["stacktrace"]["frames"][-1]["function"] == "provider_failed"
    assert event["release"] == "1"
    for secret in SECRETS:
        assert secret not in json.dumps(event), secret


def test_a_fault_without_an_exception_has_no_stack_of_ours(receiver: Receiver) -> None:
    SentryObserver()(observation(Fault.of(FaultCode.STALLED), outcome="failed"))
    (event,) = receiver.events()
    assert event["fingerprint"] == ["streamguard", "provider", "stalled"]
    assert "threads" not in event
    for secret in SECRETS:
        assert secret not in json.dumps(event), secret


def test_each_fault_is_captured_once(receiver: Receiver) -> None:
    observer, fault = SentryObserver(), Fault.of(FaultCode.INTERNAL)
    for _ in range(3):
        observer(observation(fault))
    observer(observation(Fault.of(FaultCode.INTERNAL)))
    assert len(receiver.events()) == 2


def test_its_log_line_is_not_captured_besides(receiver: Receiver) -> None:
    """Sentry's logging integration, on by default, makes an event of every line logged as an error."""
    fault = Fault.of(FaultCode.INTERNAL)
    for observer in (SentryObserver(), StructlogObserver()):
        observer(observation(fault))
    logging.getLogger("the.host").error("as ever")
    assert [event.get("logger") for event in receiver.events()] == ["streamguard", "the.host"]


def test_what_is_worth_somebodys_attention(receiver: Receiver) -> None:
    observer = SentryObserver()
    for code in FaultCode:
        observer(observation(Fault.of(code)))
    captured = {event["tags"]["code"] for event in receiver.events()}
    assert captured == {
        "quota_unavailable",
        "quota_release_failed",
        "quota_pending",
        "store_unavailable",
        "not_resumable",
        "resume_failed",
        "provider_error",
        "provider_rate_limited",
        "provider_timeout",
        "provider_aborted",
        "stalled",
        "too_long",
        "event_too_large",
        "persistence_failed",
        "save_conflict",
        "interrupted",
        "superseded",
        "shutting_down",
        "internal",
    }, "a new code is captured, unless it is a client's own (`_CLIENTS_OWN`) or a warning: say here which"


def test_occurrences_that_differ_from_the_rule(receiver: Receiver) -> None:
    observer = SentryObserver()
    observer(observation(Fault.of(FaultCode.RESUME_FAILED, reason="stream_gone")))
    observer(observation(Fault.of(FaultCode.INTERNAL, severity=Severity.WARNING)))
    observer(observation(Fault.of(FaultCode.INTERRUPTED, reason="abandoned")))
    observer(Observation(Signal.STREAM_OPENED, ref=REF))
    observer(observation(Fault.of(FaultCode.RESUME_FAILED, reason="cursor_ahead")))
    observer(observation(Fault.of(FaultCode.LIMIT_STREAMS, status=503, reason="max_sync_streams")))
    observer(Observation(Signal.RESUME_REFUSED, fault=Fault.of(FaultCode.STORE_UNAVAILABLE, session_id="x")))
    events = receiver.events()
    assert [event["contexts"]["streamguard"].get("reason") for event in events] == [
        "cursor_ahead",
        "max_sync_streams",
        None,
    ]
    assert events[2]["contexts"]["streamguard"]["session_hash"] == short_hash("x")


def test_levels(receiver: Receiver) -> None:
    observer = SentryObserver()
    for code in (FaultCode.NOT_RESUMABLE, FaultCode.PERSISTENCE_FAILED, FaultCode.INTERNAL):
        observer(observation(Fault.of(code)))
    assert [event["level"] for event in receiver.events()] == ["warning", "error", "fatal"]


def test_a_hosts_before_send_still_decides_and_may_fail(receiver: Receiver) -> None:
    def broken(event: object, hint: object) -> None:
        raise LookupError

    answers: list[Callable[..., Any]] = [lambda event, hint: None, broken]
    for before_send in answers:
        sentry_sdk.init(dsn=receiver.dsn, before_send=before_send)
        SentryObserver()(observation(Fault.of(FaultCode.INTERNAL)))
    assert receiver.events() == []


def test_without_sentry_nothing_is_remembered_or_sent(receiver: Receiver) -> None:
    observer, fault = SentryObserver(), Fault.of(FaultCode.INTERNAL)
    sentry_sdk.init()
    observer(observation(fault))
    assert receiver.envelopes == []
    assert not observer._captured


def test_what_was_captured_is_forgotten_in_time(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamguard.telemetry.sentry.observer.REMEMBERED_FAULTS", 2)
    observer = SentryObserver()
    for _ in range(5):
        observer(observation(Fault.of(FaultCode.INTERNAL)))
    assert len(observer._captured) == 2


def buried(reason: str) -> Observation:
    fault = Fault.of(FaultCode.PERSISTENCE_FAILED, reason=reason)
    return Observation(Signal.SAVE_BURIED, ref=REF, fault=fault, error=provider_failed(), fields={"reason": reason})


def test_what_an_operator_has_to_know_is_a_warning_once_per_kind_and_minute(receiver: Receiver) -> None:
    now = 0.0
    observer = SentryObserver(clock=lambda: now)
    some = [
        observation(Fault.of(FaultCode.QUOTA_RELEASE_FAILED)),
        observation(Fault.of(FaultCode.QUOTA_RELEASE_FAILED, reason="expires")),
        observation(Fault.of(FaultCode.QUOTA_PENDING)),
        buried("invalid"),
        buried("conflict"),
        Observation(Signal.STORE_WARNING, fields={"warning": "Redis evicts keys"}),
        Observation(Signal.STORE_WARNING, fields={"warning": "Redis is old"}),
        Observation(Signal.MISUSE, fields={"misuse": "no_layer", "warning": "put it outside"}),
    ]
    for _ in range(100):
        for one in some:
            observer(one)
    events = receiver.events()
    assert [event["level"] for event in events] == ["warning"] * len(some)
    assert len({tuple(event["fingerprint"]) for event in events}) == len(some)
    assert events[0]["tags"] == {"signal": "streamguard.fault", "code": "quota_release_failed"}
    assert events[3]["contexts"]["streamguard"]["reason"] == "invalid"
    for event in events:
        assert "threads" not in event
        for secret in SECRETS:
            assert secret not in json.dumps(event), secret
    now = 59.9
    observer(some[0])
    assert len(receiver.events()) == len(some)
    now = 60.1
    for one in some:
        observer(one)
    assert len(receiver.events()) == 2 * len(some)


def test_kinds_of_warnings_are_forgotten_in_time(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamguard.telemetry.sentry.observer.REMEMBERED_KINDS", 2)
    observer = SentryObserver()
    for number in range(5):
        observer(Observation(Signal.STORE_WARNING, fields={"warning": str(number)}))
    assert len(observer._warned) == 2


def test_a_warning_without_sentry_is_not_remembered(receiver: Receiver) -> None:
    observer = SentryObserver()
    sentry_sdk.init()
    observer(buried("invalid"))
    assert not observer._warned
