"""Stores that are wrong about errors, or are left in disorder by a call that was broken off."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from streamguard.errors import MessageConflictError, MessageNotFoundError
from streamguard.messages import Appended, Message, Opened, StoredMessage, Superseded
from streamguard.values import SessionKey

from .bench import Bench, breaks


@breaks("test_an_error_names_what_was_asked")
class NamesItsOwnOperation(Bench):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        try:
            return await super().get(key, message_id, branches=branches)
        except MessageNotFoundError as exc:
            raise MessageNotFoundError("SELECT: no rows", operation="select") from exc


@breaks(
    "test_a_conflict_holds_nothing_of_the_content",
    "test_a_stream_that_began_after_may_not_continue_what_was_superseded",
)
class QuotesWhatClashes(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        try:
            return await super().append(key, message)
        except MessageConflictError as exc:
            raise MessageConflictError(f"append: conflict over {message.parts}", operation="append") from exc


@breaks("test_an_append_that_was_broken_off_can_be_repeated")
class LeavesHalfAMessage(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.half = 0

    async def append(self, key: SessionKey, message: Message) -> Appended:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.half += 1
            raise
        answer = await super().append(key, message)
        for entry in self.entries(key):
            entry.position += self.half
        self.half = 0
        return answer


@breaks("test_a_superseding_that_was_broken_off_can_be_repeated")
class SupersedesAgainWhenBrokenOff(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.broken_off = 0

    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        answer = await super().supersede(key, by=by, start=start, after=after, message=message)
        return replace(answer, branch=answer.branch + self.broken_off)


@breaks("test_an_opening_that_was_broken_off_can_be_repeated")
class StaysLockedWhenBrokenOff(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.locked = False

    async def open_session(self, key: SessionKey) -> Opened:
        if self.locked:
            raise MessageNotFoundError("open_session: locked", operation="open_session")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.locked = True
            raise
        return await super().open_session(key)
