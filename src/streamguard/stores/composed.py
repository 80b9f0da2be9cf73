"""A stream store that is put together from one object per role."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from ..values import Event, Persisted, Position, QuotaState, SessionKey, StreamRef, Usage
from .appends import AppendReply, AppendRequest, Placement
from .outbox_pages import OutboxPage
from .records import (
    NOTHING_CONSUMED,
    Close,
    Erasure,
    Hint,
    LostLog,
    NewStream,
    OutboxEntry,
    Partition,
    RequestClaim,
    Seal,
    SessionRecord,
    Status,
    StreamMeta,
    TakeoverReply,
)
from .registrations import Full, Occupied, Registered, StopReply, Withdrawn
from .roles.inspection import Inspection
from .roles.outbox import Outbox
from .roles.request_claims import RequestClaims
from .roles.stream_log import StreamLog
from .roles.stream_registry import StreamRegistry
from .roles.stream_writes import StreamWrites
from .roles.viewer_reports import ViewerReports
from .roles.work_sharing import WorkSharing
from .roles.worker_reports import Depths, ReportedWorker, WorkerReports
from .store import StreamStore
from .worker_hints import WorkerHint

__all__ = ["ComposedStore", "Roles"]


@dataclass(frozen=True, slots=True)
class Roles:
    """One object per role. One object may have several roles."""

    log: StreamLog
    registry: StreamRegistry
    writes: StreamWrites
    outbox: Outbox
    claims: RequestClaims
    sharing: WorkSharing
    viewers: ViewerReports
    workers: WorkerReports
    inspection: Inspection


class ComposedStore(StreamStore):
    """Hands every call to the object that has its role. The log starts, is closed and answers pings for all.

    Hot path: methods return the role's own coroutine instead of awaiting it in one of theirs.
    """

    def __init__(self, roles: Roles) -> None:
        self.roles: Final = roles
        """As they were given: whatever calls them goes through this store."""
        self._log = roles.log
        self._registry = roles.registry
        self._writes = roles.writes
        self._outbox = roles.outbox
        self._claims = roles.claims
        self._sharing = roles.sharing
        self._viewers = roles.viewers
        self._workers = roles.workers
        self._inspection = roles.inspection

    def start(self) -> Coroutine[Any, Any, list[str]]:
        return self._log.start()

    def aclose(self) -> Coroutine[Any, Any, None]:
        return self._log.aclose()

    def ping(self) -> Coroutine[Any, Any, None]:
        return self._log.ping()

    def partly_down(self) -> bool:
        return self._log.partly_down()

    # -- StreamLog --------------------------------------------------------------------------------------------------

    def session(self, key: SessionKey) -> Coroutine[Any, Any, SessionRecord]:
        return self._log.session(key)

    def meta(self, ref: StreamRef) -> Coroutine[Any, Any, StreamMeta | None]:
        return self._log.meta(ref)

    def check_position(self, ref: StreamRef, at: Position) -> Coroutine[Any, Any, tuple[StreamMeta | None, bool]]:
        return self._log.check_position(ref, at)

    def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> Coroutine[Any, Any, list[Event]]:
        return self._log.read(ref, after, max_bytes=max_bytes)

    def subscribe(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        return self._log.subscribe(ref, on_hint, data=data)

    # -- StreamRegistry ---------------------------------------------------------------------------------------------

    def register(
        self,
        new: NewStream,
        *,
        lease_seconds: float,
        ttl_seconds: float,
        limit: int | None,
        arrived_seconds: float = 0.0,
    ) -> Coroutine[Any, Any, Registered | Occupied | Full | Withdrawn]:
        return self._registry.register(
            new, lease_seconds=lease_seconds, ttl_seconds=ttl_seconds, limit=limit, arrived_seconds=arrived_seconds
        )

    def withdraw(self, ref: StreamRef, *, refuse_seconds: float) -> Coroutine[Any, Any, Status]:
        return self._registry.withdraw(ref, refuse_seconds=refuse_seconds)

    def release_slot(self, owner: str, stream_id: str) -> Coroutine[Any, Any, None]:
        return self._registry.release_slot(owner, stream_id)

    def request_stop(self, ref: StreamRef) -> Coroutine[Any, Any, StopReply]:
        return self._registry.request_stop(ref)

    def stop_pending_requests(self, key: SessionKey, *, seconds: float, limit: int) -> Coroutine[Any, Any, bool]:
        return self._registry.stop_pending_requests(key, seconds=seconds, limit=limit)

    def previous(self, ref: StreamRef, message_id: str) -> Coroutine[Any, Any, StreamMeta | None]:
        return self._registry.previous(ref, message_id)

    def session_streams(self, key: SessionKey, *, limit: int) -> Coroutine[Any, Any, list[StreamMeta]]:
        return self._registry.session_streams(key, limit=limit)

    def erase(
        self, key: SessionKey, *, mark_seconds: float, unknown_seconds: float | None = None
    ) -> Coroutine[Any, Any, None]:
        return self._registry.erase(key, mark_seconds=mark_seconds, unknown_seconds=unknown_seconds)

    def erasure(self, key: SessionKey) -> Coroutine[Any, Any, Erasure | None]:
        return self._registry.erasure(key)

    # -- StreamWrites -----------------------------------------------------------------------------------------------

    def placement(self) -> Placement | None:
        return self._writes.placement()

    def append(self, batch: Sequence[AppendRequest]) -> Coroutine[Any, Any, Sequence[AppendReply]]:
        return self._writes.append(batch)

    def heartbeat(
        self,
        claims: Sequence[tuple[StreamRef, int]],
        *,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Mapping[StreamRef, Usage] = NOTHING_CONSUMED,
    ) -> Coroutine[Any, Any, list[AppendReply]]:
        return self._writes.heartbeat(claims, lease_seconds=lease_seconds, ttl_seconds=ttl_seconds, consumed=consumed)

    def subscribe_worker(self, worker: str, on_hint: Callable[[WorkerHint], None]) -> AbstractAsyncContextManager[None]:
        return self._writes.subscribe_worker(worker, on_hint)

    def take_over(
        self,
        ref: StreamRef,
        *,
        lease_seconds: float,
        expected_epoch: int | None = None,
        force: bool = False,
        worker: str = "",
    ) -> Coroutine[Any, Any, TakeoverReply]:
        return self._writes.take_over(
            ref, lease_seconds=lease_seconds, expected_epoch=expected_epoch, force=force, worker=worker
        )

    def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> Coroutine[Any, Any, tuple[Status, Seal | None]]:
        return self._writes.seal(ref, epoch, seal)

    def close(self, close: Close) -> Coroutine[Any, Any, AppendReply]:
        return self._writes.close(close)

    def seal_and_close(
        self, close: Close, seal: Seal, last: AppendRequest | None = None
    ) -> Coroutine[Any, Any, tuple[Status, Seal | None, AppendReply | None]]:
        return self._writes.seal_and_close(close, seal, last)

    def declare_lost(self, lost: LostLog) -> Coroutine[Any, Any, AppendReply]:
        return self._writes.declare_lost(lost)

    def update_meta(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        revised: bool = False,
    ) -> Coroutine[Any, Any, Status]:
        return self._writes.update_meta(ref, persisted=persisted, quota=quota, revised=revised)

    # -- Outbox -----------------------------------------------------------------------------------------------------

    def enqueue(self, ref: StreamRef, *, due_seconds: float) -> Coroutine[Any, Any, None]:
        return self._outbox.enqueue(ref, due_seconds=due_seconds)

    def claim_due(self, *, limit: int, claim_seconds: float) -> Coroutine[Any, Any, list[OutboxEntry]]:
        return self._outbox.claim_due(limit=limit, claim_seconds=claim_seconds)

    def retry_later(
        self, ref: StreamRef, *, due_seconds: float, reason: str, ttl_seconds: float, count: bool = True
    ) -> Coroutine[Any, Any, Status]:
        return self._outbox.retry_later(
            ref, due_seconds=due_seconds, reason=reason, ttl_seconds=ttl_seconds, count=count
        )

    def release_claim(self, ref: StreamRef, *, due_seconds: float, reason: str) -> Coroutine[Any, Any, float | None]:
        return self._outbox.release_claim(ref, due_seconds=due_seconds, reason=reason)

    def dead_letter(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Coroutine[Any, Any, Status]:
        return self._outbox.dead_letter(ref, reason=reason, ttl_seconds=ttl_seconds)

    def requeue(self, ref: StreamRef, *, saves: bool = True) -> Coroutine[Any, Any, Status]:
        return self._outbox.requeue(ref, saves=saves)

    def complete(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        retention_seconds: float,
    ) -> Coroutine[Any, Any, Status]:
        return self._outbox.complete(ref, persisted=persisted, quota=quota, retention_seconds=retention_seconds)

    # -- RequestClaims ----------------------------------------------------------------------------------------------

    def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> Coroutine[Any, Any, RequestClaim]:
        return self._claims.claim_request(owner, request_key, claim, ttl_seconds=ttl_seconds, expected=expected)

    def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> Coroutine[Any, Any, bool]:
        return self._claims.release_request(owner, request_key, claim)

    # -- WorkSharing ------------------------------------------------------------------------------------------------

    def expired_leases(self, *, limit: int, partition: Partition | None = None) -> Coroutine[Any, Any, list[StreamRef]]:
        return self._sharing.expired_leases(limit=limit, partition=partition)

    def defer(self, ref: StreamRef, *, seconds: float, readable: bool = False) -> Coroutine[Any, Any, None]:
        return self._sharing.defer(ref, seconds=seconds, readable=readable)

    def repair_indexes(self) -> Coroutine[Any, Any, None]:
        return self._sharing.repair_indexes()

    def partition(self, worker: str, *, lease_seconds: float) -> Coroutine[Any, Any, Partition]:
        return self._sharing.partition(worker, lease_seconds=lease_seconds)

    # -- ViewerReports ----------------------------------------------------------------------------------------------

    def report_viewers(self, worker: str, viewers: Mapping[str, int], *, seconds: float) -> Coroutine[Any, Any, None]:
        return self._viewers.report_viewers(worker, viewers, seconds=seconds)

    def viewer_counts(self) -> Coroutine[Any, Any, Mapping[str, int]]:
        return self._viewers.viewer_counts()

    def note_viewed(self, refs: Sequence[StreamRef]) -> Coroutine[Any, Any, None]:
        return self._viewers.note_viewed(refs)

    # -- WorkerReports ----------------------------------------------------------------------------------------------

    def report_worker(self, worker: str, report: bytes, *, keep_seconds: float) -> Coroutine[Any, Any, None]:
        return self._workers.report_worker(worker, report, keep_seconds=keep_seconds)

    def worker_reports(self, *, limit: int) -> Coroutine[Any, Any, list[ReportedWorker]]:
        return self._workers.worker_reports(limit=limit)

    def depths(self) -> Coroutine[Any, Any, Depths]:
        return self._workers.depths()

    # -- Inspection -------------------------------------------------------------------------------------------------

    def active_streams(self, *, limit: int) -> Coroutine[Any, Any, list[StreamMeta]]:
        return self._inspection.active_streams(limit=limit)

    def peek_due(self, *, limit: int) -> Coroutine[Any, Any, list[OutboxEntry]]:
        return self._inspection.peek_due(limit=limit)

    def outbox_page(self, *, dead: bool, limit: int, after: str | None = None) -> Coroutine[Any, Any, OutboxPage]:
        return self._inspection.outbox_page(dead=dead, limit=limit, after=after)

    def outbox_entry(self, stream_id: str, *, key: SessionKey | None = None) -> Coroutine[Any, Any, OutboxEntry | None]:
        return self._inspection.outbox_entry(stream_id, key=key)
