"""Workers and readers of one stream, as the runtime has them but for time: a step is one call, or its repetition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, TypeVar

from streamguard.errors import LogBrokenError, StoreError
from streamguard.stores.appends import Append, AppendCache
from streamguard.stores.records import Close, LostLog, NewStream, Seal, Status, StreamMeta, Terminal
from streamguard.stores.store import StreamStore
from streamguard.values import (
    START,
    Event,
    EventKind,
    Outcome,
    Persisted,
    Position,
    QuotaState,
    StreamRef,
    StreamState,
)

from .history import History, ViolationError

__all__ = [
    "LEASE_SECONDS",
    "RETENTION_SECONDS",
    "Reader",
    "Worker",
    "WorkerState",
    "is_tombstone",
    "new_stream",
    "repeated",
]

T = TypeVar("T")

TRIES: Final = 100
"""How often a call is repeated: for longer than a cluster takes to get over the death of a master."""
BACK_OFF_SECONDS: Final = 0.05
LONGEST_BACK_OFF_SECONDS: Final = 0.25
RETENTION_SECONDS: Final = 3_600.0
LEASE_SECONDS: Final = 0.001
"""Every lease has run out: each worker that writes is one that was paused for longer, and came back."""
SLICE_BYTES: Final = 12
LOG_LOST: Final = b"log_lost"
"""In the terminal record of a lost log."""


class WorkerState(Enum):
    IDLE = "idle"
    """It does not write the stream, or no longer."""
    WRITING = "writing"
    SEALED = "sealed"
    LOST = "lost"
    """It goes on without the log, to its tombstone."""


def new_stream(ref: StreamRef, *, age_seconds: float = 0.0) -> NewStream:
    """The stream, as its first worker registers it."""
    return NewStream(ref, "message", "plain", "schedules", "", age_seconds)


async def repeated(call: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer, as the runtime does for each of its steps."""
    for tried in range(TRIES):
        try:
            return await call()
        except LogBrokenError:
            raise
        except StoreError as exc:
            error = exc
            await _back_off(tried)
    raise error


async def _back_off(tried: int) -> None:
    """A store that is away for a moment is asked again after one: but for the first time, which is enough for a reply
    that was lost."""
    if tried:
        await asyncio.sleep(min(BACK_OFF_SECONDS * tried, LONGEST_BACK_OFF_SECONDS))


