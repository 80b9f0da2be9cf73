"""What callers hand to a stream store and what it answers. `streamguard.stores.roles` has the contracts themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from ..compact_json import compact_json
from ..decoding import decoding, read_json
from ..facts import facts
from ..faults import Fault
from ..values import (
    EventKind,
    Outcome,
    Persisted,
    Position,
    QuotaState,
    StreamRef,
    StreamState,
    Usage,
)

__all__ = [
    "NOTHING_CONSUMED",
    "UNTOLD",
    "ClaimState",
    "Close",
    "Erasure",
    "Hint",
    "LostLog",
    "NewStream",
    "OutboxEntry",
    "Partition",
    "RequestClaim",
    "Seal",
    "SessionRecord",
    "Status",
    "StreamMeta",
    "TakeoverReply",
    "Terminal",
    "read_outcome",
    "read_persisted",
    "read_quota_state",
]


NOTHING_CONSUMED: Final[Mapping[StreamRef, Usage]] = MappingProxyType({})

UNTOLD: Final = 0
"""The epoch of a writer whose registration was never answered: it stands for the stream's first, whichever that is."""


class Status(StrEnum):
    """What a store answers to a write."""

    OK = "ok"
    DUPLICATE = "duplicate"
    """All of it was there already, from this epoch. A success."""
    FENCED = "fenced"
    """The stream's epoch is not the caller's: another worker owns it now, or wrote the events that are there."""
    GAP = "gap"
    """The log ends before the event this write begins with: an older snapshot came back."""
    SEALED = "sealed"
    """The stream's end is decided; no event can be added."""
    GONE = "gone"
    """No such stream: never registered, expired, evicted or erased. Nothing was created."""
    LEASED = "leased"
    """`take_over` refused: the writer's lease still runs."""
    NOT_SEALED = "not_sealed"
    """`close` refused: seal first."""
    LOST = "lost"
    """The stream's log was declared lost; only its tombstone can follow."""
    LATE = "late"
    """The append arrived past the time it was given (`AppendRequest.within_seconds`). Nothing was added."""
    REFUSED = "refused"
    """The store answers but refused this one write (out of memory, read-only); try again."""
    CORRUPT = "corrupt"
    """The record of this one stream cannot be read or written to; asking again does not help."""


@facts
class Seal:
    """The decision how a stream ended. The first one stands."""

    outcome: Outcome
    last_seq: int
    """The last event before the closing parts; what the saved message is folded from."""
    fault: Fault | None = None
    usage: Usage | None = None
    held: tuple[bytes, ...] = field(default=(), repr=False)
    """Closing parts held out of the log, in order."""
    original: str | None = None
    """The outcome that a later version wrote and this one does not know: `outcome` is `INTERRUPTED` then."""
    silent: bool = False
    """The stream ended before its endpoint had emitted anything, and costs nothing."""


@facts
class Terminal:
    """The last event of a stream: what was true when it closed."""

    outcome: Outcome
    persisted: Persisted
    quota: QuotaState
    message_id: str
    fault: Fault | None = None
    reason: str | None = None
    """`log_lost` when the log before it is not the whole stream."""
    original: str | None = None
    """As in `Seal`; passed on by `to_json`."""
    _json: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)
    """What `to_json` made, once it was called: the store writes it, and viewers here are shown it."""

    def to_json(self) -> bytes:
        """The terminal event's payload: compact UTF-8 JSON, absent fields omitted."""
        if self._json:
            return self._json[0]
        body: dict[str, object] = {
            "outcome": self.original or self.outcome,
            "persisted": self.persisted,
            "quota": self.quota,
            "message_id": self.message_id,
        }
        if self.fault is not None:
            body["fault"] = self.fault.as_dict()
        if self.reason is not None:
            body["reason"] = self.reason
        self._json.append(compact_json(body))
        return self._json[0]

    @classmethod
    def from_json(cls, data: bytes) -> Terminal:
        """Read what `to_json` wrote.

        Raises:
            ValueError: not such a record.
        """
        with decoding(lambda: ValueError("a stored terminal record lacks a required field, or one is damaged")):
            raw = read_json(data)
            outcome, original = read_outcome(raw["outcome"])
            return cls(
                outcome=outcome,
                persisted=read_persisted(raw["persisted"]),
                quota=read_quota_state(raw["quota"]),
                message_id=str(raw["message_id"]),
                fault=Fault.from_dict(raw["fault"]) if "fault" in raw else None,
                reason=raw.get("reason"),
                original=original,
            )


