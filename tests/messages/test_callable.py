"""Saving by a function: what it is given, what becomes of what it raises."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from typing import cast

import pytest

from streamguard.errors import (
    ConfigurationError,
    MessageConflictError,
    MessageFailedError,
    MessageForbiddenError,
    MessageInvalidError,
    MessageStoreError,
    MessageTimeoutError,
    MessageUnavailableError,
)
from streamguard.messages import CallableSaver, Message, MessageToSave, Role, Save, Supersedes
from streamguard.testing._message_store.steps import asked, continued, replied, text_part
from streamguard.values import SessionKey

pytestmark = pytest.mark.anyio

KEY = SessionKey("ada", "c1")


class Rows:
    """A host's table, upserted by session and message id."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], str] = {}

    async def save(self, message: MessageToSave) -> None:
        self.rows[message.key.owner, message.key.session_id, message.message.message_id] = message.text

    async def __call__(self, message: MessageToSave) -> None:
        await self.save(message)

    async def save_in(self, table: str, message: MessageToSave) -> None:
        await self.save(message)


async def test_a_function_gets_the_message_and_where_it_belongs() -> None:
    rows = Rows()
    saver = CallableSaver(rows.save)
    first = replied("one", message_id="m")
    for message in (first, first, continued(first, "one two")):
        await saver.append(KEY, message)
    assert rows.rows == {("ada", "c1", "m"): "one two"}


async def test_methods_partials_and_callable_objects_are_functions_too() -> None:
    rows = Rows()
    for save in (rows, rows.save, functools.partial(rows.save_in, "messages")):
        await CallableSaver(save).append(KEY, asked("hello"))
    assert list(rows.rows.values()) == ["hello"] * 3


def test_its_text_is_what_somebody_would_read() -> None:
    parts = (
        {"type": "reasoning", "text": "hm"},
        text_part("one "),
        {"type": "tool-look", "toolCallId": "c"},
        text_part("two"),
        {"type": "text"},
    )
    assert MessageToSave(KEY, Message("m", Role.ASSISTANT, parts)).text == "one two"


def test_an_idempotency_key_names_one_streams_version_of_one_message() -> None:
    message = replied("one")
    same = MessageToSave(KEY, message).idempotency_key
    assert MessageToSave(KEY, replace(message, parts=())).idempotency_key == same
    assert len(same) == 64
    others = [
        MessageToSave(SessionKey("eve", "c1"), message),
        MessageToSave(SessionKey("ada", "c2"), message),
        MessageToSave(SessionKey("adac", "1"), message),
        MessageToSave(KEY, replace(message, message_id="other")),
        MessageToSave(KEY, replace(message, stream_id="other")),
        MessageToSave(KEY, replace(message, stream_id=None)),
        MessageToSave(KEY, replace(message, stream_id="None")),
        MessageToSave(KEY, replace(message, stream_id="\ud800")),
    ]
    assert len({same, *(other.idempotency_key for other in others)}) == len(others) + 1


class OperationalError(Exception):
    """As a driver calls it whose database is away (PEP 249)."""


class IntegrityError(Exception):
    """As a driver calls it whose database will not have one row."""


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (KeyError("hunter2"), MessageFailedError),
        (ValueError("hunter2"), MessageFailedError),
        (IntegrityError("hunter2"), MessageFailedError),
        (OperationalError("hunter2"), MessageUnavailableError),
        (EOFError("hunter2"), MessageUnavailableError),
        (MessageUnavailableError("away", operation="save"), MessageUnavailableError),
        (OSError("hunter2"), MessageUnavailableError),
        (TimeoutError("hunter2"), MessageTimeoutError),
        (MessageInvalidError("too long", operation="save"), MessageInvalidError),
        (MessageForbiddenError("not yours", operation="save"), MessageForbiddenError),
        (MessageConflictError("another", operation="save"), MessageConflictError),
    ],
)
async def test_what_it_raises_becomes_ours(raised: Exception, expected: type[MessageStoreError]) -> None:
    async def save(message: MessageToSave) -> None:
        raise raised

    with pytest.raises(expected) as caught:
        await CallableSaver(save).append(KEY, asked())
    assert type(caught.value) is expected
    assert "hunter2" not in str(caught.value)
    assert caught.value is raised or caught.value.__cause__ is raised


async def test_cancelling_reaches_the_function() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def save(message: MessageToSave) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.ensure_future(CallableSaver(save).append(KEY, asked()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_function_is_told_what_a_message_replaces() -> None:
    given: list[MessageToSave] = []

    async def save(message: MessageToSave) -> None:
        given.append(message)

    saver = CallableSaver(save)
    edited = Supersedes(by="s1", start="q1", after=None)
    again = Supersedes(by="s2", start="a1", after="q1")
    await saver.append(KEY, asked("old", message_id="q1"))
    await saver.append(KEY, asked("new", message_id="q1"), supersedes=edited)
    await saver.append(KEY, replied("another", replies_to="q1"), supersedes=again)
    assert [message.supersedes for message in given] == [None, edited, again]


async def test_an_edited_question_has_a_key_of_its_own_each_time() -> None:
    """It has the id of the old one, and no stream: whoever skips the keys it has seen would miss it."""
    question = asked(message_id="q1")
    edits = [None, Supersedes("s1", "q1", None), Supersedes("s2", "q1", None)]
    keys = [MessageToSave(KEY, question, edit).idempotency_key for edit in edits]
    assert len(set(keys)) == 3
    repeated = MessageToSave(KEY, question, Supersedes("s1", None, "a0"))
    assert repeated.idempotency_key == keys[1]


def _sync(message: MessageToSave) -> None: ...


async def _nothing() -> None: ...


async def _two(key: SessionKey, message: MessageToSave) -> None: ...


async def _keyword(*, message: MessageToSave) -> None: ...


@pytest.mark.parametrize("save", [None, "save", _sync, _nothing, _two, _keyword])
async def test_what_cannot_be_called_so_is_refused_at_once(save: object) -> None:
    with pytest.raises(ConfigurationError, match="async def save"):
        CallableSaver(cast("Save", save))
