"""The scripts on the lease index and the outbox, each with its keys, arguments and reply; see `streamguard.lua`."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

from ...lua import Call, FarKey, Key, Rest
from .stream_calls import MetaCall, StoredStreamCall, StreamCall

__all__ = [
    "CALLS",
    "ClaimEntry",
    "ClearPointer",
    "Complete",
    "CompleteAnswer",
    "CorrectEntry",
    "DeadLetter",
    "DueEntries",
    "EnterOutbox",
    "ExpiredLeases",
    "LeaseAnswer",
    "LeaseState",
    "OutboxAnswer",
    "OutboxState",
    "PartitionAnswer",
    "PeekDue",
    "ReleaseAnswer",
    "ReleaseClaim",
    "RenewEntries",
    "Requeue",
    "ResetIndex",
    "RetryLater",
    "ShardCall",
    "TakePartition",
]

R = TypeVar("R")


class ShardCall(Call[R]):
    """About one shard of an index, a sorted set, and nothing else: if it is none, it may be begun anew."""

    shard_key: Key


class ResetIndex(ShardCall[int], script="reset_index"):
    """Remove an index that is no sorted set: 1 if it was none."""


class RenewEntries(ShardCall[int], script="renew_entries"):
    """Move deadlines on, or enter them: the deadline, or 0 when `NX` added nothing."""

    mode: str
    from_now_ms: int
    ttl_ms: int
    members: Rest = ()


class CorrectEntry(ShardCall[int], script="correct_entry"):
    """Correct an entry, if nobody moved it since it was read: 1 when done."""

    member: bytes
    score: int
    true_score: str | bytes | int


# -- leases -----------------------------------------------------------------------------------------------------------


class ExpiredLeases(ShardCall[list[bytes]], script="expired_leases"):
    """List what is due, oldest first: member and deadline in turn."""

    count: int


class LeaseAnswer(NamedTuple):
    """See `LeaseState`."""

    state: bytes
    lease_until: bytes


class LeaseState(StreamCall[LeaseAnswer], script="lease_state"):
    """What a stream's record says of its lease."""


class ClearPointer(StreamCall[int], script="clear_pointer"):
    """Clear a session's active pointer, if it points to a stream of which there is nothing left to end."""

    session_key: Key
    stream_id: str
    unreadable: bool


class PartitionAnswer(NamedTuple):
    """See `TakePartition`."""

    place: int
    workers: int


class TakePartition(Call[PartitionAnswer], script="partition"):
    """Enter a worker among those that share out the work of reconciling, or take it out."""

    workers_key: Key
    worker: str
    lease_ms: int
    ttl_ms: int


# -- the outbox -------------------------------------------------------------------------------------------------------


class EnterOutbox(ShardCall[int], script="enter_outbox"):
    """Enter a stream into the outbox, or move it."""

    member: bytes
    mode: str
    from_now_ms: int
    ttl_ms: int


class DueEntries(ShardCall[list[bytes]], script="due_entries"):
    """List what is due, oldest first, and forget dead letters whose records expired: member and time in turn."""

    count: int


class PeekDue(ShardCall[list[bytes]], script="peek_due"):
    """List what is due, oldest first, and change nothing: member and time in turn."""

    count: int


class ClaimEntry(ShardCall[int], script="claim_entry"):
    """Claim an entry, if nobody moved it since it was read: when it is due now, or 0."""

    member: bytes
    score: int
    claim_ms: int


class OutboxAnswer(NamedTuple):
    """See `OutboxState`."""

    state: bytes
    at_ms: int
    expires_ms: int
    payload: bytes | None = None
    attempts: bytes | None = None
    reason: bytes | None = None

    def __repr__(self) -> str:
        return f"OutboxAnswer(state={self.state!r}, attempts={self.attempts!r})"  # without content

    def __sentry_repr__(self) -> str:  # Sentry sends other tuples item by item
        return repr(self)


class OutboxState(MetaCall[OutboxAnswer], script="outbox_state"):
    """What a stream's record says it owes."""


class RetryLater(StoredStreamCall[int], script="retry_later"):
    """Note a failed attempt at what a stream owes, and keep the stream: a status."""

    ttl_ms: int
    reason: str
    counts: bool


class ReleaseAnswer(NamedTuple):
    """See `ReleaseClaim`."""

    status: int
    left_ms: int = 0


class ReleaseClaim(MetaCall[ReleaseAnswer], script="release_claim"):
    """Leave what a stream owes to a worker that knows more."""

    reason: str


class DeadLetter(StoredStreamCall[int], script="dead_letter"):
    """Make what a stream owes a dead letter, and keep the stream: a status."""

    ttl_ms: int
    reason: str


class Requeue(MetaCall[int], script="requeue"):
    """Make a dead letter work again: a status."""

    saves: bool


class CompleteAnswer(NamedTuple):
    """See `Complete`."""

    status: int
    closed: int = 0


class Complete(StoredStreamCall[CompleteAnswer], script="complete"):
    """Say that a closed stream owes nothing any more, and set the mutable fields of its record."""

    outbox_shard_key: FarKey
    retention_ms: int
    outbox_entry: bytes
    fields: Rest


CALLS: Final = (
    ResetIndex,
    RenewEntries,
    CorrectEntry,
    ExpiredLeases,
    LeaseState,
    ClearPointer,
    TakePartition,
    EnterOutbox,
    DueEntries,
    PeekDue,
    ClaimEntry,
    OutboxState,
    RetryLater,
    ReleaseClaim,
    DeadLetter,
    Requeue,
    Complete,
)
"""One for each script."""
