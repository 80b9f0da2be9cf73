"""The messages route's entries: one for each message, in the order of the conversation."""

from __future__ import annotations

from datetime import UTC, datetime

from ...messages import MessageStatus, Role, StoredMessage
from ...saving.user_message_writer import RESULTS_SUFFIX
from ...stores.records import StreamMeta
from ...values import Outcome, Persisted

__all__ = ["Entry", "branch_fields", "entry_of", "in_conversation_order", "persisted_field", "unsaved_entry"]

Entry = dict[str, object]


def in_conversation_order(entries: list[Entry]) -> list[Entry]:
    """A page's entries in the order of the conversation: a reply that was saved late is last by position.

    Replies directly follow the message they answer, if that is in the page and answers none itself; every other entry
    stays where it was.
    """
    questions = {entry["id"] for entry in entries if entry["replies_to"] is None}
    replies: dict[object, list[Entry]] = {}
    others: list[Entry] = []
    for entry in entries:
        question = entry["replies_to"]
        (replies.setdefault(question, []) if question in questions else others).append(entry)
    return [one for entry in others for one in (entry, *replies.get(entry["id"], ()))]


def persisted_field(stored: StoredMessage, last: StreamMeta) -> Entry:
    """The `persisted` of a stored message that `last` continues, if the continuation is not saved."""
    return {} if last.ref.stream_id in stored.streams else {"persisted": last.persisted}


def entry_of(stored: StoredMessage) -> Entry:
    """The entry of a stored message."""
    message = stored.message
    entry: Entry = {"id": message.message_id, "role": message.role, "parts": list(message.parts)}
    if message.metadata is not None:
        entry["metadata"] = message.metadata
    return entry | {
        "status": stored.status,
        "persisted": Persisted.YES,
        "outcome": message.outcome,
        "stream_id": message.stream_id and message.stream_id.removesuffix(RESULTS_SUFFIX),
        "replies_to": message.replies_to,
        "position": stored.position,
        "created_at": _time(stored.created_at),
        "updated_at": _time(stored.updated_at),
        "usage": message.usage,
    }


def branch_fields(stored: StoredMessage) -> Entry:
    """Which branch an entry was stored in, and which one superseded it."""
    return {"branch": stored.message.branch, "superseded_by": stored.superseded}


def unsaved_entry(meta: StreamMeta) -> Entry:
    """The entry of a reply that is not saved. Without parts: the client gets them from the stream."""
    outcome = None if meta.seal is None else meta.seal.outcome
    usage = None if meta.seal is None else meta.seal.usage
    at = _time(meta.created_at)
    return {
        "id": meta.message_id,
        "role": Role.ASSISTANT,
        "parts": [],
        "status": MessageStatus.COMPLETE if outcome is Outcome.COMPLETED else MessageStatus.PARTIAL,
        "persisted": meta.persisted,
        "outcome": outcome,
        "stream_id": meta.ref.stream_id,
        "replies_to": None,
        "position": None,
        "created_at": at,
        "updated_at": at,
        "usage": {} if usage is None else usage.amounts,
    }


def _time(unix_seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, like every time on the wire."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
