"""Clauses of the message store contract about storing a message once."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ...errors import MessageConflictError
from ...messages.records import Appended, MessageStatus, Role
from ...messages.store import MessageStore
from ...values import Outcome
from .clauses import Clauses
from .steps import RACERS, asked, conflicts, everything, insistently, opened, places, put, replied, text_part, texts


class AppendClauses(Clauses):
    async def test_a_new_message_is_created(self, store: MessageStore) -> None:
        key = await opened(store)
        assert await store.append(key, asked("one")) is Appended.CREATED
        assert await store.append(key, replied("two")) is Appended.CREATED

    async def test_positions_count_from_one(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked("one"), replied("two"), asked("three"))
        found = await everything(store, key)
        assert (places(found), texts(found)) == ([1, 2, 3], ["one", "two", "three"])

    async def test_a_repeated_message_is_a_duplicate(self, store: MessageStore) -> None:
        key = await opened(store)
        for message in (asked("one"), replied("two", usage={"tokens": 1})):
            await put(store, key, message)
            assert await store.append(key, message) is Appended.DUPLICATE
            assert await store.append(key, replace(message, usage={"tokens": 2})) is Appended.DUPLICATE

    async def test_a_duplicate_changes_nothing(self, store: MessageStore) -> None:
        key = await opened(store)
        first, reply = asked("one"), replied("two", usage={"tokens": 1})
        await put(store, key, first, reply, asked("three"))
        await store.mark(key, first.message_id, MessageStatus.UNANSWERED)
        before = await everything(store, key)
        for message in (first, reply, replace(reply, usage={"tokens": 2})):
            await store.append(key, message)
        assert await everything(store, key) == before

    async def test_the_same_user_message_with_other_content_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked("one", message_id="m"))
        with pytest.raises(MessageConflictError):
            await store.append(key, asked("two", message_id="m"))

    async def test_the_same_stream_with_another_text_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        message = replied("one")
        await put(store, key, message)
        assert await conflicts(store, key, replace(message, parts=(text_part("two"),)))
        assert await conflicts(store, key, replace(message, parts=()))

    async def test_the_same_stream_with_another_outcome_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        message = replied("one")
        await put(store, key, message)
        assert await conflicts(store, key, replace(message, outcome=Outcome.INTERRUPTED))

    async def test_the_same_stream_with_other_metadata_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        message = replied("one", metadata={"a": 1})
        await put(store, key, message)
        for metadata in ({"a": 2}, {}, None):
            assert await conflicts(store, key, replace(message, metadata=metadata))

    async def test_the_same_stream_with_another_role_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        message = replied("one")
        await put(store, key, message)
        assert await conflicts(store, key, replace(message, role=Role.SYSTEM))

    async def test_another_stream_with_the_same_message_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        message = replied("one")
        await put(store, key, message)
        assert await conflicts(store, key, replied("one", message_id=message.message_id))

    async def test_no_stream_is_not_the_stream_that_said_it(self, store: MessageStore) -> None:
        key = await opened(store)
        user, reply = asked("one"), replied("two")
        await put(store, key, user, reply)
        assert await conflicts(store, key, replace(reply, stream_id=None))
        assert await conflicts(store, key, replace(user, stream_id=reply.stream_id))

    async def test_a_conflict_changes_nothing(self, store: MessageStore) -> None:
        key = await opened(store)
        user, reply = asked("one"), replied("two")
        await put(store, key, user, reply)
        before = await everything(store, key)
        for message in (asked("1", message_id=user.message_id), replace(reply, parts=(text_part("2"),))):
            assert await conflicts(store, key, message)
        assert await everything(store, key) == before

    async def test_a_status_follows_from_the_outcome(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked(), *(replied(outcome=outcome) for outcome in Outcome))
        found = await everything(store, key)
        assert [stored.message.outcome for stored in found] == [None, *Outcome]
        assert [stored.status for stored in found] == [stored.message.status for stored in found]

    async def test_a_message_names_the_stream_that_said_it(self, store: MessageStore) -> None:
        key = await opened(store)
        reply = replied(stream_id="a")
        await put(store, key, asked(), reply)
        user, stored = await everything(store, key)
        assert (user.streams, stored.streams) == ((), ("a",))

    async def test_a_new_message_was_updated_when_it_was_created(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked(), replied())
        first, second = await everything(store, key)
        assert first.updated_at == first.created_at
        assert second.updated_at == second.created_at >= first.created_at > 0

    async def test_appends_at_once_take_contiguous_positions(self, store: MessageStore) -> None:
        key = await opened(store)
        messages = [asked(f"number {number}") for number in range(RACERS * 2)]
        await asyncio.gather(*(insistently(store.append, key, message) for message in messages))
        found = await everything(store, key)
        assert places(found) == list(range(1, len(messages) + 1))
        assert sorted(stored.message.message_id for stored in found) == sorted(one.message_id for one in messages)

    async def test_of_the_same_message_at_once_one_is_created(self, store: MessageStore) -> None:
        for message in (asked("one"), replied("two")):
            key = await opened(store)
            answers = await asyncio.gather(*(insistently(store.append, key, message) for _ in range(RACERS)))
            assert answers.count(Appended.CREATED) <= 1  # none, when the one that created was told to ask again
            assert answers.count(Appended.CREATED) + answers.count(Appended.DUPLICATE) == RACERS
            assert places(await everything(store, key)) == [1]

    async def test_of_different_contents_at_once_one_is_stored(self, store: MessageStore) -> None:
        key = await opened(store)
        messages = [asked(f"version {number}", message_id="m") for number in range(RACERS)]
        refused = await asyncio.gather(*(insistently(conflicts, store, key, message) for message in messages))
        assert refused.count(False) == 1
        (stored,) = await everything(store, key)
        assert texts([stored]) == [f"version {refused.index(False)}"]
