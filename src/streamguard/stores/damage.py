"""How reports name stored records that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..values import StreamRef

__all__ = ["RecordKind", "Unreadable"]


class RecordKind(StrEnum):
    """What is stored, as reports name it."""

    SESSION = "session"
    STREAMS = "session_streams"
    """The list of a session's streams."""
    STREAM = "stream"
    LOG = "log"
    ERASURE = "erasure_mark"
    WATCH_NOTE = "watch_note"
    LEASE_INDEX = "lease_index"
    OUTBOX = "outbox"
    OWNER_SLOTS = "owner_slots"
    WORKERS = "workers"
    VIEWERS = "viewers"
    CLAIM = "idempotency_claim"
    LEDGER = "quota_ledger"
    RESERVATIONS = "quota_index"
    MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stored record that cannot be read."""

    record: RecordKind
    key: str
    """Where it is: a key, of an index's entry with the entry behind it. It holds no id from outside in clear."""
    why: str
    """A short code: `wrong_type`, `damaged`, `newer_format`, `missing`."""
    action: str
    """What was done about it, a short code, or (by `doctor`) what to do."""
    ref: StreamRef | None = None
    """The stream, where that is known."""
    session_id: str | None = None
    """The session, where only that is known."""