class Worker:
    """Writes the stream while it believes that it owns it."""

    def __init__(self, name: str, store: StreamStore, history: History) -> None:
        self.name = name
        self.store = store
        self.state = WorkerState.IDLE
        self._history = history
        self._ref: StreamRef | None = None
        self._epoch = 0
        self._base = 0
        """The last event that others wrote."""
        self._emitted: list[bytes] = []
        self._acked = 0
        self._count = 0
        self._seal: Seal | None = None
        self._ended_in_doubt = False
        """It may have written its last events and its end in a step that was not answered."""
        self._cache = AppendCache()
        self._began_at = 0.0

    @property
    def ref(self) -> StreamRef:
        assert self._ref is not None
        return self._ref

    def begin(self, meta: StreamMeta, *, age_seconds: float) -> None:
        """Write from here on, as the record says. The stream began at most so long ago."""
        self._ref, self._epoch, self._base, self._acked = meta.ref, meta.epoch, meta.last_seq, meta.last_seq
        self._emitted, self._seal, self._cache = [], meta.seal, AppendCache()
        self._ended_in_doubt = False
        self._began_at = time.monotonic() - age_seconds
        if meta.lost:
            self.state = WorkerState.LOST
        else:
            self.state = WorkerState.WRITING if meta.seal is None else WorkerState.SEALED

    async def append(self, count: int) -> None:
        """Emit events, and commit all that are not in the log yet."""
        if self.state is not WorkerState.WRITING:
            return
        self._emit(count)
        await self._commit()

    def _emit(self, count: int) -> None:
        for _ in range(count):
            self._count += 1
            self._emitted.append(f"{self.name}{self._count}".encode())

    def _pending(self) -> Append:
        """What is not in the log yet."""
        events = [(EventKind.DATA, payload) for payload in self._emitted[self._acked - self._base :]]
        return Append(self.ref, self._epoch, self._acked + 1, events, refresh=False, cache=self._cache)

    def _acknowledge(self) -> None:
        """All of it is in the log."""
        payloads = self._emitted[self._acked - self._base :]
        self._history.acknowledged(self._epoch, self._acked + 1, payloads)
        self._acked = self._base + len(self._emitted)

    async def _commit(self) -> bool:
        """Whether every event is in the log."""
        for tried in range(TRIES):
            if self._acked == self._base + len(self._emitted):
                return True
            first = self._acked + 1
            try:
                (reply,) = await self.store.append([self._pending()])
            except StoreError:
                await _back_off(tried)
                continue
            match reply.status:
                case Status.OK | Status.DUPLICATE:
                    self._history.accepted("an append", self._epoch)
                    self._acknowledge()
                case Status.SEALED if self._ended_in_doubt:
                    self._acknowledge()
                case Status.GAP if self._base <= reply.last_seq < first:
                    self._acked = reply.last_seq  # an older snapshot came back: what it lacks is appended again
                case Status.REFUSED | Status.LATE:
                    await _back_off(tried)
                case _:
                    self.state = WorkerState.IDLE
                    return False
        return False

    async def take(self, ref: StreamRef, *, expected: int | None = None) -> Status:
        """Take the stream over: from whoever has it, or from an `expected` epoch."""
        reply = await repeated(
            lambda: self.store.take_over(
                ref, lease_seconds=LEASE_SECONDS, expected_epoch=expected, force=expected is None
            )
        )
        if reply.status is Status.OK and reply.meta is not None:
            self._history.took(reply.meta.epoch, expected=expected)
            self.begin(reply.meta, age_seconds=reply.meta.age_seconds)
        else:
            self.state = WorkerState.IDLE
        return reply.status

    async def beat(self) -> None:
        """Renew the lease."""
        if self.state is WorkerState.IDLE:
            return
        claims = [(self.ref, self._epoch)]
        (reply,) = await repeated(
            lambda: self.store.heartbeat(claims, lease_seconds=LEASE_SECONDS, ttl_seconds=RETENTION_SECONDS)
        )
        match reply.status:
            case Status.OK:
                self._history.accepted("a heartbeat", self._epoch)
            case Status.REFUSED:
                pass
            case Status.GONE if self.state is not WorkerState.SEALED:
                await self.lose_log()
            case _:
                self.state = WorkerState.IDLE

    async def lose_log(self) -> None:
        """Go on without the log, and say so."""
        if self.state in (WorkerState.WRITING, WorkerState.LOST):
            self.state = WorkerState.LOST
            await self._declare_lost(None)

    async def seal(self) -> None:
        """Decide how it ended, after its last event."""
        for tried in range(TRIES):
            if self.state is not WorkerState.WRITING or not await self._commit():
                return
            seal = Seal(Outcome.COMPLETED, self._acked)
            try:
                status, standing = await self.store.seal(self.ref, self._epoch, seal)
            except StoreError:
                await _back_off(tried)
                continue
            match status:
                case Status.OK | Status.SEALED if standing is not None:
                    if status is Status.OK:
                        self._history.accepted("a seal", self._epoch)
                    self._seal, self.state = standing, WorkerState.SEALED
                    return
                case Status.GAP:
                    meta = await repeated(lambda: self.store.meta(self.ref))
                    if meta is None or not self._base <= meta.last_seq < self._acked:
                        self.state = WorkerState.IDLE
                        return
                    self._acked = meta.last_seq
                case _:
                    self.state = WorkerState.IDLE
                    return

    async def finish(self, count: int) -> None:
        """Emit events, decide how it ended, and write all of that in one step."""
        if self.state is not WorkerState.WRITING or not await self._commit():
            return
        self._emit(count)
        if count:
            seal = Seal(Outcome.COMPLETED, self._base + len(self._emitted))
            close = self._close_of(seal, owes=False)
            try:
                *_, reply = await self.store.seal_and_close(close, seal, self._pending())
            except StoreError:
                self._ended_in_doubt = True
            else:
                if reply is not None:
                    self._history.accepted("an append", self._epoch)
                    self._acknowledge()
                    self.state = WorkerState.IDLE
                    self._closed(reply.status, owes=False)
        await self._finish_without()

    async def _finish_without(self) -> None:
        """Decide how it ended and write that, in one step."""
        for tried in range(TRIES):
            if self.state is not WorkerState.WRITING or not await self._commit():
                return
            seal = Seal(Outcome.COMPLETED, self._acked)
            try:
                status, standing, reply = await self.store.seal_and_close(self._close_of(seal, owes=False), seal)
            except StoreError:
                await _back_off(tried)
                continue
            if status is Status.GAP:
                meta = await repeated(lambda: self.store.meta(self.ref))
                if meta is None or not self._base <= meta.last_seq < self._acked:
                    self.state = WorkerState.IDLE
                    return
                self._acked = meta.last_seq
                continue
            self.state = WorkerState.IDLE
            if reply is not None:
                self._closed(reply.status, owes=False)
            elif status is Status.SEALED and standing is not None:
                self._seal, self.state = standing, WorkerState.SEALED
            return

    async def close(self, *, owes: bool = False) -> None:
        """Write the end, if it is decided, or the tombstone."""
        if self.state is WorkerState.LOST:
            outcome = Outcome.INTERRUPTED
            await self._declare_lost(
                Terminal(outcome, Persisted.NO, QuotaState.NONE, "message", reason=LOG_LOST.decode())
            )
        elif self.state is WorkerState.SEALED and self._seal is not None:
            close = self._close_of(self._seal, owes=owes)
            if owes:
                await repeated(lambda: self.store.enqueue(self.ref, due_seconds=0.0))
            reply = await repeated(lambda: self.store.close(close))
            self.state = WorkerState.IDLE
            self._closed(reply.status, owes=owes)

    def _close_of(self, seal: Seal, *, owes: bool) -> Close:
        persisted = Persisted.PENDING if owes else Persisted.NOT_ASKED
        terminal = Terminal(seal.outcome, persisted, QuotaState.NONE, "message")
        payload = b"a save" if owes else None
        return Close(self.ref, self._epoch, [(EventKind.CLOSING, b"end")], terminal, RETENTION_SECONDS, payload)

    def _closed(self, status: Status, *, owes: bool) -> None:
        if status is Status.OK:
            self._history.accepted("a close", self._epoch)
        if status is Status.OK or (status is Status.DUPLICATE and self._history.ended_at is None):
            self._history.ended(owes=owes)

    async def _declare_lost(self, terminal: Terminal | None) -> None:
        def lost() -> LostLog:
            new = new_stream(self.ref, age_seconds=time.monotonic() - self._began_at)
            return LostLog(new, self._epoch, LEASE_SECONDS, RETENTION_SECONDS, terminal)

        reply = await repeated(lambda: self.store.declare_lost(lost()))
        if reply.status is Status.OK:
            self._history.accepted("a lost log", self._epoch)
            if terminal is not None:
                self._history.ended(owes=False)
        elif reply.status is Status.DUPLICATE and terminal is not None and self._history.ended_at is None:
            self._history.ended(owes=False)  # the tombstone, whose reply was lost
        if terminal is not None or reply.status is not Status.OK:
            self.state = WorkerState.IDLE


