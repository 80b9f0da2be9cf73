"""Clauses of the store contract about what a stream's first event decides: its protocol, and its message's id."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from dataclasses import replace

from ...stores.appends import Append, AppendReply, LateDecision
from ...stores.records import Status, StreamMeta
from ...stores.store import StreamStore
from ...values import SessionKey, StreamRef
from .clauses import Clauses
from .steps import (
    begin,
    data,
    end,
    epoch_of,
    fresh_key,
    log,
    losing,
    meta,
    new_stream,
    payloads,
    put,
    registered,
    take,
    try_register,
)

PLAIN = LateDecision("plain", "", "chosen")
OTHER = LateDecision("opaque", "7.0.0", "other")


async def undecided(store: StreamStore, key: SessionKey | None = None) -> StreamRef:
    """Register a stream of the message `asked`, whose first item is to decide."""
    new = replace(new_stream(key), protocol="auto", message_id="asked")
    return registered(await try_register(store, new)).ref


async def decide(
    store: StreamStore,
    ref: StreamRef,
    decided: LateDecision,
    *said: bytes,
    first_seq: int = 1,
    epoch: int = 1,
    refresh: bool = False,
    within: float = 60.0,
) -> AppendReply:
    append = Append(ref, epoch_of(ref, epoch), first_seq, data(*said), refresh, within_seconds=within, decided=decided)
    (reply,) = await store.append([append])
    return reply


def decision(record: StreamMeta) -> LateDecision:
    return LateDecision(record.protocol, record.client_version, record.message_id)


class LateDecisionClauses(Clauses):
    """What `AppendRequest.decided` promises."""

    async def test_the_first_event_can_decide_what_its_stream_speaks(self, store: StreamStore) -> None:
        for said, refresh in (([b"a"], False), ([b"a", b"b"], False), ([b"a"], True)):
            ref = await undecided(store)
            assert decision(await meta(store, ref)) == LateDecision("auto", "", "asked")
            assert await decide(store, ref, OTHER, *said, refresh=refresh) == AppendReply(Status.OK, len(said), False)
            assert decision(await meta(store, ref)) == OTHER
            assert payloads(await log(store, ref)) == said

    async def test_a_decision_stands(self, store: StreamStore) -> None:
        """Only the request that adds event 1 decides: a repeated one, or one of later events, changes nothing."""
        ref = await undecided(store)
        await decide(store, ref, PLAIN, b"a")
        assert await decide(store, ref, OTHER, b"a") == AppendReply(Status.DUPLICATE, 1, False)
        assert await decide(store, ref, OTHER, b"a", b"b") == AppendReply(Status.OK, 2, False)
        assert await decide(store, ref, OTHER, b"c", first_seq=3, refresh=True) == AppendReply(Status.OK, 3, False)
        assert await put(store, ref, 4, b"d") == AppendReply(Status.OK, 4, False)
        assert decision(await meta(store, ref)) == PLAIN
        assert payloads(await log(store, ref)) == [b"a", b"b", b"c", b"d"]

    async def test_a_refused_append_decides_nothing(self, store: StreamStore) -> None:
        ref = await undecided(store)
        assert (await decide(store, ref, PLAIN, b"a", within=0)).status is Status.LATE
        assert (await decide(store, ref, PLAIN, b"b", first_seq=2)).status is Status.GAP
        await take(store, ref, lease=60, force=True)
        assert (await decide(store, ref, PLAIN, b"a")).status is Status.FENCED
        assert decision(await meta(store, ref)) == LateDecision("auto", "", "asked")

    async def test_a_decided_message_id_is_found_under(self, store: StreamStore) -> None:
        """A session's streams of one message are found under the id that they write, in the order of their ordinals."""
        key = fresh_key()
        first = await undecided(store, key)
        await decide(store, first, PLAIN, b"a")
        await end(store, first, 1)
        second = await begin(store, key)
        await end(store, second)
        third = await undecided(store, key)
        assert await self.previous(store, third, "asked") is None
        assert await self.previous(store, third, "chosen") == first
        await decide(store, third, PLAIN, b"b")
        await end(store, third, 1)
        fourth = await begin(store, key)
        assert await self.previous(store, fourth, "chosen") == third
        assert await self.previous(store, fourth, "asked") is None

    async def test_a_lost_log_without_events_has_what_its_writer_decided(self, store: StreamStore) -> None:
        """The log was lost before it had the first event, which would have told."""
        ref, begun = await undecided(store), await undecided(store)
        await decide(store, begun, PLAIN, b"a")
        for one, known in ((ref, OTHER), (begun, PLAIN)):
            new = replace(
                new_stream(),
                ref=one,
                protocol=OTHER.protocol,
                client_version=OTHER.client_version,
                message_id=OTHER.message_id,
            )
            assert (await store.declare_lost(losing(new))).status is Status.OK
            assert decision(await meta(store, one)) == known

    @staticmethod
    async def previous(store: StreamStore, ref: StreamRef, message_id: str) -> StreamRef | None:
        found = await store.previous(ref, message_id)
        return None if found is None else found.ref
