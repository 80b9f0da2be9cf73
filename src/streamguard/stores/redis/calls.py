"""The scripts on streams and sessions, each with its keys, arguments and reply; see `streamguard.lua`.

A status is one of `lua/include/status.lua`. A snapshot is what `decode_meta` reads.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

from ...lua import Call, Digits, Key, Rest

__all__ = [
    "CALLS",
    "CheckPosition",
    "ClaimRequest",
    "CloseStream",
    "DeclareLost",
    "Erase",
    "EraseAnswer",
    "ErasedAnswer",
    "Heartbeat",
    "MarkWatched",
    "MetaCall",
    "NoteViewed",
    "PositionAnswer",
    "PreviousAnswer",
    "PreviousStream",
    "ReadErasure",
    "ReadMeta",
    "ReadSession",
    "ReadViewerCounts",
    "Register",
    "RegisterAnswer",
    "ReleaseRequest",
    "ReportViewers",
    "RequestStop",
    "SealAnswer",
    "SealStream",
    "SessionAnswer",
    "SessionStreams",
    "SessionStreamsAnswer",
    "StopPendingRequests",
    "StoredStreamCall",
    "StreamCall",
    "TakeOver",
    "TakeOverAnswer",
    "TryCommands",
    "UpdateMeta",
    "Withdraw",
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


# -- beginning --------------------------------------------------------------------------------------------------------


class RegisterAnswer(NamedTuple):
    """See `Register`."""

    answer: bytes
    snapshot: object = None
    active_id: bytes | None = None
    reset: tuple[bytes, ...] = ()
    """What was damaged and begun anew."""


class Register(StoredStreamCall[RegisterAnswer], script="register"):
    """Make a stream its session's active one, and one of its owner's running ones."""

    watch_note_key: Key
    owner_key: Key
    erased_key: Key
    withdrawn_key: Key
    stopped_key: Key
    stops_key: Key
    meta_prefix: bytes
    log_prefix: bytes
    stream_id: str
    lease_ms: int
    ttl_ms: int
    limit: int | None
    owner_ttl_ms: int
    arrived_us: int
    message_id: str
    identity: Rest


class Withdraw(StoredStreamCall[int], script="withdraw"):
    """TakeOver back a registration."""

    watch_note_key: Key
    owner_key: Key
    withdrawn_key: Key
    stream_id: str
    refuse_ms: int


class SessionAnswer(NamedTuple):
    """See `ReadSession`."""

    status: int
    active_id: bytes | None = None
    active: object = None
    last_id: bytes | None = None
    last: object = None


class ReadSession(Call[SessionAnswer], script="session"):
    """Read a session's pointers and the records they point to."""

    session_key: Key
    meta_prefix: bytes
    log_prefix: bytes


class PreviousAnswer(NamedTuple):
    """See `PreviousStream`."""

    stream_id: bytes
    snapshot: object


class PreviousStream(Call[PreviousAnswer | None], script="previous_stream"):
    """CheckPosition the latest earlier stream of a session with a message id."""

    meta_key: Key
    streams_key: Key
    session_key: Key
    stream_id: str
    message_id: str
    meta_prefix: bytes
    log_prefix: bytes


class SessionStreamsAnswer(NamedTuple):
    """See `SessionStreams`."""

    status: int
    looked_at: int = 0
    more: int = 0
    found: tuple[object, ...] = ()
    """Stream id and snapshot in turn."""


class SessionStreams(Call[SessionStreamsAnswer], script="session_streams"):
    """Read the records of a session's streams, some at a time."""

    session_key: Key
    streams_key: Key
    meta_prefix: bytes
    log_prefix: bytes
    count: int
    skipped: int


class RequestStop(MetaCall[bytes], script="request_stop"):
    """Ask a stream's writer to stop."""


class StopPendingRequests(Call[bytes], script="stop_pending_requests"):
    """Stop those answers of a session whose requests have arrived by now."""

    session_key: Key
    stopped_key: Key
    stops_key: Key
    meta_prefix: bytes
    lasting_ms: int
    limit: int


# -- reading ----------------------------------------------------------------------------------------------------------


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


class MarkWatched(MetaCall[int], script="mark_watched"):
    """Have appends publish a stream's events for a while."""

    watch_note_key: Key
    watched_ms: int


