"""Stores with a seeded bug each, which schedules must find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from streamguard.stores.appends import Append, AppendReply, AppendRequest
from streamguard.stores.records import UNTOLD, Close, LostLog, OutboxEntry, Seal, Status, StreamMeta, TakeoverReply
from streamguard.stores.store import StreamStore
from streamguard.values import Event, Persisted, Position, SessionKey, StreamRef

__all__ = ["BUGS"]


class _Buggy:
    """Passes everything on."""

    def __init__(self, store: StreamStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def _append_once(self, item: AppendRequest, **changed: Any) -> AppendReply:
        given = Append(item.ref, item.epoch, item.first_seq, tuple(item.events), item.refresh)
        (reply,) = await self._store.append([replace(given, **changed)])
        return reply


class _AcceptsDuplicates(_Buggy):
    """What was there already, since the reply was lost, is added again."""

    async def append(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        replies = list(await self._store.append(batch))
        for n, reply in enumerate(replies):
            if reply.status is Status.DUPLICATE:
                replies[n] = await self._append_once(batch[n], first_seq=reply.last_seq + 1)
        return replies


class _ChecksNoGap(_Buggy):
    """After a failover the writer goes on where it was: what is missing before is not noticed."""

    async def append(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        replies = list(await self._store.append(batch))
        for n, reply in enumerate(replies):
            if reply.status is Status.GAP:
                replies[n] = await self._append_once(batch[n], first_seq=reply.last_seq + 1)
        return replies


class _DropsTheLast(_Buggy):
    """Acknowledges an event of several that it does not add."""

    async def append(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        return [
            await self._append_once(item, events=tuple(item.events)[: max(1, len(item.events) - 1)]) for item in batch
        ]


class _FencesNobody(_Buggy):
    """A superseded writer's appends are added under the present epoch."""

    async def append(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        replies = list(await self._store.append(batch))
        for n, reply in enumerate(replies):
            meta = await self._store.meta(batch[n].ref) if reply.status is Status.FENCED else None
            if meta is not None:
                replies[n] = await self._append_once(batch[n], epoch=meta.epoch, first_seq=meta.last_seq + 1)
        return replies


class _HidesLosses(_Buggy):
    """Every position is held, whatever was lost."""

    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        meta, _ = await self._store.check_position(ref, at)
        return meta, meta is not None


class _ReadsWithAGap(_Buggy):
    """A read leaves out its first event."""

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        found = await self._store.read(ref, after, max_bytes=max_bytes)
        return found[1:] if after.seq > 2 and len(found) > 1 else found


class _ForgetsTheEpoch(_Buggy):
    """Whoever takes a stream over goes on under the old epoch."""

    async def take_over(self, ref: StreamRef, **how: Any) -> TakeoverReply:
        before = await self._store.meta(ref)
        reply = await self._store.take_over(ref, **how)
        if reply.meta is None or before is None or reply.status is not Status.OK:
            return reply
        return TakeoverReply(reply.status, replace(reply.meta, last_seq=max(0, before.last_seq - 1)))


class _SealsTwice(_Buggy):
    """Takes the log's end for whatever the seal says, without looking."""

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        status, standing = await self._store.seal(ref, epoch, seal)
        if status is Status.GAP:
            meta = await self._store.meta(ref)
            assert meta is not None
            return await self._store.seal(ref, epoch, replace(seal, last_seq=meta.last_seq))
        return status, standing


class _EndsNothing(_Buggy):
    """Acknowledges an end that it does not write."""

    async def seal_and_close(
        self, close: Close, seal: Seal, last: AppendRequest | None = None
    ) -> tuple[Status, Seal | None, AppendReply | None]:
        meta = await self._store.meta(close.ref)
        if meta is None or meta.epoch != close.epoch or meta.seal is not None or meta.lost:
            return await self._store.seal_and_close(close, seal, last)
        return Status.OK, seal, AppendReply(Status.OK, seal.last_seq + 2, stop_requested=False)


class _RenewsForAnybody(_Buggy):
    """A superseded writer's heartbeat is answered as its successor's."""

    async def heartbeat(self, claims: Sequence[tuple[StreamRef, int]], **how: Any) -> list[AppendReply]:
        metas = [await self._store.meta(ref) for ref, _ in claims]
        present = [
            (ref, epoch if meta is None else meta.epoch) for (ref, epoch), meta in zip(claims, metas, strict=True)
        ]
        return await self._store.heartbeat(present, **how)


class _LetsAllWin(_Buggy):
    """Of two workers that take a stream over from one epoch, both win."""

    async def take_over(self, ref: StreamRef, **how: Any) -> TakeoverReply:
        return await self._store.take_over(ref, **how | {"expected_epoch": None, "force": True})


class _HidesOrphans(_Buggy):
    """A stream with an event is never found by a sweep."""

    async def expired_leases(self, **how: Any) -> list[StreamRef]:
        found = await self._store.expired_leases(**how)
        metas = [await self._store.meta(ref) for ref in found]
        return [ref for ref, meta in zip(found, metas, strict=True) if meta is None or meta.last_seq == 0]


class _BringsBack(_Buggy):
    """Whoever declares a log lost begins the stream anew, though its session was erased meanwhile."""

    async def declare_lost(self, lost: LostLog) -> AppendReply:
        return await self._store.declare_lost(lost._replace(epoch=UNTOLD, new=replace(lost.new, age_seconds=0.0)))


class _ErasesNothing(_Buggy):
    """Acknowledges an erasure that it does not carry out."""

    async def erase(self, key: SessionKey, **how: Any) -> None:
        del key, how


class _OwesInSecret(_Buggy):
    """What a close owes is entered nowhere."""

    async def enqueue(self, ref: StreamRef, **how: Any) -> None:
        del ref, how


class _SettlesTooSoon(_Buggy):
    """Whoever claims what is owed is done with it, and dies."""

    async def claim_due(self, **how: Any) -> list[OutboxEntry]:
        for owed in await self._store.claim_due(**how):
            await self._store.complete(owed.ref, persisted=Persisted.YES, retention_seconds=60.0)
        return []


def _as_store(made: Callable[[StreamStore], _Buggy]) -> Callable[[StreamStore], StreamStore]:
    return lambda store: cast("StreamStore", made(store))


BUGS: Final = {
    "a duplicate is accepted after a lost reply": _as_store(_AcceptsDuplicates),
    "appends are not checked after a failover": _as_store(_ChecksNoGap),
    "an acknowledged event is not added": _as_store(_DropsTheLast),
    "a superseded writer is not fenced": _as_store(_FencesNobody),
    "losses are not reported": _as_store(_HidesLosses),
    "a read leaves an event out": _as_store(_ReadsWithAGap),
    "who takes over is told an older end": _as_store(_ForgetsTheEpoch),
    "a seal does not look where the log ends": _as_store(_SealsTwice),
    "an end in one step is not written": _as_store(_EndsNothing),
    "a superseded writer renews the lease": _as_store(_RenewsForAnybody),
    "two sweeps take a stream from one epoch": _as_store(_LetsAllWin),
    "no sweep finds a stream": _as_store(_HidesOrphans),
    "an erased stream comes back with its writer": _as_store(_BringsBack),
    "an erasure deletes nothing": _as_store(_ErasesNothing),
    "nobody hears of what is owed": _as_store(_OwesInSecret),
    "what is owed is forgotten by its claim": _as_store(_SettlesTooSoon),
}
"""What wraps a store, by what is wrong with it."""
