"""Stores that pass every step on to another one, through a single place of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from ..messages import Appended, Message, MessageStatus, MessageStore, Opened, StoredMessage, Superseded
from ..stores.appends import AppendReply, AppendRequest
from ..stores.damage import Unreadable
from ..stores.outbox_pages import OutboxPage
from ..stores.records import (
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
from ..stores.registrations import Full, Occupied, Registered, StopReply, Withdrawn
from ..stores.roles.worker_reports import Depths, ReportedWorker
from ..stores.store import StreamStore
from ..stores.worker_hints import WorkerHint
from ..values import Event, Persisted, Position, QuotaState, SessionKey, StreamRef, Usage

__all__ = ["PassingMessageStore", "PassingStore"]

T = TypeVar("T")


class PassingMessageStore(MessageStore):
    """Each step of `inner`, a message store, once `_pass` lets it through. Starting and closing it starts and closes
    `inner`."""

    def __init__(self, inner: MessageStore) -> None:
        self.inner: MessageStore = inner
        self.may_forbid: bool = inner.may_forbid

    @abstractmethod
    async def _pass(self, step: str, call: Callable[[], Awaitable[T]], /) -> T:
        """Carry out one call of a step, or do to it what this store is for."""

    async def start(self) -> list[str]:
        return await self.inner.start()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def open_session(self, key: SessionKey) -> Opened:
        return await self._pass("open_session", lambda: self.inner.open_session(key))

    async def append(self, key: SessionKey, message: Message) -> Appended:
        return await self._pass("append", lambda: self.inner.append(key, message))

    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        return await self._pass(
            "supersede", lambda: self.inner.supersede(key, by=by, start=start, after=after, message=message)
        )

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        return await self._pass("get", lambda: self.inner.get(key, message_id, branches=branches))

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        return await self._pass("list", lambda: self.inner.list(key, after=after, limit=limit, branches=branches))

    async def last(self, key: SessionKey) -> StoredMessage | None:
        return await self._pass("last", lambda: self.inner.last(key))

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        await self._pass("mark", lambda: self.inner.mark(key, message_id, status))

    async def delete_session(self, key: SessionKey) -> None:
        await self._pass("delete_session", lambda: self.inner.delete_session(key))


class PassingStore(StreamStore):
    """Each step of `inner`, a stream store, once `_pass` lets it through. Starting and closing it starts and closes
    `inner`.

    Sealing and closing in one is left to the contract, which makes two steps of it.
    """

    def __init__(self, inner: StreamStore) -> None:
        self.inner: StreamStore = inner
        self.shared: bool = inner.shared
        self.server: str | None = inner.server

    @property
    def on_unreadable(self) -> Callable[[Unreadable], None] | None:
        """The inner store's: it is what comes upon records."""
        return self.inner.on_unreadable

    @on_unreadable.setter
    def on_unreadable(self, told: Callable[[Unreadable], None] | None) -> None:
        self.inner.on_unreadable = told

    @abstractmethod
    async def _pass(self, step: str, call: Callable[[], Awaitable[T]], /) -> T:
        """Carry out one call of a step, or do to it what this store is for."""

    async def start(self) -> list[str]:
        return await self.inner.start()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def ping(self) -> None:
        await self._pass("ping", self.inner.ping)

    async def register(
        self,
        new: NewStream,
        *,
        lease_seconds: float,
        ttl_seconds: float,
        limit: int | None,
        arrived_seconds: float = 0.0,
    ) -> Registered | Occupied | Full | Withdrawn:
        return await self._pass(
            "register",
            lambda: self.inner.register(
                new,
                lease_seconds=lease_seconds,
                ttl_seconds=ttl_seconds,
                limit=limit,
                arrived_seconds=arrived_seconds,
            ),
        )

    async def withdraw(self, ref: StreamRef, *, refuse_seconds: float) -> Status:
        return await self._pass("withdraw", lambda: self.inner.withdraw(ref, refuse_seconds=refuse_seconds))

    async def release_slot(self, owner: str, stream_id: str) -> None:
        await self._pass("release_slot", lambda: self.inner.release_slot(owner, stream_id))

    async def session(self, key: SessionKey) -> SessionRecord:
        return await self._pass("session", lambda: self.inner.session(key))

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        return await self._pass("meta", lambda: self.inner.meta(ref))

    async def append(self, batch: Sequence[AppendRequest]) -> Sequence[AppendReply]:
        return await self._pass("append", lambda: self.inner.append(batch))

    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        return await self._pass("check_position", lambda: self.inner.check_position(ref, at))

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        return await self._pass("read", lambda: self.inner.read(ref, after, max_bytes=max_bytes))

    def subscribe(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        return self._watching(ref, on_hint, data=data)

    @asynccontextmanager
    async def _watching(self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool) -> AsyncIterator[None]:
        async def enter() -> None:
            """The part that can fail; subscribers have to expect lost hints anyway."""

        await self._pass("subscribe", enter)
        async with self.inner.subscribe(ref, on_hint, data=data):
            yield

    async def heartbeat(
        self,
        claims: Sequence[tuple[StreamRef, int]],
        *,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Mapping[StreamRef, Usage] = NOTHING_CONSUMED,
    ) -> list[AppendReply]:
        return await self._pass(
            "heartbeat",
            lambda: self.inner.heartbeat(
                claims, lease_seconds=lease_seconds, ttl_seconds=ttl_seconds, consumed=consumed
            ),
        )

    def subscribe_worker(self, worker: str, on_hint: Callable[[WorkerHint], None]) -> AbstractAsyncContextManager[None]:
        return self._listening(worker, on_hint)

    @asynccontextmanager
    async def _listening(self, worker: str, on_hint: Callable[[WorkerHint], None]) -> AsyncIterator[None]:
        async def enter() -> None:
            """The part that can fail, as of `subscribe`."""

        await self._pass("subscribe_worker", enter)
        async with self.inner.subscribe_worker(worker, on_hint):
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
        return await self._pass(
            "take_over",
            lambda: self.inner.take_over(
                ref, lease_seconds=lease_seconds, expected_epoch=expected_epoch, force=force, worker=worker
            ),
        )

    async def request_stop(self, ref: StreamRef) -> StopReply:
        return await self._pass("request_stop", lambda: self.inner.request_stop(ref))

    async def stop_pending_requests(self, key: SessionKey, *, seconds: float, limit: int) -> bool:
        return await self._pass(
            "stop_pending_requests", lambda: self.inner.stop_pending_requests(key, seconds=seconds, limit=limit)
        )

    async def expired_leases(self, *, limit: int, partition: Partition | None = None) -> list[StreamRef]:
        return await self._pass("expired_leases", lambda: self.inner.expired_leases(limit=limit, partition=partition))

    async def defer(self, ref: StreamRef, *, seconds: float, readable: bool = False) -> None:
        await self._pass("defer", lambda: self.inner.defer(ref, seconds=seconds, readable=readable))

    async def repair_indexes(self) -> None:
        await self._pass("repair_indexes", self.inner.repair_indexes)

    async def partition(self, worker: str, *, lease_seconds: float) -> Partition:
        return await self._pass("partition", lambda: self.inner.partition(worker, lease_seconds=lease_seconds))

    async def report_viewers(self, worker: str, viewers: Mapping[str, int], *, seconds: float) -> None:
        await self._pass("report_viewers", lambda: self.inner.report_viewers(worker, viewers, seconds=seconds))

    async def viewer_counts(self) -> Mapping[str, int]:
        return await self._pass("viewer_counts", self.inner.viewer_counts)

    async def note_viewed(self, refs: Sequence[StreamRef]) -> None:
        await self._pass("note_viewed", lambda: self.inner.note_viewed(refs))

    async def report_worker(self, worker: str, report: bytes, *, keep_seconds: float) -> None:
        await self._pass("report_worker", lambda: self.inner.report_worker(worker, report, keep_seconds=keep_seconds))

    async def worker_reports(self, *, limit: int) -> list[ReportedWorker]:
        return await self._pass("worker_reports", lambda: self.inner.worker_reports(limit=limit))

    async def depths(self) -> Depths:
        return await self._pass("depths", self.inner.depths)

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        return await self._pass("seal", lambda: self.inner.seal(ref, epoch, seal))

    async def close(self, close: Close) -> AppendReply:
        return await self._pass("close", lambda: self.inner.close(close))

    async def declare_lost(self, lost: LostLog) -> AppendReply:
        return await self._pass("declare_lost", lambda: self.inner.declare_lost(lost))

    async def update_meta(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        revised: bool = False,
    ) -> Status:
        return await self._pass(
            "update_meta", lambda: self.inner.update_meta(ref, persisted=persisted, quota=quota, revised=revised)
        )

    async def erase(self, key: SessionKey, *, mark_seconds: float, unknown_seconds: float | None = None) -> None:
        await self._pass(
            "erase", lambda: self.inner.erase(key, mark_seconds=mark_seconds, unknown_seconds=unknown_seconds)
        )

    async def erasure(self, key: SessionKey) -> Erasure | None:
        return await self._pass("erasure", lambda: self.inner.erasure(key))

    async def enqueue(self, ref: StreamRef, *, due_seconds: float) -> None:
        await self._pass("enqueue", lambda: self.inner.enqueue(ref, due_seconds=due_seconds))

    async def claim_due(self, *, limit: int, claim_seconds: float) -> list[OutboxEntry]:
        return await self._pass("claim_due", lambda: self.inner.claim_due(limit=limit, claim_seconds=claim_seconds))

    async def retry_later(
        self, ref: StreamRef, *, due_seconds: float, reason: str, ttl_seconds: float, count: bool = True
    ) -> Status:
        return await self._pass(
            "retry_later",
            lambda: self.inner.retry_later(
                ref, due_seconds=due_seconds, reason=reason, ttl_seconds=ttl_seconds, count=count
            ),
        )

    async def release_claim(self, ref: StreamRef, *, due_seconds: float, reason: str) -> float | None:
        return await self._pass(
            "release_claim", lambda: self.inner.release_claim(ref, due_seconds=due_seconds, reason=reason)
        )

    async def dead_letter(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        return await self._pass(
            "dead_letter", lambda: self.inner.dead_letter(ref, reason=reason, ttl_seconds=ttl_seconds)
        )

    async def requeue(self, ref: StreamRef, *, saves: bool = True) -> Status:
        return await self._pass("requeue", lambda: self.inner.requeue(ref, saves=saves))

    async def complete(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        retention_seconds: float,
    ) -> Status:
        return await self._pass(
            "complete",
            lambda: self.inner.complete(ref, persisted=persisted, quota=quota, retention_seconds=retention_seconds),
        )

    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        return await self._pass("peek_due", lambda: self.inner.peek_due(limit=limit))

    async def outbox_page(self, *, dead: bool, limit: int, after: str | None = None) -> OutboxPage:
        return await self._pass("outbox_page", lambda: self.inner.outbox_page(dead=dead, limit=limit, after=after))

    async def outbox_entry(self, stream_id: str, *, key: SessionKey | None = None) -> OutboxEntry | None:
        return await self._pass("outbox_entry", lambda: self.inner.outbox_entry(stream_id, key=key))

    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        return await self._pass("previous", lambda: self.inner.previous(ref, message_id))

    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        return await self._pass("active_streams", lambda: self.inner.active_streams(limit=limit))

    async def session_streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        return await self._pass("session_streams", lambda: self.inner.session_streams(key, limit=limit))

    async def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> RequestClaim:
        return await self._pass(
            "claim_request",
            lambda: self.inner.claim_request(owner, request_key, claim, ttl_seconds=ttl_seconds, expected=expected),
        )

    async def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> bool:
        return await self._pass("release_request", lambda: self.inner.release_request(owner, request_key, claim))
