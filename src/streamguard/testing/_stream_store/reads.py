"""Clauses of the store contract about reading logs."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import pytest

from ...errors import LogBrokenError
from ...stores.appends import AppendReply
from ...stores.records import Status
from ...stores.store import StreamStore
from ...values import MAX_SEQ, START, Event, Position
from .clauses import Clauses
from .steps import (
    EVERYTHING,
    begin,
    closing,
    epoch_of,
    log,
    meta,
    payloads,
    place,
    put,
    seal,
    take,
    unknown_ref,
)


class ReadClauses(Clauses):
    """What is read is what was appended."""

    async def test_reading_starts_after_the_cursor(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, *[b"%d" % number for number in range(1, 13)])
        assert [event.seq for event in await log(store, ref, 9)] == [10, 11, 12]
        assert [event.seq for event in await log(store, ref, 1)] == list(range(2, 13))

    async def test_past_the_end_there_is_nothing_to_read(self, store: StreamStore) -> None:
        ref = await begin(store)
        assert await log(store, ref) == []
        await put(store, ref, 1, b"a")
        assert await log(store, ref, 1) == []
        assert (await meta(store, ref)).last_seq == 1

    async def test_an_event_is_named_by_its_epoch_and_its_number(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a", b"b")
        await take(store, ref, force=True)
        await put(store, ref, 3, b"c", epoch=2)
        first, second = epoch_of(ref), epoch_of(ref, 2)
        assert second > first
        assert [place(event) for event in await log(store, ref)] == [(first, 1), (first, 2), (second, 3)]
        assert payloads(await log(store, ref, 2)) == [b"c"]
        for at in ((first, 1), (first, 2), (second, 3), START):
            assert (await store.check_position(ref, Position(*at)))[1]
        for at in ((second, 2), (first, 3), (second, 4), (first - 1, 1), (second + 1, 3), (first, MAX_SEQ)):
            assert not (await store.check_position(ref, Position(*at)))[1]
            with pytest.raises(LogBrokenError):
                await store.read(ref, Position(*at), max_bytes=EVERYTHING)

    async def test_a_record_names_the_event_its_log_ends_with(self, store: StreamStore) -> None:
        """However often the stream was taken since."""
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        assert (await meta(store, ref)).end == (epoch_of(ref), 1)
        await take(store, ref, force=True)
        await take(store, ref, force=True)
        assert (await meta(store, ref)).end == (epoch_of(ref), 1)
        await put(store, ref, 2, b"b", epoch=3)
        await take(store, ref, force=True)
        record = await meta(store, ref)
        assert (record.end, record.epoch, record.taken) == ((epoch_of(ref, 3), 2), epoch_of(ref, 4), True)
        await seal(store, ref, 2, epoch=4)
        await store.close(closing(ref, b"end", epoch=4))
        assert (await meta(store, ref)).end == (epoch_of(ref, 4), 4)
        assert [event.epoch for event in await log(store, ref)] == [epoch_of(ref, n) for n in (1, 3, 4, 4)]

    async def test_a_stream_nobody_has_is_found_nowhere(self, store: StreamStore) -> None:
        ref = unknown_ref()
        assert (await store.check_position(ref, START))[0] is None
        assert await store.check_position(ref, Position(1, 1)) == (None, False)
        with pytest.raises(LogBrokenError):
            await store.read(ref, Position(1, 1), max_bytes=EVERYTHING)

    async def test_events_of_another_epoch_are_no_duplicates(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a", b"b")
        await take(store, ref, force=True)
        for first_seq in (1, 2):
            assert await put(store, ref, first_seq, b"x", b"y", epoch=2) == AppendReply(Status.FENCED, 2, False)
        assert await put(store, ref, 3, b"c", epoch=2) == AppendReply(Status.OK, 3, False)
        assert await put(store, ref, 3, b"c", epoch=2) == AppendReply(Status.DUPLICATE, 3, False)
        assert payloads(await log(store, ref)) == [b"a", b"b", b"c"]

    async def test_a_read_is_bounded_in_bytes(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, *[b"x" * 1000 for _ in range(1000)])
        found = await store.read(ref, Position(epoch_of(ref), 10), max_bytes=20_000)
        assert [event.seq for event in found] == list(range(11, 11 + len(found)))
        assert 1 <= sum(len(event.data) for event in found) <= 80_000

    async def test_a_read_gives_at_least_one_event(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"x" * 50_000, b"y" * 50_000)
        assert [event.seq for event in await store.read(ref, START, max_bytes=1)][:1] == [1]
        assert [event.seq for event in await store.read(ref, Position(epoch_of(ref), 1), max_bytes=1)] == [2]

    async def test_reading_on_gives_every_event_once(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, *[b"x" * (number % 300) for number in range(500)])
        found: list[Event] = []
        at = START
        while page := await store.read(ref, at, max_bytes=5_000):
            found += page
            at = place(page[-1])
        assert [event.seq for event in found] == list(range(1, 501))
        assert [len(event.data) for event in found] == [number % 300 for number in range(500)]
