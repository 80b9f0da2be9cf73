"""Whose turn it is to read a log."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.stores import log_reads
from streamguard.stores.log_reads import AT_ONCE_SECONDS, LONGEST_SECONDS, SHARE, SLICE_BYTES, LogReads, Pace
from streamguard.stores.memory import MemoryStore
from streamguard.testing._stream_store.steps import begin, put
from streamguard.values import START, EventKind

from .lines import Line

pytestmark = pytest.mark.anyio


class Readers:
    """Tasks that each take turns and note them."""

    def __init__(self, limit: int) -> None:
        self.reads = LogReads(MemoryStore(), limit)
        self.order: list[str] = []
        self.inside = 0
        self.most = 0
        self.gate = asyncio.Event()

    async def read(self, owner: str) -> None:
        async with self.reads.turn(owner):
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.order.append(owner)
            await self.gate.wait()
            self.inside -= 1


async def turns(*owners: str, limit: int = 1) -> Readers:
    """All ask in this order, and then all are served."""
    readers = Readers(limit)
    async with asyncio.TaskGroup() as tasks:
        for owner in owners:
            tasks.create_task(readers.read(owner))
            await asyncio.sleep(0)
        readers.gate.set()
    return readers


async def test_owners_take_turns_whoever_asked_for_more() -> None:
    readers = await turns("ann", *["ann"] * 4, "bob", "eve", "bob")
    assert readers.order == ["ann", "ann", "bob", "eve", "ann", "bob", "ann", "ann"]


async def test_no_more_are_under_way_than_may_be() -> None:
    readers = await turns(*"abcdefgh", limit=3)
    assert readers.most == 3
    assert sorted(readers.order) == list("abcdefgh")


async def test_who_is_cancelled_takes_nobodys_turn() -> None:
    readers = Readers(1)
    first, second, third = [asyncio.create_task(readers.read(owner)) for owner in ("ann", "bob", "eve")]
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    readers.gate.set()
    await asyncio.wait_for(asyncio.gather(first, third), 20)
    assert readers.order == ["ann", "eve"]
    async with asyncio.timeout(20), readers.reads.turn("bob"):
        pass


async def test_a_turn_given_in_the_moment_of_a_cancellation_is_passed_on() -> None:
    readers = Readers(1)
    first = asyncio.create_task(readers.read("ann"))
    await asyncio.sleep(0)
    second, third = asyncio.create_task(readers.read("bob")), asyncio.create_task(readers.read("eve"))
    await asyncio.sleep(0)
    readers.gate.set()
    while not first.done():
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait_for(asyncio.wait([second, third]), 20)
    async with asyncio.timeout(20), readers.reads.turn("bob"):
        pass


async def test_a_read_that_fails_gives_its_turn_back() -> None:
    store = Line(MemoryStore())
    ref = await begin(store)
    await put(store, ref, 1, b"a")
    reads = LogReads(store, 1)
    store.errors["read"] = [RuntimeError("away")]
    with pytest.raises(RuntimeError):
        await reads.read(ref, START, max_bytes=10)
    (event,) = await reads.read(ref, START, max_bytes=10)
    assert (event.kind, event.data) == (EventKind.DATA, b"a")


def test_an_owner_that_had_its_share_waits_and_others_do_not() -> None:
    now = 0.0
    pace = Pace(clock=lambda: now)
    assert pace.pause("ann") <= 0
    for _ in range(round(AT_ONCE_SECONDS / 0.01)):
        assert pace.pause("ann") <= 0
        pace.took("ann", 0.01)
    pace.took("ann", 0.01)
    assert pace.pause("ann") == pytest.approx(0.01 / SHARE)
    assert pace.pause("bob") <= 0
    now += 0.01 / SHARE
    assert pace.pause("ann") <= 1e-9
    pace.took("ann", 60.0)  # it waited for its store
    assert pace.pause("ann") == pytest.approx(LONGEST_SECONDS / SHARE)
    now += 10.0
    assert pace.pause("ann") <= 0


def test_what_is_remembered_of_owners_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reads, "MAX_OWNERS", 3)
    pace = Pace(clock=lambda: 0.0)
    for number in range(10):
        pace.took(str(number), 1.0)
    assert len(pace._full_at) == 3


async def test_beyond_its_share_an_owner_has_one_turn_at_a_time() -> None:
    reads = LogReads(MemoryStore(), 4)
    for _ in range(3):
        reads._pace.took("ann", LONGEST_SECONDS)
    order: list[str] = []
    inside = 0

    async def paced(owner: str) -> None:
        nonlocal inside
        async with reads.paced(owner):
            inside += owner == "ann"
            assert inside <= 1
            order.append(owner)
            for _ in range(3):
                await asyncio.sleep(0)
            inside -= owner == "ann"

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for owner in ("ann", "ann", "ann", "bob"):
            tasks.create_task(paced(owner))
    assert order == ["bob", "ann", "ann", "ann"]
    assert not reads._locks


async def test_who_is_cancelled_beyond_its_share_leaves_nothing() -> None:
    reads = LogReads(MemoryStore(), 1)
    for _ in range(3):
        reads._pace.took("ann", LONGEST_SECONDS)
    entered = asyncio.Event()

    async def paced() -> None:
        async with reads.paced("ann"):
            entered.set()
            await asyncio.Event().wait()

    first, second = asyncio.create_task(paced()), asyncio.create_task(paced())
    await entered.wait()
    for task in (second, first):
        task.cancel()
        await asyncio.wait([task])
    assert not reads._locks
    async with asyncio.timeout(10), reads.paced("ann"):
        pass


async def test_beyond_its_share_an_owner_gets_a_slice_at_a_time() -> None:
    """So that whatever begins beside many replays waits for short steps; a replay by itself is read in a few."""
    store = MemoryStore()
    ref = await begin(store)
    await put(store, ref, 1, *[b"x" * 1_000] * 100)
    reads = LogReads(store, 1)
    whole = await reads.replay(ref, START, max_bytes=65_536)
    assert sum(len(event.data) for event in whole) > 4 * SLICE_BYTES - 1_000
    while reads._pace.pause(ref.key.owner) <= 0:
        reads._pace.took(ref.key.owner, LONGEST_SECONDS)
    sliced = await reads.replay(ref, START, max_bytes=65_536)
    assert 0 < sum(len(event.data) for event in sliced) <= SLICE_BYTES
    assert len(await reads.replay(ref, START, max_bytes=2_000)) == 2
