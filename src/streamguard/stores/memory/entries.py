"""What `MemoryStore` keeps per session and stream, and the rules by which a stream's record changes.

Pure: no clock is read, nothing is looked up, no subscriber is told. `now` and every `*_until` are on the store's clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ...values import (
    FORMAT_VERSION,
    EventKind,
    Persisted,
    Position,
    QuotaState,
    SessionKey,
    StreamRef,
    StreamState,
    Usage,
)
from ..appends import LateDecision
from ..records import UNTOLD, Close, LostLog, NewStream, OutboxEntry, Seal, Status, StreamMeta, Terminal

__all__ = ["EVENT_BYTES", "STREAM_BYTES", "SessionEntry", "StreamEntry"]

EVENT_BYTES: Final = 100
"""What an event takes besides its payload: a tuple, a bytes header and a list slot are 97 bytes on CPython 3.11."""

STREAM_BYTES: Final = 2048
"""What a stream takes besides its events: its record, ids and index entries, rounded up."""


@dataclass(slots=True, eq=False)
class SessionEntry:
    """A session's pointers. It expires no earlier than any of its streams."""

    key: SessionKey
    streams: dict[str, StreamEntry] = field(default_factory=dict)
    """By id. Those that were registered are in the order of their ordinals."""
    writers: dict[str, list[StreamEntry]] = field(default_factory=dict)
    """By message id, the registered streams that write it, in the order of their ordinals."""
    active_id: str | None = None
    last_id: str | None = None
    last_began_us: int = 0
    """When the stream that `last_id` names began."""
    ordinal: int = 0
    """How many streams were registered in it."""
    expires_at: float = -math.inf
    looked_at: float = math.inf
    """When the tables look whether it expired; never after `expires_at`."""

    @property
    def active(self) -> StreamEntry | None:
        return None if self.active_id is None else self.streams.get(self.active_id)

    @property
    def last(self) -> StreamEntry | None:
        return None if self.last_id is None else self.streams.get(self.last_id)


