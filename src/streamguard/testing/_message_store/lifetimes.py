"""Clauses of the message store contract about sessions that expire, for stores that have such."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import pytest

from ...errors import MessageNotFoundError
from ...messages.records import MessageStatus
from ...messages.store import MessageStore
from ...values import SessionKey
from .clauses import Clauses
from .steps import asked, everything, opened, put, replied, superseded, texts


class LifetimeClauses(Clauses):
    @property
    def _ttl(self) -> float:
        assert self.ttl_seconds is not None
        return self.ttl_seconds

    async def _aged(self, store: MessageStore) -> SessionKey:
        """A session with a message "first", most of its life past."""
        key = await opened(store)
        await put(store, key, asked("first", message_id="first"))
        await self.advance(self._ttl * 0.6)
        return key

    async def test_a_session_nobody_writes_to_expires(self, store: MessageStore) -> None:
        ttl = self._ttl
        key = await opened(store)
        await put(store, key, asked("one", message_id="m"))
        await self.advance(ttl * 1.2)
        assert await everything(store, key) == []
        with pytest.raises(MessageNotFoundError):
            await store.get(key, "m")
        with pytest.raises(MessageNotFoundError):
            await store.append(key, asked("two"))

    async def test_an_expired_session_begins_anew(self, store: MessageStore) -> None:
        ttl = self._ttl
        key = await opened(store)
        await put(store, key, asked("one", message_id="m"), asked("two"))
        await superseded(store, key, "m", None, asked("three"))
        await self.advance(ttl * 1.2)
        found = await store.open_session(key)
        assert (found.created, found.branch) == (True, 0)
        await put(store, key, asked("new", message_id="m"))
        assert [(stored.position, *texts([stored])) for stored in await everything(store, key)] == [(1, "new")]

    async def test_an_append_renews_all_of_the_session(self, store: MessageStore) -> None:
        key = await self._aged(store)
        await put(store, key, replied("second"))
        await self.advance(self._ttl * 0.6)
        assert texts(await everything(store, key)) == ["first", "second"]

    async def test_a_duplicate_renews_all_of_the_session(self, store: MessageStore) -> None:
        key = await self._aged(store)
        await store.append(key, asked("first", message_id="first"))
        await self.advance(self._ttl * 0.6)
        assert texts(await everything(store, key)) == ["first"]

    async def test_an_opening_renews_all_of_the_session(self, store: MessageStore) -> None:
        key = await self._aged(store)
        await store.open_session(key)
        await self.advance(self._ttl * 0.6)
        assert texts(await everything(store, key)) == ["first"]

    async def test_a_superseding_renews_all_of_the_session(self, store: MessageStore) -> None:
        key = await self._aged(store)
        for _ in range(2):
            await store.supersede(key, by="s", start="second", after="first")
            await self.advance(self._ttl * 0.6)
        assert texts(await everything(store, key)) == ["first"]

    async def test_a_mark_renews_all_of_the_session(self, store: MessageStore) -> None:
        key = await self._aged(store)
        await store.mark(key, "first", MessageStatus.UNANSWERED)
        await self.advance(self._ttl * 0.6)
        assert texts(await everything(store, key)) == ["first"]
