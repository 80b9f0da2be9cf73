"""A plain XADD that comes too late is not carried out, and who takes no transaction is asked for none.

Each guard has a bug without it, which its test finds.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable

import pytest

from streamguard.deadlines import Deadline
from streamguard.stores.appends import AppendReply
from streamguard.stores.records import Status
from streamguard.stores.redis.address import Address
from streamguard.stores.redis.append_gate import EXEC, MULTI, AppendGate
from streamguard.stores.redis.driver import Connection, Reply, pack
from streamguard.stores.redis.keys import Keys

from ...harness.redis import RedisServer
from ...harness.redis_cluster import RedisCluster
from ...harness.waiting import wait_until_async
from .plain_writer import BUG, Make, PlainWriter, numbers, scripts_called, without_comparing

pytestmark = pytest.mark.anyio


# -- late -------------------------------------------------------------------------------------------------------------


async def held_up(
    server: RedisServer, seconds: float, *appends: Callable[[], Awaitable[AppendReply]]
) -> list[AppendReply]:
    """Append while the server stands still for so long."""
    begun = time.monotonic()
    server.pause()
    try:
        asked = [asyncio.ensure_future(append()) for append in appends]
        await wait_until_async(lambda: time.monotonic() - begun > seconds, description="the appends' time is up")
    finally:
        server.resume()
    return list(await asyncio.gather(*asked))


def without_watching(commands: Callable[..., list[bytes]]) -> Callable[..., list[bytes]]:
    def careless(self: AppendGate, *args: float) -> list[bytes]:
        return [pack(("UNWATCH",)) if b"WATCH" in command else command for command in commands(self, *args)]

    return careless


@BUG
async def test_an_event_that_comes_past_its_time_is_not_added(
    make: Make, own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, bug: bool
) -> None:
    """The server stood still meanwhile: its writer has shown the event as not logged."""
    if bug:
        monkeypatch.setattr(AppendGate, "renewal", without_watching(AppendGate.renewal))
        monkeypatch.setattr(AppendGate, "opening", without_watching(AppendGate.opening))
    server = own_redis()
    writer = await PlainWriter.begin(await make(server.url), within=0.5)
    (reply,) = await held_up(server, 0.6, writer.add)
    assert (reply.status is Status.OK) is bug
    if not bug:
        assert reply.status is Status.LATE
        assert await numbers(writer) == [1, 2, 3]
        writer.within = 60.0
        for seq in (4, 5, 6):
            assert await writer.add() == AppendReply(Status.OK, seq, False)


@BUG
async def test_an_event_with_less_time_than_the_gate_is_judged_by_its_own(
    make: Make, own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, bug: bool
) -> None:
    server = own_redis()
    writer = await PlainWriter.begin(await make(server.url), within=60.0)
    writer.within = 0.3
    if bug:
        without_comparing(monkeypatch, "within")
    (reply,) = await held_up(server, 0.4, writer.add)
    assert reply.status is (Status.OK if bug else Status.LATE)


@BUG
async def test_of_appends_at_once_each_is_judged(
    make: Make, own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, bug: bool
) -> None:
    """The first one's gate is renewed behind it, as late as everything else: the next may not rely on that."""
    server = own_redis()
    store = await make(server.url)
    one, other = [await PlainWriter.begin(store, within=0.5) for _ in range(2)]
    if bug:
        monkeypatch.setattr(AppendGate, "begin", lambda self: None)
    replies = await held_up(server, 0.6, one.add, other.add)
    overlooked = int(server.client().info("server")["redis_version"].split(".")[0]) >= 7
    assert [reply.status for reply in replies] == [Status.LATE, Status.OK if bug and overlooked else Status.LATE]


async def test_a_gate_that_vanished_is_set_up_again(make: Make, own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    writer = await PlainWriter.begin(await make(server.url))
    client = server.client()
    (gate,) = client.keys("streamguard:{gate.*")
    client.delete(gate)
    client.config_resetstat()
    for seq in (4, 5, 6):
        assert await writer.add() == AppendReply(Status.OK, seq, False)
    assert scripts_called(client) == 1
    (anew,) = client.keys("streamguard:{gate.*")
    assert anew != gate
    assert client.pttl(anew) > 0


def test_a_forked_process_sets_up_a_gate_of_its_own() -> None:
    """Each would end the other's watch with every commit, were it the same key."""
    parents = AppendGate(Keys("x"))
    parents.opening(1, 60.0)
    childs = copy.deepcopy(parents)
    assert set(parents.opening(2, 60.0)).isdisjoint(set(childs.opening(2, 60.0)) - {MULTI, EXEC})


def test_a_gate_that_was_gone_when_it_was_to_be_watched_does_not_stand() -> None:
    gate = AppendGate(Keys("x"))
    opened: list[Reply] = [b"OK", b"QUEUED", b"QUEUED", [0, 0], b"OK", b"OK"]
    assert len(gate.opening(1, 60.0)) == len(opened) + 1
    gate.take([*opened, 0], 1)
    assert not gate.stands(1, time.monotonic())
    gate.take([*opened, 1], 1)
    assert gate.stands(1, time.monotonic())
    assert not gate.stands(2, time.monotonic())
    renewals: list[tuple[list[Reply], bool]] = [
        ([b"OK", 1], True),
        ([b"OK", 0], False),
        ([1, b"OK", 1], True),
        ([0, b"OK", 1], False),
    ]
    for renewed, stands in renewals:
        gate.begin()
        assert not gate.stands(1, time.monotonic())
        gate.end()
        gate.take(renewed, 1)
        assert gate.stands(1, time.monotonic()) is stands


# -- servers that take no transaction ---------------------------------------------------------------------------------


async def test_an_account_that_may_use_no_transaction_appends_by_scripts_alone(
    make: Make, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    client = server.client()
    client.execute_command("ACL", "SETUSER", "plain", "on", ">secret", "~*", "&*", "+@all", "-multi", "-exec", "-watch")  # type: ignore[no-untyped-call] # redis-py's
    store = await make(server.url.replace("//", "//plain:secret@"))
    writer = await PlainWriter.begin(store)
    client.config_resetstat()
    for seq in range(4, 20):
        assert await writer.add() == AppendReply(Status.OK, seq, False)
    assert scripts_called(client) == 16
    assert len(client.acl_log()) <= 3
    assert await numbers(writer) == list(range(1, 20))


async def test_a_server_of_a_cluster_is_asked_once_for_a_transaction(redis_cluster: RedisCluster) -> None:
    """It would refuse one over several streams."""
    for node in redis_cluster.masters():
        connection, gate = Connection(Address(node.url)), AppendGate(Keys("streamguard"))
        replies, _ = await connection.exchange(gate.opening(1, 60.0), deadline=Deadline.after(5))
        gate.take(replies, 1)
        assert not gate.stands(1, time.monotonic())
        gate._refused_until = 0.0
        assert gate.opening(1, 60.0) == []
        assert gate.opening(2, 60.0) != []
        await connection.drop()
