"""The resume table: what a client that comes back is told, checked in one order in one place."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import FaultError
from ..faults import Fault, FaultCode, Phase
from ..model import Cursor, Outcome, Persisted, SessionKey, StreamState
from ..settings import Settings
from ..stores.base import SessionRecord, StreamMeta
from ..wire import protocol_named
from .unreadable import check_protocol

__all__ = ["Nothing", "Resumed", "resolve"]


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing more to send: 204. `reason` is `none` (never any stream) or `finished`."""

    reason: str
    meta: StreamMeta | None = None


@dataclass(frozen=True, slots=True)
class Resumed:
    """Send what follows event `after_seq`, to the stream's terminal."""

    meta: StreamMeta
    after_seq: int


def resolve(
    key: SessionKey, cursor: Cursor | None, record: SessionRecord, named: StreamMeta | None, settings: Settings
) -> Resumed | Nothing:
    """Decide from the session's record, and with a cursor from the stream it names (`named`).

    Raises:
        FaultError: `resume_failed`, 410 or 409, with the reason; `store_unavailable` for a protocol of a later version.
    """
    if cursor is None:
        if record.active_id is None and record.last_id is None:
            return Nothing("none")
        meta = record.active if record.active_id is not None else record.last
        if meta is None:
            raise refused(key, record.active_id or record.last_id, "stream_gone")
        return _whole(key, meta, settings)
    if named is None:
        raise refused(key, cursor.stream_id, "stream_gone")
    if cursor.seq > named.last_seq:
        raise refused(key, cursor.stream_id, "cursor_ahead")
    if cursor.seq + 1 < named.first_seq:
        reason = "trimmed" if named.first_seq <= named.last_seq else "stream_gone"
        raise refused(key, cursor.stream_id, reason)
    if named.lost:
        raise refused(key, cursor.stream_id, "not_registered")
    check_protocol(named, Phase.RESUME)
    if named.state is not StreamState.CLOSED:
        return Resumed(named, cursor.seq)
    invisible = 0 if protocol_named(named.protocol).terminal_visible else 1
    if cursor.seq < named.last_seq - invisible:
        return Resumed(named, cursor.seq)
    return Nothing("finished", named)


def _whole(key: SessionKey, meta: StreamMeta, settings: Settings) -> Resumed | Nothing:
    """Without a cursor: the whole stream, or nothing more of it."""
    if meta.lost:
        if meta.persisted is Persisted.YES:
            return Nothing("finished", meta)
        raise refused(key, meta.ref.stream_id, "not_registered")
    if meta.first_seq > 1:
        reason = "trimmed" if meta.first_seq <= meta.last_seq else "stream_gone"
        raise refused(key, meta.ref.stream_id, reason)
    if meta.state is not StreamState.CLOSED:
        return _replay(meta)
    seal = meta.seal
    if seal is not None and seal.last_seq == 0 and seal.outcome in (Outcome.FAILED, Outcome.INTERRUPTED):
        return Nothing("finished", meta)
    recent = meta.closed_seconds is None or meta.closed_seconds <= settings.replay_after_finish_seconds
    if recent or meta.persisted in (Persisted.PENDING, Persisted.NO):
        return _replay(meta)
    return Nothing("finished", meta)


def _replay(meta: StreamMeta) -> Resumed:
    check_protocol(meta, Phase.RESUME)
    return Resumed(meta, 0)


def refused(key: SessionKey, stream_id: str | None, reason: str) -> FaultError:
    """A resume that failed. 409 where the stream exists but has no whole log, else 410."""
    return FaultError(
        Fault.of(
            FaultCode.RESUME_FAILED,
            status=409 if reason == "not_registered" else 410,
            phase=Phase.RESUME,
            reason=reason,
            session_id=key.session_id,
            stream_id=stream_id,
        )
    )
