"""The words of streamguard as types: keys, events, cursors, outcomes, the stream's state machine, the observer.

Nothing here touches a socket, a clock or a store.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from .errors import CursorInvalidError

if TYPE_CHECKING:
    from .faults import Fault

__all__ = [
    "FORMAT_VERSION",
    "MAX_CURSOR_BYTES",
    "MAX_EPOCH",
    "MAX_ID_BYTES",
    "MAX_OWNER_BYTES",
    "MAX_SEQ",
    "START",
    "Cursor",
    "Event",
    "EventKind",
    "Observation",
    "Observer",
    "Outcome",
    "Persisted",
    "Position",
    "QuotaState",
    "SessionKey",
    "Signal",
    "StreamRef",
    "StreamState",
    "Subject",
    "Usage",
    "is_id",
    "is_stream_id",
    "new_message_id",
    "new_stream_id",
]

FORMAT_VERSION: Final = 1
"""The version written into every stored record, so that old and new workers can share a store."""

MAX_SEQ: Final = 2**53 - 1
"""The highest event number: what a double, and so a Lua number and a JavaScript client, holds exactly."""

MAX_EPOCH: Final = 2**53 - 1
"""The highest epoch, likewise. Epochs are microseconds since 1970 on the store's clock, which reach it in 2255."""

MAX_ID_BYTES: Final = 256
"""Longest session, message or stream id, in bytes of UTF-8: from admission to every store. Who changes it changes the
columns of `messages.sql.tables`."""

MAX_OWNER_BYTES: Final = 512
"""Longest owner, likewise: names from directories and identity providers are longer than ids."""

MAX_CURSOR_BYTES: Final = 64
"""A cursor of ours has at most 60 bytes; anything past this is refused unread."""


class Outcome(StrEnum):
    """How a stream ended. Decided once, by its seal."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    """A user's decision."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The server's: shutdown, a dead worker, a lost lease."""


class Persisted(StrEnum):
    """What is known of saving the reply. Mutable after the end: a later success is seen by status and resume."""

    YES = "yes"
    PENDING = "pending"
    NO = "no"
    NOT_ASKED = "not_asked"


class QuotaState(StrEnum):
    """What is known of settling the stream's reservation."""

    SETTLED = "settled"
    PENDING = "pending"
    NONE = "none"


class StreamState(StrEnum):
    """A stream's life: open → sealed → closed, never backwards, never skipping the seal."""

    OPEN = "open"
    SEALED = "sealed"
    CLOSED = "closed"

    def may_become(self, other: StreamState) -> bool:
        """Whether one step leads from this state to `other`; staying is always legal (every step repeats)."""
        order = (StreamState.OPEN, StreamState.SEALED, StreamState.CLOSED)
        return order.index(other) - order.index(self) in (0, 1)


class EventKind(StrEnum):
    """What a logged event is; one letter, because it is stored with every event."""

    DATA = "d"
    """A payload of the stream's protocol."""
    NOTICE = "n"
    """A `Fault` as JSON; each protocol has its own wire form for it."""
    CLOSING = "c"
    """A closing part of the protocol, written between seal and terminal record."""
    TERMINAL = "t"
    """The one last item: a `Terminal` as JSON."""


class Event(NamedTuple):
    """One logged item. A named tuple, not a dataclass: millions are made, and it is 4× cheaper to build."""

    seq: int
    """Contiguous from 1 within its stream."""
    kind: EventKind
    data: bytes
    epoch: int = 0
    """That of the writer that wrote it, as the log says; 0 where nobody reads it from a log."""


class Position(NamedTuple):
    """A place in a stream's log: the event that was written there last, by the epoch that wrote it and its number.

    The number alone does not say which event is meant: a store that lost its newest events gives their numbers again,
    to another writer's events.
    """

    epoch: int
    seq: int
    """0 before the first event; the epoch means nothing then."""


START: Final = Position(0, 0)
"""Before the first event."""


