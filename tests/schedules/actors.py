"""Workers and readers of one stream, as the runtime has them but for time: a step is one call, or its repetition."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, TypeVar

from streamguard.errors import LogBrokenError, StoreError
from streamguard.stores.appends import Append
from streamguard.stores.records import Close, Seal, Status, Terminal
from streamguard.stores.store import StreamStore
from streamguard.values import START, Event, EventKind, Outcome, Persisted, Position, QuotaState, StreamRef

from .history import History, ViolationError

__all__ = ["Reader", "Worker", "WorkerState", "repeated"]

T = TypeVar("T")

TRIES: Final = 100
"""How often a call is repeated: for longer than a cluster takes to get over the death of a master."""
BACK_OFF_SECONDS: Final = 0.05
LONGEST_BACK_OFF_SECONDS: Final = 0.25
RETENTION_SECONDS: Final = 3_600.0
SLICE_BYTES: Final = 12


class WorkerState(Enum):
    IDLE = "idle"
    """It does not write the stream, or no longer."""
    WRITING = "writing"
    SEALED = "sealed"


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

    @property
    def ref(self) -> StreamRef:
        assert self._ref is not None
        return self._ref

    def begin(self, ref: StreamRef, epoch: int, *, base: int = 0, seal: Seal | None = None) -> None:
        """Write from here on, under an epoch."""
        self._ref, self._epoch, self._base, self._acked, self._emitted = ref, epoch, base, base, []
        self.state, self._seal = WorkerState.WRITING if seal is None else WorkerState.SEALED, seal

    async def append(self, count: int) -> None:
        """Emit events, and commit all that are not in the log yet."""
        if self.state is not WorkerState.WRITING:
            return
        for _ in range(count):
            self._count += 1
            self._emitted.append(f"{self.name}{self._count}".encode())
        await self._commit()

    async def _commit(self) -> bool:
        """Whether every event is in the log."""
        for tried in range(TRIES):
            if self._acked == self._base + len(self._emitted):
                return True
            first = self._acked + 1
            payloads = self._emitted[first - 1 - self._base :]
            events = [(EventKind.DATA, payload) for payload in payloads]
            try:
                (reply,) = await self.store.append([Append(self.ref, self._epoch, first, events, refresh=False)])
            except StoreError:
                await _back_off(tried)
                continue
            match reply.status:
                case Status.OK | Status.DUPLICATE:
                    self._history.accepted("an append", self._epoch)
                    self._history.acknowledged(self._epoch, first, payloads)
                    self._acked = self._base + len(self._emitted)
                case Status.GAP if self._base <= reply.last_seq < first:
                    self._acked = reply.last_seq  # an older snapshot came back: what it lacks is appended again
                case Status.REFUSED | Status.LATE:
                    await _back_off(tried)
                case _:
                    self.state = WorkerState.IDLE
                    return False
        return False

    async def take(self, ref: StreamRef) -> Status:
        """Take the stream over, whoever has it."""
        reply = await repeated(lambda: self.store.take_over(ref, lease_seconds=RETENTION_SECONDS, force=True))
        if reply.status is Status.OK and reply.meta is not None:
            self._history.taken.append((self._history.now, reply.meta.epoch))
            self.begin(ref, reply.meta.epoch, base=reply.meta.last_seq, seal=reply.meta.seal)
        else:
            self.state = WorkerState.IDLE
        return reply.status

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

    async def close(self) -> Status | None:
        """Write the end, if it is decided."""
        if self.state is not WorkerState.SEALED or self._seal is None:
            return None
        terminal = Terminal(self._seal.outcome, Persisted.NOT_ASKED, QuotaState.NONE, "message")
        close = Close(self.ref, self._epoch, [(EventKind.CLOSING, b"end")], terminal, RETENTION_SECONDS)
        reply = await repeated(lambda: self.store.close(close))
        if reply.status is Status.OK:
            self._history.accepted("a close", self._epoch)
        self.state = WorkerState.IDLE
        return reply.status


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
        if not held or meta is None:
            self._tell()
            return 0
        try:
            found = await repeated(lambda: store.read(ref, self.at, max_bytes=max_bytes))
        except LogBrokenError:
            self._tell()
            return 0
        for event in found:
            if event.seq != self.at.seq + 1:
                raise ViolationError(f"I3: event {event.seq} followed {self.at.seq}")
            self._history.seen(event)
            self.view.append(event)
        return len(found)

    def _tell(self) -> None:
        self.told = True
        if not self._history.losses:
            raise ViolationError(f"a reader at {self.at} was told that the log broke, which it did not")