@dataclass(slots=True, eq=False)
class StreamEntry:
    """One stream's record and log. `seal` is set exactly when the state is not open; `closed_at` when it is closed."""

    new: NewStream
    ordinal: int
    epoch: int
    began_us: int
    """When it began, as the store's stamps have it."""
    ttl_seconds: float
    """What an append that refreshes renews its life by: the last one its writer gave."""
    state: StreamState = StreamState.OPEN
    events: list[tuple[EventKind, bytes]] = field(default_factory=list)
    """Event `n` is at index `n - 1`: a log in memory is never trimmed."""
    writers: list[tuple[int, int]] = field(default_factory=list)
    """Per epoch that wrote any, the number of its first event, in order."""
    before: tuple[str | None, int] = (None, 0)
    """What its session's `last_id` and `last_began_us` were when it was registered."""
    taken: bool = False
    """Its epoch was raised."""
    size_bytes: int = STREAM_BYTES
    lease_until: float = -math.inf
    expires_at: float = -math.inf
    looked_at: float = math.inf
    """When the tables look whether it expired; never after `expires_at`."""
    worker: str = ""
    """The worker that writes it."""
    forgotten: bool = False
    """The tables have it no more."""
    stop_requested: bool = False
    viewed_at: float | None = None
    """When a worker other than its writer last noted a viewer."""
    lost: bool = False
    usage: Usage | None = None
    """What it consumed, as its writer said before any seal."""
    seal: Seal | None = None
    persisted: Persisted = Persisted.NOT_ASKED
    quota: QuotaState = QuotaState.NONE
    revised: bool = False
    payload: bytes | None = field(default=None, repr=False)
    """The outbox payload that came with `close`; None when nothing is owed."""
    attempts: int = 0
    """How often what is owed failed."""
    reason: str | None = None
    """Why it last failed."""
    dead: bool = False
    """What is owed was given up."""
    released_since: float | None = None
    """Since when every worker that claimed it has released it."""
    closed_at: float | None = None
    decided: LateDecision | None = None
    """What its first item decided, in the place of what `new` says."""

    @property
    def ref(self) -> StreamRef:
        return self.new.ref

    @property
    def message_id(self) -> str:
        return self.new.message_id if self.decided is None else self.decided.message_id

    @property
    def last_seq(self) -> int:
        return len(self.events)

    @property
    def last_epoch(self) -> int:
        """The epoch that wrote the last event."""
        return self.writers[-1][1] if self.writers else self.epoch

    def epoch_of(self, seq: int) -> int:
        """The epoch that wrote an event of the log."""
        return next(epoch for first_seq, epoch in reversed(self.writers) if first_seq <= seq)

    def holds(self, at: Position) -> bool:
        """Whether the log holds exactly that event, or it is the start."""
        return at.seq == 0 or (0 < at.seq <= self.last_seq and self.epoch_of(at.seq) == at.epoch)

    def append(self, epoch: int, first_seq: int, events: Sequence[tuple[EventKind, bytes]], *, late: bool) -> Status:
        """Add what is not there yet. Of what is there, the epoch is compared and not the content: it has one writer.
        `late`: it came past its time."""
        if epoch != self.epoch:
            return Status.FENCED
        if self.state is not StreamState.OPEN:
            return Status.SEALED
        if self.lost:
            return Status.LOST
        if late:
            return Status.LATE
        present = len(self.events) + 1 - first_seq
        if present < 0:
            return Status.GAP
        if present > 0 and self.epoch_of(first_seq) != epoch:
            return Status.FENCED
        if present >= len(events):
            return Status.DUPLICATE
        self._extend(events[present:] if present else events)
        return Status.OK

    def add_next(self, epoch: int, seq: int, event: tuple[EventKind, bytes]) -> bool:
        """Hot path: as `append` in time of one event, if it follows one of the same epoch and there is nothing to say
        but `OK`; else nothing is done."""
        events = self.events
        if (
            seq != len(events) + 1
            or seq == 1
            or epoch != self.epoch
            or epoch != self.writers[-1][1]
            or self.state is not StreamState.OPEN
            or self.lost
            or self.stop_requested
            or self.forgotten
        ):
            return False
        events.append(event)
        self.size_bytes += EVENT_BYTES + len(event[1])
        return True

    def decide(self, epoch: int, seal: Seal) -> Status:
        """Seal the stream, unless it is sealed: the first seal stands."""
        if self.seal is not None:
            return Status.SEALED
        if epoch != self.epoch:
            return Status.FENCED
        if self.lost:
            return Status.LOST
        if seal.last_seq != self.last_seq:
            return Status.GAP
        self.seal = seal
        self.state = StreamState.SEALED
        return Status.OK

    def close(self, close: Close, now: float) -> Status:
        """Add the closing events and the terminal record to a sealed stream."""
        if close.epoch != self.epoch:
            return Status.FENCED
        if self.state is StreamState.CLOSED:
            return Status.DUPLICATE
        if self.state is StreamState.OPEN:
            return Status.NOT_SEALED
        self._extend(close.events)
        self.payload = close.outbox_payload
        self.size_bytes += len(close.outbox_payload or b"")
        self._end(close.terminal, now)
        return Status.OK

    def declare_lost(self, lost: LostLog, now: float) -> Status:
        """Declare the log lost and, with a terminal, end it. `DUPLICATE` when it ended so before."""
        if self.taken if lost.epoch == UNTOLD else lost.epoch != self.epoch:
            return Status.FENCED
        if self.state is not StreamState.OPEN:
            return Status.DUPLICATE if self.lost else Status.SEALED
        self.lost = True
        self.lease_until = now + lost.lease_seconds
        if lost.terminal is not None:
            self.seal = Seal(lost.terminal.outcome, self.last_seq, lost.terminal.fault)
            self._end(lost.terminal, now)
        return Status.OK

    @property
    def untouched(self) -> bool:
        """Whether it is as it was registered."""
        return self.state is StreamState.OPEN and not (self.events or self.taken or self.lost)

    @property
    def owes(self) -> bool:
        """Whether there is work for the outbox. That is known once the stream is closed."""
        return self.payload is not None

    def retry_later(self, reason: str, *, count: bool) -> Status:
        """Note a failed attempt. A dead letter has no attempts."""
        if not self.owes or self.dead:
            return Status.GONE
        self.attempts += count
        self.reason = reason
        self.released_since = None
        return Status.OK

    def release_claim(self, reason: str, now: float) -> float | None:
        """Leave what is owed to other workers. Returns for how long all have; None with nothing to leave."""
        if not self.owes or self.dead:
            return None
        self.reason = reason
        if self.released_since is None:
            self.released_since = now
        return now - self.released_since

    def dead_letter(self, reason: str) -> Status:
        """Give up what is owed; the attempt that decided it counts."""
        if not self.owes:
            return Status.GONE
        self.attempts += not self.dead
        self.reason = reason
        self.dead = True
        if self.persisted is Persisted.PENDING:
            self.persisted = Persisted.NO
        return Status.OK

    def requeue(self, *, saves: bool) -> Status:
        """Make a dead letter due again, with no attempts behind it."""
        if not self.owes:
            return Status.GONE
        if self.dead:
            self.attempts = 0
            self.dead = False
            self.released_since = None
            if saves and self.persisted is Persisted.NO:
                self.persisted = Persisted.PENDING
        return Status.OK

    def complete(self) -> None:
        """Nothing is owed any more."""
        self.size_bytes -= len(self.payload or b"")
        self.payload, self.attempts, self.reason, self.dead, self.released_since = None, 0, None, False, None

    def outbox_entry(self, due_seconds: float) -> OutboxEntry | None:
        """What is owed, as callers get it; None when nothing is."""
        if self.payload is None:
            return None
        return OutboxEntry(self.ref, self.payload, self.attempts, due_seconds, self.reason, self.dead)

    def meta(self, now: float, now_us: int) -> StreamMeta:
        """A snapshot."""
        new, decided = self.new, self.decided
        return StreamMeta(
            ref=new.ref,
            message_id=self.message_id,
            protocol=new.protocol if decided is None else decided.protocol,
            binding=new.binding,
            fingerprint=new.fingerprint,
            ordinal=self.ordinal,
            epoch=self.epoch,
            state=self.state,
            last_seq=self.last_seq,
            last_epoch=self.last_epoch,
            first_seq=1,
            lease_seconds=self.lease_until - now,
            stop_requested=self.stop_requested,
            taken=self.taken,
            lost=self.lost,
            seal=self.seal,
            usage=self.usage if self.seal is None else self.seal.usage,
            persisted=self.persisted,
            quota=self.quota,
            revised=self.revised,
            created_at=self.began_us / 1_000_000,
            age_seconds=(now_us - self.began_us) / 1_000_000,
            closed_seconds=None if self.closed_at is None else now - self.closed_at,
            abandon_after_seconds=new.abandon_after_seconds,
            viewed_seconds=None if self.viewed_at is None else now - self.viewed_at,
            format_version=FORMAT_VERSION,
            client_version=new.client_version if decided is None else decided.client_version,
            request_id=new.request_id,
            trace=new.trace,
            worker=self.worker,
        )

    def _extend(self, events: Sequence[tuple[EventKind, bytes]]) -> None:
        if events and (not self.writers or self.writers[-1][1] != self.epoch):
            self.writers.append((self.last_seq + 1, self.epoch))
        self.events.extend(events)
        self.size_bytes += EVENT_BYTES * len(events) + sum([len(data) for _, data in events])

    def _end(self, terminal: Terminal, now: float) -> None:
        self._extend([(EventKind.TERMINAL, terminal.to_json())])
        self.state = StreamState.CLOSED
        self.persisted = terminal.persisted
        self.quota = terminal.quota
        self.closed_at = now