@dataclass(frozen=True, slots=True)
class SessionKey:
    """One conversation of one owner: the key of everything, so a foreign session is structurally unknown."""

    owner: str
    session_id: str


@dataclass(frozen=True, slots=True)
class StreamRef:
    """Names one stream of one session."""

    key: SessionKey
    stream_id: str

    def __hash__(self) -> int:
        """Of the stream id alone, which is never reused: this is looked up for every append."""
        return hash(self.stream_id)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a stream consumed, in the host's units (usually tokens)."""

    amounts: Mapping[str, int] = field(default_factory=dict)

    def plus(self, amounts: Mapping[str, int]) -> Usage:
        """The sum, by unit.

        Raises:
            ValueError: an amount is no integer from 0 to 2**53-1.
        """
        total = dict(self.amounts)
        for unit, amount in amounts.items():
            if type(amount) is not int or not 0 <= amount < 2**53:
                raise ValueError(f"usage {unit} must be an integer from 0 to 2**53-1, not {amount!r}")
            # At the highest amount there is, it stays: a counter that ran over must not lose the others.
            total[unit] = min(total.get(unit, 0) + amount, 2**53 - 1)
        return Usage(total)


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_STREAM_ID = re.compile(r"[0-9a-f]{24}")
_CURSOR = re.compile(r"1\.([0-9a-f]{24})\.(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})")


def new_stream_id() -> str:
    """A fresh stream id: 24 lower-case hex digits, 96 random bits, never reused."""
    return secrets.token_hex(12)


def new_message_id() -> str:
    """A fresh message id: `msg_` and 24 lower-case hex digits."""
    return f"msg_{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a stream, self-describing: version, stream and the last event seen.

    On the wire, in the SSE `id` field, it is `1.<stream id>.<epoch>.<seq>`: printable ASCII without spaces, because
    `eventsource` in Node cannot send other ids back. It carries no secret: whoever presents one must own the stream.
    """

    stream_id: str
    epoch: int
    """That of the writer that wrote the event. No epoch is issued twice, so a cursor names one event for ever."""
    seq: int

    def __str__(self) -> str:
        return f"1.{self.stream_id}.{self.epoch}.{self.seq}"

    @property
    def position(self) -> Position:
        """The same, without the stream."""
        return Position(self.epoch, self.seq)

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor from outside.

        Raises:
            CursorInvalidError: it is longer than `MAX_CURSOR_BYTES` or not of our form.
        """
        if len(text) > MAX_CURSOR_BYTES:
            raise CursorInvalidError(
                f"a cursor has at most {MAX_CURSOR_BYTES} bytes; send back the last SSE id exactly as received",
                cursor_bytes=len(text),
            )
        match = _CURSOR.fullmatch(text)
        if match is None or int(match[2]) > MAX_EPOCH or int(match[3]) > MAX_SEQ:
            raise CursorInvalidError(
                "not a cursor of this service; send back the last SSE id exactly as received", cursor_bytes=len(text)
            )
        return cls(match[1], int(match[2]), int(match[3]))


