"""A worker's way to a store that other workers use too: it counts what passes, and can be cut, held or made to lie."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from streamguard.errors import StoreUnavailableError
from streamguard.model import Event, Persisted, QuotaState, SessionKey, StreamRef
from streamguard.stores.base import (
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

__all__ = ["Line"]

T = TypeVar("T")


class Line(StreamStore):
    """Passes every step on to `inner`, a real store, unless told otherwise. Closing it leaves `inner` open."""

    shared = True

    def __init__(self, inner: StreamStore) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self.batches: list[list[Append]] = []
        """Every batch of appends, as asked."""
        self.down = False
        """Nothing passes."""
        self.broken: set[str] = set()
        """Operations that do not pass."""
        self.deaf = False
        """Hints do not arrive."""
        self.warnings: list[str] = []
        self.lost: Counter[str] = Counter()
        """Per operation, how many more times it is carried out but its reply is lost."""
        self.errors: dict[str, list[Exception]] = {}
        """Per operation, what its next calls raise instead of being carried out."""
        self.answers: dict[str, list[object]] = {}
        """Per operation, what its next calls answer instead of being carried out."""
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}
        """Per operation, what happens once before its next call is carried out."""
        self._gates: dict[str, asyncio.Event] = {}
        self._gates_after: dict[str, asyncio.Event] = {}
        self.waiting: Counter[str] = Counter()
        """Per operation, how many calls wait at its gate."""

    def hold(self, operation: str, *, after: bool = False) -> None:
        """Let calls of `operation` wait before they are carried out, or with `after` before they are answered."""
        (self._gates_after if after else self._gates)[operation] = asyncio.Event()

    def let_go(self, operation: str) -> None:
        """Let waiting and later calls of `operation` through."""
        for gates in (self._gates, self._gates_after):
            if operation in gates:
                gates.pop(operation).set()

    async def _pass(self, operation: str, step: Callable[[], Awaitable[T]]) -> T:
        self.calls[operation] += 1
        await self._at_gate(self._gates, operation)
        if operation in self.before:
            await self.before.pop(operation)()
        if self.down or operation in self.broken:
            raise StoreUnavailableError(f"{operation}: the line is cut", operation=operation)
        if self.errors.get(operation):
            raise self.errors[operation].pop(0)
        if self.answers.get(operation):
            return self.answers[operation].pop(0)  # type: ignore[return-value] # the test gives the right type
        result = await step()
        await self._at_gate(self._gates_after, operation)
        if self.lost[operation] > 0:
            self.lost[operation] -= 1
            raise StoreUnavailableError(f"{operation}: the reply was lost", operation=operation)
        return result

    async def _at_gate(self, gates: dict[str, asyncio.Event], operation: str) -> None:
        gate = gates.get(operation)
        if gate is not None:
            self.waiting[operation] += 1
            try:
                await gate.wait()
            finally:
                self.waiting[operation] -= 1

    async def start(self) -> list[str]:
        return [*self.warnings, *await self.inner.start()]

    async def aclose(self) -> None:
        """Leaves the store to whoever opened it."""

    async def ping(self) -> None:
        await self._pass("ping", self.inner.ping)

    async def register(
        self, new: NewStream, *, lease_seconds: float, ttl_seconds: float, limit: int | None
    ) -> Registered | Occupied | Full:
        return await self._pass(
            "register",
            lambda: self.inner.register(new, lease_seconds=lease_seconds, ttl_seconds=ttl_seconds, limit=limit),
        )

    async def dismiss(self, owner: str, stream_id: str) -> None:
        await self._pass("dismiss", lambda: self.inner.dismiss(owner, stream_id))

    async def session(self, key: SessionKey) -> SessionRecord:
        return await self._pass("session", lambda: self.inner.session(key))

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        return await self._pass("meta", lambda: self.inner.meta(ref))

    async def append(self, batch: Sequence[Append]) -> list[AppendReply]:
        self.batches.append(list(batch))
        return await self._pass("append", lambda: self.inner.append(batch))

    async def read(self, ref: StreamRef, after_seq: int, *, max_bytes: int) -> list[Event]:
        return await self._pass("read", lambda: self.inner.read(ref, after_seq, max_bytes=max_bytes))

    def watch(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        return self._watching(ref, on_hint, data=data)

    @asynccontextmanager
    async def _watching(self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool) -> AsyncIterator[None]:
        def hear(hint: Hint) -> None:
            if not self.deaf and not self.down:
                on_hint(hint)

        async def nothing() -> None:
            pass

        await self._pass("watch" if data else "listen", nothing)
        async with self.inner.watch(ref, hear, data=data):
            yield

    async def heartbeat(
        self, claims: Sequence[tuple[StreamRef, int]], *, lease_seconds: float, ttl_seconds: float
    ) -> list[AppendReply]:
        return await self._pass(
            "heartbeat", lambda: self.inner.heartbeat(claims, lease_seconds=lease_seconds, ttl_seconds=ttl_seconds)
        )

    async def take(
        self, ref: StreamRef, *, lease_seconds: float, expected_epoch: int | None = None, force: bool = False
    ) -> TakeReply:
        return await self._pass(
            "take",
            lambda: self.inner.take(ref, lease_seconds=lease_seconds, expected_epoch=expected_epoch, force=force),
        )

    async def request_stop(self, ref: StreamRef) -> StopReply:
        return await self._pass("request_stop", lambda: self.inner.request_stop(ref))

    async def due(self, *, limit: int, share: Share | None = None) -> list[StreamRef]:
        return await self._pass("due", lambda: self.inner.due(limit=limit, share=share))

    async def share(self, worker: str, *, lease_seconds: float) -> Share:
        return await self._pass("share", lambda: self.inner.share(worker, lease_seconds=lease_seconds))

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        return await self._pass("seal", lambda: self.inner.seal(ref, epoch, seal))

    async def close(self, close: Close) -> AppendReply:
        return await self._pass("close", lambda: self.inner.close(close))

    async def lose(self, lost: Lost) -> AppendReply:
        return await self._pass("lose", lambda: self.inner.lose(lost))

    async def mark(
        self, ref: StreamRef, *, persisted: Persisted | None = None, quota: QuotaState | None = None
    ) -> Status:
        return await self._pass("mark", lambda: self.inner.mark(ref, persisted=persisted, quota=quota))

    async def erase(self, key: SessionKey, *, mark_seconds: float) -> None:
        await self._pass("erase", lambda: self.inner.erase(key, mark_seconds=mark_seconds))

    async def erased(self, key: SessionKey, since: float) -> bool:
        return await self._pass("erased", lambda: self.inner.erased(key, since))

    async def owe(self, ref: StreamRef, *, due_seconds: float) -> None:
        await self._pass("owe", lambda: self.inner.owe(ref, due_seconds=due_seconds))

    async def claim_owed(self, *, limit: int, claim_seconds: float) -> list[Owed]:
        return await self._pass("claim_owed", lambda: self.inner.claim_owed(limit=limit, claim_seconds=claim_seconds))

    async def postpone(
        self, ref: StreamRef, *, due_seconds: float, reason: str, ttl_seconds: float, count: bool = True
    ) -> Status:
        return await self._pass(
            "postpone",
            lambda: self.inner.postpone(
                ref, due_seconds=due_seconds, reason=reason, ttl_seconds=ttl_seconds, count=count
            ),
        )

    async def bury(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        return await self._pass("bury", lambda: self.inner.bury(ref, reason=reason, ttl_seconds=ttl_seconds))

    async def revive(self, ref: StreamRef, *, saves: bool = True) -> Status:
        return await self._pass("revive", lambda: self.inner.revive(ref, saves=saves))

    async def discharge(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        retention_seconds: float,
    ) -> Status:
        return await self._pass(
            "discharge",
            lambda: self.inner.discharge(ref, persisted=persisted, quota=quota, retention_seconds=retention_seconds),
        )

    async def owed(self, *, dead: bool, limit: int, after: StreamRef | None = None) -> list[Owed]:
        return await self._pass("owed", lambda: self.inner.owed(dead=dead, limit=limit, after=after))

    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        return await self._pass("previous", lambda: self.inner.previous(ref, message_id))

    async def active(self, *, limit: int) -> list[StreamMeta]:
        return await self._pass("active", lambda: self.inner.active(limit=limit))

    async def streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        return await self._pass("streams", lambda: self.inner.streams(key, limit=limit))

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
