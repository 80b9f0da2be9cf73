"""What the audit trail of a guard tells of whole stories: who did what, when, and how it went."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pytest

from streamguard import Signal
from streamguard.messages import MemoryMessageStore
from streamguard.quota import CallableQuota, MemoryQuotaStore, Quota, QuotaCall
from streamguard.stores import NewStream
from streamguard.stores.memory import MemoryStore
from streamguard.telemetry.audit import AuditAction, AuditRecord, AuditTrail
from streamguard.telemetry.safety import short_hash
from streamguard.testing import FaultyMessageStore
from streamguard.values import SessionKey, StreamRef, new_message_id, new_stream_id
from tests.web.serving import USER

from .observed import Worker, asked

pytestmark = pytest.mark.anyio

ANN: Final = short_hash("ann")
TRACE: Final = "ab" * 16
TRACED: Final = {"traceparent": f"00-{TRACE}-{'cd' * 8}-01"}
LIMIT: Final = Quota(1, "day", "requests")


class Kept:
    """A sink that keeps its records."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    def write(self, record: AuditRecord) -> None:
        self.records.append(record)

    def told(self, *left_out: AuditAction) -> list[tuple[object, ...]]:
        return [
            (record.action, record.actor, record.outcome) for record in self.records if record.action not in left_out
        ]


def of_one_stream(records: Iterable[AuditRecord]) -> None:
    """Each says whose stream it was, and for which request of which trace."""
    for record in records:
        assert record.owner == ANN, record
        assert record.session_id == "s", record
        assert record.request_id, record
        assert record.trace_id == TRACE, record
        if record.outcome != "empty":
            assert record.stream_id and record.message_id, record  # noqa: PT018 -- one record


async def test_an_answer_with_a_tool_and_a_quota() -> None:
    kept = Kept()
    worker = Worker(
        quota=LIMIT, quotas=MemoryQuotaStore(), messages=MemoryMessageStore(), observers=(AuditTrail(kept),)
    )
    call = {"toolCallId": "call_1"}
    worker.parts = [
        {"type": "tool-input-available", **call, "toolName": "weather", "input": {"city": "Paris"}},
        {"type": "tool-output-available", **call, "output": {"degrees": 21}},
    ]
    worker.go.set()
    async with worker.running() as chat:
        answer = await chat.post({}, path="/api/chat?id=s", headers=TRACED)
        await answer.rest()
        await chat.ended(answer)
        assert (await chat.resume("s", headers=TRACED)).status in (200, 204)
        assert (await chat.visitor({**USER, **TRACED}).delete("s")).status == 204
    assert kept.told(AuditAction.RESUME) == [
        ("start", "owner", "granted"),
        ("tool_call", "system", "called"),
        ("tool_call", "system", "finished"),
        ("settle", "system", "charged"),
        ("end", "system", "completed"),
        ("erase", "owner", "erased"),
    ]
    of_one_stream(record for record in kept.records if record.action is not AuditAction.ERASE)
    erased = kept.records[-1]
    assert (erased.owner, erased.session_id, erased.trace_id) == (ANN, "s", TRACE)


async def test_a_stop_a_resume_and_what_was_denied() -> None:
    kept = Kept()
    worker = Worker(observers=(AuditTrail(kept),))
    async with worker.running() as chat:
        answer = await chat.post({}, path="/api/chat?id=s", headers=TRACED)
        await answer.read(2)
        assert (await chat.resume("s", headers=TRACED)).status == 200
        assert (await chat.resume("s", after="not a cursor")).status == 400
        assert (await chat.resume("nothing", headers=TRACED)).status == 204
        assert (await chat.visitor({**USER, **TRACED}).stop("s")).status == 202
        await answer.rest()
        await chat.ended(answer)
    told = kept.told()
    assert told[:2] == [("start", "owner", "granted"), ("resume", "owner", "granted")]
    denied, empty, stop = kept.records[2:5]
    assert (denied.action, denied.outcome, denied.code) == ("resume", "denied", "cursor_invalid")
    assert denied.fault_id
    assert (denied.owner, denied.session_id) == (ANN, "s")
    assert (empty.action, empty.outcome, empty.reason, empty.owner, empty.session_id) == (
        *("resume", "empty", "none"),
        *(ANN, "nothing"),
    )
    assert (stop.action, stop.outcome) == ("stop", "granted")
    assert stop.request_id != kept.records[0].request_id, "the request that stopped it"
    assert told[5:] == [("end", "system", "stopped")]
    of_one_stream(record for record in kept.records if record is not denied and record is not empty)


