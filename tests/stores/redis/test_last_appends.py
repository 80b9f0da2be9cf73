"""A stream's last events, its seal and its close in one script: what the steps would leave one by one, or nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamguard.stores.appends import Append, LateDecision
from streamguard.stores.records import Close, Seal, Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.scripts import Scripts
from streamguard.testing._stream_store.steps import (
    Hints,
    a_seal,
    closing,
    epoch_of,
    log,
    meta,
    new_stream,
    payloads,
    take,
    try_register,
)
from streamguard.values import StreamState

from ...harness.redis import RedisServer
from .plain_writer import BUG, Make, PlainWriter, numbers
from .test_one_step_ends import BEFORE, comparable

pytestmark = pytest.mark.anyio

NOTHING = (Status.NOT_SEALED, None, None)


async def unchanged(store: RedisStore, writer: PlainWriter, close: Close, seal: Seal, last: Append) -> None:
    """Nothing is done, and the writer goes on."""
    before, logged = await meta(store, writer.ref), payloads(await log(store, writer.ref))
    assert await store.seal_and_close(close, seal, last) == NOTHING
    after = await meta(store, writer.ref)
    assert (after.state, after.seal, after.last_seq) == (before.state, before.seal, before.last_seq)
    assert payloads(await log(store, writer.ref)) == logged


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("before", BEFORE)
async def test_one_script_leaves_what_steps_leave(make: Make, redis_url: str, before: str, count: int) -> None:
    store = await make(redis_url)
    ends = []
    seal = a_seal(5 + count)
    for at_once in (True, False):
        writer = await PlainWriter.begin(store)
        await BEFORE[before](store, writer)
        close, last = closing(writer.ref, b"closing"), writer.request(*[b"last"] * count)
        if at_once:
            status, standing, answer = await store.seal_and_close(close, seal, last)
        else:
            await store.append([last])
            status, standing, answer = await store.seal_and_close(close, seal)
        assert (status, standing, answer and answer.status) == (Status.OK, seal, Status.OK)
        record = await meta(store, writer.ref)
        assert (record.state, record.seal, record.last_seq) == (StreamState.CLOSED, seal, 7 + count)
        assert await numbers(writer) == [*range(1, 8 + count)]
        assert (await writer.add()).status is Status.SEALED
        ends.append((comparable(record, writer.ref), payloads(await log(store, writer.ref))[:-1]))
        if at_once:  # as after a lost reply
            status, standing, answer = await store.seal_and_close(close, seal, last)
            assert (status, standing, answer and answer.status) == (Status.SEALED, seal, Status.DUPLICATE)
            assert await numbers(writer) == [*range(1, 8 + count)]
    (one, logged), (two, logged_by_two) = ends
    assert comparable(one, two.ref) == two
    assert logged == logged_by_two


async def test_they_may_be_the_first(make: Make, redis_url: str) -> None:
    store = await make(redis_url)
    writer = PlainWriter(store, new_stream())
    await try_register(store, writer.new)
    seal = a_seal(2)
    status, standing, _ = await store.seal_and_close(closing(writer.ref), seal, writer.request(b"a", b"b"))
    assert (status, standing) == (Status.OK, seal)
    assert payloads(await log(store, writer.ref))[:2] == [b"a", b"b"]


async def test_who_watches_is_handed_all_of_it(make: Make, redis_url: str) -> None:
    store = await make(redis_url)
    writer = await PlainWriter.begin(store)
    hints = Hints()
    async with store.subscribe(writer.ref, hints):
        await store.seal_and_close(closing(writer.ref, b"end"), a_seal(5), writer.request(b"4", b"5"))
        await hints.until(
            lambda seen: any(hint.first_seq == 4 and len(hint.events) == 4 for hint in seen),
            description="the last events and the end",
        )


@BUG
async def test_not_past_their_time(make: Make, redis_url: str, bug: bool) -> None:
    """Their writer may have shown them as not logged."""
    line = (
        "if until_ms ~= '' and tonumber(at) >= tonumber(until_ms) then "
        "return {NOT_SEALED, last, stop, tonumber(at)} end"
    )
    store = await make(redis_url, Scripts.load().replacing("close", line, "") if bug else None)
    writer = await PlainWriter.begin(store)
    last = replace(writer.request(b"late"), within_seconds=-1.0)
    answer = await store.seal_and_close(closing(writer.ref), a_seal(4), last)
    assert (answer == NOTHING) is not bug
    assert (await numbers(writer) == [1, 2, 3]) is not bug


async def test_not_where_the_log_has_some_of_them(make: Make, redis_url: str) -> None:
    """The record's number is that of an earlier event: the log itself says so."""
    store = await make(redis_url)
    writer = await PlainWriter.begin(store)
    assert (await writer.add(b"4", b"5")).status is Status.OK  # the record knows of these
    asked = writer.request(b"6")
    await writer.add(b"6")
    await unchanged(store, writer, closing(writer.ref), a_seal(6), asked)
    await unchanged(store, writer, closing(writer.ref), a_seal(7), writer.request(b"6", b"7", seq=6))
    assert (await writer.add(b"7")).status is Status.OK


