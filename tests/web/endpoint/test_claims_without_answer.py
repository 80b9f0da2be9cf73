"""What a request with a key is told when the answer of the first one cannot be shown any more."""

from __future__ import annotations

import pytest

from streamguard.faults import FaultCode
from streamguard.observations import Signal
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import UNTOLD, ClaimState, Close, LostLog, NewStream, RequestClaim, Seal, Terminal
from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.steps import registered, try_register
from streamguard.values import Outcome, Persisted, QuotaState, StreamRef, new_stream_id
from tests.harness.redis import RedisServer
from tests.runtime.stage import KEY, working

from ..claiming import THE_KEY, claimed, refused, told

pytestmark = pytest.mark.anyio


async def lost(store: StreamStore, persisted: Persisted) -> NewStream:
    """A begun claim whose stream lost its log, and what became of saving its reply."""
    new = NewStream(StreamRef(KEY, new_stream_id()), "msg_1", "plain", "chat", "", 1.0)
    await claimed(store, RequestClaim(new.ref, THE_KEY.fingerprint, ClaimState.BEGUN))
    terminal = Terminal(Outcome.COMPLETED, persisted, QuotaState.NONE, new.message_id)
    await store.declare_lost(LostLog(new, UNTOLD, 0.0, 60.0, terminal))
    await store.update_meta(new.ref, persisted=persisted)
    return new


async def test_a_saved_answer_without_a_log_is_not_written_again() -> None:
    store = MemoryStore()
    new = await lost(store, Persisted.YES)
    async with working(store) as worker:
        assert await refused(worker) == (FaultCode.RESUME_FAILED, "not_registered")
        (seen,) = worker.signals(Signal.FAULT)
        assert seen.fault is not None
        assert (seen.fault.status, seen.fault.stream_id, seen.fault.message_id) == (409, new.ref.stream_id, "msg_1")


async def test_an_answer_that_nobody_has_is_written_again() -> None:
    store = MemoryStore()
    new = await lost(store, Persisted.NO)
    async with working(store) as worker:
        assert (await told(worker)).ref != new.ref


async def test_an_answer_whose_log_is_gone(redis_server: RedisServer, redis_database: int) -> None:
    store = RedisStore(redis_server.database_url(redis_database), command_seconds=2.0)
    client = redis_server.client(redis_database)
    async with working(store) as worker:
        await told(worker)
        for key in client.scan_iter("*:l:*"):
            client.delete(key)
        assert await refused(worker) == (FaultCode.RESUME_FAILED, "stream_gone")


async def test_an_answer_in_a_protocol_of_a_later_version() -> None:
    store = MemoryStore()
    new = NewStream(StreamRef(KEY, new_stream_id()), "msg_1", "later", "chat", "")
    epoch = registered(await try_register(store, new)).epoch
    await store.seal(new.ref, epoch, Seal(Outcome.COMPLETED, 0))
    terminal = Terminal(Outcome.COMPLETED, Persisted.NOT_ASKED, QuotaState.NONE, "msg_1")
    await store.close(Close(new.ref, epoch, [], terminal, 60.0))
    await claimed(store, RequestClaim(new.ref, THE_KEY.fingerprint, ClaimState.BEGUN))
    async with working(store) as worker:
        assert await refused(worker) == (FaultCode.STORE_UNAVAILABLE, "unknown_protocol")
