"""Drives a memory store and a Redis store side by side; the rules are in `log_rules`, `rules` and `outbox_rules`.

Each rule does one thing to both, checks the promises on Redis alone, and then compares: the replies, and everything
the two show. Time does not pass in a rule unless it says so: leases and TTLs are an hour, or a millisecond that
the rule then waits out.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from streamguard.faults import Fault, FaultCode
from streamguard.stores.appends import AppendCache, AppendReply
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import (
    Erasure,
    NewStream,
    OutboxEntry,
    SessionRecord,
    Status,
    StreamMeta,
    TakeoverReply,
    Terminal,
)
from streamguard.stores.registrations import Occupied, Registered
from streamguard.stores.store import StreamStore
from streamguard.values import (
    START,
    Event,
    EventKind,
    Outcome,
    Persisted,
    Position,
    QuotaState,
    SessionKey,
    StreamRef,
    StreamState,
)

from .promises import Promises, Seen

__all__ = [
    "BEFORE_ERASURES",
    "BEFORE_STOPS",
    "HOUR",
    "MOST_STREAMS",
    "SESSIONS",
    "TINY",
    "Bench",
    "TwinStores",
    "status_of",
]

T = TypeVar("T")

HOUR = 3600.0
TINY = 0.001
MOST_STREAMS = 8
CATCH_UP_SECONDS = 0.3
SLOT_SECONDS = 0.003
"""How much longer than its stream's short lease a slot of its owner may last: a heartbeat renews it a step later."""

SESSIONS = (SessionKey("ann", "s1"), SessionKey("ann", "s2"), SessionKey("bob", "s1"))

BEFORE_ERASURES = 500.0
"""How old a stream is that began before any erasure of its example, however slow the machine."""


BEFORE_STOPS = 1_000.0
"""How long ago a request arrived that was there before any stop of its example."""


