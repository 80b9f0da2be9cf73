"""Clauses of the store contract about appending, reading and watching."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio

import pytest

from ...errors import LogBrokenError
from ...stores.appends import Append, AppendReply
from ...stores.records import Hint, Status
from ...stores.store import StreamStore
from ...values import MAX_SEQ, START, Event, EventKind, Position
from .clauses import Clauses
from .steps import (
    EVERYTHING,
    Hints,
    begin,
    closing,
    data,
    end,
    epoch_of,
    log,
    losing,
    meta,
    new_stream,
    payloads,
    place,
    put,
    seal,
    take,
    tombstone,
    try_register,
    unknown_ref,
)


class LogClauses(Clauses):
    async def test_events_are_read_as_they_were_appended(self, store: StreamStore) -> None:
        ref = await begin(store)
        events = [
            (EventKind.DATA, b"plain"),
            (EventKind.NOTICE, b'{"code":"x"}'),
            (EventKind.DATA, b"\x00\r\n\xff\xe2\x80\xa8"),
            (EventKind.DATA, b""),
            (EventKind.CLOSING, b"x" * 100_000),
        ]
        assert await store.append([Append(ref, epoch_of(ref), 1, events, False)]) == [AppendReply(Status.OK, 5, False)]
        assert await log(store, ref) == [
            Event(seq, kind, body, epoch_of(ref)) for seq, (kind, body) in enumerate(events, 1)
        ]
        record = await meta(store, ref)
        assert (record.first_seq, record.last_seq) == (1, 5)

    async def test_events_keep_their_order_whatever_the_batches(self, store: StreamStore) -> None:
        ref = await begin(store)
        expected = [b"%d" % number for number in range(1, 2301)]
        for first, last in ((1, 1), (2, 9), (10, 11), (12, 2211), (2212, 2300)):
            reply = await put(store, ref, first, *expected[first - 1 : last])
            assert reply == AppendReply(Status.OK, last, False)
        found = await log(store, ref)
        assert [event.seq for event in found] == list(range(1, 2301))
        assert payloads(found) == expected

    async def test_an_append_repeated_is_a_success_and_changes_nothing(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a", b"b")
        assert await put(store, ref, 1, b"a", b"b") == AppendReply(Status.DUPLICATE, 2, False)
        await put(store, ref, 3, b"c")
        assert await put(store, ref, 1, b"a", b"b") == AppendReply(Status.DUPLICATE, 3, False)
        assert payloads(await log(store, ref)) == [b"a", b"b", b"c"]

    async def test_of_an_overlapping_append_only_the_rest_is_added(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a", b"b")
        assert await put(store, ref, 2, b"b", b"c", b"d") == AppendReply(Status.OK, 4, False)
        assert payloads(await log(store, ref)) == [b"a", b"b", b"c", b"d"]

    async def test_an_event_never_changes(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"first")
        assert (await put(store, ref, 1, b"other")).status is Status.DUPLICATE
        assert (await put(store, ref, 1, b"other", b"second")).status is Status.OK
        assert payloads(await log(store, ref)) == [b"first", b"second"]

    async def test_a_gap_is_refused(self, store: StreamStore) -> None:
        ref = await begin(store)
        assert await put(store, ref, 2, b"b") == AppendReply(Status.GAP, 0, False)
        await put(store, ref, 1, b"a")
        assert await put(store, ref, 3, b"c") == AppendReply(Status.GAP, 1, False)
        assert payloads(await log(store, ref)) == [b"a"]

    async def test_an_append_under_an_older_epoch_is_fenced(self, store: StreamStore) -> None:
        """Also one that is there already: its writer must learn that it lost the stream."""
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        await take(store, ref, lease=60, force=True)
        for first_seq in (1, 2, 3):
            assert await put(store, ref, first_seq, b"stale") == AppendReply(Status.FENCED, 1, False)
        assert payloads(await log(store, ref)) == [b"a"]
        assert (await put(store, ref, 2, b"b", epoch=2)).status is Status.OK

    async def test_an_append_under_an_epoch_nobody_took_is_fenced(self, store: StreamStore) -> None:
        ref = await begin(store)
        assert (await put(store, ref, 1, b"a", epoch=2)).status is Status.FENCED
        assert await log(store, ref) == []

    async def test_nothing_is_appended_after_the_seal(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        await seal(store, ref, 1)
        assert await put(store, ref, 2, b"b") == AppendReply(Status.SEALED, 1, False)
        assert payloads(await log(store, ref)) == [b"a"]

    async def test_nothing_is_appended_after_the_close(self, store: StreamStore) -> None:
        ref = await begin(store)
        await end(store, ref)
        assert await put(store, ref, 2, b"b") == AppendReply(Status.SEALED, 1, False)
        assert len(await log(store, ref)) == 1

    async def test_the_epoch_is_checked_before_the_state(self, store: StreamStore) -> None:
        ref = await begin(store)
        await take(store, ref, lease=60, force=True)
        await seal(store, ref, epoch=2)
        assert (await put(store, ref, 1, b"stale")).status is Status.FENCED

    async def test_nothing_is_appended_to_a_lost_log(self, store: StreamStore) -> None:
        new = new_stream()
        await try_register(store, new)
        await put(store, new.ref, 1, b"a")
        await store.declare_lost(losing(new))
        assert await put(store, new.ref, 2, b"b") == AppendReply(Status.LOST, 1, False)
        assert payloads(await log(store, new.ref)) == [b"a"]

    async def test_an_append_that_comes_past_its_time_is_late(self, store: StreamStore) -> None:
        """Its writer gave it up. What is wrong with the stream itself is told all the same."""
        ref, fenced, sealed = [await begin(store) for _ in range(3)]
        await put(store, ref, 1, b"a")
        await take(store, fenced, lease=60, force=True)
        await seal(store, sealed)
        replies = await store.append(
            [
                Append(one, epoch_of(one), first_seq, events, False, within_seconds=within)
                for one, first_seq, events, within in (
                    (ref, 2, data(b"b"), 0),
                    (ref, 2, data(b"b", b"c"), 0),
                    (ref, 2, data(b"d"), 60),
                    (ref, 3, data(b"e", b"f"), 60),
                    (fenced, 1, data(b"x"), 0),
                    (sealed, 1, data(b"x"), 0),
                    (unknown_ref(), 1, data(b"x"), 0),
                )
            ]
        )
        assert [(reply.status, reply.last_seq) for reply in replies] == [
            (Status.LATE, 1),
            (Status.LATE, 1),
            (Status.OK, 2),
            (Status.OK, 4),
            (Status.FENCED, 0),
            (Status.SEALED, 0),
            (Status.GONE, 0),
        ]
        assert payloads(await log(store, ref)) == [b"a", b"d", b"e", b"f"]

    async def test_an_append_never_makes_a_stream(self, store: StreamStore) -> None:
        ref = unknown_ref()
        assert await put(store, ref, 1, b"a", refresh=True) == AppendReply(Status.GONE, 0, False)
        assert await store.meta(ref) is None
        assert await log(store, ref) == []

    async def test_a_batch_is_answered_in_order_each_on_its_own(self, store: StreamStore) -> None:
        first, second, fenced = [await begin(store) for _ in range(3)]
        await take(store, fenced, lease=60, force=True)
        replies = await store.append(
            [
                Append(first, epoch_of(first), 1, data(b"1a"), False),
                Append(fenced, epoch_of(fenced), 1, data(b"x"), False),
                Append(unknown_ref(), 1, 1, data(b"x"), True),
                Append(second, epoch_of(second), 1, data(b"2a", b"2b"), True),
                Append(first, epoch_of(first), 2, data(b"1b"), True),
                Append(second, epoch_of(second), 9, data(b"x"), False),
            ]
        )
        assert [(reply.status, reply.last_seq) for reply in replies] == [
            (Status.OK, 1),
            (Status.FENCED, 0),
            (Status.GONE, 0),
            (Status.OK, 2),
            (Status.OK, 2),
            (Status.GAP, 2),
        ]
        assert payloads(await log(store, first)) == [b"1a", b"1b"]
        assert payloads(await log(store, second)) == [b"2a", b"2b"]

    async def test_an_empty_batch_has_no_replies(self, store: StreamStore) -> None:
        assert await store.append([]) == []

    async def test_an_append_can_renew_the_life_of_its_stream_and_session(self, store: StreamStore) -> None:
        ref = await begin(store, ttl=self.short_seconds * 10)
        await self.advance(self.short_seconds * 6)
        await put(store, ref, 1, b"a", refresh=True)
        await self.advance(self.short_seconds * 6)
        assert payloads(await log(store, ref)) == [b"a"]
        assert (await put(store, ref, 2, b"b")).status is Status.OK
        assert (await store.session(ref.key)).active_id == ref.stream_id

    # -- reading -------------------------------------------------------------------------------------------------------

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
        assert found == await store.read(ref, START, max_bytes=EVERYTHING)

    # -- watching ------------------------------------------------------------------------------------------------------

    async def test_a_watcher_is_told_of_appends(self, store: StreamStore) -> None:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints):
            await put(store, ref, 1, b"a", b"b")
            await put(store, ref, 2, b"b", b"c")
            await hints.until(lambda seen: reaches(seen, 3), description="a hint of event 3")
        for hint in hints.seen:
            expected = [b"a", b"b", b"c"][hint.first_seq - 1 :]
            assert payloads(hint.events) == expected[: len(hint.events)]

    async def test_every_watcher_is_told_and_only_of_its_stream(self, store: StreamStore) -> None:
        ref, other = await begin(store), await begin(store)
        first, second, third = Hints(), Hints(), Hints()
        async with store.subscribe(ref, first), store.subscribe(ref, second), store.subscribe(other, third):
            await put(store, ref, 1, b"a")
            await put(store, other, 1, b"other")
            for hints in (first, second, third):
                await hints.until(lambda seen: reaches(seen, 1), description="a hint of event 1")
        assert b"other" not in [body for hint in first.seen + second.seen for body in payloads(hint.events)]
        assert b"a" not in [body for hint in third.seen for body in payloads(hint.events)]

    async def test_who_watches_then_reads_misses_nothing(self, store: StreamStore) -> None:
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

    async def test_a_writer_watches_without_its_appends(self, store: StreamStore) -> None:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints, data=False):
            await put(store, ref, 1, b"a")
            await store.request_stop(ref)
            await hints.until(lambda seen: any(hint.stop_requested for hint in seen), description="the stop")
        assert not [hint for hint in hints.seen if hint.events]

    async def test_a_watcher_is_told_of_a_stop(self, store: StreamStore) -> None:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints):
            await store.request_stop(ref)
            await hints.until(lambda seen: any(hint.stop_requested for hint in seen), description="the stop")

    async def test_a_watcher_is_told_of_a_takeover(self, store: StreamStore) -> None:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints, data=False):
            await take(store, ref, lease=60, force=True)
            await hints.until(bool, description="a hint of the takeover")

    async def test_a_watcher_is_told_of_a_seal_and_a_close(self, store: StreamStore) -> None:
        for with_data in (True, False):
            ref, sealing, ending = await begin(store), Hints(), Hints()
            async with store.subscribe(ref, sealing, data=with_data):
                await seal(store, ref)
                await sealing.until(bool, description="a hint of the seal")
            async with store.subscribe(ref, ending, data=with_data):
                await store.close(closing(ref, b"end"))
                await ending.until(bool, description="a hint of the close")

    async def test_a_watcher_is_told_of_a_lost_log(self, store: StreamStore) -> None:
        new, hints = new_stream(), Hints()
        await try_register(store, new)
        async with store.subscribe(new.ref, hints, data=False):
            await store.declare_lost(losing(new, terminal=tombstone()))
            await hints.until(bool, description="a hint of the tombstone")

    async def test_a_watcher_is_told_of_an_erasure(self, store: StreamStore) -> None:
        ref, hints = await begin(store), Hints()
        async with store.subscribe(ref, hints):
            await store.erase(ref.key, mark_seconds=60)
            await hints.until(lambda seen: [hint for hint in seen if not hint.events] != [], description="a hint")

    async def test_a_watcher_that_left_is_told_nothing(self, store: StreamStore) -> None:
        ref, left, stayed = await begin(store), Hints(), Hints()
        async with store.subscribe(ref, stayed):
            async with store.subscribe(ref, left):
                await put(store, ref, 1, b"a")
                await left.until(lambda seen: reaches(seen, 1), description="a hint of event 1")
            told = len(left.seen)
            await put(store, ref, 2, b"b")
            await stayed.until(lambda seen: reaches(seen, 2), description="a hint of event 2")
        assert len(left.seen) == told

    async def test_watching_an_unknown_stream_waits_for_it(self, store: StreamStore) -> None:
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
