"""Clauses of the store contract about what a worker is told of the streams that it writes."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

from ...stores.records import NewStream, StreamMeta
from ...stores.store import StreamStore
from ...stores.worker_hints import WorkerHint
from ...values import StreamRef
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    Collected,
    begin,
    end,
    epoch_of,
    losing,
    meta,
    new_stream,
    registered,
    seal,
    take,
    try_register,
)

__all__ = ["WorkerHintClauses"]


class WorkerHints(Collected[WorkerHint]):
    """Collects what a worker is told."""

    async def of(self, ref: StreamRef, when: Callable[[WorkerHint], bool], *, description: str) -> WorkerHint:
        """Wait for such a hint about a stream."""

        def wanted(seen: list[WorkerHint]) -> list[WorkerHint]:
            return [hint for hint in seen if hint.stream_id == ref.stream_id and when(hint)]

        await self.until(lambda seen: bool(wanted(seen)), description=description)
        return wanted(self.seen)[0]


def fresh_worker() -> str:
    """A worker that nobody was: suites may share one store."""
    return secrets.token_hex(12)


def stream_of(worker: str) -> NewStream:
    return replace(new_stream(), worker=worker)


async def begun(store: StreamStore, worker: str, *, lease: float = LONG_SECONDS) -> StreamMeta:
    return registered(await try_register(store, stream_of(worker), lease=lease))


class WorkerHintClauses(Clauses):
    """What workers are told."""

    async def test_a_record_says_which_worker_writes_its_stream(self, store: StreamStore) -> None:
        worker, other = fresh_worker(), fresh_worker()
        record = await begun(store, worker)
        assert record.worker == worker
        assert (await meta(store, record.ref)).worker == worker
        assert (await meta(store, await begin(store))).worker == ""
        taken = await take(store, record.ref, force=True, worker=other)
        assert taken.meta is not None
        assert taken.meta.worker == other
        await take(store, record.ref, force=True)
        assert (await meta(store, record.ref)).worker == ""
        lost = stream_of(worker)
        await store.declare_lost(losing(lost))
        assert (await meta(store, lost.ref)).worker == worker

    async def test_a_worker_is_told_of_a_stop(self, store: StreamStore) -> None:
        worker, hints = fresh_worker(), WorkerHints()
        async with store.subscribe_worker(worker, hints):
            ref = (await begun(store, worker)).ref
            await store.request_stop(ref)
            hint = await hints.of(ref, lambda hint: hint.stop_requested, description="the stop")
        assert hint.epoch == epoch_of(ref)

    async def test_a_worker_is_told_of_every_stop(self, store: StreamStore) -> None:
        """Of a stream that it began before it subscribed too, and when the stop is repeated."""
        worker, hints = fresh_worker(), WorkerHints()
        refs = [(await begun(store, worker)).ref]
        await store.request_stop(refs[0])
        async with store.subscribe_worker(worker, hints):
            refs += [(await begun(store, worker)).ref for _ in range(3)]
            for ref in refs:
                await store.request_stop(ref)
            for ref in refs:
                await hints.of(ref, lambda hint: hint.stop_requested, description=f"the stop of {ref.stream_id}")

    async def test_a_worker_is_told_that_another_took_a_stream_over(self, store: StreamStore) -> None:
        worker, hints = fresh_worker(), WorkerHints()
        async with store.subscribe_worker(worker, hints):
            ref = (await begun(store, worker)).ref
            await take(store, ref, force=True, worker=fresh_worker())
            hint = await hints.of(ref, lambda hint: hint.epoch != epoch_of(ref), description="the takeover")
        assert hint.epoch == epoch_of(ref, 2)

    async def test_a_refused_takeover_tells_nobody(self, store: StreamStore) -> None:
        worker, hints = fresh_worker(), WorkerHints()
        async with store.subscribe_worker(worker, hints):
            ref = (await begun(store, worker)).ref
            await take(store, ref)
            await take(store, ref, expected=2, force=True)
            await store.request_stop(ref)
            await hints.of(ref, lambda hint: hint.stop_requested, description="the stop")
        assert {hint.epoch for hint in hints.seen if hint.stream_id == ref.stream_id} == {epoch_of(ref)}

    async def test_whoever_took_a_stream_over_is_told(self, store: StreamStore) -> None:
        worker, hints = fresh_worker(), WorkerHints()
        async with store.subscribe_worker(worker, hints):
            ref = await begin(store)
            await take(store, ref, force=True, worker=worker)
            await store.request_stop(ref)
            hint = await hints.of(ref, lambda hint: hint.stop_requested, description="the stop")
        assert hint.epoch == epoch_of(ref, 2)

    async def test_a_worker_is_told_of_an_erasure(self, store: StreamStore) -> None:
        worker, hints = fresh_worker(), WorkerHints()
        async with store.subscribe_worker(worker, hints):
            sealed = (await begun(store, worker)).ref
            await seal(store, sealed)
            for ref in ((await begun(store, worker)).ref, sealed):
                await store.erase(ref.key, mark_seconds=LONG_SECONDS)
                await hints.of(ref, lambda hint: hint.epoch == 0, description="the erasure")

    async def test_a_worker_is_told_of_its_own_streams_only(self, store: StreamStore) -> None:
        worker, other = fresh_worker(), fresh_worker()
        hints, others = WorkerHints(), WorkerHints()
        async with store.subscribe_worker(worker, hints), store.subscribe_worker(other, others):
            mine, theirs = (await begun(store, worker)).ref, (await begun(store, other)).ref
            for ref in (await begin(store), mine, theirs):
                await store.request_stop(ref)
            await hints.of(mine, lambda hint: hint.stop_requested, description="the stop")
            await others.of(theirs, lambda hint: hint.stop_requested, description="the other stop")
        assert {hint.stream_id for hint in hints.seen} - {None} == {mine.stream_id}
        assert {hint.stream_id for hint in others.seen} - {None} == {theirs.stream_id}

    async def test_what_ended_is_no_news_to_a_worker(self, store: StreamStore) -> None:
        worker, hints = fresh_worker(), WorkerHints()
        async with store.subscribe_worker(worker, hints):
            ended, running = (await begun(store, worker)).ref, (await begun(store, worker)).ref
            await end(store, ended)
            await store.request_stop(ended)
            await take(store, ended, force=True)
            await store.erase(ended.key, mark_seconds=LONG_SECONDS)
            await store.request_stop(running)
            await hints.of(running, lambda hint: hint.stop_requested, description="the stop")
        assert ended.stream_id not in [hint.stream_id for hint in hints.seen]

    async def test_a_worker_that_left_is_told_nothing(self, store: StreamStore) -> None:
        worker, stayed = fresh_worker(), fresh_worker()
        hints, others = WorkerHints(), WorkerHints()
        async with store.subscribe_worker(stayed, others):
            async with store.subscribe_worker(worker, hints):
                ref = (await begun(store, worker)).ref
            other = (await begun(store, stayed)).ref
            await store.request_stop(ref)
            await store.request_stop(other)
            await others.of(other, lambda hint: hint.stop_requested, description="the stop")
        assert hints.seen == []