async def test_who_was_denied_what() -> None:
    kept = Kept()
    worker = Worker(quota=LIMIT, quotas=MemoryQuotaStore(), observers=(AuditTrail(kept),))
    worker.go.set()
    async with worker.running() as chat:
        nobody = await chat.visitor({}).post({}, path="/api/chat?id=s")
        elsewhere = await chat.post(
            {}, path="/api/chat?id=s", headers={"origin": "https://evil.example", "cookie": "a=b"}
        )
        await worker.whole(chat)
        used_up = await chat.post({}, path="/api/chat?id=s")
        assert [answer.status for answer in (nobody, elsewhere, used_up)] == [401, 403, 429]
    denied = [record for record in kept.records if record.outcome == "denied"]
    assert [(record.action, record.code, record.owner) for record in denied] == [
        ("refuse", "unauthenticated", None),
        ("refuse", "forbidden_origin", denied[1].owner),
        ("quota_denied", "quota_exceeded", ANN),
    ]
    assert [record.reason for record in denied] == ["unauthenticated", "cors_origins", "spent"]
    assert all(record.request_id and record.fault_id for record in denied)


async def test_a_settlement_is_recorded_when_it_is_owed_and_once_when_it_is_made() -> None:
    away, kept = True, Kept()

    async def work(_: QuotaCall) -> None:
        """Nothing is counted."""

    async def commit(_: QuotaCall) -> None:
        if away:
            raise OSError("the service is away")

    worker = Worker(quota=LIMIT, quotas=CallableQuota(work, commit, work), observers=(AuditTrail(kept),))
    worker.go.set()
    async with worker.running() as chat:
        answer = await chat.post({}, path="/api/chat?id=s", headers=TRACED)
        await answer.rest()
        await chat.ended(answer)
        away = False
        await worker.told.of(Signal.SETTLEMENT_RECOVERED)
    settled = [record for record in kept.records if record.action is AuditAction.SETTLE]
    assert [record.outcome for record in settled] == ["pending", "charged"]
    of_one_stream(settled)


async def test_what_the_reconciler_made_up_for() -> None:
    kept = Kept()
    messages = FaultyMessageStore(MemoryMessageStore())
    worker = Worker(messages=messages, observers=(AuditTrail(kept),))
    worker.go.set()
    async with worker.running() as chat:
        messages.faults.fail()
        answer = await chat.post({}, path="/api/chat?id=s", headers=TRACED)
        await answer.rest()
        await chat.ended(answer)
        await worker.told.of(Signal.SAVE_OWED)
        messages.faults.heal()
        await worker.told.of(Signal.SAVE_RECOVERED)
    (saved,) = [record for record in kept.records if record.outcome == "saved"]
    assert (saved.action, saved.actor) == ("reconcile", "system")
    of_one_stream([saved])


async def test_a_stream_that_was_taken_over() -> None:
    kept, store = Kept(), MemoryStore()
    new = NewStream(
        StreamRef(SessionKey("ann", "s"), new_stream_id()),
        *(new_message_id(), "ui-message", "chat", ""),
        request_id="r1",
        trace=TRACED["traceparent"],
    )
    await store.register(new, lease_seconds=0.001, ttl_seconds=60.0, limit=None)
    worker = Worker(store, observers=(AuditTrail(kept),))
    async with worker.running():
        await worker.guard.reconcile(patience=False)
    (taken,) = [record for record in kept.records if record.action is AuditAction.TAKEOVER]
    assert (taken.actor, taken.outcome, taken.code, taken.request_id) == ("system", "interrupted", "interrupted", "r1")
    of_one_stream([taken])


@pytest.mark.parametrize("error", [RuntimeError("the sink"), OSError("the disk"), MemoryError()], ids=repr)
async def test_a_sink_that_fails_hurts_no_stream(error: Exception) -> None:
    class Failing:
        def write(self, record: AuditRecord) -> None:
            raise error

        def close(self, timeout_seconds: float) -> bool:
            raise error

    worker = Worker(observers=(AuditTrail(Failing()),))
    async with worker.running() as chat:
        answer = await asked(chat)
        worker.go.set()
        await answer.rest()
        assert (await chat.ended(answer)).fields["outcome"] == "completed"


async def test_a_sink_that_hangs_when_it_is_closed_holds_up_the_end_for_a_moment_only() -> None:
    """It is closed in a thread, and given two seconds at most."""
    closing: list[float] = []

    class Slow:
        def write(self, record: AuditRecord) -> None:
            """Kept nowhere."""

        def close(self, timeout_seconds: float) -> bool:
            closing.append(timeout_seconds)
            return False

    worker = Worker(observers=(AuditTrail(Slow()),))
    async with worker.running() as chat:
        await worker.whole(chat)
    assert closing == [1.0]


def test_each_action_of_a_guard_is_told_of_by_a_story() -> None:
    """A new one needs a story, or its place here: what only operators do, or what other tests show."""
    elsewhere = {
        *(AuditAction.REQUEUE, AuditAction.DISCARD),  # cli/test_audit.py
        *(AuditAction.SAVE_GIVEN_UP, AuditAction.FAULT),  # test_one_fault.py
        AuditAction.GAP,  # test_audit_file.py
    }
    told = {
        *("start", "tool_call", "settle", "end", "erase", "resume", "stop", "refuse"),
        *("quota_denied", "reconcile", "takeover"),
    }
    assert told | {str(action) for action in elsewhere} == {str(action) for action in AuditAction}
