"""What `--json` prints of streams and of work owed. Documented in `docs/reference/cli.md`; fields are only added."""

from __future__ import annotations

from ..faults import Fault
from ..saving.outbox_payload import NewerPayloadError, read_payload
from ..stores.records import OutboxEntry, StreamMeta
from ..telemetry.safety import short_hash
from ..values import StreamRef, StreamState

__all__ = ["entry_shape", "ids_shape", "message_shapes", "owes_save", "owner_of", "stream_shape", "superseding_shape"]


def owner_of(owner: str, *, clear: bool) -> str:
    """An owner for people: the hash that logs have too, or, if asked for, the name."""
    return owner if clear else short_hash(owner)


def ids_shape(ref: StreamRef, *, owners: bool = False) -> dict[str, object]:
    """Which stream it is, and whose."""
    owner = ref.key.owner
    ids: dict[str, object] = {
        "stream_id": ref.stream_id,
        "session_id": ref.key.session_id,
        "owner_hash": short_hash(owner),
    }
    return {**ids, "owner": owner} if owners else ids


def stream_shape(meta: StreamMeta, *, owners: bool) -> dict[str, object]:
    """A stream's record."""
    seal = meta.seal
    return {
        **ids_shape(meta.ref, owners=owners),
        "message_id": meta.message_id,
        "binding": meta.binding,
        "protocol": meta.protocol,
        "client_version": meta.client_version or None,
        "ordinal": meta.ordinal,
        "epoch": meta.epoch,
        "state": meta.state,
        "outcome": None if seal is None else seal.outcome,
        "fault": None if seal is None or seal.fault is None else _fault_shape(seal.fault),
        "persisted": meta.persisted,
        "quota": meta.quota,
        "usage": None if seal is None or seal.usage is None else dict(seal.usage.amounts),
        "events": meta.last_seq,
        "age_seconds": round(meta.age_seconds, 3),
        "lease_seconds": None if meta.state is StreamState.CLOSED else round(meta.lease_seconds, 3),
        "closed_seconds": None if meta.closed_seconds is None else round(meta.closed_seconds, 3),
        "stop_requested": meta.stop_requested,
        "reply_superseded": meta.revised,
        "log_lost": meta.lost,
        "format_version": meta.format_version,
    }


def _fault_shape(fault: Fault) -> dict[str, object]:
    return {"code": fault.code, "phase": fault.phase, "severity": fault.severity, "reason": fault.reason}


def entry_shape(owed: OutboxEntry, *, owners: bool) -> dict[str, object]:
    """An entry of the outbox, without what is to be saved."""
    return {
        **ids_shape(owed.ref, owners=owners),
        "dead": owed.dead,
        "attempts": owed.attempts,
        "reason": owed.reason,
        "due_seconds": None if owed.dead else round(owed.due_seconds, 3),
        "payload_bytes": len(owed.payload),
    }


def owes_save(owed: OutboxEntry) -> bool:
    """Whether a save is among what an entry owes, as far as this version can tell."""
    try:
        return read_payload(owed.payload).saves
    except (NewerPayloadError, ValueError):
        return False


def message_shapes(owed: OutboxEntry) -> list[dict[str, object]] | None:
    """The messages to be saved before the reply, without their content; None if this version cannot read them."""
    try:
        messages = read_payload(owed.payload).user_messages
    except (NewerPayloadError, ValueError):
        return None
    return [{"id": message.message_id, "role": message.role, "parts": len(message.parts)} for message in messages]


def superseding_shape(owed: OutboxEntry) -> dict[str, object] | None:
    """What the save replaces of its session's history; None for nothing, and if this version cannot read it."""
    try:
        save = read_payload(owed.payload)
    except (NewerPayloadError, ValueError):
        return None
    return (
        None if save.supersession is None else {"start": save.supersession.revision.start, "with": save.superseding_id}
    )
