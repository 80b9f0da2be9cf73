"""A real Sentry client that sends to a server on the loopback: what would leave the machine is read from the wire."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.consts import DEFAULT_OPTIONS

from streamguard import Fault, FaultCode, Observation, Severity, Signal
from streamguard.scopes import StreamContext, Work
from streamguard.telemetry import SentryObserver, StructlogObserver
from streamguard.telemetry.safety import short_hash
from streamguard.telemetry.sentry.errors import NOT_CAPTURED, event_of
from streamguard.values import SessionKey, StreamRef
from tests.harness.sentry import sentry_off

from .receiver import Receiver, receiving, sent_to

REF = StreamRef(SessionKey("ann@example.org", "session of ann"), "a" * 24)
SECRETS = ("the prompt", "ann@example.org", "session of ann", "breadcrumb with", "secret", "hunter2")


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
    assert event["tags"] == {
        "phase": "provider",
        "code": "provider_error",
        "outcome": "failed",
        "protocol": "unknown",
        "framework": "unknown",
        "error_reason": "unknown",
        "signal": "streamguard.fault",
    }
    assert event["fingerprint"] == ["streamguard", "provider", "provider_error", "RuntimeError"]
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
    assert event["fingerprint"] == ["streamguard", "provider", "stalled", "none"]
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
    }, "a new code is captured, unless it is on the list `NOT_CAPTURED`, with the reason"
    assert captured == {str(code) for code in FaultCode} - {str(code) for code in NOT_CAPTURED}


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
        with sent_to(receiver, before_send=before_send):
            SentryObserver()(observation(Fault.of(FaultCode.INTERNAL)))
    assert receiver.events() == []


def test_without_sentry_nothing_is_remembered_or_sent(receiver: Receiver) -> None:
    observer, fault = SentryObserver(), Fault.of(FaultCode.INTERNAL)
    with sentry_off():
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
        observation(Fault.of(FaultCode.QUOTA_PENDING)),
        buried("invalid"),
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
    assert (events[0]["tags"]["signal"], events[0]["tags"]["code"]) == ("streamguard.fault", "quota_release_failed")
    assert events[2]["contexts"]["streamguard"]["reason"] == "invalid"
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
    told = receiver.events()[len(some) :]
    left_out = [event["contexts"]["streamguard"].get("left_out") for event in told]
    assert left_out == [100, 99, 99, 99, 99, 99, *[None] * len(some)], "those of the minute before, then the new ones"


@pytest.mark.parametrize("signal", Signal)
def test_refused_is_what_a_request_was(signal: Signal) -> None:
    """What is told of no stream is no refusal, unless a request's fault is there."""
    assert event_of(Observation(signal), {})["tags"]["outcome"] == "unknown"
    fault = Fault.of(FaultCode.QUOTA_UNAVAILABLE)
    refusal = event_of(Observation(signal, request_id="r", fault=fault), {})
    no_request = signal in {Signal.STORE_WARNING, Signal.MISUSE, Signal.SAVE_BURIED}
    assert refusal["tags"]["outcome"] == ("unknown" if no_request else "refused")
    of_no_request = event_of(Observation(signal, fault=fault), {})  # a task of the process crashed, say
    assert of_no_request["tags"]["outcome"] == "unknown"
    of_stream = event_of(Observation(signal, ref=REF, fault=fault), {})
    assert of_stream["tags"]["outcome"] == "unknown"


