"""Each fault of the registry, provoked through the public surface, as it arrives at a Sentry server; and what becomes
of streams when that server hangs, refuses or is down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import pytest
import sentry_sdk

from streamguard import FaultCode, Observation, Severity, Signal
from streamguard.faults import Fault
from streamguard.runtime.observers import Observers
from streamguard.telemetry import SentryObserver
from streamguard.telemetry.safety import class_name, short_hash
from streamguard.telemetry.sentry.errors import NOT_CAPTURED, REASONS_NOT_CAPTURED
from streamguard.unavailable import UnavailableReason
from streamguard.values import Outcome
from tests.harness.sentry import sentry_off

from .faults import ALL_SCENARIOS, CANARIES, Provoked, Scenario
from .observed import Worker
from .receiver import Receiver, receiving, sent_to

pytestmark = pytest.mark.anyio

TAGS: Final = {"phase", "code", "outcome", "protocol", "framework", "error_reason", "signal"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one, sent_to(one):
        yield one


def why_nothing_arrives(scenario: Scenario, provoked: Provoked) -> str | None:
    """The stated reason; None for what has to arrive."""
    fault = provoked.fault
    if scenario.untold:
        return scenario.untold
    if reason := REASONS_NOT_CAPTURED.get((fault.code, str(fault.reason))):
        return reason
    return None if fault.status >= 500 and fault.severity is not Severity.WARNING else NOT_CAPTURED.get(fault.code)


@pytest.mark.parametrize("scenario", ALL_SCENARIOS, ids=str)
async def test_a_fault_arrives_or_is_on_the_list_of_those_that_are_not_captured(
    scenario: Scenario, receiver: Receiver
) -> None:
    provoked = await scenario.run()
    of_us = [event for event in receiver.events() if event["logger"] == "streamguard"]
    assert CANARIES.found_in("".join(map(repr, of_us))) == []
    events = [event for event in of_us if event["tags"].get("code") == scenario.code]
    if why_nothing_arrives(scenario, provoked):
        assert of_us == []
        return
    assert {event["contexts"]["streamguard"]["fault_id"] for event in events} == {
        one.fault.fault_id for one in provoked.observed if one.fault is not None and one.name is not Signal.SAVE_OWED
    }
    told = {one.fault.fault_id: one for one in reversed(provoked.observed) if one.fault is not None}
    for event in events:
        check(event, told[event["contexts"]["streamguard"]["fault_id"]])


def check(event: dict[str, Any], observation: Observation) -> None:
    """One event says who failed, where, and in whose stream."""
    fault, error, ref = observation.fault, observation.error, observation.ref
    assert fault is not None
    tags, context = event["tags"], event["contexts"]["streamguard"]
    assert set(tags) == TAGS
    assert (tags["code"], tags["phase"]) == (fault.code, fault.phase)
    if observation.name is Signal.ORPHAN_SETTLED:  # of another process, whose framework this one does not know
        assert tags["framework"] == "unknown"
    else:
        assert tags["framework"] == ("none" if fault.code is FaultCode.SUPERSEDED else "starlette")
    assert tags["outcome"] in {"refused", "unknown", *Outcome}
    assert tags["error_reason"] in {"unknown", *UnavailableReason}
    of_error = "none" if error is None else class_name(error)
    assert event["fingerprint"] == ["streamguard", fault.phase, fault.code, of_error]
    assert (context["status"], context["retryable"]) == (fault.status, fault.retryable)
    assert context.get("reason") == fault.reason, "a reason of ours that sinks do not know"
    if fault.request_id is not None:
        assert context["request_id"] == fault.request_id
    if ref is None:
        assert tags["outcome"] == "refused"
        return
    assert tags["protocol"] != "unknown"
    assert context["stream_id"] == ref.stream_id
    assert context["owner_hash"] == short_hash(ref.key.owner)
    assert context["session_hash"] == short_hash(ref.key.session_id)
    assert isinstance(context["epoch"], int)
    assert isinstance(context["seq"], int)


def test_what_is_not_captured_has_a_reason() -> None:
    assert NOT_CAPTURED.keys() <= set(FaultCode)
    assert all(NOT_CAPTURED.values())
    assert all(REASONS_NOT_CAPTURED.values())


def test_a_code_without_a_scenario_fails_the_suite() -> None:
    assert {scenario.code for scenario in ALL_SCENARIOS} == set(FaultCode)


async def failed_chats(count: int) -> None:
    worker = Worker()
    worker.fails = True
    async with worker.running() as chat:
        for number in range(count):
            await worker.whole(chat, f"session-{number}")


@pytest.mark.long
async def test_a_hundred_failures_of_one_kind_are_one_fingerprint(receiver: Receiver) -> None:
    """Of a hundred streams in a hundred sessions, with exceptions whose texts differ: ten events, and one that says how
    many there were besides."""
    await failed_chats(100)
    events = [event for event in receiver.events() if event["logger"] == "streamguard"]
    assert {tuple(event["fingerprint"]) for event in events} == {
        ("streamguard", "internal", "internal", "RuntimeError")
    }
    left_out = [event["contexts"]["streamguard"].get("left_out") for event in events]
    assert left_out == [*[None] * 10, 90]
    assert len({event["contexts"]["streamguard"]["session_hash"] for event in events}) == 11
    (tags,) = {tuple(sorted(event["tags"].items())) for event in events}
    assert dict(tags)["framework"] != "unknown"
    assert dict(tags)["protocol"] != "unknown"
    assert all("epoch" in event["contexts"]["streamguard"] for event in events)
    assert all("seq" in event["contexts"]["streamguard"] for event in events)


ALL_ON: Final[dict[str, Any]] = {"traces_sample_rate": 1.0, "transport_queue_size": 10}
"""Everything is sent that can be, and the SDK's queue is full at once."""
LIMITED: Final = {"Retry-After": "60", "X-Sentry-Rate-Limits": "60::organization"}


