"""Each fault of the registry, provoked through the public surface, as it arrives at a Sentry server; and what becomes
of streams when that server hangs, refuses or is down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from streamguard import FaultCode, Signal
from streamguard.telemetry.sentry.errors import NOT_CAPTURED, REASONS_NOT_CAPTURED

from .faults import ALL_SCENARIOS, CANARIES, Scenario
from .observed import Worker, asked
from .receiver import Receiver, receiving, sent_to

pytestmark = pytest.mark.anyio

TAGS: Final = {"phase", "code", "outcome", "protocol", "framework", "signal"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one, sent_to(one):
        yield one


@pytest.mark.parametrize("scenario", ALL_SCENARIOS, ids=str)
async def test_a_fault_arrives_or_is_on_the_list_of_those_that_are_not_captured(
    scenario: Scenario, receiver: Receiver
) -> None:
    provoked = await scenario.run()
    of_us = [event for event in receiver.events() if event["logger"] == "streamguard"]
    events = [event for event in of_us if event["tags"].get("code") == scenario.code]
    if not events:
        listed = scenario.code in NOT_CAPTURED or (scenario.code, provoked.fault.reason) in REASONS_NOT_CAPTURED
        assert listed or not scenario.observed, [event["tags"] for event in of_us]
    for event in events:
        assert set(event["tags"]) == TAGS
        assert event["fingerprint"][:1] == ["streamguard"]
        assert event["fingerprint"][1:3] == [event["tags"]["phase"], event["tags"]["code"]]
        assert len(event["fingerprint"]) == 4
        assert event["contexts"]["streamguard"]["fault_id"]
    assert CANARIES.found_in("".join(map(repr, of_us))) == []


def test_what_is_not_captured_has_a_reason() -> None:
    assert NOT_CAPTURED.keys() <= set(FaultCode)
    assert all(NOT_CAPTURED.values())
    assert all(REASONS_NOT_CAPTURED.values())


async def failed_chats(count: int) -> None:
    worker = Worker()
    worker.fails = True
    async with worker.running() as chat:
        for _ in range(count):
            await worker.whole(chat)


@pytest.mark.long
async def test_a_hundred_failures_of_one_kind_are_one_fingerprint(receiver: Receiver) -> None:
    await failed_chats(100)
    events = [event for event in receiver.events() if event["logger"] == "streamguard"]
    assert {tuple(event["fingerprint"]) for event in events} == {
        ("streamguard", "internal", "internal", "RuntimeError")
    }
    assert sum(event["contexts"]["streamguard"].get("left_out", 1) for event in events) == 100
    (tags,) = {tuple(sorted(event["tags"].items())) for event in events}
    assert dict(tags)["framework"] != "unknown"
    assert dict(tags)["protocol"] != "unknown"
    assert all("epoch" in event["contexts"]["streamguard"] for event in events)
    assert all("seq" in event["contexts"]["streamguard"] for event in events)


@pytest.mark.long
@pytest.mark.parametrize("how", ["hangs", "refuses", "down"])
async def test_streams_complete_when_sentry_is_away(how: str) -> None:
    """No event waits for it: the answers are whole while nothing was answered there."""
    headers = {"Retry-After": "60", "X-Sentry-Rate-Limits": "60::organization"}
    with receiving(hangs=how == "hangs", status=429 if how == "refuses" else 200, headers=headers) as receiver:
        if how == "down":
            receiver.go_down()
        with sent_to(receiver, shutdown_timeout=1):
            await failed_chats(20)
            worker = Worker()
            async with worker.running() as chat:
                worker.go.set()
                answer = await asked(chat)
                await answer.rest()
                ended = await chat.ended(answer)
            assert ended.fields["outcome"] == "completed"
            if how == "refuses":
                receiver.wait_for(bool)


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
