"""Clauses of the store contract about leases, epochs and stop requests."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio

from ...stores.appends import AppendReply
from ...stores.records import Seal, Status
from ...stores.registrations import StopReply
from ...stores.store import StreamStore
from ...values import Outcome, StreamState, Usage
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    a_seal,
    beat,
    begin,
    closing,
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
    tombstone,
    try_register,
    unknown_ref,
)


class LeaseClauses(Clauses):
    """What heartbeats, takeovers and stops promise."""

    async def test_heartbeats_are_answered_in_order_each_on_its_own(self, store: StreamStore) -> None:
        first, second = await begin(store), await begin(store)
        await put(store, second, 1, b"a")
        claims = [(first, epoch_of(first)), (unknown_ref(), 1), (second, 7), (second, epoch_of(second))]
        replies = await store.heartbeat(claims, lease_seconds=60, ttl_seconds=60)
        assert [(reply.status, reply.last_seq) for reply in replies] == [
            (Status.OK, 0),
            (Status.GONE, 0),
            (Status.FENCED, 1),
            (Status.OK, 1),
        ]
        assert await store.heartbeat([], lease_seconds=60, ttl_seconds=60) == []

    async def test_a_heartbeat_tells_what_was_consumed_so_far(self, store: StreamStore) -> None:
        """Until a seal does: should the writer die, nobody else knows."""
        ref = await begin(store)
        assert (await meta(store, ref)).usage is None
        for tokens in (3, 5):
            await store.heartbeat(
                [(ref, epoch_of(ref))],
                lease_seconds=LONG_SECONDS,
                ttl_seconds=LONG_SECONDS,
                consumed={ref: Usage({"tokens": tokens}), unknown_ref(): Usage({"tokens": 7})},
            )
            assert (await meta(store, ref)).usage == Usage({"tokens": tokens})
        await beat(store, ref)
        taken = await take(store, ref, lease=LONG_SECONDS, force=True)
        assert taken.meta is not None
        assert taken.meta.usage == Usage({"tokens": 5})
        await store.heartbeat(
            [(ref, epoch_of(ref))],
            lease_seconds=LONG_SECONDS,
            ttl_seconds=LONG_SECONDS,
            consumed={ref: Usage({"tokens": 9})},
        )
        assert (await meta(store, ref)).usage == Usage({"tokens": 5}), "a writer that was fenced changes nothing"

    async def test_a_seal_says_for_good_what_was_consumed(self, store: StreamStore) -> None:
        for usage in (None, Usage({"tokens": 6})):
            ref = await begin(store)
            told = {ref: Usage({"tokens": 3})}
            await store.heartbeat(
                [(ref, epoch_of(ref))], lease_seconds=LONG_SECONDS, ttl_seconds=LONG_SECONDS, consumed=told
            )
            await store.seal(ref, epoch_of(ref), Seal(Outcome.COMPLETED, 0, usage=usage))
            await store.heartbeat(
                [(ref, epoch_of(ref))], lease_seconds=LONG_SECONDS, ttl_seconds=LONG_SECONDS, consumed=told
            )
            sealed = await meta(store, ref)
            assert sealed.seal is not None
            assert (sealed.usage, sealed.seal.usage) == (usage, usage)

    async def test_a_heartbeat_renews_the_life_of_its_stream_and_session(self, store: StreamStore) -> None:
        """A model may be silent for longer than the log lives."""
        ref = await begin(store, ttl=self.short_seconds)
        await put(store, ref, 1, b"a")
        await beat(store, ref, ttl=LONG_SECONDS)
        await self.advance(self.short_seconds * 1.5)
        assert payloads(await log(store, ref)) == [b"a"]
        assert (await store.session(ref.key)).active_id == ref.stream_id
        assert (await put(store, ref, 2, b"b")).status is Status.OK

    # -- taking --------------------------------------------------------------------------------------------------------

    async def test_a_running_lease_is_not_taken_over(self, store: StreamStore) -> None:
        ref = await begin(store)
        reply = await take(store, ref, lease=60)
        assert reply.status is Status.LEASED
        assert reply.meta is not None
        assert reply.meta.ref == ref
        assert (await meta(store, ref)).epoch == epoch_of(ref)

    async def test_force_takes_over_a_running_lease(self, store: StreamStore) -> None:
        ref = await begin(store)
        reply = await take(store, ref, lease=60, force=True)
        assert reply.status is Status.OK
        assert reply.meta is not None
        assert reply.meta.epoch == epoch_of(ref, 2)

    async def test_taking_over_from_another_epoch_than_expected_is_fenced(self, store: StreamStore) -> None:
        ref = await begin(store)
        assert (await take(store, ref, lease=60, expected=2, force=True)).status is Status.FENCED
        assert (await meta(store, ref)).epoch == epoch_of(ref)
        assert (await take(store, ref, lease=60, expected=1, force=True)).status is Status.OK
        assert (await take(store, ref, lease=60, expected=1, force=True)).status is Status.FENCED
        assert (await meta(store, ref)).epoch == epoch_of(ref, 2)

    async def test_of_many_that_race_to_take_over_one_wins(self, store: StreamStore) -> None:
        for _ in range(5):
            ref = await begin(store)
            takes = [take(store, ref, lease=60, expected=1, force=True) for _ in range(5)]
            statuses = [reply.status for reply in await asyncio.gather(*takes)]
            assert sorted(statuses) == sorted([Status.OK] + [Status.FENCED] * 4)

    async def test_whoever_lost_the_stream_can_do_nothing_to_it(self, store: StreamStore) -> None:
        new = new_stream()
        ref = new.ref
        await try_register(store, new)
        await put(store, ref, 1, b"a")
        await take(store, ref, lease=60, force=True)
        assert (await put(store, ref, 2, b"stale")).status is Status.FENCED
        assert (await beat(store, ref)).status is Status.FENCED
        assert await store.seal(ref, epoch_of(ref), a_seal(1)) == (Status.FENCED, None)
        assert (await store.declare_lost(losing(new))).status is Status.FENCED
        assert (await store.declare_lost(losing(new, terminal=tombstone()))).status is Status.FENCED
        await seal(store, ref, 1, epoch=2)
        assert (await store.close(closing(ref, b"stale", epoch=1))).status is Status.FENCED
        assert payloads(await log(store, ref)) == [b"a"]
        assert (await store.close(closing(ref, epoch=2))).status is Status.OK
        assert (await store.close(closing(ref, b"stale", epoch=1))).status is Status.FENCED
        assert (await meta(store, ref)).last_seq == 2

    async def test_a_sealed_stream_is_taken_over_and_closed(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        await seal(store, ref)
        await self.advance(self.short_seconds * 1.5)
        reply = await take(store, ref, lease=60)
        assert reply.status is Status.OK
        assert reply.meta is not None
        assert (reply.meta.state, reply.meta.epoch) == (StreamState.SEALED, epoch_of(ref, 2))
        assert reply.meta.seal == a_seal()
        assert (await store.close(closing(ref, epoch=2))).status is Status.OK

    async def test_a_closed_stream_is_not_taken_over(self, store: StreamStore) -> None:
        ref = await begin(store)
        await end(store, ref)
        reply = await take(store, ref, lease=60, force=True)
        assert reply.status is Status.SEALED
        assert reply.meta is not None
        assert (reply.meta.state, reply.meta.epoch) == (StreamState.CLOSED, epoch_of(ref))

    async def test_an_unknown_stream_is_not_taken_over(self, store: StreamStore) -> None:
        ref = unknown_ref()
        assert await take(store, ref, lease=60, force=True) == (Status.GONE, None)
        assert await store.meta(ref) is None

    # -- stopping ------------------------------------------------------------------------------------------------------

    async def test_a_stop_is_seen_by_the_writer(self, store: StreamStore) -> None:
        ref = await begin(store)
        assert await store.request_stop(ref) is StopReply.REQUESTED
        assert await store.request_stop(ref) is StopReply.REQUESTED
        assert (await meta(store, ref)).stop_requested
        assert await put(store, ref, 1, b"a") == AppendReply(Status.OK, 1, True)
        assert await beat(store, ref) == AppendReply(Status.OK, 1, True)

    async def test_a_stop_past_the_lease_is_the_callers_to_carry_out(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        assert await store.request_stop(ref) is StopReply.EXPIRED

    async def test_what_ended_is_not_stopped(self, store: StreamStore) -> None:
        sealed, closed = await begin(store), await begin(store)
        await seal(store, sealed)
        await end(store, closed)
        for ref in (sealed, closed, unknown_ref()):
            assert await store.request_stop(ref) is StopReply.ENDED
        assert not (await meta(store, sealed)).stop_requested