# -- the writer's claim -----------------------------------------------------------------------------------------------


class Heartbeat(StoredStreamCall[WriteAnswer], script="heartbeat"):
    """Renew a writer's lease and the TTLs of its stream's keys."""

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


# -- ending -----------------------------------------------------------------------------------------------------------


class SealAnswer(NamedTuple):
    """See `SealStream`: the seal that stands, if any."""

    status: int
    seal: bytes | None = None
    seal_seq: bytes | None = None
    usage: bytes | None = None
    held: bytes | None = None


class SealStream(MetaCall[SealAnswer], script="seal"):
    """Decide how a stream ended; the first decision stands."""

    epoch: Digits
    last_seq: bytes
    seal: bytes
    usage: bytes
    held: bytes


class CloseStream(StoredStreamCall[WriteAnswer], script="close"):
    """Write a sealed stream's last events and its terminal record, and close it."""

    lease_shard_key: Key
    owner_key: Key
    epoch: Digits
    stream_id: str
    retention_ms: int
    persisted: str
    quota: str
    has_payload: bool
    payload: bytes
    standing_seal: bytes
    lease_entry: bytes
    events: Rest


class DeclareLost(StoredStreamCall[WriteAnswer], script="declare_lost"):
    """Declare a stream's log lost; with a terminal record, close it."""

    watch_note_key: Key
    erased_key: Key
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
    identity: Rest


class UpdateMeta(MetaCall[int], script="update_meta"):
    """Set the mutable fields of a stream's record."""

    fields: Rest


class EraseAnswer(NamedTuple):
    """See `Erase`."""

    answer: bytes
    stream_ids: tuple[bytes, ...] = ()


class Erase(Call[EraseAnswer], script="erase"):
    """Delete every stream of a session and leave the erasure mark."""

    session_key: Key
    streams_key: Key
    erased_key: Key
    stopped_key: Key
    stops_key: Key
    meta_prefix: bytes
    log_prefix: bytes
    mark_ms: int
    unknown_mark_ms: int
    searched: bool
    found_ids: Rest


class ErasedAnswer(NamedTuple):
    """See `ReadErasure`."""

    erased_us: bytes
    at_us: bytes


class ReadErasure(Call[ErasedAnswer | None], script="erasure"):
    """Read a session's erasure mark."""

    erased_key: Key


# -- requests and viewers ---------------------------------------------------------------------------------------------


class ClaimRequest(Call[bytes], script="claim_request"):
    """Say which stream answers the requests with one idempotency key: the claim that stands."""

    claim_key: Key
    claim: bytes
    replaced: bytes
    ttl_ms: int


class ReleaseRequest(Call[int], script="release_request"):
    """TakeOver back the claim of a request, if it stands exactly so."""

    claim_key: Key
    claim: bytes


class ReportViewers(Call[int], script="report_viewers"):
    """Note how many view which streams in a worker."""

    workers_key: Key
    counts_key: Key
    worker: str
    counts: str
    standing_ms: int
    ttl_ms: int


class ReadViewerCounts(Call[list[object]], script="viewer_counts"):
    """Read what workers said of their viewers."""

    workers_key: Key
    counts_key: Key


class NoteViewed(MetaCall[int], script="note_viewed"):
    """Note that a stream is viewed outside its writer's process."""


# -- permissions ------------------------------------------------------------------------------------------------------


class TryCommands(Call[list[bytes]], script="permissions"):
    """Try commands: name and error of each that failed, in turn."""

    probe_key: Key
    ttl_ms: int
    commands: Rest


CALLS: Final = (
    Register,
    Withdraw,
    ReadSession,
    PreviousStream,
    SessionStreams,
    RequestStop,
    StopPendingRequests,
    ReadMeta,
    CheckPosition,
    MarkWatched,
    Heartbeat,
    TakeOver,
    SealStream,
    CloseStream,
    DeclareLost,
    UpdateMeta,
    Erase,
    ReadErasure,
    ClaimRequest,
    ReleaseRequest,
    ReportViewers,
    ReadViewerCounts,
    NoteViewed,
    TryCommands,
)
"""One for each script but `append`, which is called by hand."""