def read_outcome(stored: object) -> tuple[Outcome, str | None]:
    """A stored outcome. One that a later version added reads as `INTERRUPTED`, since it says of no reply that it is
    whole, with the original beside it.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(stored, str):
        raise TypeError("an outcome is a text")
    try:
        return Outcome(stored), None
    except ValueError:
        return Outcome.INTERRUPTED, stored


_PERSISTED: Final = frozenset(Persisted)
_QUOTA_STATES: Final = frozenset(QuotaState)


def read_persisted(stored: str) -> Persisted:
    """A stored state of the save. One that a later version added reads as `PENDING`: it is not known to be saved."""
    return Persisted(stored) if stored in _PERSISTED else Persisted.PENDING


def read_quota_state(stored: str) -> QuotaState:
    """What a record says of the settlement. What a later version added reads as `PENDING`: it may be owed yet."""
    return QuotaState(stored) if stored in _QUOTA_STATES else QuotaState.PENDING


@facts
class NewStream:
    """What `register` writes. Its lease begins at registration, on the store's clock."""

    ref: StreamRef
    message_id: str
    protocol: str
    binding: str
    """The stable name of the guarded endpoint's configuration."""
    fingerprint: str
    """Equal for equal requests; empty when the stream cannot be joined."""
    age_seconds: float = 0.0
    """How long ago it began, as its writer measured on its own monotonic clock: for a stream that the store only hears
    of when its log is lost. Of one that is registered, the store says when it began."""
    abandon_after_seconds: float | None = None
    """For how long it may go on without viewers; None: to its own end."""
    client_version: str = ""
    """The version of the client that it is written for; empty where that is not known."""
    request_id: str | None = None
    """The request that began it; None where that is not known."""
    trace: str | None = None
    """That request's trace, a W3C `traceparent`; None where there is none."""
    worker: str = ""
    """The worker that writes it, as `StreamWrites.subscribe_worker` knows that worker; empty for one that is told
    nothing."""


@facts
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
    last_epoch: int
    """The epoch that wrote the log's last event; of an empty log, the one that may write its first."""
    first_seq: int
    """The log's first event still held; 1 unless it was trimmed. `last_seq + 1` when nothing is held."""
    lease_seconds: float
    """What remains of the writer's lease, on the store's clock; negative once it ran out."""
    stop_requested: bool
    taken: bool
    """Its epoch was raised since it began: another worker ends, or ended, it."""
    lost: bool
    """Its log is not the whole stream (registration or appends failed)."""
    seal: Seal | None
    usage: Usage | None
    """What it consumed, by its seal or, before there is one, by its writer's last heartbeat; None while unknown."""
    persisted: Persisted
    quota: QuotaState
    revised: bool
    """A later request superseded its reply before that was saved."""
    created_at: float
    """When it began: Unix time, on the store's clock."""
    age_seconds: float
    """How long ago that was, on the store's clock."""
    closed_seconds: float | None
    """Seconds since it closed, on the store's clock; None while it has not."""
    abandon_after_seconds: float | None
    """As it was registered: workers other than its writer note that they view it only if this is given."""
    viewed_seconds: float | None
    """Seconds since `note_viewed` last noted a viewer outside its writer's process, on the store's clock; None for
    never."""
    format_version: int
    client_version: str = ""
    """As `NewStream.client_version`."""
    request_id: str | None = None
    """As `NewStream.request_id`."""
    trace: str | None = None
    """As `NewStream.trace`."""
    worker: str = ""
    """The worker that writes it now: `NewStream.worker`, or the one that took it over."""

    @property
    def end(self) -> Position:
        """The log's last event."""
        return Position(self.last_epoch, self.last_seq)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session's streams: `active` until its terminal record, `last` for as long as the session is remembered.

    A pointer whose stream's record is gone has `active_id`/`last_id` without the meta.
    """

    active_id: str | None
    active: StreamMeta | None
    last_id: str | None
    last: StreamMeta | None


class Partition(NamedTuple):
    """One worker's part of the work that all workers share."""

    place: int
    """The worker's place among all of them, from 0."""
    of: int
    """How many workers there are, at least 1."""


