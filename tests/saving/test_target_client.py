"""A message store that fails: attempts are bounded, a breaker spares it, and nobody's first token waits for it."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.deadlines import Deadline
from streamguard.errors import (
    MessageConflictError,
    MessageFailedError,
    MessageStoreError,
    MessageTimeoutError,
    MessageUnavailableError,
)
from streamguard.faults import FaultCode
from streamguard.messages import CallableSaver, Message, MessageToSave, Role
from streamguard.observations import Signal
from streamguard.saving.attempts import Attempts
from streamguard.saving.save_breaker import FAILURES, SaveBreaker, SavingPausedError
from streamguard.saving.target_client import TargetClient
from streamguard.stores.memory import MemoryStore
from streamguard.unavailable import UnavailableReason
from streamguard.values import Outcome, Persisted, SessionKey

from ..harness.waiting import wait_until_async
from ..runtime.conftest import memory
from ..runtime.savers import Messages, meta_of, saving_to
from ..runtime.stage import quick, saying, working

pytestmark = pytest.mark.anyio

__all__ = ["memory"]

KEY = SessionKey("ana", "chat-1")


AWAY = MessageUnavailableError("away", operation="append", reason=UnavailableReason.CONNECTION_REFUSED)
LATE = MessageTimeoutError("late", operation="append")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_opens_after_failures_in_a_row() -> None:
    clock, changes = Clock(), list[MessageStoreError | None]()
    breaker = SaveBreaker(pause_seconds=1.0, clock=clock, on_change=changes.append)
    for _ in range(FAILURES - 1):
        breaker.failed(AWAY)
    breaker.answered()
    for _ in range(FAILURES - 1):
        breaker.failed(AWAY)
    assert breaker.admit("append") is False
    breaker.failed(AWAY)
    with pytest.raises(SavingPausedError):
        breaker.admit("append")
    assert changes == [AWAY]


def test_timeouts_of_one_session_are_no_outage() -> None:
    """Somebody holds its lock: the store answers for all others."""
    changes = list[MessageStoreError | None]()
    breaker = SaveBreaker(pause_seconds=1.0, clock=Clock(), on_change=changes.append)
    locked = MessageUnavailableError("locked", operation="append", reason=UnavailableReason.LOCKED)
    for _ in range(FAILURES * 2):
        breaker.failed(LATE, KEY)
        breaker.failed(locked, KEY)
    assert not breaker.open
    for number in range(FAILURES - 1):
        breaker.failed(LATE, SessionKey("ana", f"other-{number}"))
    assert changes == [LATE]


def test_an_outage_that_one_session_finds_opens_it() -> None:
    breaker = SaveBreaker(pause_seconds=1.0, clock=Clock())
    for _ in range(FAILURES):
        breaker.failed(AWAY, KEY)
    assert breaker.open


async def test_a_locked_session_does_not_keep_others_from_being_saved() -> None:
    messages = Messages()
    client = TargetClient(messages, quick(save_attempt_seconds=0.01), on_change=lambda _: None)
    deadline = Deadline.after(20)
    messages.hold("open_session")
    for _ in range(FAILURES):
        with pytest.raises(MessageTimeoutError):
            await client.call("open_session", lambda: messages.open_session(KEY), deadline=deadline, key=KEY)
    assert not client.breaker.open
    messages.let_go("open_session")


def test_a_breaker_lets_one_probe_through_at_a_time() -> None:
    clock, changes = Clock(), list[MessageStoreError | None]()
    breaker = SaveBreaker(pause_seconds=1.0, clock=clock, on_change=changes.append)
    for _ in range(FAILURES):
        breaker.failed(AWAY)
    clock.now += 1.0
    assert breaker.admit("append") is True
    with pytest.raises(SavingPausedError):
        breaker.admit("append")
    breaker.failed(AWAY)
    breaker.probed()
    with pytest.raises(SavingPausedError):
        breaker.admit("append")  # its pause begins anew
    clock.now += 1.0
    assert breaker.admit("append") is True
    breaker.answered()
    breaker.probed()
    assert breaker.admit("append") is False
    assert changes == [AWAY, None]


async def test_a_cancelled_probe_makes_room_for_the_next() -> None:
    messages = Messages()
    client, clock = TargetClient(messages, quick(), on_change=lambda _: None), Clock()
    client.breaker = SaveBreaker(pause_seconds=1.0, clock=clock, on_change=lambda _: None)
    for _ in range(FAILURES):
        client.breaker.failed(AWAY)
    clock.now += 1.0
    deadline = Deadline.after(5)
    messages.hold("open_session")
    probe = asyncio.create_task(client.call("open_session", lambda: messages.open_session(KEY), deadline=deadline))
    await wait_until_async(lambda: messages.waiting["open_session"], description="the probe is under way")
    with pytest.raises(SavingPausedError):
        await client.call("open_session", lambda: messages.open_session(KEY), deadline=deadline)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    messages.let_go("open_session")
    assert (await client.call("open_session", lambda: messages.open_session(KEY), deadline=deadline)).created
    assert not client.breaker.open


async def test_a_refusal_is_an_answer() -> None:
    messages = Messages()
    messages.errors["open_session"] = MessageConflictError("no", operation="open_session")
    client = TargetClient(messages, quick(), on_change=lambda _: None)
    deadline = Deadline.after(5)
    for _ in range(FAILURES * 2):
        with pytest.raises(MessageConflictError):
            await client.call("open_session", lambda: messages.open_session(KEY), deadline=deadline)
    assert not client.breaker.open


async def test_what_fails_at_one_message_says_nothing_of_the_store() -> None:
    """What a host's `save` raises: however often, and whatever becomes of others, the breaker is as it was."""
    told: list[MessageStoreError | None] = []
    poison = {"poison"}

    async def save(message: MessageToSave) -> None:
        if message.message.message_id in poison:
            raise ValueError("this one cannot be saved")
        if message.message.message_id == "away":
            raise ConnectionError("away")

    client = TargetClient(CallableSaver(save), quick(breaker_probe_seconds=60), on_change=told.append)

    async def saving(message_id: str) -> None:
        message = Message(message_id, Role.USER, ({"type": "text", "text": "a"},))
        await client.call("append", lambda: client.target.append(KEY, message), deadline=Deadline.after(5))

    for _ in range(3 * FAILURES):
        with pytest.raises(MessageFailedError):
            await saving("poison")
    await saving("another")
    assert (client.breaker.open, told) == (False, [])
    for _ in range(FAILURES - 1):
        with pytest.raises(MessageUnavailableError):
            await saving("away")
    with pytest.raises(MessageFailedError):
        await saving("poison")
    with pytest.raises(MessageUnavailableError):
        await saving("away")
    assert client.breaker.open
    assert [type(error) for error in told] == [MessageUnavailableError]