class Clock:
    """The memory store's clock; it stands unless a rule turns it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Shown:
    """Everything a store shows, without the times that differ between two stores."""

    streams: dict[StreamRef, Seen]
    sessions: dict[SessionKey, SessionRecord]
    due: frozenset[StreamRef]
    owed: dict[StreamRef, OutboxEntry]
    """The living and the dead."""


class Bench:
    """What all examples of one run share: an event loop and the Redis store."""

    def __init__(self, redis_store: StreamStore, clear: Callable[[], object]) -> None:
        self._runner = asyncio.Runner()
        self.redis = redis_store
        self.clear = clear
        self.run(self.redis.start())

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(step)

    def close(self) -> None:
        self.run(self.redis.aclose())
        self._runner.close()


def timeless(reply: object) -> object:
    """A reply without the times that differ between two stores."""
    match reply:
        case StreamMeta():
            return replace(
                reply,
                lease_seconds=1.0 if reply.lease_seconds > 0 else -1.0,
                created_at=0.0,
                age_seconds=0.0,
                closed_seconds=None if reply.closed_seconds is None else 0.0,
                viewed_seconds=None if reply.viewed_seconds is None else 0.0,
            )
        case Erasure():
            return "erased"
        case (None | StreamMeta() as meta, bool() as held):
            return (timeless(meta), held)
        case Registered(meta):
            return ("registered", timeless(meta))
        case Occupied(meta):
            return ("occupied", timeless(meta))
        case TakeoverReply(status, meta):
            return (status, timeless(meta))
        case SessionRecord():
            return replace(
                reply,
                active=timeless(reply.active),  # type: ignore[arg-type] # a meta stays one
                last=timeless(reply.last),  # type: ignore[arg-type] # a meta stays one
            )
        case Seen(meta, log):
            return Seen(timeless(meta), log)  # type: ignore[arg-type] # a meta stays one
        case OutboxEntry():
            return replace(reply, due_seconds=1.0 if reply.due_seconds > 0 else -1.0)
        case [OutboxEntry(), *_]:  # what was due at once is in no order
            return sorted([timeless(owed) for owed in reply], key=repr)
        case dict():
            return {key: timeless(value) for key, value in reply.items()}
        case _:
            return reply


async def show(store: StreamStore, refs: list[StreamRef]) -> Shown:
    metas = await asyncio.gather(*(store.meta(ref) for ref in refs))
    logs = await asyncio.gather(*(store.read(ref, START, max_bytes=1 << 20) for ref in refs))
    sessions = await asyncio.gather(*(store.session(key) for key in SESSIONS))
    due = await store.expired_leases(limit=100)
    living, dead = await asyncio.gather(*(store.outbox_entries(dead=dead, limit=100) for dead in (False, True)))
    streams = {ref: Seen(meta, tuple(log)) for ref, meta, log in zip(refs, metas, logs, strict=True)}
    owed = {owed.ref: owed for owed in (*living, *dead)}
    return Shown(streams, dict(zip(SESSIONS, sessions, strict=True)), frozenset(due), owed)


def status_of(reply: object) -> Status | None:
    match reply:
        case AppendReply(status=status) | [AppendReply(status=status)]:
            return status
        case (Status() as status, *_) | (Status() as status):
            return status
        case _:
            return None


def won(answer: object) -> bool:
    """Whether this is the answer of whoever came first in a race."""
    match answer:
        case (StreamRef(), first):
            return bool(first)
        case _:
            return status_of(answer) is Status.OK


class TwinStores(RuleBasedStateMachine):
    bench: ClassVar[Bench]
    compares: ClassVar[bool] = True
    """Whether Redis is held against memory too, or against the promises alone."""

    def __init__(self) -> None:
        super().__init__()
        self.bench.clear()
        self.clock = Clock()
        self.memory = MemoryStore(clock=self.clock, wall_us=lambda: self.wall_us)
        self.wall_us = 0
        """The memory store's wall clock: the newest epoch Redis issued, so that memory issues the same."""
        self.promises = Promises()
        self.streams: list[NewStream] = []
        self.payloads = 0
        self.caches: dict[tuple[StreamRef, int], AppendCache] = {}
        self.last: tuple[Callable[[StreamStore], Awaitable[object]], object, bool] | None = None
        """The last step, its answer, and whether it waits; None when repeating it means something else."""

    # -- one step on both ------------------------------------------------------------------------------------------

    def step(self, call: Callable[[StreamStore], Awaitable[T]], *, waits: bool = False) -> T:
        """Do `call` to both and compare the answers. Returns Redis's. With `waits`, a millisecond passes after it."""

        async def both() -> tuple[T, T]:
            answer = await call(self.bench.redis)
            await self.set_wall()
            return answer, await call(self.memory)

        answer, expected = self.bench.run(both())
        self.last = (call, answer, waits)
        self.expect(answer, expected)
        if waits:
            self.clock.now += 1
        return answer

    def race(self, *calls: Callable[[StreamStore], Awaitable[object]]) -> None:
        """Do all `calls` to Redis at once, and to memory one after the other, the winner's first."""

        async def at_once() -> list[object]:
            return await asyncio.gather(*(call(self.bench.redis) for call in calls))

        answers = self.bench.run(at_once())
        self.bench.run(self.set_wall())
        self.last = None
        order = sorted(range(len(calls)), key=lambda index: not won(answers[index]))

        async def in_turn() -> dict[int, object]:
            return {index: await calls[index](self.memory) for index in order}

        expected = self.bench.run(in_turn())
        for index, answer in enumerate(answers):
            self.expect(answer, expected[index])
        self.after()

    async def set_wall(self) -> None:
        metas = await asyncio.gather(*(self.bench.redis.meta(new.ref) for new in self.streams))
        self.wall_us = max(self.wall_us, *(meta.epoch for meta in metas if meta is not None), 0)

    def expect(self, answer: object, expected: object) -> None:
        if self.compares:
            assert timeless(answer) == timeless(expected), f"Redis answered {answer}, memory {expected}"

    def after(self, *, waits: bool = False) -> None:
        """Look at everything: first for broken promises, then for differences."""
        refs = [new.ref for new in self.streams]
        deadline = time.monotonic() + CATCH_UP_SECONDS
        slots_ended_at = math.inf
        expected = self.bench.run(show(self.memory, refs))
        while True:
            shown = self.bench.run(show(self.bench.redis, refs))
            slots_ended_at = min(slots_ended_at, time.monotonic() + SLOT_SECONDS)  # the renewal came before the look
            caught_up = time.monotonic() >= slots_ended_at and self.same_times(shown, expected)
            # Redis's clock cannot be turned: what memory has forgotten already expires there in a millisecond.
            if not waits or caught_up or time.monotonic() > deadline:
                break
        self.promises.observed(shown.streams, shown.sessions)
        self.promises.outbox.observed(shown.owed, {ref for ref, seen in shown.streams.items() if seen.meta is not None})
        if self.compares:
            for what in ("streams", "sessions", "owed"):
                actual, wanted = timeless(getattr(shown, what)), timeless(getattr(expected, what))
                assert actual == wanted, f"Redis shows {actual}, memory {wanted}"
            assert shown.due == expected.due, f"Redis has due {shown.due}, memory {expected.due}"

    @staticmethod
    def same_times(shown: Shown, expected: Shown) -> bool:
        def times(one: Shown) -> list[object]:
            metas = [seen.meta for seen in one.streams.values()]
            known = [record.last_id is not None for record in one.sessions.values()]
            leases = [None if meta is None else meta.lease_seconds > 0 for meta in metas]
            due = [one.owed[ref].due_seconds > 0 if ref in one.owed else None for ref in one.streams]
            logs = [bool(seen.log) for seen in one.streams.values()]  # may expire a millisecond after their records
            return [*known, *leases, *due, *logs]

        return times(shown) == times(expected) and shown.due >= expected.due

    # -- choosing --------------------------------------------------------------------------------------------------

    def conceive(self, session: int, age: float) -> NewStream:
        if len(self.streams) == MOST_STREAMS:
            return self.streams[session]
        number = len(self.streams) + 1
        new = NewStream(
            ref=StreamRef(SESSIONS[session], f"{number:024x}"),
            message_id=f"msg_{number % 2}",
            protocol="plain",
            binding="twins",
            fingerprint="" if number % 2 else "f" * 64,
            age_seconds=age,
            client_version="" if number % 3 else "5.0.0",
            request_id=f"req_{number}" if number % 2 else None,
            trace=f"00-{number:032x}-{number:016x}-01" if number % 3 else None,
            worker=f"worker-{number}" if number % 4 else "",
        )
        self.streams.append(new)
        return new

    def pick(self, which: int) -> NewStream:
        """The newest recorded stream for 0, an older one for more; the highest number picks among the others too."""
        recorded = [new for new in self.streams if self.meta(new.ref) is not None]
        pool = recorded if recorded and which < MOST_STREAMS - 1 else self.streams
        return pool[-1 - which % len(pool)]

    def named(self, ref: StreamRef) -> NewStream:
        return next(new for new in self.streams if new.ref == ref)

    def open_streams(self) -> list[StreamRef]:
        metas = [seen.meta for seen in self.promises.streams.values()]
        return [meta.ref for meta in metas if meta is not None and meta.state is StreamState.OPEN and not meta.lost]

    def active_and_open(self) -> list[StreamRef]:
        """The streams that are their sessions' active ones, and not sealed; lost ones too."""
        refs = [StreamRef(key, active) for key, active in self.promises.active.items() if active is not None]
        metas = {ref: self.meta(ref) for ref in refs}
        return [ref for ref, meta in metas.items() if meta is not None and meta.state is StreamState.OPEN]

    def meta(self, ref: StreamRef) -> StreamMeta | None:
        return self.promises.streams[ref].meta if ref in self.promises.streams else None

    def epoch(self, ref: StreamRef, offset: int) -> int:
        meta = self.meta(ref)
        return max(1, (1 if meta is None else meta.epoch) + offset)

    def cache(self, ref: StreamRef, epoch: int) -> AppendCache:
        """What the stream's writer under that epoch has for its store: of a superseded one too."""
        return self.caches.setdefault((ref, epoch), AppendCache())

    def position(self, ref: StreamRef, seq: int) -> Position:
        """Where event `seq` is, as far as there is one."""
        log = self.log(ref)
        return Position(log[seq - 1].epoch, seq) if 0 < seq <= len(log) else Position(self.epoch(ref, 0), seq)

    def log(self, ref: StreamRef) -> tuple[Event, ...]:
        return self.promises.streams[ref].log if ref in self.promises.streams else ()

    def last_seq(self, ref: StreamRef) -> int:
        return len(self.log(ref))

    def events(self, count: int, kind: EventKind = EventKind.DATA) -> list[tuple[EventKind, bytes]]:
        self.payloads += count
        return [(kind, b"%d" % number) for number in range(self.payloads - count, self.payloads)]

    @staticmethod
    def terminal(outcome: Outcome, *, lost: bool = False) -> Terminal:
        fault = None if outcome is Outcome.COMPLETED else Fault.of(FaultCode.INTERRUPTED)
        return Terminal(outcome, Persisted.PENDING, QuotaState.SETTLED, "msg", fault, "log_lost" if lost else None)
