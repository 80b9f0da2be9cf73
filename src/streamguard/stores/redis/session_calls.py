"""The scripts on sessions and on requests, each with its keys, arguments and reply; see `streamguard.lua`."""

from __future__ import annotations

from typing import Final, NamedTuple

from ...lua import Call, Digits, FarKey, Key, Rest
from .stream_calls import StoredStreamCall, StreamCall

__all__ = [
    "CALLS",
    "ClaimRequest",
    "EnterStop",
    "Erase",
    "EraseAnswer",
    "ErasedAnswer",
    "PreviousAnswer",
    "PreviousStream",
    "ReadErasure",
    "ReadSession",
    "Register",
    "RegisterAnswer",
    "ReleaseRequest",
    "RequestStop",
    "SessionAnswer",
    "SessionStreams",
    "SessionStreamsAnswer",
    "StopPendingRequests",
    "TakeSlot",
    "TakeSlotAnswer",
    "Withdraw",
]


class RegisterAnswer(NamedTuple):
    """See `Register`."""

    answer: bytes
    snapshot: object = None
    """For `full` with `full_ids`: how many of them are the session's and have ended."""
    active_id: bytes | None = None
    reset: tuple[bytes, ...] = ()
    """What was damaged and begun anew."""


class Register(StoredStreamCall[RegisterAnswer], script="register"):
    """Make a stream its session's active one, and one of its owner's running ones."""

    watch_note_key: Key
    erased_key: Key
    withdrawn_key: Key
    stopped_key: Key
    owner_key: FarKey
    stops_key: FarKey
    lease_shard_key: FarKey
    stream_id: str
    lease_ms: Digits
    ttl_ms: Digits
    limit: int | None
    arrived_us: Digits
    full_ids: bytes
    lease_entry: bytes
    message_id: str
    protocol: str
    identity: bytes
    further: Rest

    def read(self, reply: object) -> RegisterAnswer:
        if type(reply) is bytes:  # nearly always
            return RegisterAnswer(b"begun", reply)
        return super().read(reply)


class TakeSlotAnswer(NamedTuple):
    """See `TakeSlot`."""

    answer: bytes
    reset: int
    ids: tuple[bytes, ...] = ()


class TakeSlot(Call[TakeSlotAnswer], script="take_slot"):
    """Take one of an owner's slots for a stream, in a step of its own."""

    owner_key: Key
    stream_id: str
    lease_ms: int
    limit: int | None
    ttl_ms: int


class Withdraw(StoredStreamCall[int], script="withdraw"):
    """TakeOver back a registration."""

    watch_note_key: Key
    withdrawn_key: Key
    lease_shard_key: FarKey
    owner_key: FarKey
    stream_id: str
    refuse_ms: int
    lease_entry: bytes


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
    still_key: Key
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
    still_key: Key
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
    still_key: Key
    meta_prefix: bytes
    log_prefix: bytes
    count: int
    skipped: int


class RequestStop(StreamCall[bytes], script="request_stop"):
    """Ask a stream's writer to stop."""


class StopPendingRequests(Call[bytes], script="stop_pending_requests"):
    """Stop the pending requests of a session, those that have arrived by now."""

    session_key: Key
    stopped_key: Key
    still_key: Key
    stops_key: FarKey
    meta_prefix: bytes
    stopped_ms: int
    limit: int


class EnterStop(Call[list[bytes]], script="enter_stop"):
    """List a session among its owner's whose pending requests were stopped, in a step of its own."""

    stops_key: Key
    mark: bytes
    stopped_ms: int
    limit: int


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
    still_key: Key
    stops_key: FarKey
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


CALLS: Final = (
    Register,
    TakeSlot,
    Withdraw,
    ReadSession,
    PreviousStream,
    SessionStreams,
    RequestStop,
    StopPendingRequests,
    EnterStop,
    Erase,
    ReadErasure,
    ClaimRequest,
    ReleaseRequest,
)
"""One for each script."""