def is_id(text: str, *, max_bytes: int = MAX_ID_BYTES) -> bool:
    """Whether `text` can be an id from outside: 1 to `max_bytes` bytes of UTF-8 without control characters or Unicode's
    line separators, so that every store, header and log line can hold it."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return 0 < size <= max_bytes and _CONTROL.search(text) is None


def is_stream_id(text: str) -> bool:
    """Whether `text` has the form `new_stream_id` gives."""
    return _STREAM_ID.fullmatch(text) is not None


class Signal(StrEnum):
    """The name of an `Observation`: what logs, Sentry, metrics and audit call the thing that happened."""

    STREAM_OPENED = "streamguard.stream_opened"
    STREAM_ENDED = "streamguard.stream_ended"
    """Fields: outcome, persisted, quota, events, bytes, seconds, degraded; `notices_dropped` where it is not 0."""
    STREAM_DEGRADED = "streamguard.stream_degraded"
    STREAM_SUPERSEDED = "streamguard.stream_superseded"
    STREAM_RESUMED = "streamguard.stream_resumed"
    RESUME_EMPTY = "streamguard.resume_empty"
    """204: fields `reason` is `none` or `finished`."""
    RESUME_REFUSED = "streamguard.resume_refused"
    STOP_REQUESTED = "streamguard.stop_requested"
    SESSION_ERASED = "streamguard.session_erased"
    FAULT = "streamguard.fault"
    """A fault that reached, or would have reached, a client. Each fault is observed once."""
    VIEWER_CUT = "streamguard.viewer_cut"
    ORPHAN_SETTLED = "streamguard.orphan_settled"
    REPLY_SAVED = "streamguard.reply_saved"
    """The reply is committed. Fields: binding, outcome, seconds."""
    SAVE_FAILED = "streamguard.save_failed"
    """An attempt at saving came to nothing. Fields: binding, reason, attempts."""
    SAVE_OWED = "streamguard.save_owed"
    """A stream closed with its save in the outbox."""
    SAVE_BURIED = "streamguard.save_buried"
    """A save was given up: it is a dead letter now. With the fault."""
    SAVE_RECOVERED = "streamguard.save_recovered"
    """A save that was owed is done."""
    SETTLEMENT_RECOVERED = "streamguard.settlement_recovered"
    """A reservation that could not be settled in its stream's end is settled."""
    RESERVATION_EXPIRED = "streamguard.reservation_expired"
    """A reservation that nobody renewed or settled was ended; it holds nothing back any more."""
    BREAKER_OPENED = "streamguard.breaker_opened"
    """Fields: `breaker` is `messages` for a message store's; without it, the stream store's."""
    BREAKER_CLOSED = "streamguard.breaker_closed"
    STORE_WARNING = "streamguard.store_warning"
    MISUSE = "streamguard.misuse"
    """The guard is used in a way that works, but hardly as it is meant. Fields: `misuse` names it, `warning` is its
    text, which says what to do."""
    RECORD_UNREADABLE = "streamguard.record_unreadable"
    """Something stored is damaged, or of a kind this version does not know; nothing else is held up by it. Fields:
    `record` says what it is, `key` where it is, `reason` why, `action` what was done about it."""
    DRAIN_STARTED = "streamguard.drain_started"
    DRAIN_ENDED = "streamguard.drain_ended"
    ENDPOINT_ABANDONED = "streamguard.endpoint_abandoned"
    """A cancelled endpoint did not end in time: its stream ended without it, and what it still reports is lost."""
    TASK_RESTARTED = "streamguard.task_restarted"


class Subject(Protocol):
    """What a fault or an observation is about: a stream, living, sealed or on record."""

    @property
    def ref(self) -> StreamRef: ...

    @property
    def message_id(self) -> str: ...

    @property
    def request_id(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that happened, as told to every `Observer`.

    `fields` holds scalars only, never message contents, tokens or user text.
    """

    name: Signal
    ref: StreamRef | None = None
    message_id: str | None = None
    request_id: str | None = None
    fault: Fault | None = None
    error: BaseException | None = None
    """The exception behind it, for sinks that keep stack traces. Its text may hold a provider's words."""
    fields: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)

    @classmethod
    def about(
        cls,
        subject: Subject,
        name: Signal,
        *,
        fault: Fault | None = None,
        error: BaseException | None = None,
        fields: Mapping[str, str | int | float | bool | None] | None = None,
    ) -> Self:
        """What happened to a stream."""
        return cls(
            name,
            ref=subject.ref,
            message_id=subject.message_id,
            request_id=subject.request_id,
            fault=fault,
            error=error,
            fields=fields or {},
        )


class Observer(Protocol):
    """A telemetry sink. Called on the event loop, so it must not block; what it raises is contained and counted."""

    def __call__(self, observation: Observation, /) -> None: ...
