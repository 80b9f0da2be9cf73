"""Clauses of the store contract about finding and sharing out the streams of dead workers."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from ...stores.appends import AppendReply
from ...stores.records import Partition, SessionRecord, Status
from ...stores.store import StreamStore
from ...values import StreamState, new_message_id
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    ROUNDING_SECONDS,
    beat,
    begin,
    end,
    epoch_of,
    fresh_key,
    full,
    is_due,
    losing,
    meta,
    new_stream,
    put,
    registered,
    seal,
    sibling,
    take,
    tombstone,
    try_register,
    unknown_ref,
)
from .withdrawals import withdraw


class WorkSharingClauses(Clauses):
    """Which leases are found expired, and by whom."""

    async def test_a_heartbeat_renews_the_lease(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        assert await beat(store, ref, lease=LONG_SECONDS) == AppendReply(Status.OK, 0, False)
        assert LONG_SECONDS / 2 < (await meta(store, ref)).lease_seconds <= LONG_SECONDS + ROUNDING_SECONDS
        await self.advance(self.short_seconds * 1.5)
        assert not await is_due(store, ref)
        assert (await take(store, ref, lease=60)).status is Status.LEASED

    async def test_a_heartbeat_under_an_older_epoch_is_fenced_and_renews_nothing(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        await take(store, ref, lease=self.short_seconds, force=True)
        assert await beat(store, ref, epoch=1) == AppendReply(Status.FENCED, 1, False)
        await self.advance(self.short_seconds * 1.5)
        assert await is_due(store, ref)
        assert (await meta(store, ref)).lease_seconds < 0

    async def test_a_heartbeat_of_an_unknown_stream_makes_nothing(self, store: StreamStore) -> None:
        ref = unknown_ref()
        assert await beat(store, ref) == AppendReply(Status.GONE, 0, False)
        assert await store.meta(ref) is None
        await self.advance(self.short_seconds)
        assert not await is_due(store, ref)

    async def test_a_sealed_stream_keeps_its_lease_by_heartbeat(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        await seal(store, ref)
        assert (await beat(store, ref)).status is Status.OK
        await self.advance(self.short_seconds * 1.5)
        assert not await is_due(store, ref)

    async def test_a_closed_stream_has_no_lease_to_renew(self, store: StreamStore) -> None:
        ref = await begin(store)
        await end(store, ref)
        assert await beat(store, ref, lease=self.short_seconds) == AppendReply(Status.SEALED, 1, False)
        await self.advance(self.short_seconds * 1.5)
        assert not await is_due(store, ref)

    async def test_an_expired_lease_is_taken_over_with_a_higher_epoch(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        await put(store, ref, 1, b"a")
        await self.advance(self.short_seconds * 1.5)
        reply = await take(store, ref, lease=LONG_SECONDS)
        assert reply.status is Status.OK
        assert reply.meta is not None
        assert (reply.meta.epoch, reply.meta.last_seq, reply.meta.state) == (epoch_of(ref, 2), 1, StreamState.OPEN)
        assert reply.meta.lease_seconds > LONG_SECONDS / 2
        assert not await is_due(store, ref)
        assert (await take(store, ref, lease=60)).status is Status.LEASED
        assert (await store.session(ref.key)).active_id == ref.stream_id

    async def test_expired_leases_are_given_oldest_first(self, store: StreamStore) -> None:
        third = await begin(store, lease=self.short_seconds)
        first = await begin(store, lease=self.short_seconds / 4)
        second = await begin(store, lease=self.short_seconds / 2)
        running = await begin(store)
        await self.advance(self.short_seconds * 1.5)
        due = await store.expired_leases(limit=100_000)
        assert [ref for ref in due if ref in (first, second, third, running)] == [first, second, third]

    async def test_expired_leases_are_limited(self, store: StreamStore) -> None:
        for _ in range(3):
            await begin(store, lease=self.short_seconds / 4)
        await self.advance(self.short_seconds)
        assert len(await store.expired_leases(limit=2)) == 2

    async def test_expired_leases_are_of_streams_that_are_not_closed(self, store: StreamStore) -> None:
        short = self.short_seconds / 2
        lost = new_stream()
        sealed, closed = await begin(store, lease=short), await begin(store, lease=short)
        await seal(store, sealed)
        await end(store, closed)
        await store.declare_lost(losing(lost, lease=short))
        await self.advance(self.short_seconds)
        due = await store.expired_leases(limit=100_000)
        assert sealed in due
        assert lost.ref in due
        assert closed not in due

    async def test_expired_leases_of_streams_that_vanished_are_not_given(self, store: StreamStore) -> None:
        vanished = await begin(store, lease=self.short_seconds / 4, ttl=self.short_seconds)
        erased = await begin(store, lease=self.short_seconds / 4)
        await store.erase(erased.key, mark_seconds=60)
        await self.advance(self.short_seconds * 1.5)
        assert not await is_due(store, vanished)
        assert not await is_due(store, erased)

    async def test_partitions_make_up_all_expired_leases(self, store: StreamStore) -> None:
        refs = [await begin(store, lease=self.short_seconds / 4) for _ in range(12)]
        await self.advance(self.short_seconds)
        for of in (1, 2, 3, 20):
            shares = [await store.expired_leases(limit=100_000, partition=Partition(place, of)) for place in range(of)]
            for ref in refs:
                assert [ref in share for share in shares].count(True) == 1

    async def test_a_partition_is_for_workers_that_count(self, store: StreamStore) -> None:
        first, second = new_message_id(), new_message_id()
        alone = await store.partition(first, lease_seconds=LONG_SECONDS)
        assert 0 <= alone.place < alone.of
        told = await store.partition(second, lease_seconds=self.short_seconds)
        again = await store.partition(first, lease_seconds=LONG_SECONDS)
        assert told.of == again.of == alone.of + 1
        assert told.place != again.place
        await self.advance(self.short_seconds * 1.5)
        assert await store.partition(first, lease_seconds=LONG_SECONDS) == alone
        await store.partition(second, lease_seconds=LONG_SECONDS)
        assert (await store.partition(second, lease_seconds=0.0)).of == alone.of
        assert await store.partition(first, lease_seconds=LONG_SECONDS) == alone
        await store.partition(first, lease_seconds=0.0)

    async def test_a_dead_degraded_writers_stream_is_taken_over_and_ended(self, store: StreamStore) -> None:
        new = new_stream()
        await store.declare_lost(losing(new, lease=self.short_seconds))
        await self.advance(self.short_seconds * 1.5)
        assert new.ref in await store.expired_leases(limit=100_000)
        assert (await take(store, new.ref, lease=60)).status is Status.OK
        assert (await store.declare_lost(losing(new, epoch=1, terminal=tombstone()))).status is Status.FENCED
        assert (await store.declare_lost(losing(new, epoch=2, terminal=tombstone()))).status is Status.OK
        assert (await meta(store, new.ref)).state is StreamState.CLOSED

    async def test_refused_registrations_leave_nothing_behind(self, store: StreamStore) -> None:
        ref = await begin(store, ttl=self.short_seconds, lease=self.short_seconds / 4)
        rivals = [new_stream(ref.key) for _ in range(5)]
        for rival in rivals:
            await try_register(store, rival, lease=self.short_seconds / 4, ttl=self.short_seconds)
        assert [await store.meta(rival.ref) for rival in rivals] == [None] * 5
        await self.advance(self.short_seconds * 1.5)
        due = await store.expired_leases(limit=100_000)
        assert not [rival.ref for rival in rivals if rival.ref in due]
        assert await store.session(ref.key) == SessionRecord(None, None, None, None)

    async def test_a_stream_without_a_slot_takes_none_and_leaves_nothing_behind(self, store: StreamStore) -> None:
        key = fresh_key()
        registered(await try_register(store, new_stream(sibling(key)), limit=1))
        refused = new_stream(key)
        for _ in range(2):
            full(await try_register(store, refused, lease=self.short_seconds / 4, limit=1))
        assert await store.meta(refused.ref) is None
        assert await store.session(key) == SessionRecord(None, None, None, None)
        registered(await try_register(store, new_stream(sibling(key)), limit=2))
        await self.advance(self.short_seconds * 1.5)
        assert refused.ref not in await store.expired_leases(limit=100_000)

    async def test_a_withdrawn_registration_leaves_nothing(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        assert await withdraw(store, ref) is Status.OK
        assert await store.meta(ref) is None
        assert await store.session(ref.key) == SessionRecord(None, None, None, None)
        assert await store.session_streams(ref.key, limit=10) == []
        registered(await try_register(store, new_stream(sibling(ref.key)), limit=1))
        await self.advance(self.short_seconds * 1.5)
        assert ref not in await store.expired_leases(limit=100_000)
