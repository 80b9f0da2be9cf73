"""Stores with the fault kit between them and whoever uses them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from ..messages import Appended, Message, MessageStatus, MessageStore, StoredMessage
from ..model import Event, Persisted, QuotaState, SessionKey, StreamRef
from ..stores.base import (
    Append,
    AppendReply,
    Close,
    Full,
    Hint,
    Lost,
    NewStream,
    Occupied,
    Owed,
    Registered,
    RequestClaim,
    Seal,
    SessionRecord,
    Share,
    Status,
    StopReply,
    StreamMeta,
    StreamStore,
    TakeReply,
)
from .store_faults import StoreFaults, of_message_store, of_stream_store

__all__ = ["FaultyMessageStore", "FaultyStore"]


_NO_STEPS: Final = frozenset({"start", "aclose", "seal_and_close"})
"""The beginning and the end, which must not fail, and a step that is left to the contract, which makes two of it: so
each of the two can go wrong by itself."""


def _steps(contract: type) -> frozenset[str]:
    own = {name for name, value in vars(contract).items() if callable(value) and not name.startswith("_")}
    return frozenset(own) - _NO_STEPS


_STREAM_STEPS: Final = _steps(StreamStore)
_MESSAGE_STEPS: Final = _steps(MessageStore)


class FaultyMessageStore(MessageStore):
    """`inner`, a message store, with `faults` in front of it. It passes every message store's suite while it is well.

    Starting and closing it starts and closes `inner`.
    """

    def __init__(self, inner: MessageStore) -> None:
        self.inner: MessageStore = inner
        self.faults: StoreFaults = of_message_store(_MESSAGE_STEPS)

    async def start(self) -> list[str]:
        return await self.inner.start()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def open_session(self, key: SessionKey) -> bool:
        return await self.faults.passing("open_session", lambda: self.inner.open_session(key))

    async def append(self, key: SessionKey, message: Message) -> Appended:
        return await self.faults.passing("append", lambda: self.inner.append(key, message))

    async def get(self, key: SessionKey, message_id: str) -> StoredMessage:
        return await self.faults.passing("get", lambda: self.inner.get(key, message_id))

    async def list(self, key: SessionKey, *, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        return await self.faults.passing("list", lambda: self.inner.list(key, after=after, limit=limit))

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        await self.faults.passing("mark", lambda: self.inner.mark(key, message_id, status))

    async def delete_session(self, key: SessionKey) -> None:
        await self.faults.passing("delete_session", lambda: self.inner.delete_session(key))


class FaultyStore(StreamStore):
    """`inner`, a stream store, with `faults` in front of it: what `GuardedApp` puts between a guard and its store.

    Starting and closing it starts and closes `inner`.
    """

    def __init__(self, inner: StreamStore) -> None:
        self.inner: StreamStore = inner
        self.shared: bool = inner.shared
        self.faults: StoreFaults = of_stream_store(_STREAM_STEPS)

    async def start(self) -> list[str]:
        return await self.inner.start()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def ping(self) -> None:
        await self.faults.passing("ping", self.inner.ping)

    async def register(
        self, new: NewStream, *, lease_seconds: float, ttl_seconds: float, limit: int | None
    ) -> Registered | Occupied | Full:
        return await self.faults.passing(
            "register",
            lambda: self.inner.register(new, lease_seconds=lease_seconds, ttl_seconds=ttl_seconds, limit=limit),
        )

    async def dismiss(self, owner: str, stream_id: str) -> None:
        await self.faults.passing("dismiss", lambda: self.inner.dismiss(owner, stream_id))

    async def session(self, key: SessionKey) -> SessionRecord:
        return await self.faults.passing("session", lambda: self.inner.session(key))

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        return await self.faults.passing("meta", lambda: self.inner.meta(ref))

    async def append(self, batch: Sequence[Append]) -> list[AppendReply]:
        return await self.faults.passing("append", lambda: self.inner.append(batch))

    async def read(self, ref: StreamRef, after_seq: int, *, max_bytes: int) -> list[Event]:
        return await self.faults.passing("read", lambda: self.inner.read(ref, after_seq, max_bytes=max_bytes))

    def watch(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        return self._watching(ref, on_hint, data=data)

    @asynccontextmanager
    async def _watching(self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool) -> AsyncIterator[None]:
        async def enter() -> None:
            """What can fail of it; that hints are lost, whoever watches has to expect anyway."""

        await self.faults.passing("watch", enter)
        async with self.inner.watch(ref, on_hint, data=data):
            yield

    async def heartbeat(
        self, claims: Sequence[tuple[StreamRef, int]], *, lease_seconds: float, ttl_seconds: float
    ) -> list[AppendReply]:
        return await self.faults.passing(
            "heartbeat",
            lambda: self.inner.heartbeat(claims, lease_seconds=lease_seconds, ttl_seconds=ttl_seconds),
        )

    async def take(
        self, ref: StreamRef, *, lease_seconds: float, expected_epoch: int | None = None, force: bool = False
    ) -> TakeReply:
        return await self.faults.passing(
            "take",
            lambda: self.inner.take(ref, lease_seconds=lease_seconds, expected_epoch=expected_epoch, force=force),
        )

    async def request_stop(self, ref: StreamRef) -> StopReply:
        return await self.faults.passing("request_stop", lambda: self.inner.request_stop(ref))

    async def due(self, *, limit: int, share: Share | None = None) -> list[StreamRef]:
        return await self.faults.passing("due", lambda: self.inner.due(limit=limit, share=share))

    async def share(self, worker: str, *, lease_seconds: float) -> Share:
        return await self.faults.passing("share", lambda: self.inner.share(worker, lease_seconds=lease_seconds))

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        return await self.faults.passing("seal", lambda: self.inner.seal(ref, epoch, seal))

    async def close(self, close: Close) -> AppendReply:
        return await self.faults.passing("close", lambda: self.inner.close(close))

    async def lose(self, lost: Lost) -> AppendReply:
        return await self.faults.passing("lose", lambda: self.inner.lose(lost))

    async def mark(
        self, ref: StreamRef, *, persisted: Persisted | None = None, quota: QuotaState | None = None
    ) -> Status:
        return await self.faults.passing("mark", lambda: self.inner.mark(ref, persisted=persisted, quota=quota))

    async def erase(self, key: SessionKey, *, mark_seconds: float) -> None:
        await self.faults.passing("erase", lambda: self.inner.erase(key, mark_seconds=mark_seconds))

    async def erased(self, key: SessionKey, since: float) -> bool:
        return await self.faults.passing("erased", lambda: self.inner.erased(key, since))

    async def owe(self, ref: StreamRef, *, due_seconds: float) -> None:
        await self.faults.passing("owe", lambda: self.inner.owe(ref, due_seconds=due_seconds))

    async def claim_owed(self, *, limit: int, claim_seconds: float) -> list[Owed]:
        return await self.faults.passing(
            "claim_owed", lambda: self.inner.claim_owed(limit=limit, claim_seconds=claim_seconds)
        )

    async def postpone(
        self, ref: StreamRef, *, due_seconds: float, reason: str, ttl_seconds: float, count: bool = True
    ) -> Status:
        return await self.faults.passing(
            "postpone",
            lambda: self.inner.postpone(
                ref, due_seconds=due_seconds, reason=reason, ttl_seconds=ttl_seconds, count=count
            ),
        )

    async def bury(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        return await self.faults.passing("bury", lambda: self.inner.bury(ref, reason=reason, ttl_seconds=ttl_seconds))

    async def revive(self, ref: StreamRef, *, saves: bool = True) -> Status:
        return await self.faults.passing("revive", lambda: self.inner.revive(ref, saves=saves))

    async def discharge(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        retention_seconds: float,
    ) -> Status:
        return await self.faults.passing(
            "discharge",
            lambda: self.inner.discharge(ref, persisted=persisted, quota=quota, retention_seconds=retention_seconds),
        )

    async def owed(self, *, dead: bool, limit: int, after: StreamRef | None = None) -> list[Owed]:
        return await self.faults.passing("owed", lambda: self.inner.owed(dead=dead, limit=limit, after=after))

    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        return await self.faults.passing("previous", lambda: self.inner.previous(ref, message_id))

    async def active(self, *, limit: int) -> list[StreamMeta]:
        return await self.faults.passing("active", lambda: self.inner.active(limit=limit))

    async def streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        return await self.faults.passing("streams", lambda: self.inner.streams(key, limit=limit))

    async def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> RequestClaim:
        return await self.faults.passing(
            "claim_request",
            lambda: self.inner.claim_request(owner, request_key, claim, ttl_seconds=ttl_seconds, expected=expected),
        )
