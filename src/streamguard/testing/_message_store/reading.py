"""Clauses of the message store contract about reading and marking."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import pytest

from ...errors import MessageNotFoundError
from ...messages.records import MessageStatus, StoredMessage
from ...messages.store import MessageStore
from ...values import MAX_SEQ
from .clauses import Clauses
from .steps import asked, continued, everything, facts, fresh_key, opened, places, put, replied


class ReadClauses(Clauses):
    async def test_a_message_is_found_by_its_id(self, store: MessageStore) -> None:
        key = await opened(store)
        messages = [asked("one"), replied("two"), asked("three")]
        await put(store, key, *messages)
        for message in messages:
            assert facts((await store.get(key, message.message_id)).message) == facts(message)

    async def test_a_message_that_is_not_there_is_not_found(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked())
        with pytest.raises(MessageNotFoundError):
            await store.get(key, "nobody-said-this")

    async def test_a_message_of_an_unknown_session_is_not_found(self, store: MessageStore) -> None:
        with pytest.raises(MessageNotFoundError):
            await store.get(fresh_key(), "m")

    async def test_a_list_says_the_same_as_get(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one", metadata={"a": 1}, usage={"tokens": 2})
        await put(store, key, asked(), first)
        await put(store, key, continued(first, "one two"))
        for stored in await everything(store, key):
            assert await store.get(key, stored.message.message_id) == stored

    async def test_an_unknown_session_lists_nothing(self, store: MessageStore) -> None:
        key = fresh_key()
        assert await store.list(key) == []
        assert await store.list(key, after=1, limit=1) == []

    async def test_an_empty_session_lists_nothing(self, store: MessageStore) -> None:
        assert await store.list(await opened(store)) == []

    async def test_a_list_has_at_most_its_limit(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, *(asked(str(number)) for number in range(5)))
        assert places(await store.list(key, limit=1)) == [1]
        assert places(await store.list(key, limit=3)) == [1, 2, 3]
        assert places(await store.list(key, limit=5)) == [1, 2, 3, 4, 5]
        assert places(await store.list(key, limit=1000)) == [1, 2, 3, 4, 5]

    async def test_a_list_begins_after_a_position(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, *(asked(str(number)) for number in range(5)))
        assert places(await store.list(key, after=0)) == [1, 2, 3, 4, 5]
        assert places(await store.list(key, after=2)) == [3, 4, 5]
        assert places(await store.list(key, after=4)) == [5]

    async def test_pages_put_together_are_the_session(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, *(asked(str(number)) for number in range(12)))
        found: list[StoredMessage] = []
        while page := await store.list(key, after=len(found), limit=5):
            found += page
        assert found == await everything(store, key)
        assert places(found) == list(range(1, 13))

    async def test_nothing_is_listed_past_the_end(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked(), asked())
        for after in (2, 3, 2**31, MAX_SEQ):
            assert await store.list(key, after=after) == []

    async def test_a_list_has_a_hundred_messages_unless_told_otherwise(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, *(asked(str(number)) for number in range(101)))
        assert places(await store.list(key)) == list(range(1, 101))

    async def test_the_last_message_is_the_one_at_the_end_of_the_list(self, store: MessageStore) -> None:
        key = await opened(store)
        for number in range(5):
            message = asked(str(number)) if number % 2 else replied(str(number))
            await put(store, key, message)
            last = await store.last(key)
            assert last is not None
            assert (last.message.message_id, last.position) == (message.message_id, number + 1)

    async def test_a_session_without_messages_has_no_last_one(self, store: MessageStore) -> None:
        key = fresh_key()
        assert await store.last(key) is None
        assert await store.last(await opened(store)) is None

    async def test_a_mark_sets_the_status(self, store: MessageStore) -> None:
        key = await opened(store)
        message = asked()
        await put(store, key, message)
        for status in (MessageStatus.UNANSWERED, *MessageStatus):
            await store.mark(key, message.message_id, status)
            assert (await store.get(key, message.message_id)).status is status

    async def test_a_mark_leaves_the_content(self, store: MessageStore) -> None:
        key = await opened(store)
        message = replied("one", usage={"tokens": 3})
        await put(store, key, asked(), message)
        before = await store.get(key, message.message_id)
        await store.mark(key, message.message_id, MessageStatus.PARTIAL)
        after = await store.get(key, message.message_id)
        assert (after.message, after.position, after.streams) == (before.message, 2, before.streams)
        assert after.created_at == before.created_at

    async def test_a_mark_concerns_one_message(self, store: MessageStore) -> None:
        key = await opened(store)
        messages = [asked(), asked(), asked()]
        await put(store, key, *messages)
        await store.mark(key, messages[1].message_id, MessageStatus.UNANSWERED)
        expected = [MessageStatus.COMPLETE, MessageStatus.UNANSWERED, MessageStatus.COMPLETE]
        assert [stored.status for stored in await everything(store, key)] == expected

    async def test_a_continuation_replaces_a_mark(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one")
        await put(store, key, first)
        await store.mark(key, first.message_id, MessageStatus.PARTIAL)
        await put(store, key, continued(first, "one two"))
        assert (await store.get(key, first.message_id)).status is MessageStatus.COMPLETE

    async def test_marking_a_message_that_is_not_there_finds_none(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked())
        for session in (key, fresh_key()):
            with pytest.raises(MessageNotFoundError):
                await store.mark(session, "nobody-said-this", MessageStatus.PARTIAL)