async def whole_answer_after_failures() -> None:
    """Many faults, then an answer: all of them come to their ends."""
    await failed_chats(20)
    worker = Worker()
    async with worker.running() as chat:
        answer = await worker.whole(chat)
        assert answer.is_stream
        assert b"two" in answer.body
        assert (await chat.ended(answer)).fields["outcome"] == "completed"


@pytest.mark.long
async def test_streams_complete_while_sentry_hangs() -> None:
    """The receiver holds the first request until the test lets it go, which is after the last answer."""
    with receiving(hangs=True) as receiver, sent_to(receiver, **ALL_ON):
        sentry_sdk.capture_message("the first")
        await asyncio.to_thread(receiver.wait_for, bool)
        assert not receiver.let_gone
        await whole_answer_after_failures()
        assert not receiver.let_gone
        assert len(receiver.envelopes) == 1, "nothing else could be sent meanwhile"


@pytest.mark.long
async def test_a_guard_stops_while_sentry_hangs() -> None:
    """Its drain is not made longer by what waits for Sentry, and does not flush it."""
    with receiving(hangs=True) as receiver, sent_to(receiver, **ALL_ON):
        sentry_sdk.capture_message("the first")
        await asyncio.to_thread(receiver.wait_for, bool)
        worker = Worker()
        worker.fails = True
        async with worker.running() as chat:
            await worker.whole(chat)
            await worker.guard.drain()
            assert not receiver.let_gone
        ended = await worker.told.of(Signal.DRAIN_ENDED)
        assert ended.fields["streams"] == 0
        assert not receiver.let_gone


@pytest.mark.long
@pytest.mark.parametrize("how", ["limits", "refuses", "down"])
async def test_streams_complete_when_sentry_takes_nothing(how: str) -> None:
    status = {"limits": 429, "refuses": 503, "down": 200}[how]
    with receiving(status=status, headers=LIMITED if how == "limits" else {}) as receiver:
        if how == "down":
            receiver.go_down()
        with sent_to(receiver, **ALL_ON):
            await whole_answer_after_failures()
            if how != "down":
                await asyncio.to_thread(receiver.wait_for, bool)


@pytest.mark.long
async def test_the_reconcilers_check_ins_arrive_and_stop_with_it(receiver: Receiver) -> None:
    worker = Worker()
    async with worker.running():
        await worker.told.of(Signal.RECONCILED)
    statuses = [item.payload["status"] for item in receiver.items("check_in")]
    assert statuses == ["in_progress", "ok"], "one pair a minute, however often it sweeps"
    first, last = (item.payload for item in receiver.items("check_in"))
    assert first["check_in_id"] == last["check_in_id"]
    assert first["monitor_slug"] == "streamguard-reconciler"
    assert first["monitor_config"]["schedule"] == {"type": "interval", "value": 1, "unit": "minute"}


def test_a_place_without_a_client_hides_no_fault_of_another() -> None:
    """Hosts may give each scope a client of its own: that one has none says nothing of the others."""
    observers, told = Observers([SentryObserver()]), Fault.of(FaultCode.INTERNAL)
    with receiving() as receiver, sent_to(receiver):
        client = sentry_sdk.get_client()
        with sentry_off():
            observers(Observation(Signal.VIEWER_LEFT))
            with sentry_sdk.new_scope() as scope:
                scope.set_client(client)
                observers(Observation(Signal.FAULT, fault=told))
        assert [event["tags"]["code"] for event in receiver.events()] == [told.code]
