"""Stores that are wrong about sessions and owners."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

from streamguard.errors import MessageNotFoundError
from streamguard.messages import Appended, Message, MessageStatus, Opened, StoredMessage
from streamguard.messages.content import check_ids
from streamguard.messages.memory import _Session
from streamguard.values import SessionKey

from .bench import Bench, breaks


@breaks("test_starting_gives_texts_for_the_operator")
class WarnsOfNothing(Bench):
    async def start(self) -> list[str]:
        return [""]


@breaks("test_the_first_opening_creates_the_session")
class CountsInsteadOfSaying(Bench):
    async def open_session(self, key: SessionKey) -> Opened:
        opened = await super().open_session(key)
        return replace(opened, created=cast("bool", int(opened.created)))


@breaks("test_a_later_opening_finds_the_session")
class CreatesAgain(Bench):
    async def open_session(self, key: SessionKey) -> Opened:
        opened = await super().open_session(key)
        return replace(opened, created=opened.created or bool(self.entries(key)))


@breaks(
    "test_a_later_opening_keeps_what_was_said",
    "test_a_repeated_superseding_changes_nothing",
    "test_a_session_counts_its_branches",
    "test_superseding_what_was_replaced_already_is_a_conflict",
)
class OpensAnEmptySession(Bench):
    async def open_session(self, key: SessionKey) -> Opened:
        if len(self.entries(key)) > 1:
            self._sessions[key] = _Session()
        return await super().open_session(key)


@breaks("test_of_openings_at_once_one_creates")
class LooksThenCreates(Bench):
    async def open_session(self, key: SessionKey) -> Opened:
        unknown = self.session(key) is None
        await asyncio.sleep(0)
        opened = await super().open_session(key)
        return replace(opened, created=opened.created or unknown)


@breaks("test_appending_to_a_session_that_was_never_opened_finds_none", "test_an_error_names_what_was_asked")
class OpensWhatItIsGiven(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        if key not in self.known and not self.namesakes(key):
            await self.open_session(key)
        return await super().append(key, message)


@breaks("test_owners_may_choose_the_same_session_id")
class HasGlobalSessionIds(Bench):
    async def open_session(self, key: SessionKey) -> Opened:
        opened = await super().open_session(key)
        taken = any(self.entries(other) for other in self.namesakes(key))
        return replace(opened, created=opened.created and not taken)


@breaks("test_another_owners_messages_cannot_be_read")
class ReadsByTheSessionIdAlone(Bench):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        return await super().get(self.found(key), message_id, branches=branches)

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        return await super().list(self.found(key), after=after, limit=limit, branches=branches)

    def found(self, key: SessionKey) -> SessionKey:
        return key if self.session(key) is not None else next(iter(self.namesakes(key)), key)


@breaks("test_another_owners_messages_cannot_be_written")
class MarksByTheSessionIdAlone(Bench):
    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        known = key if self.session(key) is not None else next(iter(self.namesakes(key)), key)
        await super().mark(known, message_id, status)


@breaks("test_sessions_of_one_owner_are_separate")
class CountsPerOwner(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        answer = await super().append(key, message)
        entry = self.entry(key, message.message_id)
        if answer is Appended.CREATED and entry is not None:
            entry.position += sum(len(self.entries(other)) for other in self.siblings(key))
        return answer


class Remembering(Bench):
    """Keeps what a deleted session held."""

    def __init__(self) -> None:
        super().__init__()
        self.ghosts: dict[SessionKey, list[StoredMessage]] = {}

    async def delete_session(self, key: SessionKey) -> None:
        self.ghosts[key] = [entry.stored() for entry in self.entries(key)]
        await super().delete_session(key)


@breaks("test_deleting_a_session_deletes_its_messages")
class HidesOnlyTheSession(Remembering):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        for stored in self.ghosts.get(key, []):
            if key in self.deleted and stored.message.message_id == message_id:
                return stored
        return await super().get(key, message_id, branches=branches)


@breaks("test_appending_to_a_deleted_session_finds_none")
class RevivesWhatWasDeleted(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        if key in self.deleted:
            await self.open_session(key)
        return await super().append(key, message)


@breaks("test_a_deleted_session_begins_anew")
class CountsOnAfterDeletion(Remembering):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        before = len(self.ghosts.get(key, []))
        found = await super().list(key, after=after, limit=limit, branches=branches)
        return [replace(stored, position=stored.position + before) for stored in found]


@breaks("test_deleting_what_is_not_there_is_fine")
class MissesWhatIsNotThere(Bench):
    async def delete_session(self, key: SessionKey) -> None:
        check_ids("delete_session", key)
        if self.session(key) is None and not self.namesakes(key):
            raise MessageNotFoundError("delete_session: there is no such session", operation="delete_session")
        await super().delete_session(key)


@breaks("test_deleting_leaves_the_owners_other_sessions")
class DeletesAllOfAnOwner(Bench):
    async def delete_session(self, key: SessionKey) -> None:
        for other in [key, *self.siblings(key)]:
            await super().delete_session(other)


@breaks("test_deleting_leaves_other_owners_sessions")
class DeletesByTheSessionIdAlone(Bench):
    async def delete_session(self, key: SessionKey) -> None:
        for other in [key, *self.namesakes(key)]:
            await super().delete_session(other)
