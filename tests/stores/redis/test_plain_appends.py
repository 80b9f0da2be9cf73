"""Lone events are plain XADDs, and lose nothing by that: each guard has a bug without it, which its test finds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from streamguard.deadlines import Deadline
from streamguard.errors import StoreUnavailableError
from streamguard.stores.appends import AppendReply
from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore, driver
from streamguard.stores.redis.append_calls import KEPT_NUMBERS
from streamguard.stores.redis.driver import Connection, RawConnection
from streamguard.stores.redis.scripts import Scripts
from streamguard.testing._stream_store.steps import (
    Hints,
    a_seal,
    closing,
    log,
    losing,
    payloads,
    take,
    tombstone,
)

from ...harness.proxy import FaultProxy
from ...harness.redis import RedisServer
from .plain_writer import BUG, Make, PlainWriter, numbers, scripts_called, without_comparing

pytestmark = pytest.mark.anyio


# -- what goes how ----------------------------------------------------------------------------------------------------


async def test_lone_events_need_no_script(make: Make, own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = await make(server.url)
    one, other = [await PlainWriter.begin(store) for _ in range(2)]
    server.client().config_resetstat()
    for _ in range(20):
        replies = await store.append([one.request(), other.request()])
        one.last, other.last = one.last + 1, other.last + 1
        assert list(replies) == [AppendReply(Status.OK, one.last, False)] * 2
    assert scripts_called(server.client()) == 0
    assert await numbers(one) == await numbers(other) == list(range(1, 24))
    commands = server.client().info("commandstats")
    assert {name for name in commands if commands[name]["calls"] >= 20} == {
        "cmdstat_multi",
        "cmdstat_exec",
        "cmdstat_xadd",
        "cmdstat_watch",
        "cmdstat_exists",
    }


async def test_events_of_every_size_need_no_script(make: Make, own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = await make(server.url)
    writer = await PlainWriter.begin(store)
    server.client().config_resetstat()
    sizes = [0, 1, 9, 10, KEPT_NUMBERS - 1, KEPT_NUMBERS, KEPT_NUMBERS + 1, 100_000]
    for size in sizes:
        assert (await writer.add(b"x" * size)).status is Status.OK
    assert scripts_called(server.client()) == 0
    assert [len(payload) for payload in payloads(await log(store, writer.ref))[3:]] == sizes


async def test_several_events_at_once_are_one_script_and_lone_ones_beside_them_are_not(
    make: Make, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    store = await make(server.url)
    one, several, long = [await PlainWriter.begin(store) for _ in range(3)]
    server.client().config_resetstat()
    replies = await store.append([one.request(), several.request(b"a", b"x" * 9_000), long.request(b"x" * 10_000)])
    assert [(reply.status, reply.last_seq) for reply in replies] == [(Status.OK, n) for n in (4, 5, 4)]
    assert scripts_called(server.client()) == 1
    several.last = 5
    assert (await several.add()).last_seq == 6
    assert scripts_called(server.client()) == 1
    for digits in range(9, 120):
        assert (await several.add(seq=None)).last_seq == digits - 2
    assert await numbers(several) == list(range(1, 118))


# -- what somebody else decides while an event is on its way ----------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    decide: Callable[[RedisStore, PlainWriter], Awaitable[object]]
    answer: Status
    bug: tuple[str, str, str] | None
    """None where the event's number is taken; see `test_shut_logs`."""


async def seal(store: RedisStore, writer: PlainWriter) -> object:
    return await store.seal(writer.ref, writer.request().epoch, a_seal(3))


async def close(store: RedisStore, writer: PlainWriter) -> object:
    await seal(store, writer)
    return await store.close(closing(writer.ref))


DECISIONS = {
    "a takeover": Decision(
        lambda store, writer: take(store, writer.ref, force=True),
        Status.FENCED,
        ("take_over", "  shut(log_key, digits(next_epoch))\n", ""),
    ),
    "a seal": Decision(seal, Status.SEALED, ("seal", "shut(log_key, epoch)\nredis", "redis")),
    "an end": Decision(close, Status.SEALED, None),
    "a lost log": Decision(
        lambda store, writer: store.declare_lost(losing(writer.new)),
        Status.LOST,
        ("declare_lost", "  shut(log_key, stored_epoch)\nelse", "else"),
    ),
    "a tombstone": Decision(
        lambda store, writer: store.declare_lost(losing(writer.new, terminal=tombstone())), Status.SEALED, None
    ),
    "an erasure": Decision(
        lambda store, writer: store.erase(writer.ref.key, mark_seconds=60),
        Status.GONE,
        ("erase", "meta_key, log_prefix .. id,", "meta_key,"),
    ),
}


@pytest.mark.parametrize(
    ("what", "bug"),
    [(what, bug) for what, decision in DECISIONS.items() for bug in ((False, True) if decision.bug else (False,))],
)
async def test_an_event_that_was_on_its_way_when_somebody_decided(
    make: Make, proxy: FaultProxy, redis_url: str, redis_database: int, what: str, bug: bool
) -> None:
    """It is in no log, and its writer is told why: several of them, in one pipeline."""
    decision = DECISIONS[what]
    scripts = Scripts.load().replacing(*decision.bug) if bug and decision.bug else None
    store = await make(proxy.redis_url(redis_database))
    elsewhere = await make(redis_url, scripts)
    writers = [await PlainWriter.begin(store) for _ in range(3)]
    bystander = await PlainWriter.begin(store)
    proxy.hang()
    appending = asyncio.ensure_future(store.append([writer.request() for writer in (*writers, bystander)]))
    await asyncio.sleep(0)
    for writer in writers:
        await decision.decide(elsewhere, writer)
    ends = [[event.seq for event in await log(elsewhere, writer.ref)] for writer in writers]
    proxy.forward()
    *replies, untouched = await appending
    if bug:
        assert [reply.status for reply in replies] != [decision.answer] * 3
        return
    assert [reply.status for reply in replies] == [decision.answer] * 3
    assert untouched == AppendReply(Status.OK, 4, False)
    assert [[event.seq for event in await log(elsewhere, writer.ref)] for writer in writers] == ends
    assert await numbers(bystander) == [1, 2, 3, 4]


