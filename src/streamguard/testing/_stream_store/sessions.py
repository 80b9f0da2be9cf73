"""Clauses of the store contract about a session's earlier streams and its erasure."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from dataclasses import replace

from ...stores.store import StreamStore
from ...values import SessionKey, StreamRef
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    begin,
    closing,
    end,
    fresh_key,
    losing,
    new_stream,
    registered,
    seal,
    tombstone,
    try_register,
    unknown_ref,
)

PLENTY = 100_000


async def answered(store: StreamStore, key: SessionKey, message_id: str) -> StreamRef:
    """A finished stream of a message."""
    new = replace(new_stream(key), message_id=message_id)
    ref = registered(await try_register(store, new)).ref
    await end(store, ref)
    return ref


async def previous(store: StreamStore, ref: StreamRef, message_id: str) -> StreamRef | None:
    found = await store.previous(ref, message_id)
    assert found is None or found.message_id == message_id
    return None if found is None else found.ref


class SessionClauses(Clauses):
    """What is known of a session beyond its pointers."""

    async def test_the_previous_stream_of_a_message_is_the_latest_earlier_one(self, store: StreamStore) -> None:
        key = fresh_key()
        first, other, second, third = [await answered(store, key, message) for message in ("a", "b", "a", "a")]
        assert await previous(store, third, "a") == second
        assert await previous(store, second, "a") == first
        assert await previous(store, first, "a") is None
        assert await previous(store, third, "b") == other
        assert await previous(store, third, "c") is None
        assert await previous(store, unknown_ref(), "a") is None

    async def test_streams_that_were_never_registered_come_after_all_others(self, store: StreamStore) -> None:
        key = fresh_key()
        first = await answered(store, key, "a")
        lost = replace(new_stream(key), message_id="lost")
        await store.declare_lost(losing(lost, terminal=tombstone()))
        assert await previous(store, lost.ref, "a") == first
        assert await previous(store, unknown_ref(key), "a") == first
        assert await previous(store, first, "lost") is None
        later = await answered(store, key, "a")
        assert await previous(store, later, "lost") is None

    async def test_a_previous_stream_that_expired_is_none(self, store: StreamStore) -> None:
        key = fresh_key()
        first = await answered(store, key, "a")
        new = replace(new_stream(key), message_id="a")
        second = registered(await try_register(store, new)).ref
        await seal(store, second)
        await store.close(closing(second, retention=self.short_seconds))
        third = await answered(store, key, "a")
        assert await previous(store, third, "a") == second
        await self.advance(self.short_seconds * 1.5)
        assert await previous(store, third, "a") == first
        await store.declare_lost(losing(new, terminal=tombstone()))  # it comes back as one that was never registered
        assert await previous(store, third, "a") == first

    async def test_a_stream_that_expired_and_is_registered_anew_is_no_earlier_one(self, store: StreamStore) -> None:
        key = fresh_key()
        new = replace(new_stream(key), message_id="a")
        first = registered(await try_register(store, new)).ref
        await seal(store, first)
        await store.close(closing(first, retention=self.short_seconds))
        second = await answered(store, key, "a")
        assert await previous(store, second, "a") == first
        await self.advance(self.short_seconds * 1.5)
        registered(await try_register(store, new))
        assert await previous(store, second, "a") is None  # `first` comes after it now
        assert await previous(store, first, "a") == second

    async def test_an_erasure_is_known_to_what_began_before_it(self, store: StreamStore) -> None:
        before = registered(await try_register(store, new_stream()))
        key = before.ref.key
        assert await store.erasure(key) is None
        await store.erase(key, mark_seconds=60)
        erasure = await store.erasure(key)
        assert erasure is not None
        after = registered(await try_register(store, new_stream(key)))
        assert before.created_at <= erasure.at < after.created_at
        assert 0 <= erasure.seconds_ago < LONG_SECONDS
        assert await store.erasure(SessionKey("somebody else", key.session_id)) is None

    async def test_an_erasure_is_forgotten_after_its_time(self, store: StreamStore) -> None:
        key = fresh_key()
        await store.erase(key, mark_seconds=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        assert await store.erasure(key) is None

    async def test_the_mark_of_a_session_nobody_knew_has_a_time_of_its_own(self, store: StreamStore) -> None:
        key, known = fresh_key(), (await begin(store)).key
        for erased in (key, known):
            await store.erase(erased, mark_seconds=60, unknown_seconds=self.short_seconds)
            assert await store.erasure(erased) is not None
        await store.erase(known, mark_seconds=60, unknown_seconds=self.short_seconds)  # unknown by now: never shorter
        await self.advance(self.short_seconds * 1.5)
        assert await store.erasure(key) is None
        assert await store.erasure(known) is not None

    async def test_a_sessions_streams_are_listed_latest_first(self, store: StreamStore) -> None:
        key = fresh_key()
        refs = []
        for _ in range(3):
            refs.append(await begin(store, key))
            await end(store, refs[-1])
        refs.append(await begin(store, key))
        await begin(store)
        found = await store.session_streams(key, limit=PLENTY)
        assert [one.ref for one in found] == refs[::-1]
        assert [one.ordinal for one in found] == [4, 3, 2, 1]
        assert [one.ref for one in await store.session_streams(key, limit=2)] == refs[:1:-1]
        assert await store.session_streams(key, limit=0) == []

    async def test_streams_that_were_never_registered_come_last(self, store: StreamStore) -> None:
        key = fresh_key()
        registered = await begin(store, key)
        await end(store, registered)
        lost = new_stream(key)
        await store.declare_lost(losing(lost, terminal=tombstone()))
        assert [one.ref for one in await store.session_streams(key, limit=PLENTY)] == [registered, lost.ref]

    async def test_only_a_sessions_own_streams_are_listed_while_they_last(self, store: StreamStore) -> None:
        ref = await begin(store)
        await end(store, ref, retention=self.short_seconds)
        second = await begin(store, ref.key)
        assert await store.session_streams(unknown_ref().key, limit=PLENTY) == []
        assert await store.session_streams(SessionKey(ref.key.owner + "x", ref.key.session_id), limit=PLENTY) == []
        await self.advance(self.short_seconds * 1.5)
        assert [one.ref for one in await store.session_streams(ref.key, limit=1)] == [second]
        await store.erase(ref.key, mark_seconds=60)
        assert await store.session_streams(ref.key, limit=PLENTY) == []