async def test_not_where_events_are_missing_before_them(make: Make, redis_url: str) -> None:
    store = await make(redis_url)
    writer = await PlainWriter.begin(store)
    await unchanged(store, writer, closing(writer.ref), a_seal(5), writer.request(b"5", seq=5))


@pytest.mark.parametrize("how", ["short", "refreshed", "deciding", "owing"])
async def test_not_where_more_is_asked(make: Make, redis_url: str, how: str) -> None:
    store = await make(redis_url)
    writer = await PlainWriter.begin(store)
    close, seal, last = closing(writer.ref), a_seal(4), writer.request(b"4")
    match how:
        case "short":
            seal = a_seal(5)
        case "refreshed":
            last = replace(last, refresh=True)
        case "owing":
            close = closing(writer.ref, owed=b"owed")
        case _:
            writer = PlainWriter(store, new_stream())
            await try_register(store, writer.new)
            close, seal = closing(writer.ref), a_seal(1)
            last = replace(writer.request(b"1"), decided=LateDecision("opaque", "", "message"))
    await unchanged(store, writer, close, seal, last)


async def test_not_by_a_writer_that_was_superseded(make: Make, redis_url: str) -> None:
    store = await make(redis_url)
    writer = await PlainWriter.begin(store)
    close, last = closing(writer.ref), writer.request(b"4")
    await take(store, writer.ref, force=True)
    await unchanged(store, writer, close, a_seal(4), last)


async def test_not_behind_a_seal_that_stands(make: Make, redis_url: str) -> None:
    store = await make(redis_url)
    writer = await PlainWriter.begin(store)
    await store.seal(writer.ref, epoch_of(writer.ref), a_seal(3))
    await unchanged(store, writer, closing(writer.ref), a_seal(4), writer.request(b"4"))


@pytest.mark.parametrize("becomes", ["evicted", "another type", "gone"])
async def test_not_where_the_log_or_the_record_is_gone(
    make: Make, redis_url: str, redis_server: RedisServer, redis_database: int, becomes: str
) -> None:
    store, client = await make(redis_url), redis_server.client(redis_database)
    writer = await PlainWriter.begin(store)
    keys = Keys("streamguard").stream(writer.ref)
    client.delete(keys.log)
    client.hset(keys.meta, "n", "3")
    if becomes == "another type":
        client.set(keys.log, "no log", ex=60)
    if becomes == "gone":
        client.delete(keys.meta)
    assert await store.seal_and_close(closing(writer.ref), a_seal(4), writer.request(b"4")) == NOTHING
    if becomes != "gone":
        record = await meta(store, writer.ref)
        assert (record.state, record.seal) == (StreamState.OPEN, None)


async def test_after_it_was_refused_the_writer_goes_on(make: Make, redis_url: str) -> None:
    """What is kept of the stream is checked anew."""
    store = await make(redis_url)
    writer = await PlainWriter.begin(store)
    late = replace(writer.request(b"4"), within_seconds=-1.0)
    await unchanged(store, writer, closing(writer.ref), a_seal(4), late)
    for _ in range(3):
        assert (await writer.add()).status is Status.OK
    assert await numbers(writer) == [1, 2, 3, 4, 5, 6]