async def test_a_request_to_stop_comes_with_the_next_answer(make: Make, redis_url: str) -> None:
    store, elsewhere = await make(redis_url), await make(redis_url)
    writer = await PlainWriter.begin(store)
    await elsewhere.request_stop(writer.ref)
    for seq in (4, 5):
        assert await writer.add() == AppendReply(Status.OK, seq, True)


async def test_who_begins_to_watch_is_told_the_next_event(make: Make, redis_url: str) -> None:
    store, elsewhere = await make(redis_url), await make(redis_url)
    writer, hints = await PlainWriter.begin(store), Hints()
    async with elsewhere.subscribe(writer.ref, hints):
        for _ in range(2):
            assert (await writer.add()).status is Status.OK
        await hints.until(lambda seen: {hint.first_seq for hint in seen} >= {4, 5}, description="both events")


# -- what the connection says -----------------------------------------------------------------------------------------


@BUG
async def test_an_older_snapshot_gets_no_hole(
    make: Make, own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, bug: bool
) -> None:
    """Each stream's first append on a new connection is checked, whoever was first to open the gate there."""
    server = own_redis()
    store = await make(server.url)
    first, writer = [await PlainWriter.begin(store) for _ in range(2)]
    server.client().save()
    for one in (first, writer):
        for _ in range(9):  # so that the next numbers have a digit less afterwards
            await one.add()
    server.restart()
    if bug:
        without_comparing(monkeypatch, "checked")
    with pytest.raises(StoreUnavailableError):
        await first.add()
    assert (await first.add()).status is Status.GAP
    first.last = 3
    for _ in range(3):
        assert (await first.add()).status is Status.OK
    reply = await writer.add()
    assert (reply.status, reply.last_seq) == ((Status.OK, 13) if bug else (Status.GAP, 3))
    if bug:
        return
    writer.last = 3
    for seq in (4, 5, 6, 7):
        assert await writer.add() == AppendReply(Status.OK, seq, False)
    assert await numbers(writer) == list(range(1, 8))


async def test_a_process_that_stands_still_sends_nothing_over_another_connection(
    make: Make, own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had looked which connection there is, and was about to send, when it was suspended."""
    server = own_redis()
    writer = await PlainWriter.begin(await make(server.url))
    server.client().save()
    for _ in range(3):
        await writer.add()
    server.restart()
    ready = Connection.ready

    async def suspended_after(self: Connection, *, deadline: Deadline) -> RawConnection:
        raw = await ready(self, deadline=deadline)
        self._used_at -= 1_000.0
        return raw

    monkeypatch.setattr(driver, "IDLE_SECONDS", 600.0)
    monkeypatch.setattr(Connection, "ready", suspended_after)
    with pytest.raises(StoreUnavailableError):
        await writer.add()
    assert (await writer.add()).status is Status.GAP


@BUG
async def test_a_writer_that_leaves_an_event_out_is_told(
    make: Make, redis_url: str, monkeypatch: pytest.MonkeyPatch, bug: bool
) -> None:
    writer = await PlainWriter.begin(await make(redis_url))
    if bug:
        without_comparing(monkeypatch, "next_seq")
    assert ((await writer.add(seq=5)).status is Status.OK) is bug
    if not bug:
        assert (await writer.add(seq=3)).status is Status.DUPLICATE
        assert await writer.add() == AppendReply(Status.OK, 4, False)


@pytest.mark.parametrize("arrived", [True, False], ids=["its reply was lost", "it was lost"])
async def test_an_event_is_repeated_and_there_once(
    make: Make, proxy: FaultProxy, redis_database: int, arrived: bool
) -> None:
    store = await make(proxy.redis_url(redis_database))
    writer = await PlainWriter.begin(store)
    (proxy.lose_reply if arrived else proxy.lose_request)(b"event-4")
    with pytest.raises(StoreUnavailableError):
        await writer.add()
    assert (await writer.add()).status is (Status.DUPLICATE if arrived else Status.OK)
    for _ in range(3):
        assert (await writer.add()).status is Status.OK
    assert payloads(await log(store, writer.ref)) == [b"event-%d" % seq for seq in range(1, 8)]


async def test_a_full_server_refuses_the_event_and_takes_it_later(
    make: Make, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    store = await make(server.url)
    writer, other = [await PlainWriter.begin(store) for _ in range(2)]
    server.client().config_set("maxmemory", "1mb")
    server.client().config_set("maxmemory", "1")
    replies = await store.append([writer.request(), other.request()])
    assert [reply.status for reply in replies] == [Status.REFUSED] * 2
    assert (await writer.add()).status is Status.REFUSED
    server.client().config_set("maxmemory", "0")
    for seq in (4, 5, 6):
        assert await writer.add() == AppendReply(Status.OK, seq, False)
    assert await numbers(writer) == list(range(1, 7))
