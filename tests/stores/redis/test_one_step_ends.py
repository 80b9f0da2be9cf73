"""A stream that is sealed and closed in one step: its script looks at the log only where it has to, and ends alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from streamguard.stores.records import Status, StreamMeta
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.scripts import Scripts
from streamguard.testing._stream_store.steps import Hints, a_seal, closing, epoch_of, log, meta, payloads
from streamguard.values import StreamRef, StreamState, Usage

from ...harness.redis import RedisServer
from .plain_writer import BUG, Make, PlainWriter

pytestmark = pytest.mark.anyio


async def noted(store: RedisStore, writer: PlainWriter) -> None:
    """The record knows the log's last event: the script added it."""
    assert (await writer.add(b"4", b"5")).status is Status.OK


async def told_by_the_log(store: RedisStore, writer: PlainWriter) -> None:
    """Only the log knows it: a plain XADD added it."""
    for _ in range(2):
        assert (await writer.add()).status is Status.OK


async def stopped(store: RedisStore, writer: PlainWriter) -> None:
    """The log is shut."""
    await noted(store, writer)
    await store.request_stop(writer.ref)


async def watched(store: RedisStore, writer: PlainWriter) -> None:
    """The log is shut, and the end is published."""
    await told_by_the_log(store, writer)
    async with store.subscribe(writer.ref, Hints()):
        pass


async def consuming(store: RedisStore, writer: PlainWriter) -> None:
    """A heartbeat said what was consumed."""
    await noted(store, writer)
    claims = [(writer.ref, epoch_of(writer.ref))]
    await store.heartbeat(claims, lease_seconds=60, ttl_seconds=60, consumed={writer.ref: Usage({"tokens": 3})})


BEFORE = {found.__name__: found for found in (noted, told_by_the_log, stopped, watched, consuming)}


def comparable(record: StreamMeta, ref: StreamRef) -> StreamMeta:
    """What does not differ from one stream to the next."""
    return replace(
        record,
        ref=ref,
        message_id="",
        epoch=0,
        last_epoch=0,
        created_at=0.0,
        age_seconds=0.0,
        closed_seconds=None,
        lease_seconds=0.0,
        viewed_seconds=None,
    )


@pytest.mark.parametrize("usage", [None, Usage({"tokens": 7})], ids=["", "and charged"])
@pytest.mark.parametrize("before", BEFORE)
async def test_one_step_leaves_what_two_leave(make: Make, redis_url: str, before: str, usage: Usage | None) -> None:
    store = await make(redis_url)
    ends: list[tuple[StreamMeta, list[bytes]]] = []
    seal = replace(a_seal(5), usage=usage)
    for at_once in (True, False):
        writer = await PlainWriter.begin(store)
        await BEFORE[before](store, writer)
        close = closing(writer.ref, b"closing")
        if at_once:
            status, standing, answer = await store.seal_and_close(close, seal)
            assert (status, standing) == (Status.OK, seal)
        else:
            assert await store.seal(writer.ref, close.epoch, seal) == (Status.OK, seal)
            answer = await store.close(close)
        assert answer is not None
        assert (answer.status, answer.last_seq) == (Status.OK, 7)
        record = await meta(store, writer.ref)
        assert record.state is StreamState.CLOSED
        assert record.seal == seal
        assert record.usage == usage
        assert (await writer.add()).status is Status.SEALED
        ends.append((comparable(record, writer.ref), payloads(await log(store, writer.ref))[:-1]))
    (one, logged), (two, logged_by_two) = ends
    assert comparable(one, two.ref) == two
    assert len(logged) == len(logged_by_two) == 6


@BUG
async def test_an_end_counts_the_logs_events_not_the_records(make: Make, redis_url: str, bug: bool) -> None:
    """The record's number may be that of an earlier event: such an end lacks what plain XADDs added since."""
    line = "if last_of(log_key, before) ~= before then return {NOT_SEALED, before, stop} end"
    store = await make(redis_url, Scripts.load().replacing("close", line, "") if bug else None)
    writer = await PlainWriter.begin(store)
    await noted(store, writer)
    await writer.add()
    answer = await store.seal_and_close(closing(writer.ref), a_seal(5))
    if bug:
        assert answer[0] is Status.OK
        return
    assert answer == (Status.GAP, None, None)
    record = await meta(store, writer.ref)
    assert (record.state, record.last_seq, record.seal) == (StreamState.OPEN, 6, None)
    status, _, closed = await store.seal_and_close(closing(writer.ref), a_seal(6))
    assert status is Status.OK
    assert closed is not None
    assert closed.last_seq == 7


async def test_an_end_without_its_log_is_sealed_all_the_same(
    make: Make, redis_url: str, redis_server: RedisServer, redis_database: int
) -> None:
    """The log was evicted: what is left says how the stream ended, as after two steps."""
    store, client = await make(redis_url), redis_server.client(redis_database)
    steps: list[Callable[[PlainWriter], Awaitable[object]]] = [
        lambda writer: store.seal_and_close(closing(writer.ref), a_seal(3)),
        lambda writer: store.seal(writer.ref, epoch_of(writer.ref), a_seal(3)),
    ]
    ends = []
    for step in steps:
        writer = await PlainWriter.begin(store)
        client.hset(Keys("streamguard").stream(writer.ref).meta, "n", "3")
        client.delete(Keys("streamguard").stream(writer.ref).log)
        await step(writer)
        ends.append(await meta(store, writer.ref))
    one, two = ends
    assert comparable(one, two.ref) == comparable(two, two.ref)
    assert one.state is StreamState.SEALED
