"""Clauses of the store contract about appending."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from ...stores.appends import Append, AppendReply
from ...stores.records import Status
from ...stores.store import StreamStore
from ...values import Event, EventKind
from .clauses import Clauses
from .steps import (
    begin,
    data,
    end,
    epoch_of,
    log,
    losing,
    meta,
    new_stream,
    payloads,
    put,
    seal,
    take,
    try_register,
    unknown_ref,
)


class AppendClauses(Clauses):
    """What `StreamWrites.append` promises."""

    async def test_events_are_read_as_they_were_appended(self, store: StreamStore) -> None:
        ref = await begin(store)
        events = [
            (EventKind.DATA, b"plain"),
            (EventKind.NOTICE, b'{"code":"x"}'),
            (EventKind.DATA, b"\x00\r\n\xff\xe2\x80\xa8"),
            (EventKind.DATA, b""),
            (EventKind.CLOSING, b"x" * 100_000),
        ]
        (reply,) = await store.append([Append(ref, epoch_of(ref), 1, events, False)])
        assert reply == AppendReply(Status.OK, 5, False)
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
        assert list(await store.append([])) == []

    async def test_an_append_can_renew_the_life_of_its_stream_and_session(self, store: StreamStore) -> None:
        ref = await begin(store, ttl=self.short_seconds * 10)
        await self.advance(self.short_seconds * 6)
        await put(store, ref, 1, b"a", refresh=True)
        await self.advance(self.short_seconds * 6)
        assert payloads(await log(store, ref)) == [b"a"]
        assert (await put(store, ref, 2, b"b")).status is Status.OK
        assert (await store.session(ref.key)).active_id == ref.stream_id
