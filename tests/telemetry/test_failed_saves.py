"""What is told of saves that fail, and succeed later: each attempt, with the class of its error and no text of it."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from streamguard import FaultCode, Signal
from streamguard.messages import MessageToSave, Role
from streamguard.telemetry.metrics import PrometheusMetrics

from .faults import CANARIES, Scenario
from .faults.scenario import Stage
from .logged import logged
from .observed import Worker
from .receiver import receiving, sent_to

pytestmark = pytest.mark.anyio

WRAPPED = "streamguard.errors.MessageFailedError"


class Failing:
    """A function of the host's that has a bug, so many times for messages of a role."""

    def __init__(self, times: int, role: Role = Role.ASSISTANT) -> None:
        self.left = times
        self._role = role

    async def save(self, message: MessageToSave) -> None:
        if self.left and message.message.role is self._role:
            self.left -= 1
            raise RuntimeError(CANARIES.cause)


@pytest.mark.long
async def test_each_attempt_is_told_of_with_its_error_though_a_later_one_succeeds() -> None:
    registry = CollectorRegistry()
    worker = Worker(
        messages=Failing(2).save, observers=(PrometheusMetrics(registry=registry),), save_total_seconds=20.0
    )
    with logged() as lines, receiving() as receiver, sent_to(receiver):
        async with worker.running() as chat:
            await worker.whole(chat)
            await worker.told.of(Signal.REPLY_SAVED)
        (event,) = [event for event in receiver.events() if event["logger"] == "streamguard"]
    failed = [line for line in lines if line["event"] == Signal.SAVE_FAILED]
    assert [(line["reason"], line["attempts"], line["retried"]) for line in failed] == [
        ("failed", 1, True),
        ("failed", 2, True),
    ]
    (fault,) = [line for line in lines if line["event"] == Signal.FAULT]
    assert (fault["code"], fault["reason"]) == (FaultCode.PERSISTENCE_FAILED, "failed")
    for line in (*failed, fault):
        assert (line["error"], line["cause"]) == (WRAPPED, "RuntimeError")
        assert f"{__file__}:" in str(line["cause_at"])
        assert "error_at" in line
    assert event["fingerprint"] == ["streamguard", "persistence", "persistence_failed", WRAPPED]
    assert event["contexts"]["streamguard"]["reason"] == "failed"
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    (counted,) = [sample for sample in samples if sample.name == "streamguard_persist_failures_total"]
    assert (counted.labels["binding"], counted.labels["reason"], counted.value) == ("chat", "failed", 2)
    assert CANARIES.found_in(repr(lines) + receiver.text()) == []


async def test_the_attempt_that_ends_a_save_is_told_of_once() -> None:
    worker = Worker(
        messages=Failing(1000).save, save_total_seconds=0.5, save_visible_seconds=5.0, max_outbox_attempts=1
    )
    async with worker.running() as chat:
        await worker.whole(chat)
        await worker.told.of(Signal.SAVE_BURIED)
    attempts = [seen.fields["attempts"] for seen in worker.told.observations if seen.name is Signal.SAVE_FAILED]
    local = attempts[: attempts.index(1, 1)] if 1 in attempts[1:] else attempts  # then the outbox's
    assert local == list(range(1, len(local) + 1))
    assert len(local) > 1


@pytest.mark.long
async def test_attempts_at_a_users_message_are_told_of_too() -> None:
    failing = Failing(2, Role.USER)

    async def question(stage: Stage) -> None:
        app = stage.application(messages=failing.save, save_total_seconds=20.0)
        async with app.running() as chat:
            await stage.ask(app, chat, whole=True)
            await stage.told.of(Signal.REPLY_SAVED)

    with logged() as lines:
        await Scenario(FaultCode.PERSISTENCE_FAILED, "question", question).run()
    failed = [line for line in lines if line["event"] == Signal.SAVE_FAILED]
    assert [(line["attempts"], line["retried"], line["cause"]) for line in failed] == [
        (1, True, "RuntimeError"),
        (2, True, "RuntimeError"),
    ]
    assert all(line["request_id"] and line["message_id"] and line["binding"] for line in failed)
    (fault,) = [line for line in lines if line["event"] == Signal.FAULT]
    assert (fault["error"], fault["reason"]) == (WRAPPED, "failed")
    assert CANARIES.found_in(repr(lines)) == []