async def test_a_call_that_hangs_is_given_up_and_counts() -> None:
    messages = Messages()
    messages.hold("open_session")
    client = TargetClient(messages, quick(save_attempt_seconds=0.01), on_change=lambda _: None)
    deadline = Deadline.after(5)
    for _ in range(FAILURES):
        with pytest.raises(MessageTimeoutError, match="save_attempt_seconds"):
            await client.call("open_session", lambda: messages.open_session(KEY), deadline=deadline)
    assert client.breaker.open


async def test_calls_wait_their_turn_but_not_past_their_deadline() -> None:
    messages = Messages()
    messages.hold("open_session")
    client = TargetClient(messages, quick(max_concurrent_saves=1), on_change=lambda _: None)
    deadline = Deadline.after(5)
    first = asyncio.create_task(client.call("open_session", lambda: messages.open_session(KEY), deadline=deadline))
    await wait_until_async(lambda: messages.waiting["open_session"], description="the first is under way")
    with pytest.raises(MessageTimeoutError, match="max_concurrent_saves"):
        await client.call("open_session", lambda: messages.open_session(KEY), deadline=Deadline.after(0.01))
    messages.let_go("open_session")
    assert (await first).created


async def test_attempts_end_at_their_deadline() -> None:
    attempts = Attempts(0.5)

    async def fail() -> None:
        raise MessageUnavailableError("no", operation="append")

    with pytest.raises(MessageUnavailableError):
        await attempts(fail)
    assert 2 <= attempts.failures <= 4
    once = Attempts(10.0, retries=False)
    with pytest.raises(MessageUnavailableError):
        await once(fail)
    assert once.failures == 1


async def test_pauses_between_attempts_double_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def fail_seven_times() -> str:
        if len(pauses) < 7:
            raise MessageUnavailableError("no", operation="append")
        return "done"

    monkeypatch.setattr("streamguard.retrying.asyncio.sleep", pause)
    monkeypatch.setattr("streamguard.retrying.random.uniform", lambda least, most: most)
    assert await Attempts(60.0)(fail_seven_times) == "done"
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_a_database_that_fails_under_200_requests(memory: MemoryStore) -> None:
    """Attempts are bounded, the breaker opens, one probe at a time; first items do not wait, and nothing is lost."""
    messages = Messages()
    messages.down = True
    settings = quick(
        breaker_probe_seconds=60.0,
        save_total_seconds=5.0,
        save_visible_seconds=5.0,
        max_concurrent_saves=8,
        max_streams_per_owner=1000,
        command_seconds=5.0,
        registration_seconds=5.0,
        lease_seconds=20.0,
        live_ttl_seconds=80.0,
    )
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        streams = [
            await worker.start(saying("a"), worker.request(SessionKey("ana", f"chat-{number}")))
            for number in range(200)
        ]
        readings = [await worker.watch(stream) for stream in streams]
        assert all(reading.text == "a" for reading in readings)
        assert {reading.outcome for reading in readings} == {Outcome.COMPLETED}
        assert messages.calls.total() <= FAILURES + settings.max_concurrent_saves
        assert messages.most_at_once <= settings.max_concurrent_saves
        (opened,) = worker.signals(Signal.BREAKER_OPENED)
        assert opened.fields == {"breaker": "messages"}
        assert isinstance(opened.error, MessageUnavailableError)
        health = worker.runtime.health()
        assert health.reasons == ("messages_unreachable",)
        assert health.ready
        assert set(worker.faults()) == {FaultCode.PERSISTENCE_FAILED}
        assert len(await memory.outbox_entries(dead=False, limit=1000)) == 200
        assert {(await meta_of(memory, stream.ref)).persisted for stream in streams} == {Persisted.PENDING}
