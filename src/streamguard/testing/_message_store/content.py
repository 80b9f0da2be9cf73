"""Clauses of the message store contract about what a message may hold: it comes back exactly, or is refused."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import ClassVar

from ...errors import MessageInvalidError
from ...messages.records import Appended, Message, Role
from ...messages.store import MessageStore
from ...values import Outcome, new_message_id
from ...wire.folding import Json
from .clauses import Clauses
from .steps import asked, comes_back, comes_back_or_is_refused, continued, everything, opened, replied, text_part

MEBIBYTE = 1 << 20

TEXTS = (
    "",
    " both ends \t\n",
    "lines\r\nand\rmore\n",
    "\u2028 \u2029 \x85 \x0b \x1f \x7f",
    "\ufeffmark first",
    "é e\u0301 ﬁ Å",
    "😀 👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈",
    "שלום \u202eright to left\u202c",
    "\U0010ffff \ufffe \ufffd",
    "'; DROP TABLE messages; -- \" ` \\ % _ $1 :name {} ?",
    "\\u0000 \\ud800 written out",
    "null",
)

NUMBERS: tuple[Json, ...] = (0, -1, 2**31, 2**53 - 1, 2**53, 2**53 + 1, -(2**63), 0.1, 1.0, 1.5, 1e16, 1e308, 5e-324)

DEEP = 64
"""How deeply nested a message a store must take: tools answer with trees."""


class ContentClauses(Clauses):
    _depth: ClassVar[int] = 100_000
    """How deeply nested a message may be only if all of it comes back."""

    async def test_every_kind_of_message_comes_back(self, store: MessageStore) -> None:
        key = await opened(store)
        parts: tuple[dict[str, Json], ...] = (
            {"type": "step-start"},
            {"type": "reasoning", "text": "hm", "state": "done", "providerMetadata": {"p": {"id": "r1"}}},
            text_part("because"),
            {"type": "tool-look", "toolCallId": "c1", "state": "output-available", "input": {"q": None}, "output": [1]},
            {"type": "source-url", "sourceId": "s", "url": "https://example.org/?a=b#c", "title": "t"},
            {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="},
            {"type": "data-weather", "id": "w", "data": {"": [], "a.b": {}, "$ref": True, "é": False, "__proto__": 1}},
        )
        usage = {"input_tokens": 12, "output_tokens": 2**40}
        for message in (
            asked("a question"),
            Message(new_message_id(), Role.SYSTEM, (text_part("be brief"),), metadata={"pinned": True}),
            Message(new_message_id(), Role.ASSISTANT, parts, {"model": "m"}, "s1", None, Outcome.COMPLETED, usage),
            replied("half a", outcome=Outcome.FAILED),
        ):
            await comes_back(store, key, message)

    async def test_a_message_may_be_empty(self, store: MessageStore) -> None:
        key = await opened(store)
        await comes_back(store, key, Message(new_message_id(), Role.ASSISTANT, (), outcome=Outcome.STOPPED))

    async def test_what_a_reply_answers_comes_back_and_is_no_content(self, store: MessageStore) -> None:
        """Also an id that is not there, and after another stream has gone on with the reply."""
        key = await opened(store)
        question, reply = asked(), replied(replies_to=new_message_id())
        await comes_back(store, key, question)
        await comes_back(store, key, reply)
        assert await store.append(key, replace(reply, replies_to=None)) is Appended.DUPLICATE
        assert (await store.get(key, reply.message_id)).message.replies_to == reply.replies_to
        await comes_back(store, key, replace(continued(reply, "More."), replies_to=question.message_id))

    async def test_empty_metadata_is_not_the_lack_of_it(self, store: MessageStore) -> None:
        key = await opened(store)
        await comes_back(store, key, replied(metadata={}))
        await comes_back(store, key, replied(metadata=None))

    async def test_every_text_comes_back(self, store: MessageStore) -> None:
        key = await opened(store)
        for text in TEXTS:
            await comes_back(store, key, asked(text))

    async def test_text_that_an_encoding_may_refuse_comes_back_or_is_refused(self, store: MessageStore) -> None:
        key = await opened(store)
        for text in ("a\0b", "\0", "\ud800", "\udc00 \ud83d", "\ud83d\ude00 as two halves"):
            await comes_back_or_is_refused(store, key, asked(text))
            await comes_back_or_is_refused(store, key, replied(metadata={text: text}))

    async def test_every_number_comes_back(self, store: MessageStore) -> None:
        key = await opened(store)
        await comes_back(store, key, replied(metadata={"numbers": list(NUMBERS), "words": [True, False, None]}))

    async def test_numbers_that_few_can_hold_come_back_or_are_refused(self, store: MessageStore) -> None:
        key = await opened(store)
        for number in (2**64, 10**30, -0.0):
            await comes_back_or_is_refused(store, key, replied(metadata={"number": number}))

    async def test_numbers_that_are_not_json_are_refused_or_come_back(self, store: MessageStore) -> None:
        key = await opened(store)
        for number in (math.nan, math.inf, -math.inf):
            await comes_back_or_is_refused(store, key, replied(metadata={"number": number}))

    async def test_deeply_nested_content_comes_back(self, store: MessageStore) -> None:
        key = await opened(store)
        tree: Json = "leaf"
        for level in range(DEEP):
            tree = {"level": level, "below": tree} if level % 2 else [tree]
        await comes_back(store, key, replied(metadata={"tree": tree}))

    async def test_content_nested_past_all_bounds_is_refused_or_comes_back(self, store: MessageStore) -> None:
        key = await opened(store)
        tree: Json = "leaf"
        for _ in range(self._depth):
            tree = [tree]
        message = replied(metadata={"tree": tree})
        try:
            await store.append(key, message)
        except MessageInvalidError:
            assert await everything(store, key) == []
            return
        found = (await store.get(key, message.message_id)).message.metadata
        below: Json = dict(found or {})["tree"]
        for _ in range(self._depth):  # comparing the trees themselves would recurse
            assert isinstance(below, list)
            (below,) = below
        assert below == "leaf"

    async def test_a_mebibyte_comes_back(self, store: MessageStore) -> None:
        key = await opened(store)
        await comes_back(store, key, asked("x" * MEBIBYTE))
        await comes_back(store, key, replied("é😀 " * (MEBIBYTE // 7)))

    async def test_what_was_read_can_be_changed_without_harm(self, store: MessageStore) -> None:
        key = await opened(store)
        message = replied("one", metadata={"list": [1]})
        await comes_back(store, key, message)
        before = json.dumps((await store.get(key, message.message_id)).message.metadata)
        for stored in (await store.get(key, message.message_id), *await everything(store, key)):
            found = dict(stored.message.metadata or {})["list"]
            assert isinstance(found, list)
            found.append(2)
        assert json.dumps((await store.get(key, message.message_id)).message.metadata) == before

    async def test_what_was_written_can_be_changed_without_harm(self, store: MessageStore) -> None:
        key = await opened(store)
        part = text_part("one")
        message = Message(new_message_id(), Role.USER, (part,))
        await comes_back(store, key, message)
        part["text"] = "two"
        (found,) = (await store.get(key, message.message_id)).message.parts
        assert found["text"] == "one"

    async def test_a_refusal_holds_nothing_of_the_content(self, store: MessageStore) -> None:
        tree: Json = "hunter2"
        for _ in range(self._depth):
            tree = [tree]
        key = await opened(store)
        for message in (asked("hunter2 \ud800"), asked("hunter2 \0"), replied(metadata={"tree": tree})):
            refusal: MessageInvalidError | None = None
            try:
                await store.append(key, message)
            except MessageInvalidError as exc:
                refusal = exc
            assert "hunter2" not in str(refusal)