def test_kinds_of_warnings_are_forgotten_in_time(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamguard.telemetry.sentry.caps.REMEMBERED_KINDS", 2)
    observer = SentryObserver()
    for number in range(5):
        observer(Observation(Signal.STORE_WARNING, fields={"warning": str(number)}))
    assert len(observer._cap._windows) == 2


def test_a_warning_without_sentry_is_not_remembered(receiver: Receiver) -> None:
    observer = SentryObserver()
    with sentry_off():
        observer(buried("invalid"))
    assert not observer._cap._windows


def test_a_storm_is_one_issue_of_a_few_events_that_say_how_many_there_were(receiver: Receiver) -> None:
    now = 0.0
    observer = SentryObserver(clock=lambda: now)
    for _ in range(3_000):
        observer(observation(Fault.of(FaultCode.PROVIDER_ERROR), provider_failed()))
    assert len(receiver.events()) == 10
    now = 61.0
    observer(Observation(Signal.STREAM_OPENED, ref=REF))  # whatever is told next
    events = receiver.events()
    assert len({tuple(event["fingerprint"]) for event in events}) == 1
    assert [event["contexts"]["streamguard"].get("left_out") for event in events[10:]] == [2_990]


def test_a_storm_is_told_of_when_the_process_ends(receiver: Receiver) -> None:
    observer = SentryObserver()
    for _ in range(30):
        observer(observation(Fault.of(FaultCode.STALLED)))
    observer(Observation(Signal.DRAIN_ENDED))
    assert [event["contexts"]["streamguard"].get("left_out") for event in receiver.events()] == [*[None] * 10, 20]


def test_events_know_what_happened_to_their_stream_and_to_no_other(receiver: Receiver) -> None:
    observer = SentryObserver()
    other = StreamRef(REF.key, "b" * 24)
    opened = {"protocol": "ui-message", "binding": "chat", "framework": "fastapi"}
    observer(Observation(Signal.STREAM_OPENED, ref=REF, fields=opened))
    observer(Observation(Signal.STREAM_OPENED, ref=other, fields={**opened, "protocol": "plain"}))
    observer(Observation(Signal.RESUME_EMPTY, fields={"reason": "said: the prompt"}))
    observer(observation(Fault.of(FaultCode.STALLED), key="the prompt", reason="said: the prompt"))
    (event,) = receiver.events()
    (crumb,) = event["breadcrumbs"]["values"]
    assert (crumb["category"], crumb["message"]) == ("streamguard", "streamguard.stream_opened")
    assert crumb["data"] == opened
    assert (event["tags"]["protocol"], event["tags"]["framework"]) == ("ui-message", "fastapi")
    assert "the prompt" not in receiver.text()
    sentry_sdk.capture_message("of the host")
    hosts = receiver.events()[-1]
    assert "streamguard" not in {crumb.get("category") for crumb in hosts["breadcrumbs"]["values"]}


def test_texts_of_a_fault_that_a_host_wrote_are_not_sent(receiver: Receiver) -> None:
    SentryObserver()(observation(Fault.of(FaultCode.INTERNAL, message="the prompt: secret", reason="of ann: secret")))
    assert len(receiver.events()) == 1
    assert "secret" not in receiver.text()


AT_WORK = StreamContext(
    Work.PRODUCE,
    owner="ann@example.org",
    session_id="session of ann",
    stream_id="a" * 24,
    message_id="m",
    request_id="r",
)
NAMED = {
    "streamguard.stream_id": "a" * 24,
    "streamguard.message_id": "m",
    "streamguard.request_id": "r",
    "streamguard.session_hash": short_hash("session of ann"),
}


def test_what_the_host_captures_while_at_work_on_a_stream_says_which(receiver: Receiver) -> None:
    with SentryObserver().scope(AT_WORK):
        sentry_sdk.set_tag("plan", "gold")
        sentry_sdk.capture_message("inside")
    sentry_sdk.capture_message("outside")
    inside, outside = receiver.events()
    assert inside["contexts"]["streamguard"]["stream_id"] == "a" * 24
    assert inside["contexts"]["streamguard"]["session_hash"] == short_hash("session of ann")
    assert inside["tags"] == {"plan": "gold", **NAMED}
    assert "streamguard" not in outside["contexts"]
    assert "tags" not in outside


@pytest.mark.skipif("enable_logs" not in DEFAULT_OPTIONS, reason="this sentry-sdk has no logs")
def test_logs_are_sent_where_the_host_enabled_them() -> None:
    observer = SentryObserver()
    with receiving() as receiver, sent_to(receiver, enable_logs=True):
        sentry_sdk.set_user({"email": "ann@example.org"})
        for one in (StructlogObserver(), observer):
            one(observation(Fault.of(FaultCode.STALLED), outcome="failed", reason="said: the prompt"))
        (batch,) = [item.payload for item in receiver.items("log")]
        assert "ann@example.org" not in receiver.text()
        assert "the prompt" not in receiver.text()
    (log,) = batch["items"]
    assert log["body"] == "streamguard.fault"
    assert log["attributes"]["streamguard.code"]["value"] == "stalled"
    with receiving() as receiver, sent_to(receiver):
        observer(observation(Fault.of(FaultCode.STALLED)))
        assert receiver.items("log") == []


def round_of(observer: SentryObserver, outcome: str = "ok", **fields: bool) -> None:
    observer(Observation(Signal.RECONCILE_STARTED, fields=fields))
    observer(Observation(Signal.RECONCILED, fields={"outcome": outcome, "seconds": 0.5, **fields}))


def test_fifty_workers_check_in_as_one(receiver: Receiver) -> None:
    now = 0.0
    workers = [SentryObserver(clock=lambda: now) for _ in range(50)]
    for _ in range(100):
        for number, worker in enumerate(workers):
            round_of(worker, leads=number == 7)
        now += 5.0
    statuses = [item.payload["status"] for item in receiver.items("check_in")]
    assert statuses == ["in_progress", "ok"] * 10, "a pair a minute: of five hundred seconds, ten"


def test_a_worker_that_leads_no_more_leaves_no_check_in_open(receiver: Receiver) -> None:
    now = 0.0
    observer = SentryObserver(clock=lambda: now)
    round_of(observer, leads=True)
    now = 60.0
    round_of(observer, leads=False)
    round_of(observer, "failed", leads=False)
    assert len(receiver.items("check_in")) == 2


def test_a_failed_round_is_told_at_once(receiver: Receiver) -> None:
    observer = SentryObserver(clock=lambda: 0.0)
    for outcome in ("ok", "failed", "failed"):
        round_of(observer, outcome)
    assert [item.payload["status"] for item in receiver.items("check_in")] == ["in_progress", "ok", "error"]


def test_a_crontabs_round_has_a_monitor_of_its_interval(receiver: Receiver) -> None:
    round_of(SentryObserver(monitor_slug="nightly", sweep_seconds=300))
    for item in receiver.items("check_in"):
        assert item.payload["monitor_slug"] == "nightly"
        assert item.payload["monitor_config"]["schedule"] == {"type": "interval", "value": 5, "unit": "minute"}
        assert item.payload["monitor_config"]["max_runtime"] == 10


def test_many_kinds_at_once_are_two_hundred_events_a_minute(receiver: Receiver) -> None:
    now = 0.0
    observer = SentryObserver(clock=lambda: now)
    kinds = [type(f"Kind{number}", (Exception,), {}) for number in range(30)]
    for kind in kinds:
        for _ in range(20):
            observer(observation(Fault.of(FaultCode.INTERNAL), kind()))
        receiver.events()  # the SDK's own queue holds a hundred
    assert len(receiver.events()) == 200
    now = 60.0
    observer(Observation(Signal.STREAM_OPENED, ref=REF))
    left_out = [event["contexts"]["streamguard"]["left_out"] for event in receiver.events()[200:]]
    assert left_out == [*[10] * 20, *[20] * 10], "what was left out of each kind is told of"
