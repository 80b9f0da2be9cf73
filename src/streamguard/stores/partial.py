"""Stores that lack roles, made whole: the lacking roles answer that there is nothing, or refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ..errors import ConfigurationError, StoreForbiddenError
from ..values import Persisted, QuotaState, SessionKey, StreamRef, Usage
from .appends import AppendReply, AppendRequest
from .composed import ComposedStore, Roles
from .damage import Unreadable
from .outbox_pages import OutboxPage
from .records import (
    NOTHING_CONSUMED,
    Close,
    Erasure,
    LostLog,
    NewStream,
    OutboxEntry,
    Partition,
    RequestClaim,
    Seal,
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

__all__ = ["PartialStore", "complete", "lacking_roles"]

_ROLES: Final[tuple[type, ...]] = (
    StreamRegistry,
    StreamWrites,
    Outbox,
    RequestClaims,
    WorkSharing,
    ViewerReports,
    WorkerReports,
    Inspection,
)
_GONE: Final = AppendReply(Status.GONE, 0, stop_requested=False)


def complete(store: StreamLog) -> StreamStore:
    """The store itself if it has every role, else one whose lacking roles answer as if there were nothing."""
    return store if isinstance(store, StreamStore) else PartialStore(store)


def lacking_roles(store: StreamLog) -> tuple[str, ...]:
    """The names of the roles that a store does not have."""
    return tuple(role.__name__ for role in _ROLES if not isinstance(store, role))


class PartialStore(ComposedStore):
    """A store with some of the roles.

    What a guard would need a lacking role for is refused when it is configured (`abilities.require`), so that the
    methods of that role are asked only where "nothing" is true: no stream of this store is written, no work is owed.
    """

    def __init__(self, store: StreamLog) -> None:
        super().__init__(
            Roles(
                log=store,
                registry=store if isinstance(store, StreamRegistry) else _NoRegistry(),
                writes=store if isinstance(store, StreamWrites) else _NoWrites(),
                outbox=store if isinstance(store, Outbox) else _NoOutbox(),
                claims=store if isinstance(store, RequestClaims) else _NoRequestClaims(),
                sharing=store if isinstance(store, WorkSharing) else _NoWorkSharing(),
                viewers=store if isinstance(store, ViewerReports) else _NoViewerReports(),
                workers=store if isinstance(store, WorkerReports) else _NoWorkerReports(),
                inspection=store if isinstance(store, Inspection) else _NoInspection(type(store).__name__),
            )
        )
        self.shared: bool = store.shared
        self.server: str | None = store.server

    @property
    def on_unreadable(self) -> Callable[[Unreadable], None] | None:
        """That of the store itself."""
        return self._log.on_unreadable

    @on_unreadable.setter
    def on_unreadable(self, report: Callable[[Unreadable], None] | None) -> None:
        self._log.on_unreadable = report


def _lacks(operation: str, role: type) -> StoreForbiddenError:
    return StoreForbiddenError(
        f"{operation}: the store has no role {role.__name__}", operation=operation, lacks=(role.__name__,)
    )


class _NoRegistry(StreamRegistry):
    """Every stream is what it is: none begins, is stopped or is erased here."""

    async def register(
        self,
        new: NewStream,
        *,
        lease_seconds: float,
        ttl_seconds: float,
        limit: int | None,
        arrived_seconds: float = 0.0,
    ) -> Registered | Occupied | Full | Withdrawn:
        raise _lacks("register", StreamRegistry)

    async def withdraw(self, ref: StreamRef, *, refuse_seconds: float) -> Status:
        return Status.GONE

    async def release_slot(self, owner: str, stream_id: str) -> None:
        pass

    async def request_stop(self, ref: StreamRef) -> StopReply:
        raise _lacks("request_stop", StreamRegistry)

    async def stop_pending_requests(self, key: SessionKey, *, seconds: float, limit: int) -> bool:
        return True

    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        return None

    async def session_streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        return []

    async def erase(self, key: SessionKey, *, mark_seconds: float, unknown_seconds: float | None = None) -> None:
        raise _lacks("erase", StreamRegistry)

    async def erasure(self, key: SessionKey) -> Erasure | None:
        return None


class _NoWrites(StreamWrites):
    """No stream can be written to."""

    async def append(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        return [_GONE for _ in batch]

    async def heartbeat(
        self,
        claims: Sequence[tuple[StreamRef, int]],
        *,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Mapping[StreamRef, Usage] = NOTHING_CONSUMED,
    ) -> list[AppendReply]:
        return [_GONE for _ in claims]

    @asynccontextmanager
    async def subscribe_worker(self, worker: str, on_hint: Callable[[WorkerHint], None]) -> AsyncIterator[None]:
        yield

    async def take_over(
        self,
        ref: StreamRef,
        *,
        lease_seconds: float,
        expected_epoch: int | None = None,
        force: bool = False,
        worker: str = "",
    ) -> TakeoverReply:
        return TakeoverReply(Status.GONE, None)

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        return Status.GONE, None

    async def close(self, close: Close) -> AppendReply:
        return _GONE

    async def declare_lost(self, lost: LostLog) -> AppendReply:
        return _GONE

    async def update_meta(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        revised: bool = False,
    ) -> Status:
        return Status.GONE


class _NoOutbox(Outbox):
    """No stream owes anything."""

    async def enqueue(self, ref: StreamRef, *, due_seconds: float) -> None:
        raise _lacks("enqueue", Outbox)

    async def claim_due(self, *, limit: int, claim_seconds: float) -> list[OutboxEntry]:
        return []

    async def retry_later(
        self, ref: StreamRef, *, due_seconds: float, reason: str, ttl_seconds: float, count: bool = True
    ) -> Status:
        return Status.GONE

    async def release_claim(self, ref: StreamRef, *, due_seconds: float, reason: str) -> float | None:
        return None

    async def dead_letter(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        return Status.GONE

    async def requeue(self, ref: StreamRef, *, saves: bool = True) -> Status:
        return Status.GONE

    async def complete(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        retention_seconds: float,
    ) -> Status:
        return Status.GONE


class _NoRequestClaims(RequestClaims):
    """No request can be claimed."""

    async def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> RequestClaim:
        raise _lacks("claim_request", RequestClaims)

    async def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> bool:
        return False


class _NoWorkSharing(WorkSharing):
    """The streams of dead workers are not found by looking for them."""

    async def expired_leases(self, *, limit: int, partition: Partition | None = None) -> list[StreamRef]:
        return []

    async def partition(self, worker: str, *, lease_seconds: float) -> Partition:
        return Partition(0, 1)


class _NoViewerReports(ViewerReports):
    """No worker knows of another's viewers."""

    async def report_viewers(self, worker: str, viewers: Mapping[str, int], *, seconds: float) -> None:
        pass

    async def viewer_counts(self) -> Mapping[str, int]:
        return {}

    async def note_viewed(self, refs: Sequence[StreamRef]) -> None:
        pass


class _NoWorkerReports(WorkerReports):
    """No worker tells of itself."""

    async def report_worker(self, worker: str, report: bytes, *, keep_seconds: float) -> None:
        pass

    async def worker_reports(self, *, limit: int) -> list[ReportedWorker]:
        return []

    async def depths(self) -> Depths:
        raise _lacks("depths", WorkerReports)


class _NoInspection(Inspection):
    """Nothing can be listed."""

    def __init__(self, store: str) -> None:
        self._store = store

    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        raise self._lacking()

    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        raise self._lacking()

    async def outbox_page(self, *, dead: bool, limit: int, after: str | None = None) -> OutboxPage:
        raise self._lacking()

    async def outbox_entry(self, stream_id: str, *, key: SessionKey | None = None) -> OutboxEntry | None:
        raise self._lacking()

    def _lacking(self) -> ConfigurationError:
        return ConfigurationError(f"{self._store} can list nothing: it has no role Inspection")
