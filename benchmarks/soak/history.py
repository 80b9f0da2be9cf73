"""What a soak records, as values: what clients asked and saw, and what the stores held at the end.

Pure. A history is written as JSON and read back, so that one can be looked at, or checked again, after its run.
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
    """What a client asked for."""

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
    """This client broke it, on purpose."""
    SILENT = "silent"
    """Nothing came for longer than any fault lasts, not even a keep-alive."""
    NONE = "none"
    """There was no response."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asked, and what the model has been told to say to it: `count` pieces that begin with `nonce`."""

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
        """What the model says as its piece `number`, from 0."""
        return f"{self.nonce}:{number} ".ljust(self.size, "x")

    @property
    def answer(self) -> str:
        """All it says, unless it is stopped or crashes."""
        said = self.count if self.crash_at is None else min(self.crash_at, self.count)
        return "".join(map(self.piece, range(said)))


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as a client saw it. `id` is what its own block set, else None."""

    id: str | None
    event: str
    data: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of one viewer, and all that it was answered."""

    viewer: str
    """Who reads: attempts with one name go on from each other, by cursor. A view from the beginning is a new name."""
    action: Action
    owner: str
    session: str
    begun: float
    """Seconds since the soak began; so is the next."""
    ended: float
    status: int
    """0 without a response. A failure told inside a 200 (`?errors=stream`) has the failure's own status."""
    end: End
    seen: tuple[Seen, ...] = ()
    cursor: str | None = None
    """What it resumed with."""
    stream_id: str | None = None
    """As the response's headers have it."""
    code: str | None = None
    """The fault's code, of a refusal."""
    reason: str | None = None
    """The fault's reason, or `X-Resume-Reason`."""
    nonce: str | None = None
    """The question asked."""
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
    """The record says that its log is not the whole stream."""
    outcome: str | None
    sealed_seq: int
    """The last event before the closing parts."""
    usage: int | None
    """Tokens consumed, where the record has them."""
    persisted: str
    quota: str
    owes: bool
    dead: bool
    """What it owed became a dead letter."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Loss:
    """A failover to a replica that lagged: what the old server had confirmed and the new one does not have."""

    at: float
    """When the workers were let through to the new server."""
    logs: tuple[Log, ...]
    """The streams on the old server, of which the new one lacks something."""
    gone: tuple[str, ...]
    """Of those, the ids of which the new one knows nothing."""


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
    """All of a soak."""

    seed: int
    seconds: float
    questions: tuple[Question, ...]
    attempts: tuple[Attempt, ...]
    """Each viewer's in order."""
    logs: tuple[Log, ...]
    """As they are after everything settled."""
    losses: tuple[Loss, ...] = ()
    """In order."""
    saved: tuple[Saved, ...] = ()
    reserved: tuple[Reserved, ...] = ()
    standings: tuple[Standing, ...] = ()
    injected: tuple[Injected, ...] = ()
    reconciled: tuple[str, ...] = ()
    """The streams that one more round of reconciling changed, after everything had settled."""
    unfinished: tuple[str, ...] = ()
    """What did not come to its end in the time there was after the last fault."""


_HISTORY: Final = TypeAdapter(History)


def write_history(history: History, path: Path) -> None:
    """Write a history as JSON."""
    path.write_bytes(_HISTORY.dump_json(history))


def read_history(path: Path) -> History:
    """Read what `write_history` wrote.

    Raises:
        pydantic.ValidationError: it is no such file.
    """
    return _HISTORY.validate_json(path.read_bytes())
