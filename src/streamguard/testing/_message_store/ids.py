"""Clauses of the message store contract about ids: compared exactly, bounded in bytes."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import ParamSpec

import pytest

from ...errors import MessageInvalidError
from ...messages.records import MessageStatus
from ...messages.store import MessageStore
from ...values import MAX_ID_BYTES, MAX_OWNER_BYTES, SessionKey
from .clauses import Clauses
from .steps import asked, conflicts, everything, facts, fresh_key, opened, put, replied, text_part, texts

P = ParamSpec("P")

ALIKE = ("id", "ID", "Id", "id ", " id", "íd", "i\u0301d", "ıd", "ıd\u200b", "id\n", "id%", "id_", "ß", "ss")
"""Ids that a database's collation may take for one another."""

LONGEST = ("x" * MAX_ID_BYTES, "😀" * (MAX_ID_BYTES // 4))
TOO_LONG = ("x" * (MAX_ID_BYTES + 1), "😀" * (MAX_ID_BYTES // 4) + "é")

DOUBTFUL = ("a\0b", "a\ud800b")
"""What some encodings have no form for."""


async def _refused(call: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs) -> None:
    with pytest.raises(MessageInvalidError):
        await call(*args, **kwargs)


async def _distinct_or_refused(store: MessageStore, doubtful: SessionKey, plain: SessionKey) -> None:
    try:
        assert (await store.open_session(doubtful)).created
    except MessageInvalidError:
        return
    assert (await store.open_session(plain)).created


def _plain(text: str) -> str:
    """A doubtful text without what makes it so."""
    return text.replace("\0", "").replace("\ud800", "")


class IdClauses(Clauses):
    async def test_message_ids_are_compared_exactly(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, *(asked(f"{number}", message_id=one) for number, one in enumerate(ALIKE)))
        for number, one in enumerate(ALIKE):
            stored = await store.get(key, one)
            assert (stored.message.message_id, texts([stored])) == (one, [str(number)])

    async def test_session_ids_and_owners_are_compared_exactly(self, store: MessageStore) -> None:
        unique = fresh_key()
        keys = [SessionKey(unique.owner, f"{one}{unique.session_id}{one}") for one in ALIKE]
        keys += [SessionKey(f"{one}{unique.owner}{one}", f"{unique.session_id}-of-{n}") for n, one in enumerate(ALIKE)]
        for number, key in enumerate(keys):
            assert (await store.open_session(key)).created
            await put(store, key, asked(str(number)))
        for number, key in enumerate(keys):
            assert texts(await everything(store, key)) == [str(number)]

    async def test_owner_and_session_id_do_not_run_together(self, store: MessageStore) -> None:
        unique = fresh_key().owner
        pairs = [("ab", "c"), ("a", "bc"), ("a:", "d"), ("a", ":d"), ("a", "b"), ("b", "a")]
        for owner, session_id in pairs:
            assert (await store.open_session(SessionKey(f"{unique}{owner}", f"{session_id}{unique}"))).created

    async def test_stream_ids_are_compared_exactly(self, store: MessageStore) -> None:
        key = await opened(store)
        message = replied("0", stream_id="stream")
        await put(store, key, message)
        for number, one in enumerate(ALIKE, 1):
            message = replace(message, parts=(text_part(str(number)),), stream_id=one, continues=message.stream_id)
            await put(store, key, message)
        stray = replace(message, parts=(), stream_id="other", continues=ALIKE[-1].upper())
        assert await conflicts(store, key, stray)
        assert (await store.get(key, message.message_id)).streams == ("stream", *ALIKE)

    async def test_the_longest_ids_are_fine(self, store: MessageStore) -> None:
        for one in LONGEST:
            unique = fresh_key().owner.ljust(32, "-")
            longest = one * (MAX_OWNER_BYTES // MAX_ID_BYTES)
            key = SessionKey(unique + longest[32:] if one.isascii() else unique + longest[8:], one)
            assert (await store.open_session(key)).created
            first = replied("0", message_id=one, stream_id=one)
            await put(store, key, first)
            second = replied("1", message_id=one, stream_id=one[1:], continues=one)
            await put(store, key, second)
            (stored,) = await everything(store, key)
            assert (facts(stored.message), stored.streams) == (facts(second), (one, one[1:]))
            await store.mark(key, one, MessageStatus.PARTIAL)
            await store.delete_session(key)
            assert await everything(store, key) == []

    async def test_an_owner_or_session_id_that_is_too_long_is_invalid(self, store: MessageStore) -> None:
        for one in TOO_LONG:
            owner = one[1:] + one[0] * (MAX_OWNER_BYTES - MAX_ID_BYTES + 1)
            for key in (SessionKey(owner, "session"), SessionKey("owner", one)):
                await _refused(store.open_session, key)
                await _refused(store.append, key, asked())
                await _refused(store.get, key, "m")
                await _refused(store.list, key)
                await _refused(store.mark, key, "m", MessageStatus.PARTIAL)
                await _refused(store.delete_session, key)

    async def test_a_message_id_that_is_too_long_is_invalid(self, store: MessageStore) -> None:
        key = await opened(store)
        for one in TOO_LONG:
            await _refused(store.append, key, asked(message_id=one))
            await _refused(store.get, key, one)
            await _refused(store.mark, key, one, MessageStatus.PARTIAL)

    async def test_a_stream_id_that_is_too_long_is_invalid(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, first := replied("one"))
        for one in TOO_LONG:
            await _refused(store.append, key, replied(stream_id=one))
            late = replied(message_id=first.message_id, stream_id=one, continues=first.stream_id)
            await _refused(store.append, key, late)
            stray = replied(message_id=first.message_id, continues=one)
            await _refused(store.append, key, stray)
        assert texts(await everything(store, key)) == ["one"]

    async def test_ids_that_an_encoding_may_refuse_come_back_or_are_refused(self, store: MessageStore) -> None:
        for one in DOUBTFUL:
            key = await opened(store)
            for message in (asked(message_id=one), replied(message_id="m", stream_id=one)):
                try:
                    await store.append(key, message)
                except MessageInvalidError:
                    continue
                assert facts((await store.get(key, message.message_id)).message) == facts(message)

    async def test_session_ids_that_an_encoding_may_refuse_are_distinct_or_refused(self, store: MessageStore) -> None:
        for one in DOUBTFUL:
            key = fresh_key()
            doubtful, plain = (SessionKey(key.owner, key.session_id + end) for end in (one, _plain(one)))
            await _distinct_or_refused(store, doubtful, plain)

    async def test_owners_that_an_encoding_may_refuse_are_distinct_or_refused(self, store: MessageStore) -> None:
        for one in DOUBTFUL:
            key = fresh_key()
            doubtful, plain = (SessionKey(key.owner + end, key.session_id) for end in (one, _plain(one)))
            await _distinct_or_refused(store, doubtful, plain)
