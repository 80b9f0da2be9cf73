"""Stores that are wrong about reading and marking."""

from __future__ import annotations

from dataclasses import replace

from streamguard.errors import MessageNotFoundError
from streamguard.messages import Appended, Message, MessageStatus, Role, StoredMessage
from streamguard.messages.content import check_ids
from streamguard.values import SessionKey

from .bench import Bench, breaks


@breaks("test_a_message_is_found_by_its_id")
class FindsTheNewestOfItsRole(Bench):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        found = await super().get(key, message_id, branches=branches)
        messages = [entry.stored() for entry in self.entries(key)]
        if found.message.role is Role.USER and any(one.message.role is Role.ASSISTANT for one in messages):
            return [one for one in messages if one.message.role is Role.USER][-1]
        return found


@breaks(
    "test_a_message_that_is_not_there_is_not_found",
    "test_a_superseded_message_is_not_found",
    "test_an_error_names_what_was_asked",
    "test_an_old_version_is_found_by_whoever_asks_for_it",
)
class FindsAnything(Bench):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        check_ids("get", key, message_id)
        entries = self.entries(key)
        if entries and self.entry(key, message_id) is None:
            return entries[-1].stored()
        return await super().get(key, message_id, branches=branches)


@breaks("test_a_message_of_an_unknown_session_is_not_found")
class StumblesOverUnknownSessions(Bench):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        check_ids("get", key, message_id)
        if key not in self.known and not self.namesakes(key):
            raise KeyError(message_id)
        return await super().get(key, message_id, branches=branches)


@breaks("test_a_list_says_the_same_as_get")
class ListsThePast(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        found = await super().list(key, after=after, limit=limit, branches=branches)
        return [replace(one, status=MessageStatus.PARTIAL) if len(one.streams) > 1 else one for one in found]


@breaks(
    "test_an_unknown_session_lists_nothing",
    "test_superseding_in_a_session_that_is_not_there_finds_none",
)
class MissesUnknownSessions(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        found = await super().list(key, after=after, limit=limit, branches=branches)
        if key not in self.known and not self.namesakes(key):
            raise MessageNotFoundError("list: there is no such session", operation="list")
        return found


@breaks("test_an_empty_session_lists_nothing")
class MissesEmptySessions(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        found = await super().list(key, after=after, limit=limit, branches=branches)
        if limit == 100 and not found and self.session(key) is not None and not self.entries(key):
            raise MessageNotFoundError("list: there are no messages", operation="list")
        return found


@breaks(
    "test_a_list_has_at_most_its_limit",
    "test_old_branches_are_listed_to_whoever_asks",
    "test_pages_pass_over_old_branches",
)
class ListsOneTooMany(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        return await super().list(key, after=after, limit=limit + 1 if limit < 100 else limit, branches=branches)


@breaks(
    "test_a_list_begins_after_a_position",
    "test_pages_pass_over_old_branches",
)
class LosesTheLast(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        found = await super().list(key, after=after, limit=limit, branches=branches)
        return [] if after and len(found) == 1 else found


@breaks("test_pages_put_together_are_the_session")
class ComparesPositionsAsText(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        found = await super().list(key, after=0, limit=1000, branches=branches)
        return [stored for stored in found if after == 0 or str(stored.position) > str(after)][:limit]


@breaks("test_nothing_is_listed_past_the_end")
class CountsIn31Bits(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        return await super().list(key, after=after & 0x7FFF_FFFF, limit=limit, branches=branches)


@breaks("test_a_list_has_a_hundred_messages_unless_told_otherwise")
class ListsAllUnlessToldOtherwise(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 1000, branches: bool = False
    ) -> list[StoredMessage]:
        return await super().list(key, after=after, limit=limit, branches=branches)


@breaks(
    "test_the_last_message_is_the_one_at_the_end_of_the_list",
    "test_the_last_message_is_a_visible_one",
)
class RemembersTheLastQuestion(Bench):
    async def last(self, key: SessionKey) -> StoredMessage | None:
        asked = [entry.stored() for entry in self.entries(key) if entry.stored().message.role is Role.USER]
        return asked[-1] if asked else None


@breaks(
    "test_a_session_without_messages_has_no_last_one",
    "test_the_last_message_is_a_visible_one",
)
class TakesForGrantedThatThereIsALastOne(Bench):
    async def last(self, key: SessionKey) -> StoredMessage | None:
        return self.entries(key)[-1].stored()


@breaks("test_a_mark_sets_the_status")
class NeverMarksTwice(Bench):
    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        entry = self.entry(key, message_id)
        if entry is not None and entry.status is not entry.stored().message.status:
            status = entry.status
        await super().mark(key, message_id, status)


@breaks("test_a_mark_leaves_the_content")
class ForgetsTheBeginning(Bench):
    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        await super().mark(key, message_id, status)
        if (entry := self.entry(key, message_id)) is not None:
            entry.created_at += 1


@breaks(
    "test_a_mark_concerns_one_message",
    "test_a_mark_concerns_the_visible_version",
)
class MarksTheWholeSession(Bench):
    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        await super().mark(key, message_id, status)
        for entry in self.entries(key):
            entry.status = status


@breaks("test_a_continuation_replaces_a_mark")
class KeepsTheMark(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        marked = entry.status if entry is not None and entry.status is not entry.stored().message.status else None
        answer = await super().append(key, message)
        if entry is not None and marked is not None:
            entry.status = marked
        return answer


@breaks(
    "test_marking_a_message_that_is_not_there_finds_none",
    "test_a_superseded_message_is_not_found",
    "test_an_error_names_what_was_asked",
)
class MarksNothing(Bench):
    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        check_ids("mark", key, message_id)
        if self.session(key) is None or self.entry(key, message_id) is not None:
            await super().mark(key, message_id, status)