def is_tombstone(meta: StreamMeta, seq: int) -> bool:
    """Whether this is the number of the record that says that the log is lost. No client gets a cursor of that: whoever
    has its number saw another event under it, which is lost."""
    return meta.lost and meta.state is StreamState.CLOSED and seq == meta.last_seq


class Reader:
    """Reads a stream as a client that resumes does: on from the last event it saw, or it is told why not."""

    def __init__(self, history: History) -> None:
        self.view: list[Event] = []
        self.told = False
        """It was told that it cannot go on."""
        self._history = history

    @property
    def at(self) -> Position:
        return Position(self.view[-1].epoch, self.view[-1].seq) if self.view else START

    def resume(self, other: Reader) -> None:
        """Go on where another one is."""
        self.view, self.told = list(other.view), other.told

    async def read(self, store: StreamStore, ref: StreamRef, *, max_bytes: int = SLICE_BYTES) -> int:
        """Read on from a store; how many events there were."""
        if self.told:
            return 0
        meta, held = await repeated(lambda: store.check_position(ref, self.at))
        if not held or meta is None or is_tombstone(meta, self.at.seq):
            self._tell()
            return 0
        try:
            found = await repeated(lambda: store.read(ref, self.at, max_bytes=max_bytes))
        except LogBrokenError:
            self._tell()
            return 0
        if found and found[-1].kind is EventKind.TERMINAL and LOG_LOST in found[-1].data:
            found.pop()  # nobody is shown the tombstone: at it, viewers are cut
        for event in found:
            if event.seq != self.at.seq + 1:
                raise ViolationError(f"I3: event {event.seq} followed {self.at.seq}")
            self._history.seen(event)
            self.view.append(event)
        return len(found)

    def _tell(self) -> None:
        self.told = True
        if not self._history.losses and self._history.erasing_at is None:
            raise ViolationError(f"a reader at {self.at} was told that the log broke, which it did not")
