"""Clauses of the store contract about registrations that are taken back."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from ...stores.records import Hint, SessionRecord, Status
from ...stores.store import StreamStore
from ...values import StreamRef
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    Hints,
    begin,
    closing,
    end,
    fresh_key,
    losing,
    meta,
    new_stream,
    put,
    registered,
    seal,
    sibling,
    take,
    try_register,
    withdrawn,
)

__all__ = ["WithdrawalClauses"]


async def withdraw(store: StreamStore, ref: StreamRef, *, refuse: float = LONG_SECONDS) -> Status:
    return await store.withdraw(ref, refuse_seconds=refuse)


class WithdrawalClauses(Clauses):
    async def test_a_withdrawn_registration_blocks_nobody(self, store: StreamStore) -> None:
        ref = await begin(store)
        await withdraw(store, ref)
        record = registered(await try_register(store, new_stream(ref.key), limit=1))
        session = await store.session(ref.key)
        assert (session.active_id, session.last_id) == (record.ref.stream_id, record.ref.stream_id)

    async def test_after_a_withdrawal_a_session_points_where_it_pointed_before(self, store: StreamStore) -> None:
        key = fresh_key()
        for _ in range(2):
            finished = await begin(store, key)
            await put(store, finished, 1, b"a")
            await end(store, finished, 1)
        before = await store.session(key)
        await withdraw(store, await begin(store, key))
        after = await store.session(key)
        assert (after.active_id, after.last_id) == (before.active_id, before.last_id) == (None, finished.stream_id)
        assert after.last is not None
        assert (await store.session_streams(key, limit=1))[0].ref == finished

    async def test_a_withdrawal_leaves_the_pointer_to_a_sealed_stream_to_its_close(self, store: StreamStore) -> None:
        sealed = await begin(store)
        await seal(store, sealed)
        await withdraw(store, await begin(store, sealed.key))
        await store.close(closing(sealed))
        session = await store.session(sealed.key)
        assert (session.active_id, session.last_id) == (None, sealed.stream_id)

    async def test_a_withdrawal_leaves_newer_pointers_alone(self, store: StreamStore) -> None:
        ref = await begin(store)
        unlogged = new_stream(ref.key)
        await store.declare_lost(losing(unlogged))
        assert await withdraw(store, ref) is Status.OK
        assert (await store.session(ref.key)).last_id == unlogged.ref.stream_id

    async def test_a_withdrawn_stream_is_never_a_previous_one(self, store: StreamStore) -> None:
        ref = await begin(store)
        message_id = (await meta(store, ref)).message_id
        await withdraw(store, ref)
        later = await begin(store, ref.key)
        assert await store.previous(later, message_id) is None

    async def test_a_withdrawn_registration_that_comes_late_is_refused(self, store: StreamStore) -> None:
        for came_before in (True, False):
            new = new_stream()
            if came_before:
                registered(await try_register(store, new))
            await withdraw(store, new.ref)
            withdrawn(await try_register(store, new))
            assert await store.meta(new.ref) is None
            assert await store.session(new.ref.key) == SessionRecord(None, None, None, None)
            registered(await try_register(store, new_stream(sibling(new.ref.key)), limit=1))

    async def test_a_withdrawal_refuses_for_as_long_as_it_said(self, store: StreamStore) -> None:
        new = new_stream()
        await withdraw(store, new.ref, refuse=self.short_seconds)
        withdrawn(await try_register(store, new))
        await self.advance(self.short_seconds * 1.5)
        registered(await try_register(store, new))

    async def test_withdrawing_what_is_not_there(self, store: StreamStore) -> None:
        new = new_stream()
        assert await withdraw(store, new.ref) is Status.GONE
        ref = await begin(store)
        assert await withdraw(store, ref) is Status.OK
        assert await withdraw(store, ref) is Status.GONE

    async def test_withdrawing_an_erased_stream_frees_its_slot(self, store: StreamStore) -> None:
        ref = await begin(store)
        await store.erase(ref.key, mark_seconds=LONG_SECONDS)
        assert await withdraw(store, ref) is Status.GONE
        registered(await try_register(store, new_stream(sibling(ref.key)), limit=1))

    async def test_a_stream_of_which_something_became_is_not_withdrawn(self, store: StreamStore) -> None:
        written, sealed, taken, closed = [await begin(store) for _ in range(4)]
        new = new_stream()
        lost = registered(await try_register(store, new)).ref
        await store.declare_lost(losing(new))
        await put(store, written, 1, b"a")
        await seal(store, sealed)
        await take(store, taken, force=True)
        await end(store, closed)
        for ref in (written, sealed, taken, lost, closed):
            before = await meta(store, ref)
            pointers = await store.session(ref.key)
            assert await withdraw(store, ref) is Status.FENCED
            after = await meta(store, ref)
            assert (after.state, after.epoch, after.last_seq) == (before.state, before.epoch, before.last_seq)
            now = await store.session(ref.key)
            assert (now.active_id, now.last_id) == (pointers.active_id, pointers.last_id)

    async def test_a_stream_that_was_asked_to_stop_can_be_withdrawn(self, store: StreamStore) -> None:
        ref = await begin(store)
        await store.request_stop(ref)
        assert await withdraw(store, ref) is Status.OK

    async def test_subscribers_are_told_of_a_withdrawal(self, store: StreamStore) -> None:
        ref = await begin(store)
        hints = Hints()
        async with store.subscribe(ref, hints):
            await withdraw(store, ref)
            await hints.until(bool, description="a hint")
        assert isinstance(hints.seen[0], Hint)
