"""Clauses of the store contract about subscribers."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio

from ...stores.records import Hint
from ...stores.store import StreamStore
from .clauses import Clauses
from .steps import (
    Hints,
    begin,
    closing,
    log,
    losing,
    new_stream,
    payloads,
    put,
    seal,
    take,
    tombstone,
    try_register,
)


class SubscriptionClauses(Clauses):
    """What subscribers are told."""

    async def test_a_subscriber_is_told_of_appends(self, store: StreamStore) -> None:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints):
            await put(store, ref, 1, b"a", b"b")
            await put(store, ref, 2, b"b", b"c")
            await hints.until(lambda seen: reaches(seen, 3), description="a hint of event 3")
        for hint in hints.seen:
            expected = [b"a", b"b", b"c"][hint.first_seq - 1 :]
            assert payloads(hint.events) == expected[: len(hint.events)]

    async def test_every_subscriber_is_told_and_only_of_its_stream(self, store: StreamStore) -> None:
        ref, other = await begin(store), await begin(store)
        first, second, third = Hints(), Hints(), Hints()
        async with store.subscribe(ref, first), store.subscribe(ref, second), store.subscribe(other, third):
            await put(store, ref, 1, b"a")
            await put(store, other, 1, b"other")
            for hints in (first, second, third):
                await hints.until(lambda seen: reaches(seen, 1), description="a hint of event 1")
        assert b"other" not in [body for hint in first.seen + second.seen for body in payloads(hint.events)]
        assert b"a" not in [body for hint in third.seen for body in payloads(hint.events)]

    async def test_subscribing_then_reading_misses_nothing(self, store: StreamStore) -> None:
        ref = await begin(store)
        marks = {seq: asyncio.Event() for seq in (1, 60, 120, 180, 240)}

        async def write() -> None:
            for seq in range(1, 301):
                if seq in marks:
                    marks[seq].set()
                await put(store, ref, seq, b"%d" % seq)
                await asyncio.sleep(0)

        async def view() -> None:
            hints = Hints()
            async with store.subscribe(ref, hints):
                read = len(await log(store, ref))
                await hints.until(
                    lambda seen: covers(seen, read, 300), description=f"hints of every event after {read}"
                )

        writer = asyncio.create_task(write())
        viewers = []
        for mark in marks.values():
            await mark.wait()
            viewers.append(asyncio.create_task(view()))
        await asyncio.gather(writer, *viewers)

    async def test_a_subscriber_may_leave_out_appends(self, store: StreamStore) -> None:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints, data=False):
            await put(store, ref, 1, b"a")
            await store.request_stop(ref)
            await hints.until(lambda seen: any(hint.stop_requested for hint in seen), description="the stop")
        assert not [hint for hint in hints.seen if hint.events]

    async def test_a_subscriber_is_told_of_a_stop(self, store: StreamStore) -> None:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints):
            await store.request_stop(ref)
            await hints.until(lambda seen: any(hint.stop_requested for hint in seen), description="the stop")

    async def test_a_subscriber_is_told_of_a_takeover(self, store: StreamStore) -> None:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints, data=False):
            await take(store, ref, lease=60, force=True)
            await hints.until(bool, description="a hint of the takeover")

    async def test_a_subscriber_is_told_of_a_seal_and_a_close(self, store: StreamStore) -> None:
        for with_data in (True, False):
            ref, sealing, ending = await begin(store), Hints(), Hints()
            async with store.subscribe(ref, sealing, data=with_data):
                await seal(store, ref)
                await sealing.until(bool, description="a hint of the seal")
            async with store.subscribe(ref, ending, data=with_data):
                await store.close(closing(ref, b"end"))
                await ending.until(bool, description="a hint of the close")

    async def test_a_subscriber_is_told_of_a_lost_log(self, store: StreamStore) -> None:
        new, hints = new_stream(), Hints()
        await try_register(store, new)
        async with store.subscribe(new.ref, hints, data=False):
            await store.declare_lost(losing(new, terminal=tombstone()))
            await hints.until(bool, description="a hint of the tombstone")

    async def test_a_subscriber_is_told_of_an_erasure(self, store: StreamStore) -> None:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints):
            await store.erase(ref.key, mark_seconds=60)
            await hints.until(lambda seen: [hint for hint in seen if not hint.events] != [], description="a hint")

    async def test_a_subscriber_that_left_is_told_nothing(self, store: StreamStore) -> None:
        ref, left, stayed = await begin(store), Hints(), Hints()
        async with store.subscribe(ref, stayed):
            async with store.subscribe(ref, left):
                await put(store, ref, 1, b"a")
                await left.until(lambda seen: reaches(seen, 1), description="a hint of event 1")
            told = len(left.seen)
            await put(store, ref, 2, b"b")
            await stayed.until(lambda seen: reaches(seen, 2), description="a hint of event 2")
        assert len(left.seen) == told

    async def test_subscribing_to_an_unknown_stream_waits_for_it(self, store: StreamStore) -> None:
        new, hints = new_stream(), Hints()
        async with store.subscribe(new.ref, hints):
            await try_register(store, new)
            await put(store, new.ref, 1, b"a")
            await hints.until(lambda seen: reaches(seen, 1), description="a hint of event 1")


def reaches(seen: list[Hint], seq: int) -> bool:
    return any(hint.first_seq + len(hint.events) > seq for hint in seen if hint.events)


def covers(seen: list[Hint], after_seq: int, last_seq: int) -> bool:
    told = {hint.first_seq + index for hint in seen for index in range(len(hint.events))}
    return told >= set(range(after_seq + 1, last_seq + 1))
