"""Whose turn it is to read a log."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.model import START, EventKind
from streamguard.runtime.log_reads import LogReads
from streamguard.stores.memory import MemoryStore
from streamguard.testing._stream_store.steps import begin, put

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
    await asyncio.wait_for(asyncio.gather(first, third), 5)
    assert readers.order == ["ann", "eve"]
    async with asyncio.timeout(5), readers.reads.turn("bob"):
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
    await asyncio.wait_for(asyncio.wait([second, third]), 5)
    async with asyncio.timeout(5), readers.reads.turn("bob"):
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
