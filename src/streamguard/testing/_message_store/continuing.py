"""Clauses of the message store contract about messages that another stream goes on with."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from dataclasses import replace

from ...messages.records import Appended, MessageStatus
from ...messages.store import MessageStore
from ...values import Outcome
from .clauses import Clauses
from .steps import (
    RACERS,
    asked,
    conflicts,
    continued,
    everything,
    facts,
    insistently,
    opened,
    put,
    replied,
    text_part,
    texts,
)


class ContinueClauses(Clauses):
    async def test_the_next_stream_continues_a_message(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one", outcome=Outcome.STOPPED)
        await put(store, key, first)
        assert await store.append(key, continued(first, "one two")) is Appended.CONTINUED

    async def test_a_continued_message_has_what_the_last_stream_wrote(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one", outcome=Outcome.STOPPED, metadata={"a": 1}, usage={"tokens": 1})
        second = replace(continued(first, "one two"), metadata={"b": 2}, usage={"tokens": 5})
        await put(store, key, first)
        await put(store, key, second)
        stored = await store.get(key, first.message_id)
        assert (facts(stored.message), stored.status) == (facts(second), MessageStatus.COMPLETE)

    async def test_a_continued_message_keeps_its_place_and_its_beginning(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one")
        await put(store, key, asked(), first, asked())
        before = await store.get(key, first.message_id)
        await put(store, key, continued(first, "one two"))
        found = await everything(store, key)
        assert [stored.message.message_id for stored in found][1] == first.message_id
        assert (len(found), found[1].position, found[1].created_at) == (3, 2, before.created_at)
        assert found[1].updated_at >= before.updated_at

    async def test_a_continued_message_names_every_stream_in_order(self, store: MessageStore) -> None:
        key = await opened(store)
        message = replied("0", stream_id="stream-9")
        await put(store, key, message)
        for number in (5, 7, 1):
            message = replace(continued(message, str(number)), stream_id=f"stream-{number}")
            await put(store, key, message)
        stored = await store.get(key, message.message_id)
        assert stored.streams == ("stream-9", "stream-5", "stream-7", "stream-1")

    async def test_a_continuation_may_change_nothing(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one")
        second = continued(first, "one")
        await put(store, key, first)
        await put(store, key, second)
        assert (await store.get(key, first.message_id)).streams == (first.stream_id, second.stream_id)

    async def test_a_repeated_continuation_is_a_duplicate(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one")
        second = continued(first, "one two")
        await put(store, key, first)
        await put(store, key, second)
        assert await store.append(key, second) is Appended.DUPLICATE

    async def test_a_repeated_continuation_with_other_content_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one")
        second = continued(first, "one two")
        await put(store, key, first)
        await put(store, key, second)
        assert await conflicts(store, key, replace(second, parts=(text_part("one three"),)))

    async def test_an_earlier_stream_repeated_after_a_continuation_is_a_duplicate(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one")
        await put(store, key, first)
        await put(store, key, continued(first, "one two"))
        before = await everything(store, key)
        assert await store.append(key, first) is Appended.DUPLICATE
        assert await everything(store, key) == before

    async def test_an_earlier_stream_with_other_content_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one")
        second = continued(first, "one two")
        await put(store, key, first)
        await put(store, key, second)
        assert await conflicts(store, key, replace(first, parts=second.parts))
        assert texts(await everything(store, key)) == ["one two"]

    async def test_continuing_from_a_stream_that_never_wrote_it_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one")
        await put(store, key, first)
        before = await everything(store, key)
        assert await conflicts(store, key, replace(continued(first, "one two"), continues="stranger"))
        assert await everything(store, key) == before

    async def test_continuing_from_a_stream_that_was_continued_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one")
        await put(store, key, first)
        await put(store, key, continued(first, "one two"))
        before = await everything(store, key)
        assert await conflicts(store, key, continued(first, "one three"))
        assert await everything(store, key) == before

    async def test_continuing_a_users_message_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        message = asked("one", message_id="m")
        await put(store, key, message)
        assert await conflicts(store, key, replied("two", message_id="m", continues="stream"))
        assert await conflicts(store, key, replied("two", message_id="m"))

    async def test_continuing_a_message_that_is_not_there_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        assert await conflicts(store, key, replied("two", continues="stream"))
        assert await everything(store, key) == []

    async def test_of_continuations_at_once_one_continues(self, store: MessageStore) -> None:
        key = await opened(store)
        first = replied("one")
        await put(store, key, first)
        rivals = [continued(first, f"rival {number}") for number in range(RACERS)]
        refused = await asyncio.gather(*(insistently(conflicts, store, key, rival) for rival in rivals))
        assert refused.count(False) == 1
        winner = rivals[refused.index(False)]
        stored = await store.get(key, first.message_id)
        assert (facts(stored.message), stored.streams) == (facts(winner), (first.stream_id, winner.stream_id))