class Close(NamedTuple):
    """Ends a sealed stream: the events go to the log after `first_seq - 1`, the terminal record after them."""

    ref: StreamRef
    epoch: int
    events: Sequence[tuple[EventKind, bytes]]
    """Notices and closing parts."""
    terminal: Terminal
    retention_seconds: float
    outbox_payload: bytes | None = None
    """What a worker needs for the save or settlement that is still owed; None when nothing is."""

    def __repr__(self) -> str:
        return f"Close({self.ref!r}, epoch={self.epoch})"  # without content

    def __sentry_repr__(self) -> str:  # Sentry sends other tuples item by item
        return repr(self)


class LostLog(NamedTuple):
    """Declares a stream's log lost, creating its record if need be, and keeps or ends it.

    Without a terminal the stream is still running in its writer: the record says so, its lease is renewed.
    With one, the tombstone: the terminal record goes to last logged seq + 1 and the stream is closed.
    """

    new: NewStream
    epoch: int
    """`UNTOLD` adopts a registration whose reply was lost, unless another worker has taken over the stream since."""
    lease_seconds: float
    retention_seconds: float
    terminal: Terminal | None


class TakeoverReply(NamedTuple):
    """What became of a takeover."""

    status: Status
    """`OK`: the caller owns the stream under `meta.epoch`. `LEASED`, `SEALED` (closed already) or `GONE` otherwise."""
    meta: StreamMeta | None


class Hint(NamedTuple):
    """What a subscriber is told about a stream.

    `events` may be empty (something changed: read the range). Hints are at most once: a subscriber that sees a
    jump, or nothing for a while, reads the range.
    """

    first_seq: int
    events: Sequence[tuple[EventKind, bytes]]
    stop_requested: bool
    epoch: int = 0
    """The epoch that wrote these events."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """The mark that a session was erased: a stream that began before must not come back."""

    at: float
    """Unix time, on the store's clock; later than the beginning of all that was erased, and earlier than that of every
    stream registered since."""
    seconds_ago: float
    """How long ago that was, on the store's clock."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Work still owed for a closed stream."""

    ref: StreamRef
    payload: bytes = field(repr=False)
    """What `Close.outbox_payload` held; opaque to the store."""
    attempts: int
    """How many failed so far, at least: a `retry_later` repeated because its reply was lost counts again."""
    due_seconds: float
    """Seconds until the next attempt, on the store's clock; negative when overdue. Of a claimed entry: until its claim
    ends. 0 for a dead letter."""
    reason: str | None
    """Why the last attempt failed: a short code, never a driver's text."""
    dead: bool
    """Given up; only an operator requeues it."""


class ClaimState(StrEnum):
    """How far the request that claimed an idempotency key has come."""

    CLAIMED = "claimed"
    """Its stream may not be registered yet, and its endpoint does not run."""
    BEGUN = "begun"
    """Its stream is registered, and its endpoint runs or ran."""


@dataclass(frozen=True, slots=True)
class RequestClaim:
    """Which stream answers the requests that carry one idempotency key."""

    ref: StreamRef
    fingerprint: str
    """Equal for equal requests."""
    state: ClaimState = ClaimState.CLAIMED
