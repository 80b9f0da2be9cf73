"""Clauses of the message store contract about errors, and about calls that were broken off."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import ParamSpec

import anyio
import pytest

from ...errors import MessageConflictError, MessageInvalidError, MessageNotFoundError, MessageStoreError
from ...messages.records import Appended, Message, MessageStatus, Superseded
from ...messages.store import MessageStore
from ...values import SessionKey
from .clauses import Clauses
from .steps import (
    WAIT_SECONDS,
    all_branches,
    asked,
    everything,
    fresh_key,
    insistently,
    opened,
    places,
    put,
    replied,
    superseded,
    text_part,
    texts,
)

P = ParamSpec("P")

BROKEN_OFF_AFTER_SECONDS = (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008)
"""When a call is cancelled: before its first step, and somewhere on its way."""


async def _broken_off(seconds: float, call: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs) -> None:
    """Begin a call and cancel it after `seconds`."""
    task = asyncio.ensure_future(call(*args, **kwargs))
    if seconds:
        await asyncio.wait({task}, timeout=seconds)
    else:
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class DoubtClauses(Clauses):
    async def test_an_error_names_what_was_asked(self, store: MessageStore) -> None:
        key = await opened(store)
        message = asked("one")
        other = replace(message, parts=())
        await put(store, key, message)
        calls: tuple[tuple[str, type[MessageStoreError], Callable[[], Awaitable[object]]], ...] = (
            ("append", MessageNotFoundError, lambda: store.append(fresh_key(), message)),
            ("append", MessageConflictError, lambda: store.append(key, other)),
            ("supersede", MessageNotFoundError, lambda: superseded(store, fresh_key(), "m")),
            ("supersede", MessageConflictError, lambda: superseded(store, key, "owed", message.message_id, other)),
            ("supersede", MessageInvalidError, lambda: superseded(store, key, "x" * 257)),
            ("get", MessageNotFoundError, lambda: store.get(key, "nobody-said-this")),
            ("append", MessageInvalidError, lambda: store.append(key, asked(message_id="x" * 257))),
            ("list", MessageInvalidError, lambda: store.list(SessionKey("owner", "x" * 257))),
            ("mark", MessageNotFoundError, lambda: store.mark(key, "nobody-said-this", MessageStatus.PARTIAL)),
        )
        for operation, kind, call in calls:
            with pytest.raises(kind) as caught:
                await call()
            assert (caught.value.operation, caught.value.retryable) == (operation, False)

    async def test_a_conflict_holds_nothing_of_the_content(self, store: MessageStore) -> None:
        key = await opened(store)
        message = replied("hunter2")
        await put(store, key, message)
        with pytest.raises(MessageConflictError) as caught:
            await store.append(key, replace(message, parts=(text_part("hunter2 again"),)))
        assert "hunter2" not in str(caught.value)

    async def test_an_append_that_was_broken_off_can_be_repeated(self, store: MessageStore) -> None:
        key = await opened(store)
        messages = []
        for seconds in BROKEN_OFF_AFTER_SECONDS:
            messages.append(message := asked(f"after {seconds} s"))
            await _broken_off(seconds, store.append, key, message)
            with anyio.fail_after(WAIT_SECONDS):
                answer = await insistently(store.append, key, message)
            assert answer in (Appended.CREATED, Appended.DUPLICATE)
        found = await everything(store, key)
        assert places(found) == list(range(1, len(messages) + 1))
        assert texts(found) == [f"after {seconds} s" for seconds in BROKEN_OFF_AFTER_SECONDS]

    async def test_a_superseding_that_was_broken_off_can_be_repeated(self, store: MessageStore) -> None:
        key = await opened(store)
        for number, seconds in enumerate(BROKEN_OFF_AFTER_SECONDS):
            edited = asked(f"after {seconds} s", message_id="m")

            async def edit(by: str = f"stream {number}", edited: Message = edited) -> Superseded:
                return await superseded(store, key, "m", None, edited, by=by)

            await _broken_off(seconds, edit)
            with anyio.fail_after(WAIT_SECONDS):
                answer = await insistently(edit)
            assert (answer.branch, answer.hidden, answer.appended) == (number + 1, number > 0, Appended.CREATED)
        assert texts(await everything(store, key)) == [f"after {BROKEN_OFF_AFTER_SECONDS[-1]} s"]
        assert places(await all_branches(store, key)) == list(range(1, len(BROKEN_OFF_AFTER_SECONDS) + 1))

    async def test_an_opening_that_was_broken_off_can_be_repeated(self, store: MessageStore) -> None:
        for seconds in BROKEN_OFF_AFTER_SECONDS:
            key = fresh_key()
            await _broken_off(seconds, store.open_session, key)
            with anyio.fail_after(WAIT_SECONDS):
                await insistently(store.open_session, key)
                await put(store, key, asked("one"))
            assert texts(await everything(store, key)) == ["one"]
