"""A stream's whole life on a live store, from registration to erasure: what `doctor` finds missing permissions by.

It belongs to an owner of its own, nobody can have it as a session, and every trace of it expires within seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from ..errors import StoreError
from ..stores.appends import Append
from ..stores.records import Close, Hint, NewStream, RequestClaim, Seal, Status, Terminal
from ..stores.registrations import Registered
from ..stores.roles.stream_log import StreamLog
from ..stores.roles.stream_writes import StreamWrites
from ..stores.store import StreamStore
from ..stores.worker_hints import WorkerHint
from ..values import (
    START,
    EventKind,
    Outcome,
    Persisted,
    Position,
    QuotaState,
    SessionKey,
    StreamRef,
    new_message_id,
    new_stream_id,
)

__all__ = ["TrialError", "live_and_die"]

LEASE_SECONDS: Final = 60.0
TTL_SECONDS: Final = 30.0
"""Shorter than the lease: were the trial broken off, nobody finds it an orphan."""
DUE_SECONDS: Final = 3600.0
"""What it owes is nobody's work before it is gone."""
HINT_SECONDS: Final = 3.0


class TrialError(Exception):
    """A step answered what it should not. The text names step and answer."""


async def live_and_die(store: StreamStore) -> float:
    """Take a stream through every step. Returns the seconds that took.

    Raises:
        StoreError: a step was refused; its `operation` says which.
        TrialError: a step answered what it should not.
    """
    began = time.monotonic()
    ref = StreamRef(SessionKey("streamguard doctor", new_stream_id()), new_stream_id())
    try:
        await _use_outbox(store, ref, await _live(store, ref))
        await store.erase(ref.key, mark_seconds=1.0)
        _expect("erasure", await store.erasure(ref.key) is not None, True)
        _expect("meta", await store.meta(ref), None)
    except BaseException:
        with suppress(StoreError):
            await store.erase(ref.key, mark_seconds=1.0)
        raise
    return time.monotonic() - began


async def _live(store: StreamStore, ref: StreamRef) -> int:
    """Up to the seal. Returns the epoch that may close it."""
    owner, stream_id = ref.key.owner, ref.stream_id
    claim = RequestClaim(ref, "")
    _expect("claim_request", await store.claim_request(owner, stream_id, claim, ttl_seconds=TTL_SECONDS), claim)
    worker = new_stream_id()
    new = NewStream(ref, new_message_id(), "plain", "streamguard doctor", "", worker=worker)
    _expect("stop_pending_requests", await store.stop_pending_requests(ref.key, seconds=TTL_SECONDS, limit=1), True)
    _expect("withdraw", await store.withdraw(StreamRef(ref.key, new_stream_id()), refuse_seconds=1.0), Status.GONE)
    answer = await store.register(new, lease_seconds=LEASE_SECONDS, ttl_seconds=TTL_SECONDS, limit=None)
    if not isinstance(answer, Registered):
        raise TrialError("register: a session nobody can know of has a stream")
    epoch = answer.meta.epoch
    async with _heard(store, ref):
        (reply,) = await store.append([Append(ref, epoch, 1, [(EventKind.DATA, b"trial")], True)])
        _expect("append", reply.status, Status.OK)
    (reply,) = await store.heartbeat([(ref, epoch)], lease_seconds=LEASE_SECONDS, ttl_seconds=TTL_SECONDS)
    _expect("heartbeat", reply.status, Status.OK)
    _expect("read", [event.data for event in await store.read(ref, START, max_bytes=1_000)], [b"trial"])
    _, held = await store.check_position(ref, Position(epoch, 1))
    _expect("check_position", held, True)
    async with _told(store, worker, ref):
        await store.request_stop(ref)
    taken = await store.take_over(ref, lease_seconds=LEASE_SECONDS, force=True)
    if taken.status is not Status.OK or taken.meta is None:
        raise TrialError(f"take: the answer was {taken.status}")
    await store.expired_leases(limit=1)
    await store.report_viewers(stream_id, {stream_id: 1}, seconds=TTL_SECONDS)
    _expect("viewer_counts", (await store.viewer_counts()).get(stream_id), 1)
    await store.report_viewers(stream_id, {}, seconds=TTL_SECONDS)
    status, _ = await store.seal(ref, taken.meta.epoch, Seal(Outcome.STOPPED, 1))
    _expect("seal", status, Status.OK)
    await store.release_slot(owner, stream_id)
    return taken.meta.epoch


@asynccontextmanager
async def _told(store: StreamWrites, worker: str, ref: StreamRef) -> AsyncIterator[None]:
    """A stop that is asked for inside must reach the worker that writes the stream."""
    told = asyncio.Event()

    def on_hint(hint: WorkerHint) -> None:
        if hint.stream_id == ref.stream_id and hint.stop_requested:
            told.set()

    async with store.subscribe_worker(worker, on_hint):
        yield
        await _arrived(told, "stop: the worker was not told")


@asynccontextmanager
async def _heard(store: StreamLog, ref: StreamRef) -> AsyncIterator[None]:
    """What happens inside must reach a watcher."""
    heard = asyncio.Event()

    def on_hint(hint: Hint) -> None:
        if hint.events:
            heard.set()

    async with store.subscribe(ref, on_hint):
        yield
        await _arrived(heard, "watch: an append was not heard of")


async def _arrived(event: asyncio.Event, otherwise: str) -> None:
    try:
        async with asyncio.timeout(HINT_SECONDS):
            await event.wait()
    except TimeoutError:
        raise TrialError(f"{otherwise} within {HINT_SECONDS:.0f} seconds") from None


async def _use_outbox(store: StreamStore, ref: StreamRef, epoch: int) -> None:
    await store.enqueue(ref, due_seconds=DUE_SECONDS)
    terminal = Terminal(Outcome.STOPPED, Persisted.PENDING, QuotaState.NONE, "trial")
    reply = await store.close(Close(ref, epoch, [], terminal, TTL_SECONDS, b"{}"))
    _expect("close", reply.status, Status.OK)
    postponed = await store.retry_later(ref, due_seconds=DUE_SECONDS, reason="trial", ttl_seconds=TTL_SECONDS)
    _expect("retry_later", postponed, Status.OK)
    _expect("dead_letter", await store.dead_letter(ref, reason="trial", ttl_seconds=TTL_SECONDS), Status.OK)
    await store.previous(ref, "trial")
    _expect("update_meta", await store.update_meta(ref, persisted=Persisted.NO), Status.OK)
    discharged = await store.complete(ref, persisted=Persisted.NO, retention_seconds=TTL_SECONDS)
    _expect("complete", discharged, Status.OK)


def _expect(step: str, answer: object, wanted: object) -> None:
    if answer != wanted:
        raise TrialError(f"{step}: the answer was {answer!s}, not {wanted!s}")
