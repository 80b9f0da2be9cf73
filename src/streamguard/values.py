"""Plain values: keys, ids, events, outcomes, usage and the stream's state machine.

Nothing here touches a socket, a clock or a store.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from .random_ids import random_hex

__all__ = [
    "FORMAT_VERSION",
    "MAX_EPOCH",
    "MAX_ID_BYTES",
    "MAX_OWNER_BYTES",
    "MAX_SEQ",
    "START",
    "Event",
    "EventKind",
    "Outcome",
    "Persisted",
    "Position",
    "QuotaState",
    "SessionKey",
    "StreamRef",
    "StreamState",
    "Subject",
    "Usage",
    "is_id",
    "is_stream_id",
    "message_id_of",
    "new_message_id",
    "new_stream_id",
    "read_traceparent",
    "short_hash",
    "trace_id_of",
]

FORMAT_VERSION: Final = 1
"""The version written into every stored record, so that old and new workers can share a store."""

MAX_SEQ: Final = 2**53 - 1
"""The highest event number: what a double, and so a Lua number and a JavaScript client, holds exactly."""

MAX_EPOCH: Final = 2**53 - 1
"""The highest epoch, for the same reason. Epochs are microseconds since 1970 on the store's clock: they reach this
number in 2255."""

MAX_ID_BYTES: Final = 256
"""Longest session, message or stream id, in bytes of UTF-8, from admission to every store. The columns of
`messages.sql.tables` depend on it."""

MAX_OWNER_BYTES: Final = 512
"""Longest owner, in bytes of UTF-8. Names from directories and identity providers are longer than ids."""


class Outcome(StrEnum):
    """How a stream ended. Decided once, by its seal."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    """A user stopped it."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The server ended it: shutdown, a dead worker, a lost lease."""


class Persisted(StrEnum):
    """What is known about saving the reply. It may change after the end: status and resume show a later success."""

    YES = "yes"
    PENDING = "pending"
    NO = "no"
    NOT_ASKED = "not_asked"


class QuotaState(StrEnum):
    """What is known about settling the stream's reservation."""

    SETTLED = "settled"
    PENDING = "pending"
    NONE = "none"


class StreamState(StrEnum):
    """A stream's life: open → sealed → closed. A stream never goes backwards and never skips the seal."""

    OPEN = "open"
    SEALED = "sealed"
    CLOSED = "closed"

    def may_become(self, other: StreamState) -> bool:
        """Whether one step leads from this state to `other`. Staying is always legal, because every step may repeat."""
        order = (StreamState.OPEN, StreamState.SEALED, StreamState.CLOSED)
        return order.index(other) - order.index(self) in (0, 1)


class EventKind(StrEnum):
    """The kind of a logged event. One letter, because it is stored with every event."""

    DATA = "d"
    """A payload of the stream's protocol."""
    NOTICE = "n"
    """A `Fault` as JSON; each protocol has its own wire form for it."""
    CLOSING = "c"
    """A closing part of the protocol, written between seal and terminal record."""
    TERMINAL = "t"
    """The last event of the stream: a `Terminal` as JSON."""


class Event(NamedTuple):
    """One logged item. Hot path: a named tuple is 4× cheaper to build than a dataclass, and millions are made."""

    seq: int
    """Contiguous from 1 within its stream."""
    kind: EventKind
    data: bytes
    epoch: int = 0
    """The epoch of the writer that wrote the event, as the log says; 0 for an event that was not read from a log."""


class Position(NamedTuple):
    """A place in a stream's log: the epoch and the number of the last event before it.

    The number alone does not identify an event: a store that lost its newest events gives their numbers to another
    writer's events.
    """

    epoch: int
    seq: int
    """0 before the first event; the epoch then has no meaning."""


START: Final = Position(0, 0)
"""Before the first event."""


