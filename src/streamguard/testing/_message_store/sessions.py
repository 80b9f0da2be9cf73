"""Clauses of the message store contract about sessions and their owners."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio

import pytest

from ...errors import MessageNotFoundError
from ...messages.records import MessageStatus
from ...messages.store import MessageStore
from ...values import SessionKey
from .clauses import Clauses
from .steps import RACERS, asked, everything, facts, fresh_key, insistently, opened, places, put, replied, texts


class SessionClauses(Clauses):
    async def test_starting_gives_texts_for_the_operator(self, store: MessageStore) -> None:
        warnings = await store.start()
        assert [warning for warning in warnings if not warning.strip()] == []

    async def test_the_first_opening_creates_the_session(self, store: MessageStore) -> None:
        assert (await store.open_session(fresh_key())).created is True

    async def test_a_later_opening_finds_the_session(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked("one"))
        assert not (await store.open_session(key)).created

    async def test_a_later_opening_keeps_what_was_said(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked("one"), replied("two"))
        before = await everything(store, key)
        await store.open_session(key)
        assert await everything(store, key) == before

    async def test_of_openings_at_once_one_creates(self, store: MessageStore) -> None:
        for _ in range(5):
            key = fresh_key()
            answers = await asyncio.gather(*(insistently(store.open_session, key) for _ in range(RACERS)))
            assert [answer.created for answer in answers].count(
                True
            ) <= 1  # none, when the one that created was told to ask again
            assert not (await store.open_session(key)).created

    async def test_appending_to_a_session_that_was_never_opened_finds_none(self, store: MessageStore) -> None:
        key = fresh_key()
        with pytest.raises(MessageNotFoundError):
            await store.append(key, asked())
        assert (await store.open_session(key)).created

    async def test_owners_may_choose_the_same_session_id(self, store: MessageStore) -> None:
        one = await opened(store)
        other = SessionKey(f"{one.owner}-other", one.session_id)
        first, second = replied("mine", message_id="m"), replied("yours", message_id="m")
        await put(store, one, first)
        assert (await store.open_session(other)).created
        await put(store, other, second)
        for key, message in ((one, first), (other, second)):
            (stored,) = await everything(store, key)
            assert (facts(stored.message), stored.position) == (facts(message), 1)

    async def test_another_owners_messages_cannot_be_read(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked(message_id="m"))
        other = SessionKey(f"{key.owner}-other", key.session_id)
        assert await everything(store, other) == []
        with pytest.raises(MessageNotFoundError):
            await store.get(other, "m")

    async def test_another_owners_messages_cannot_be_written(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked("mine", message_id="m"))
        before = await everything(store, key)
        other = SessionKey(f"{key.owner}-other", key.session_id)
        with pytest.raises(MessageNotFoundError):
            await store.append(other, asked("yours"))
        with pytest.raises(MessageNotFoundError):
            await store.mark(other, "m", MessageStatus.UNANSWERED)
        assert await everything(store, key) == before

    async def test_sessions_of_one_owner_are_separate(self, store: MessageStore) -> None:
        one = await opened(store)
        other = await opened(store, one.owner)
        await put(store, one, asked("a", message_id="m"))
        await put(store, other, asked("b", message_id="m"), asked("c"))
        assert texts(await everything(store, one)) == ["a"]
        found = await everything(store, other)
        assert (texts(found), places(found)) == (["b", "c"], [1, 2])

    async def test_deleting_a_session_deletes_its_messages(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked(message_id="m"), replied())
        await store.delete_session(key)
        assert await everything(store, key) == []
        with pytest.raises(MessageNotFoundError):
            await store.get(key, "m")

    async def test_appending_to_a_deleted_session_finds_none(self, store: MessageStore) -> None:
        key = await opened(store)
        message = asked()
        await put(store, key, message)
        await store.delete_session(key)
        for late in (message, replied()):
            with pytest.raises(MessageNotFoundError):
                await store.append(key, late)

    async def test_a_deleted_session_begins_anew(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked("old", message_id="m"), replied("older"))
        await store.delete_session(key)
        assert (await store.open_session(key)).created
        await put(store, key, asked("new", message_id="m"))
        (stored,) = await everything(store, key)
        assert (stored.position, texts([stored])) == (1, ["new"])

    async def test_deleting_what_is_not_there_is_fine(self, store: MessageStore) -> None:
        key = fresh_key()
        await store.delete_session(key)
        assert (await store.open_session(key)).created
        await store.delete_session(key)
        await store.delete_session(key)

    async def test_deleting_leaves_the_owners_other_sessions(self, store: MessageStore) -> None:
        key = await opened(store)
        other = await opened(store, key.owner)
        await put(store, key, asked("gone", message_id="m"))
        await put(store, other, asked("kept", message_id="m"))
        await store.delete_session(key)
        assert texts(await everything(store, other)) == ["kept"]

    async def test_deleting_leaves_other_owners_sessions(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked("kept"))
        await store.delete_session(SessionKey(f"{key.owner}-other", key.session_id))
        assert texts(await everything(store, key)) == ["kept"]
