"""The contract of the stream store: the log of every stream and the registry of sessions.

Every method is one atomic step, safe to repeat: a caller whose reply was lost asks again and gets the same answer.
`MemoryStore` is the executable specification; `streamguard.testing.StreamStoreSuite` checks any other store against it.

Who may write is decided by *epochs*: a stream's meta holds one, every write names the one it believes in, and a
write under an older epoch is refused (`FENCED`). Leases only choose who acts; they protect nothing.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ..faults import Fault
from ..model import Event, EventKind, Outcome, Persisted, QuotaState, SessionKey, StreamRef, StreamState, Usage

__all__ = [
    "Append",
    "AppendReply",
    "Close",
    "Hint",
    "Lost",
    "NewStream",
    "Occupied",
    "Registered",
    "Seal",
    "SessionRecord",
    "Status",
    "StopReply",
    "StreamMeta",
    "StreamStore",
    "TakeReply",
    "Terminal",
]


class Status(StrEnum):
    """What a store answers to a write."""

    OK = "ok"
    DUPLICATE = "duplicate"
    """All of it was there already, from this epoch. A success."""
    FENCED = "fenced"
    """The stream's epoch is not the caller's: another worker owns it now."""
    GAP = "gap"
    """The log ends before the event this write begins with: an older snapshot came back."""
    SEALED = "sealed"
    """The stream's end is decided; no event can be added."""
    GONE = "gone"
    """No such stream: never registered, expired, evicted or erased. Nothing was created."""
    LEASED = "leased"
    """`take` refused: the writer's lease still runs."""
    NOT_SEALED = "not_sealed"
    """`close` refused: seal first."""
    LOST = "lost"
    """The stream's log was declared lost; only its tombstone can follow."""
    REFUSED = "refused"
    """The store is there but would not carry this one write out (out of memory, read-only); try again."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The decision how a stream ended. The first one stands."""

    outcome: Outcome
    last_seq: int
    """The last event before the closing parts; what the saved message is folded from."""
    fault: Fault | None = None
    usage: Usage | None = None
    held: tuple[bytes, ...] = ()
    """Closing parts held out of the log, in order."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """The one last item of a stream: what was true when it closed."""

    outcome: Outcome
    persisted: Persisted
    quota: QuotaState
    message_id: str
    fault: Fault | None = None
    reason: str | None = None
    """`log_lost` when the log before it is not the whole stream."""

    def to_json(self) -> bytes:
        """The terminal event's payload: compact UTF-8 JSON, absent fields omitted."""
        body: dict[str, object] = {
            "outcome": self.outcome,
            "persisted": self.persisted,
            "quota": self.quota,
            "message_id": self.message_id,
        }
        if self.fault is not None:
            body["fault"] = self.fault.as_dict()
        if self.reason is not None:
            body["reason"] = self.reason
        return json.dumps(body, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Terminal:
        """Read what `to_json` wrote.

        Raises:
            ValueError: not such a record.
        """
        raw = json.loads(data)
        try:
            return cls(
                outcome=Outcome(raw["outcome"]),
                persisted=Persisted(raw["persisted"]),
                quota=QuotaState(raw["quota"]),
                message_id=str(raw["message_id"]),
                fault=Fault.from_dict(raw["fault"]) if "fault" in raw else None,
                reason=raw.get("reason"),
            )
        except (KeyError, TypeError) as exc:
            raise ValueError("a stored terminal record lacks a required field") from exc


@dataclass(frozen=True, slots=True)
class NewStream:
    """What `register` writes. Its lease begins at registration, on the store's clock."""

    ref: StreamRef
    message_id: str
    protocol: str
    binding: str
    """The stable name of the guarded endpoint's configuration."""
    fingerprint: str
    """Equal for equal requests; empty when the stream cannot be joined."""
    created_at: float
    """Unix time on the writer's clock; only orders a stream against its session's erasure and other lost streams."""


@dataclass(frozen=True, slots=True)
class StreamMeta:
    """A snapshot of one stream's record."""

    ref: StreamRef
    message_id: str
    protocol: str
    binding: str
    fingerprint: str
    ordinal: int
    """The stream's number within its session, from 1; 0 for a lost stream that was never registered."""
    epoch: int
    state: StreamState
    last_seq: int
    """The log's last event; 0 when it is empty."""
    first_seq: int
    """The log's first event still held; 1 unless it was trimmed. `last_seq + 1` when nothing is held."""
    lease_seconds: float
    """What remains of the writer's lease, on the store's clock; negative once it ran out."""
    stop_requested: bool
    lost: bool
    """Its log is not the whole stream (registration or appends failed)."""
    seal: Seal | None
    persisted: Persisted
    quota: QuotaState
    created_at: float
    closed_seconds: float | None
    """Seconds since it closed, on the store's clock; None while it has not."""
    format_version: int


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session's streams: `active` until its terminal record, `last` for as long as the session is remembered.

    A pointer whose stream's record is gone has `active_id`/`last_id` without the meta.
    """

    active_id: str | None
    active: StreamMeta | None
    last_id: str | None
    last: StreamMeta | None


@dataclass(frozen=True, slots=True)
class Registered:
    """The stream exists and is the session's active one, with epoch 1."""

    meta: StreamMeta


@dataclass(frozen=True, slots=True)
class Occupied:
    """The session has an unsealed stream; whether its lease runs is in `meta.lease_seconds`."""

    meta: StreamMeta


class Append(NamedTuple):
    """Consecutive events of one stream, the first numbered `first_seq`."""

    ref: StreamRef
    epoch: int
    first_seq: int
    events: Sequence[tuple[EventKind, bytes]]
    refresh: bool
    """Renew the TTLs of the stream's and the session's keys too (the writer asks once a minute)."""


class AppendReply(NamedTuple):
    status: Status
    last_seq: int
    """The log's last event after the write (or the refusal); 0 when gone."""
    stop_requested: bool


class Close(NamedTuple):
    """Ends a sealed stream: the events go to the log after `first_seq - 1`, the terminal record after them."""

    ref: StreamRef
    epoch: int
    events: Sequence[tuple[EventKind, bytes]]
    """Notices and closing parts."""
    terminal: Terminal
    retention_seconds: float
    owed: bytes | None = None
    """The outbox payload, when a save or settlement is still owed."""


class Lost(NamedTuple):
    """Declares a stream's log lost, creating its record if need be, and keeps or ends it.

    Without a terminal the stream is still running in its writer: the record says so, its lease is renewed.
    With one, the tombstone: the terminal record goes to last logged seq + 1 and the stream is closed.
    """

    new: NewStream
    epoch: int
    lease_seconds: float
    retention_seconds: float
    terminal: Terminal | None


class TakeReply(NamedTuple):
    status: Status
    """`OK`: the caller owns the stream under `meta.epoch`. `LEASED`, `SEALED` (closed already) or `GONE` otherwise."""
    meta: StreamMeta | None


class StopReply(StrEnum):
    REQUESTED = "requested"
    """The flag is set and the writer, whose lease runs, was told."""
    EXPIRED = "expired"
    """The writer's lease ran out: the caller takes the stream and seals it `stopped`."""
    ENDED = "ended"
    """Sealed already, or no such stream."""


class Hint(NamedTuple):
    """What a watcher is told about a stream.

    `events` may be empty (something changed: read the range). Hints are at most once: a watcher that sees a
    jump, or nothing for a while, reads the range.
    """

    first_seq: int
    events: Sequence[tuple[EventKind, bytes]]
    stop_requested: bool


class StreamStore(ABC):
    """The log and registry of streams.

    Every method raises `StoreUnavailableError` when the store does not answer within its command timeout or
    refuses (then the step may or may not have happened: ask again), and `StoreCorruptError` for a record it cannot
    read. Cancelling a call leaves the same doubt. None retries by itself.
    """

    shared: bool
    """Whether other processes see the same streams."""

    @abstractmethod
    async def start(self) -> list[str]:
        """Connect. Returns warnings for the operator (an eviction policy that drops live streams, say).

        Must not raise for an unreachable store: the guard starts degraded and recovers.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Release what this object opened. Nothing stored is touched."""

    @abstractmethod
    async def ping(self) -> None:
        """Prove that the store answers and accepts writes."""

    # -- the registry ---------------------------------------------------------------------------------------------

    @abstractmethod
    async def admit(self, owner: str, stream_id: str, *, limit: int, lease_seconds: float) -> bool:
        """Count `stream_id` among its owner's running streams unless `limit` others are running; repeats are free."""

    @abstractmethod
    async def dismiss(self, owner: str, stream_id: str) -> None:
        """Take `stream_id` out of its owner's running streams; unknown ones are ignored."""

    @abstractmethod
    async def register(self, new: NewStream, *, lease_seconds: float, ttl_seconds: float) -> Registered | Occupied:
        """Make `new` the session's active stream, unless an unsealed stream is (whatever its lease).

        Writes the lease index before and the session pointers, the ordinal and the meta in one step.
        """

    @abstractmethod
    async def session(self, key: SessionKey) -> SessionRecord:
        """The session's pointers and what they point to. An unknown session has neither."""

    @abstractmethod
    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        """The stream's record, or None."""

    # -- the log ----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def append(self, batch: Sequence[Append]) -> list[AppendReply]:
        """Append to many streams in one round trip; replies in the order asked.

        Each checks epoch and open state, refuses a missing meta, appends what is not there yet, and hands watchers
        a hint. An event already present under the same epoch is a success.
        """

    @abstractmethod
    async def read(self, ref: StreamRef, after_seq: int, *, max_bytes: int) -> list[Event]:
        """Events after `after_seq`, in order, at least one if there is any, else about `max_bytes` of payload.

        A trimmed or vanished log gives what is left: the caller compares numbers.
        """

    @abstractmethod
    def watch(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        """While entered, `on_hint` is called (on the event loop, never concurrently) for appends, stop requests, seals,
        takeovers and closes of the stream made after entering, by any process.

        With `data=False` appends are left out: what a stream's own writer listens to. After a lost connection every
        watcher gets an empty hint. `on_hint` must not raise or block.
        """

    # -- the writer's claim -----------------------------------------------------------------------------------------

    @abstractmethod
    async def heartbeat(
        self, claims: Sequence[tuple[StreamRef, int]], *, lease_seconds: float, ttl_seconds: float
    ) -> list[AppendReply]:
        """Renew leases (and owners' slots) of (stream, epoch) claims, and the TTLs of their keys, in one round trip.

        Answers `OK` (also for a sealed stream that is not closed), `FENCED`, `GONE`, or `SEALED` for a closed one.
        """

    @abstractmethod
    async def take(
        self, ref: StreamRef, *, lease_seconds: float, expected_epoch: int | None = None, force: bool = False
    ) -> TakeReply:
        """Raise the epoch and take the lease, if the lease ran out, or `force`.

        With `expected_epoch`, only from that epoch (else `FENCED`): of two that race, one wins. The old writer is
        told by a hint.
        """

    @abstractmethod
    async def request_stop(self, ref: StreamRef) -> StopReply:
        """Ask the stream's writer to stop: sets the flag and hands watchers a hint."""

    @abstractmethod
    async def due(self, *, limit: int) -> list[StreamRef]:
        """Streams whose lease ran out on the store's clock and that are not closed, oldest first.

        Entries of streams that no longer exist are removed on the way.
        """

    # -- the end ----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        """Decide how the stream ended; the first seal stands and is returned, whoever asks.

        `OK`: sealed by this call. `SEALED`: it was before (under this epoch or another). `FENCED`, `GONE`,
        `LOST`, and `GAP` when the log does not end at `seal.last_seq`.
        """

    @abstractmethod
    async def close(self, close: Close) -> AppendReply:
        """Append notices, closing parts and the terminal record; close the log; compare-and-clear the session's
        active pointer; set retention; drop the lease.

        `OK`, `DUPLICATE` (closed before under this epoch), `FENCED`, `NOT_SEALED`, `GONE`.
        """

    @abstractmethod
    async def lose(self, lost: Lost) -> AppendReply:
        """Declare a log lost; see `Lost`.

        Creates the record under `lost.epoch` if it is missing (unless the session was erased after
        `new.created_at`: `GONE`), adopts an applied registration, takes the session's pointers only if no newer
        stream has them. `FENCED` under another epoch, `SEALED` when the stream is sealed or closed otherwise,
        `DUPLICATE` when this tombstone stands already.
        """

    @abstractmethod
    async def mark(
        self, ref: StreamRef, *, persisted: Persisted | None = None, quota: QuotaState | None = None
    ) -> Status:
        """Set the mutable fields of a stream's record: `OK` or `GONE`."""

    @abstractmethod
    async def erase(self, key: SessionKey, *, mark_seconds: float) -> None:
        """Delete every stream of the session and leave an erasure mark that refuses what began before it."""
