"""The steps the store suite's clauses are written in."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

from ...errors import LogBrokenError
from ...faults import Fault, FaultCode
from ...stores.appends import Append, AppendReply
from ...stores.records import UNTOLD, Close, Hint, LostLog, NewStream, Seal, Status, StreamMeta, TakeoverReply, Terminal
from ...stores.registrations import Full, Occupied, Registered, Withdrawn
from ...stores.store import StreamStore
from ...values import (
    MAX_EPOCH,
    START,
    Event,
    EventKind,
    Outcome,
    Persisted,
    Position,
    QuotaState,
    SessionKey,
    StreamRef,
    new_message_id,
    new_stream_id,
)

T = TypeVar("T")

LONG_SECONDS = 60.0
"""A lease or TTL that outlasts any test."""

ROUNDING_SECONDS = 1e-6
"""What a difference of two times may be off: a lease just taken may seem longer than it was asked for."""

WAIT_SECONDS = 5.0
"""How long a hint may take."""

EVERYTHING = 1 << 30

TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"
"""A `traceparent`."""


def fresh_key() -> SessionKey:
    """A session nobody used: suites may share one store."""
    return SessionKey(f"owner-{new_stream_id()}", "session")


def sibling(key: SessionKey) -> SessionKey:
    """Another session of the same owner."""
    return SessionKey(key.owner, f"session-{new_stream_id()}")


def new_stream(key: SessionKey | None = None, *, age: float = 0.0) -> NewStream:
    return NewStream(
        ref=StreamRef(key or fresh_key(), new_stream_id()),
        message_id=new_message_id(),
        protocol="plain",
        binding="suite",
        fingerprint="",
        age_seconds=age,
    )


def unknown_ref(key: SessionKey | None = None) -> StreamRef:
    return StreamRef(key or fresh_key(), new_stream_id())


async def try_register(
    store: StreamStore,
    new: NewStream,
    *,
    lease: float = LONG_SECONDS,
    ttl: float = LONG_SECONDS,
    limit: int | None = None,
    arrived: float = 0.0,
) -> Registered | Occupied | Full | Withdrawn:
    answer = await store.register(new, lease_seconds=lease, ttl_seconds=ttl, limit=limit, arrived_seconds=arrived)
    if isinstance(answer, Registered):
        _issued.setdefault(new.ref, [answer.meta.epoch])
    return answer


_issued: dict[StreamRef, list[int]] = {}
"""Of each stream that these steps began or took, its epochs in order."""


def epoch_of(ref: StreamRef, number: int = 1) -> int:
    """A stream's epoch by its number: the one it was registered under is the first. Before it was issued, one that
    never is; of a stream that was not registered, `UNTOLD`."""
    issued = _issued.get(ref, [UNTOLD])
    return issued[number - 1] if number <= len(issued) else MAX_EPOCH - number


async def take(
    store: StreamStore,
    ref: StreamRef,
    *,
    lease: float = LONG_SECONDS,
    expected: int | None = None,
    force: bool = False,
    worker: str = "",
) -> TakeoverReply:
    """Take a stream; `expected` is the number of an epoch."""
    epoch = None if expected is None else epoch_of(ref, expected)
    reply = await store.take_over(ref, lease_seconds=lease, expected_epoch=epoch, force=force, worker=worker)
    if reply.status is Status.OK and reply.meta is not None:
        _issued.setdefault(ref, [UNTOLD]).append(reply.meta.epoch)
    return reply


def registered(answer: Registered | Occupied | Full | Withdrawn) -> StreamMeta:
    match answer:
        case Registered(meta):
            return meta
        case Occupied(meta):
            raise AssertionError(f"the session should have been free, but {meta.ref.stream_id} occupies it")
        case Full():
            raise AssertionError("the owner should have had room for another stream")
        case Withdrawn():
            raise AssertionError("the registration should not have been withdrawn")


def occupied(answer: Registered | Occupied | Full | Withdrawn) -> StreamMeta:
    match answer:
        case Occupied(meta):
            return meta
        case Registered(meta):
            raise AssertionError(f"the session should have been occupied, but {meta.ref.stream_id} was registered")
        case Full():
            raise AssertionError("the owner should have had room for another stream")
        case Withdrawn():
            raise AssertionError("the registration should not have been withdrawn")


def withdrawn(answer: Registered | Occupied | Full | Withdrawn) -> None:
    assert answer == Withdrawn(), f"the registration was taken back, but the answer is {answer}"


def full(answer: Registered | Occupied | Full | Withdrawn) -> None:
    assert answer == Full(), f"the owner should have had no room for another stream, but the answer is {answer}"


async def begin(
    store: StreamStore, key: SessionKey | None = None, *, lease: float = LONG_SECONDS, ttl: float = LONG_SECONDS
) -> StreamRef:
    """Register a new stream."""
    return registered(await try_register(store, new_stream(key), lease=lease, ttl=ttl)).ref


def data(*payloads: bytes) -> list[tuple[EventKind, bytes]]:
    return [(EventKind.DATA, payload) for payload in payloads]


async def put(
    store: StreamStore, ref: StreamRef, first_seq: int, *payloads: bytes, epoch: int = 1, refresh: bool = False
) -> AppendReply:
    (reply,) = await store.append([Append(ref, epoch_of(ref, epoch), first_seq, data(*payloads), refresh)])
    return reply


async def beat(
    store: StreamStore, ref: StreamRef, *, epoch: int = 1, lease: float = LONG_SECONDS, ttl: float = LONG_SECONDS
) -> AppendReply:
    (reply,) = await store.heartbeat([(ref, epoch_of(ref, epoch))], lease_seconds=lease, ttl_seconds=ttl)
    return reply


async def log(store: StreamStore, ref: StreamRef, after_seq: int = 0) -> list[Event]:
    whole = await _read_on(store, ref, START)
    return whole if after_seq == 0 else await _read_on(store, ref, place(whole[after_seq - 1]))


async def _read_on(store: StreamStore, ref: StreamRef, after: Position) -> list[Event]:
    """All events after that one, as far as they go on without a gap."""
    found = page = await store.read(ref, after, max_bytes=EVERYTHING)
    with suppress(LogBrokenError):
        while page and (page := await store.read(ref, place(page[-1]), max_bytes=EVERYTHING)):
            found = [*found, *page]
    return found


def place(event: Event) -> Position:
    """Where an event is in its log."""
    return Position(event.epoch, event.seq)


async def meta(store: StreamStore, ref: StreamRef) -> StreamMeta:
    found = await store.meta(ref)
    assert found is not None, f"stream {ref.stream_id} should exist"
    return found


def a_seal(last_seq: int = 0, outcome: Outcome = Outcome.COMPLETED) -> Seal:
    return Seal(outcome, last_seq)


def a_terminal(outcome: Outcome = Outcome.COMPLETED, *, reason: str | None = None) -> Terminal:
    fault = None if outcome is Outcome.COMPLETED else Fault.of(FaultCode.INTERRUPTED, actions=("retry",))
    return Terminal(outcome, Persisted.PENDING, QuotaState.SETTLED, new_message_id(), fault, reason)


async def seal(store: StreamStore, ref: StreamRef, last_seq: int = 0, *, epoch: int = 1) -> None:
    status, _ = await store.seal(ref, epoch_of(ref, epoch), a_seal(last_seq))
    assert status is Status.OK


def closing(
    ref: StreamRef,
    *payloads: bytes,
    epoch: int = 1,
    retention: float = LONG_SECONDS,
    terminal: Terminal | None = None,
    owed: bytes | None = None,
) -> Close:
    events = [(EventKind.CLOSING, payload) for payload in payloads]
    return Close(ref, epoch_of(ref, epoch), events, terminal or a_terminal(), retention, owed)


async def end(store: StreamStore, ref: StreamRef, last_seq: int = 0, *, retention: float = LONG_SECONDS) -> None:
    """Seal and close a stream under its first epoch."""
    await seal(store, ref, last_seq)
    reply = await store.close(closing(ref, retention=retention))
    assert reply.status is Status.OK


def losing(new: NewStream, *, epoch: int = 1, lease: float = LONG_SECONDS, terminal: Terminal | None = None) -> LostLog:
    return LostLog(new, epoch_of(new.ref, epoch), lease, LONG_SECONDS, terminal)


def tombstone(outcome: Outcome = Outcome.COMPLETED) -> Terminal:
    return a_terminal(outcome, reason="log_lost")


async def is_due(store: StreamStore, ref: StreamRef) -> bool:
    return ref in await store.expired_leases(limit=100_000)


def payloads(events: Sequence[Event] | Sequence[tuple[EventKind, bytes]]) -> list[bytes]:
    return [event.data if isinstance(event, Event) else event[1] for event in events]


@dataclass
class Collected(Generic[T]):
    """Collects what somebody is told."""

    seen: list[T] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, hint: T) -> None:
        self.seen.append(hint)
        self._arrived.set()

    async def until(self, predicate: Callable[[list[T]], bool], *, description: str) -> None:
        """Wait until the hints so far satisfy `predicate`."""
        with anyio.move_on_after(WAIT_SECONDS):
            while not predicate(self.seen):
                self._arrived.clear()
                await self._arrived.wait()
        assert predicate(self.seen), f"not within {WAIT_SECONDS} s: {description}; hints were {self.seen}"


class Hints(Collected[Hint]):
    """Collects what a subscriber is told."""
