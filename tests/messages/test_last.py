"""How many messages are read to find a session's last one: never the whole session, whatever the store can do."""

from __future__ import annotations

from math import log2

import pytest

from streamguard.messages import (
    Appended,
    MemoryMessageStore,
    Message,
    MessageStatus,
    MessageStore,
    Opened,
    Role,
    StoredMessage,
    Superseded,
)
from streamguard.values import SessionKey

pytestmark = pytest.mark.anyio

KEY = SessionKey("ann", "chat")


class ListingStore(MessageStore):
    """A host's store, that has only what it must have; counts what it is asked for."""

    def __init__(self) -> None:
        self.inner = MemoryMessageStore()
        self.calls = self.rows = 0

    async def open_session(self, key: SessionKey) -> Opened:
        return await self.inner.open_session(key)

    async def append(self, key: SessionKey, message: Message) -> Appended:
        return await self.inner.append(key, message)

    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        return await self.inner.supersede(key, by=by, start=start, after=after, message=message)

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        return await self.inner.get(key, message_id, branches=branches)

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        found = await self.inner.list(key, after=after, limit=limit, branches=branches)
        self.calls += 1
        self.rows += len(found)
        return found

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        await self.inner.mark(key, message_id, status)

    async def delete_session(self, key: SessionKey) -> None:
        await self.inner.delete_session(key)


def said(number: int) -> Message:
    return Message(f"m{number}", Role.USER, ({"type": "text", "text": str(number)},))


async def test_a_store_that_only_lists_finds_the_last_message_of_a_session_of_any_length() -> None:
    store = ListingStore()
    await store.open_session(KEY)
    assert await store.last(KEY) is None
    for number in range(1, 70):
        await store.append(KEY, said(number))
        last = await store.last(KEY)
        assert last is not None
        assert (last.message.message_id, last.position) == (f"m{number}", number)


@pytest.mark.parametrize("length", [1, 1_000, 5_000])
async def test_it_reads_few_messages_one_by_one(length: int) -> None:
    store = ListingStore()
    await store.open_session(KEY)
    for number in range(1, length + 1):
        await store.append(KEY, said(number))
    store.calls = store.rows = 0
    last = await store.last(KEY)
    assert last is not None
    assert last.position == length
    assert store.rows <= store.calls <= 2 * log2(length) + 3
