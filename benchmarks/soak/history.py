"""Values that a soak records: what clients asked and saw, and what the stores held at the end.

Pure. A history can be written as JSON and read back, so that it can be examined, or checked again, after its run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

__all__ = [
    "Action",
    "Attempt",
    "End",
    "Entry",
    "History",
    "Injected",
    "Log",
    "Loss",
    "Question",
    "Reserved",
    "Saved",
    "Seen",
    "Standing",
    "read_history",
    "write_history",
]


class Action(StrEnum):
    """What a client requested."""

    ASK = "ask"
    """POST a question."""
    RESUME = "resume"
    STOP = "stop"
    PRY = "pry"
    """Resume another owner's session."""


class End(StrEnum):
    """How a response's body ended."""

    CLEAN = "clean"
    CUT = "cut"
    """The server, or a fault, broke the connection."""
    DROPPED = "dropped"
    """This client broke the connection on purpose."""
    SILENT = "silent"
    """Nothing came for longer than any fault lasts, not even keep-alives."""
    NONE = "none"
    """There was no response."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asked, and what the model was told to answer: `count` pieces that begin with `nonce`."""

    nonce: str
    owner: str
    session: str
    path: str
    protocol: str
    count: int
    size: int
    crash_at: int | None
    asked_at: float

    def piece(self, number: int) -> str:
        """The model's piece `number`, from 0."""
        return f"{self.nonce}:{number} ".ljust(self.size, "x")

    @property
    def answer(self) -> str:
        """All that the model says, unless it is stopped or crashes."""
        said = self.count if self.crash_at is None else min(self.crash_at, self.count)
        return "".join(map(self.piece, range(said)))


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as a client saw it. `id` is the id that the event's own block set, or None."""

    id: str | None
    event: str
    data: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of one viewer, and its whole answer."""

    viewer: str
    """Name of the viewer. Attempts with the same name continue each other by cursor; a view from the beginning has a
    new name."""
    action: Action
    owner: str
    session: str
    begun: float
    """Seconds since the soak began, like the next field."""
    ended: float
    status: int
    """0 without a response. A failure that a 200 reports in its stream (`?errors=stream`) has the failure's own status.
    """
    end: End
    seen: tuple[Seen, ...] = ()
    cursor: str | None = None
    """The cursor that the request resumed from."""
    stream_id: str | None = None
    """The stream id in the response's headers."""
    code: str | None = None
    """The code of the fault, for a refusal."""
    reason: str | None = None
    """The fault's reason, or `X-Resume-Reason`."""
    nonce: str | None = None
    """The nonce of the question that was asked."""
    request_key: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log."""

    id: str
    kind: str
    data: str


@dataclass(frozen=True, slots=True)
class Log:
    """A stream's record and log, as the store held them."""

    stream_id: str
    message_id: str
    owner: str
    session: str
    protocol: str
    state: str
    """`o`pen, `s`ealed or `c`losed."""
    epoch: int
    lost: bool
    """Whether the record says that the log is not the whole stream."""
    outcome: str | None
    sealed_seq: int
    """The number of the last event before the closing parts."""
    usage: int | None
    """Consumed tokens, if the record has them."""
    persisted: str
    quota: str
    owes: bool
    dead: bool
    """Whether the stream's outbox entry became a dead letter."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Loss:
    """A failover to a lagging replica: what the old server had confirmed and the new one lacks."""

    at: float
    """The time at which the workers could reach the new server."""
    logs: tuple[Log, ...]
    """The streams of the old server of which the new one lacks something."""
    gone: tuple[str, ...]
    """The ids of those streams that the new server does not know at all."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A row of the message store."""

    owner: str
    session: str
    message_id: str
    role: str
    status: str
    text: str
    streams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reserved:
    """A reservation in the quota's ledger."""

    stream_id: str
    owner: str
    state: str
    reserved: int
    charged: int


@dataclass(frozen=True, slots=True)
class Standing:
    """An owner's counters in the quota's ledger."""

    owner: str
    limit: int
    used: int
    held: int


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that was injected."""

    at: float
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class History:
    """Everything that a soak recorded."""

    seed: int
    seconds: float
    questions: tuple[Question, ...]
    attempts: tuple[Attempt, ...]
    """All attempts; those of one viewer are in order."""
    logs: tuple[Log, ...]
    """The logs after all work was finished."""
    losses: tuple[Loss, ...] = ()
    """All failovers, in order."""
    saved: tuple[Saved, ...] = ()
    reserved: tuple[Reserved, ...] = ()
    standings: tuple[Standing, ...] = ()
    injected: tuple[Injected, ...] = ()
    reconciled: tuple[str, ...] = ()
    """The streams that a further round of reconciling changed after all work was finished."""
    unfinished: tuple[str, ...] = ()
    """Work that did not end in the time allowed after the last fault."""


_HISTORY: Final = TypeAdapter(History)


def write_history(history: History, path: Path) -> None:
    """Write a history as JSON."""
    path.write_bytes(_HISTORY.dump_json(history))


def read_history(path: Path) -> History:
    """Read what `write_history` wrote.

    Raises:
        pydantic.ValidationError: the file does not hold a history.
    """
    return _HISTORY.validate_json(path.read_bytes())