@dataclass(frozen=True, slots=True)
class SessionKey:
    """One conversation of one owner. Every lookup uses this key, so another owner's session cannot be found."""

    owner: str = field(repr=False)
    """Not in the `repr`, which error trackers send as a local variable."""
    session_id: str


@dataclass(frozen=True, slots=True)
class StreamRef:
    """Names one stream of one session."""

    key: SessionKey
    stream_id: str

    def __hash__(self) -> int:
        """Hot path, once per append: hashes the stream id alone, which is never reused."""
        return hash(self.stream_id)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a stream consumed, in the host's units (usually tokens): `Usage({"input_tokens": 812})`.

    An endpoint may yield one among its items. It is added to what the reply consumed, like `run.usage`, in every
    protocol; clients see nothing of it.
    """

    amounts: Mapping[str, int] = field(default_factory=dict)

    def plus(self, amounts: Mapping[str, int]) -> Usage:
        """The sum with `amounts`, by unit.

        Raises:
            ValueError: an amount is no integer from 0 to 2**53-1.
        """
        total = dict(self.amounts)
        for unit, amount in amounts.items():
            if type(amount) is not int or not 0 <= amount < 2**53:
                raise ValueError(f"usage {unit} must be an integer from 0 to 2**53-1, not {amount!r}")
            # The sum stops at the highest amount: one counter that overflows must not lose the others.
            total[unit] = min(total.get(unit, 0) + amount, 2**53 - 1)
        return Usage(total)


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_STREAM_ID = re.compile(r"[0-9a-f]{24}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_LATER_TRACEPARENT = re.compile(r"(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})-.*")


def new_stream_id() -> str:
    """A fresh stream id: 24 lower-case hex digits, 96 random bits, never reused."""
    return random_hex()


def new_message_id() -> str:
    """A fresh message id: `msg_` and 24 lower-case hex digits."""
    return message_id_of(random_hex())


def message_id_of(stream_id: str) -> str:
    """The id of a stream's message, where nobody chose one: `msg_` and the stream's id. A stream with this message id
    is the message's first, since a later one that continues it has another id."""
    return f"msg_{stream_id}"


def is_id(text: str, *, max_bytes: int = MAX_ID_BYTES) -> bool:
    """Whether `text` can be an id from outside.

    An id has 1 to `max_bytes` bytes of UTF-8, and no control characters and no line separators of Unicode, so that
    every store, header and log line can hold it.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return 0 < size <= max_bytes and _CONTROL.search(text) is None


def is_stream_id(text: str) -> bool:
    """Whether `text` has the form of a `new_stream_id`."""
    return _STREAM_ID.fullmatch(text) is not None


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id in a `traceparent`, 32 hex digits; None if it is none, or names no trace.

    Source: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    match = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
    return match[1] if match is not None and match[1].strip("0") and match[2].strip("0") else None


def read_traceparent(header: str | None) -> str | None:
    """The `traceparent` that a header is, as version 00, which has 55 characters; None if it is none.

    A later version may have more fields, which are left out, as are flags other than `sampled`.

    Source: https://www.w3.org/TR/trace-context/#versioning-of-traceparent
    """
    if header is None:
        return None
    match = _TRACEPARENT.fullmatch(header) or _LATER_TRACEPARENT.fullmatch(header)
    if match is None:
        return None
    read = f"00-{match[1]}-{match[2]}-{int(match[3], 16) & 1:02x}"
    return None if trace_id_of(read) is None else read


def short_hash(text: str) -> str:
    """16 hex digits that tell owners and sessions apart without naming them: the start of their SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


class Subject(Protocol):
    """The stream that a fault or an observation is about: open, sealed, or read from the store."""

    @property
    def ref(self) -> StreamRef: ...

    @property
    def message_id(self) -> str: ...

    @property
    def request_id(self) -> str | None: ...

    @property
    def trace(self) -> str | None:
        """The trace of the request that began it: a W3C `traceparent`."""
        ...
