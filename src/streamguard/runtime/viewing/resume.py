"""The resume table: what a client that comes back is sent. All cases are decided here, in one order."""

from __future__ import annotations

from dataclasses import dataclass

from ...cursor import Cursor
from ...errors import FaultError
from ...faults import Fault, FaultCode, Phase
from ...settings import Settings
from ...stores.records import Seal, SessionRecord, StreamMeta
from ...values import START, Outcome, Persisted, Position, SessionKey, StreamState
from ...wire import protocol_named
from ..versions import check_protocol

__all__ = ["Nothing", "Resumed", "refused", "resolve", "resolve_after", "why_broken"]


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing more to send: 204. `reason` is `none` (the session never had a stream) or `finished`."""

    reason: str
    meta: StreamMeta | None = None


@dataclass(frozen=True, slots=True)
class Resumed:
    """Send what follows event `after`, to the stream's terminal."""

    meta: StreamMeta
    after: Position


def resolve_after(key: SessionKey, cursor: Cursor, named: StreamMeta | None, *, held: bool) -> Resumed | Nothing:
    """Decide with a cursor, from the record of the stream that it names and whether its log holds exactly that event.

    Raises:
        FaultError: `resume_failed`, 410 or 409, with the reason; `store_unavailable` for a protocol of a later version.
    """
    seq = cursor.seq
    if named is None or not held or seq + 1 < named.first_seq or _is_tombstone(named, seq):
        raise refused(key, cursor.stream_id, why_broken(named, seq), None if named is None else named.message_id)
    if named.lost:
        raise refused(key, cursor.stream_id, "not_registered", named.message_id)
    check_protocol(named, Phase.RESUME)
    invisible = 0 if protocol_named(named.protocol).terminal_visible else 1
    if named.state is StreamState.CLOSED and seq >= named.last_seq - invisible:
        return Nothing("finished", named)
    return Resumed(named, cursor.position if seq > 0 else START)


def _is_tombstone(meta: StreamMeta, seq: int) -> bool:
    """Whether `seq` is the number of the record that says that the log is lost. No client gets a cursor of that record,
    so a client with this number saw another event under it, which is lost."""
    return meta.lost and meta.state is StreamState.CLOSED and seq == meta.last_seq


def why_broken(meta: StreamMeta | None, seq: int) -> str:
    """The reason of a `resume_failed`: why a stream cannot be read on from event `seq`, which its log does not hold or
    does not go on from."""
    if meta is None:
        return "stream_gone"
    if seq > meta.last_seq:
        return "cursor_ahead"
    if meta.first_seq > meta.last_seq > 0:
        return "stream_gone"
    return "trimmed" if max(seq, 1) < meta.first_seq else "cursor_ahead"


def resolve(key: SessionKey, record: SessionRecord, settings: Settings) -> Resumed | Nothing:
    """Decide without a cursor, from the session's record.

    Raises:
        FaultError: see `resolve_after`.
    """
    if record.active_id is None and record.last_id is None:
        return Nothing("none")
    meta = record.active if record.active_id is not None else record.last
    if meta is None:
        raise refused(key, record.active_id or record.last_id, "stream_gone")
    return _whole(key, meta, settings)


def _whole(key: SessionKey, meta: StreamMeta, settings: Settings) -> Resumed | Nothing:
    """Decide without a cursor: replay the whole stream, or send nothing."""
    if meta.lost:
        if meta.persisted is Persisted.YES:
            return Nothing("finished", meta)
        raise refused(key, meta.ref.stream_id, "not_registered", meta.message_id)
    if meta.first_seq > 1:
        reason = "trimmed" if meta.first_seq <= meta.last_seq else "stream_gone"
        raise refused(key, meta.ref.stream_id, reason, meta.message_id)
    if meta.state is not StreamState.CLOSED:
        return _replay(meta)
    if meta.seal is not None and _was_refused(meta.seal):
        return Nothing("finished", meta)
    recent = meta.closed_seconds is None or meta.closed_seconds < settings.replay_after_finish_seconds
    cut_off = meta.seal is not None and meta.seal.outcome is Outcome.INTERRUPTED
    if recent or cut_off or meta.persisted in (Persisted.PENDING, Persisted.NO):
        return _replay(meta)
    return Nothing("finished", meta)


def _was_refused(seal: Seal) -> bool:
    """Whether the stream's own writer ended it before its first event, so that its request was answered with an error.
    If the writer is gone, its client was not told, and an empty log may have lost events."""
    if seal.last_seq > 0 or seal.held:  # held parts of a failed stream are its upstream's own words
        return False
    lost = seal.fault is not None and seal.fault.code is FaultCode.INTERRUPTED
    return seal.outcome is Outcome.FAILED or (seal.outcome is Outcome.INTERRUPTED and not lost)


def _replay(meta: StreamMeta) -> Resumed:
    check_protocol(meta, Phase.RESUME)
    return Resumed(meta, START)


def refused(key: SessionKey, stream_id: str | None, reason: str, message_id: str | None = None) -> FaultError:
    """The error of a failed resume: 409 if the stream exists but has no whole log, else 410."""
    return FaultError(
        Fault.of(
            FaultCode.RESUME_FAILED,
            status=409 if reason == "not_registered" else 410,
            phase=Phase.RESUME,
            reason=reason,
            session_id=key.session_id,
            stream_id=stream_id,
            message_id=message_id,
        )
    )
