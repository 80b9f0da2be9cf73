"""The scripts on one stream, on viewers and on permissions, each with its keys, arguments and reply.

See `streamguard.lua`. A status is one of `lua/include/status.lua`. A snapshot is what `decode_meta` reads.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

from ...lua import Call, Digits, FarKey, Key, Rest

__all__ = [
    "CALLS",
    "CheckPosition",
    "CloseStream",
    "DeclareLost",
    "Heartbeat",
    "MarkWatched",
    "MetaCall",
    "NoteViewed",
    "PositionAnswer",
    "ReadMeta",
    "ReadViewerCounts",
    "ReportViewers",
    "SealAnswer",
    "SealStream",
    "StoredStreamCall",
    "StreamCall",
    "TakeOver",
    "TakeOverAnswer",
    "TryCommands",
    "UpdateMeta",
    "WriteAnswer",
]

R = TypeVar("R")


class MetaCall(Call[R]):
    """About one stream's record."""

    meta_key: Key


class StreamCall(MetaCall[R]):
    """About one stream."""

    log_key: Key


class StoredStreamCall(StreamCall[R]):
    """About one stream and what lives as long as it does."""

    session_key: Key
    streams_key: Key


class WriteAnswer(NamedTuple):
    """The reply of a script that writes to a stream."""

    status: int
    last_seq: int
    stop: int
    """1 when its writer is to stop."""
    at_ms: int | None = None
    """The server's time, from some."""


class ReadMeta(StreamCall[object], script="meta"):
    """Read a stream's record: a snapshot, or nil."""


class PositionAnswer(NamedTuple):
    """See `CheckPosition`."""

    snapshot: object
    held: int
    """1 when the log has the event."""


class CheckPosition(StreamCall[PositionAnswer], script="check_position"):
    """Read a stream's record, and whether its log holds one event."""

    entry_id: str


class MarkWatched(StreamCall[int], script="mark_watched"):
    """Have appends publish a stream's events for a while."""

    watch_note_key: Key
    watched_ms: int


class Heartbeat(StoredStreamCall[WriteAnswer], script="heartbeat"):
    """Renew a writer's lease, and now and then the TTLs of its stream's keys."""

    epoch: Digits
    lease_ms: int
    ttl_ms: int
    usage: bytes


class TakeOverAnswer(NamedTuple):
    """See `TakeOver`."""

    status: int
    snapshot: object = None


class TakeOver(StreamCall[TakeOverAnswer], script="take_over"):
    """Raise a stream's epoch and take its lease."""

    lease_ms: int
    expected_epoch: str
    force: bool
    worker: str


class SealAnswer(NamedTuple):
    """See `SealStream`: the seal that stands, if any."""

    status: int
    seal: bytes | None = None
    seal_seq: bytes | None = None
    usage: bytes | None = None
    held: bytes | None = None


class SealStream(StreamCall[SealAnswer], script="seal"):
    """Decide how a stream ended; the first decision stands."""

    epoch: Digits
    last_seq: bytes
    seal: bytes
    usage: bytes
    held: bytes


class CloseStream(StoredStreamCall[WriteAnswer], script="close"):
    """Write a sealed stream's last events and its terminal record, and close it."""

    lease_shard_key: FarKey
    owner_key: FarKey
    epoch: Digits
    stream_id: str
    retention_ms: Digits
    persisted: str
    quota: str
    has_payload: bool
    payload: bytes
    standing_seal: bytes
    new_last: bytes
    new_seal: bytes
    new_usage: bytes
    new_held: bytes
    log_last: bytes
    until_ms: bytes
    lease_entry: bytes
    events: Rest


class DeclareLost(StoredStreamCall[WriteAnswer], script="declare_lost"):
    """Declare a stream's log lost; with a terminal record, close it."""

    watch_note_key: Key
    erased_key: Key
    lease_shard_key: FarKey
    epoch: str
    stream_id: str
    lease_ms: int
    retention_ms: int
    age_us: int
    ends: bool
    terminal: bytes
    seal: bytes
    persisted: str
    quota: str
    meta_prefix: bytes
    lease_entry: bytes
    fields: Rest


class UpdateMeta(MetaCall[int], script="update_meta"):
    """Set the mutable fields of a stream's record."""

    fields: Rest


class NoteViewed(MetaCall[int], script="note_viewed"):
    """Note that a stream is viewed outside its writer's process."""


class ReportViewers(Call[int], script="report_viewers"):
    """Note how many view which streams in a worker."""

    workers_key: Key
    counts_key: Key
    worker: str
    counts: str
    standing_ms: int
    ttl_ms: int


class ReadViewerCounts(Call[list[object]], script="viewer_counts"):
    """Read the notes of workers about their viewers."""

    workers_key: Key
    counts_key: Key


class TryCommands(Call[list[bytes]], script="permissions"):
    """Try commands: name and error of each that failed, in turn."""

    probe_key: Key
    ttl_ms: int
    commands: Rest


CALLS: Final = (
    ReadMeta,
    CheckPosition,
    MarkWatched,
    Heartbeat,
    TakeOver,
    SealStream,
    CloseStream,
    DeclareLost,
    UpdateMeta,
    NoteViewed,
    ReportViewers,
    ReadViewerCounts,
    TryCommands,
)
"""One for each script. `append` has none: it is called by hand (see `appends`)."""
