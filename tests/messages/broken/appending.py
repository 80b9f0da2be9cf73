"""Stores that are wrong about storing a message once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from streamguard.errors import MessageConflictError
from streamguard.messages import Appended, Message, MessageStatus, Role, StoredMessage
from streamguard.messages.content import encode_content
from streamguard.messages.memory import _Entry
from streamguard.values import Outcome, SessionKey

from .bench import Bench, breaks


class Overlooking(Bench):
    """Takes some conflicts for duplicates: those with a digest that `overlooks` makes equal."""

    def overlooks(self, message: Message) -> Message:
        return message

    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        if entry is not None and message.stream_id is not None and entry.writers[-1][0] == message.stream_id:
            there = entry.stored().message
            if self.overlooks(there).digest() == self.overlooks(message).digest():
                return Appended.DUPLICATE
        return await super().append(key, message)


@breaks("test_a_new_message_is_created")
class SaysDuplicateOfWhatIsNew(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        answer = await super().append(key, message)
        created = answer is Appended.CREATED and not self.supersedings(key)
        return Appended.DUPLICATE if created else answer


@breaks(
    "test_positions_count_from_one",
    "test_a_message_that_stays_visible_is_a_duplicate",
    "test_a_superseding_hides_a_message_and_all_behind_it",
    "test_an_append_and_a_superseding_at_once_agree",
    "test_positions_go_on_past_what_was_superseded",
    "test_supersedings_at_once_make_a_branch_each",
    "test_the_last_message_is_the_one_at_the_end_of_the_list",
    "test_where_the_first_is_not_there_all_behind_the_one_before_goes",
)
class LeavesGaps(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        before = [entry.stored().message.role for entry in self.entries(key)[-1:]]
        answer = await super().append(key, message)
        if before == [Role.ASSISTANT] and message.role is Role.USER and answer is Appended.CREATED:
            self.entries(key)[-1].position += 1
        return answer


@breaks("test_a_repeated_message_is_a_duplicate")
class CountsUsageAsContent(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        there = None if entry is None else entry.stored().message
        if there is not None and there.stream_id == message.stream_id and there.usage != message.usage:
            return Appended.CONTINUED
        return await super().append(key, message)


@breaks("test_a_duplicate_changes_nothing")
class ResetsTheStatus(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        answer = await super().append(key, message)
        entry = self.entry(key, message.message_id)
        if answer is Appended.DUPLICATE and entry is not None:
            entry.status = message.status
        return answer


@breaks(
    "test_the_same_user_message_with_other_content_is_a_conflict",
    "test_a_conflict_changes_nothing",
    "test_a_late_retry_is_known",
    "test_a_late_version_of_an_edited_question_is_superseded",
    "test_an_error_names_what_was_asked",
    "test_of_different_contents_at_once_one_is_stored",
    "test_the_old_text_of_an_edited_question_is_a_conflict",
)
class OverwritesUsers(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        if entry is not None and message.stream_id is None and entry.writers[-1][0] is None:
            entry.content, digest = encode_content("append", message)
            entry.writers = [(None, digest)]
        return await super().append(key, message)


@breaks(
    "test_the_same_stream_with_another_text_is_a_conflict",
    "test_a_conflict_changes_nothing",
    "test_a_conflict_holds_nothing_of_the_content",
)
class OverlooksText(Overlooking):
    def overlooks(self, message: Message) -> Message:
        return replace(message, parts=()) if message.continues is None else message


@breaks("test_the_same_stream_with_another_outcome_is_a_conflict")
class OverlooksTheOutcome(Overlooking):
    def overlooks(self, message: Message) -> Message:
        return replace(message, outcome=None)


@breaks("test_the_same_stream_with_other_metadata_is_a_conflict")
class OverlooksMetadata(Overlooking):
    def overlooks(self, message: Message) -> Message:
        return replace(message, metadata=None)


@breaks("test_the_same_stream_with_another_role_is_a_conflict")
class OverlooksTheRole(Overlooking):
    def overlooks(self, message: Message) -> Message:
        return replace(message, role=Role.USER)


@breaks(
    "test_another_stream_with_the_same_message_is_a_conflict",
    "test_a_late_message_whose_id_is_taken_where_it_belongs_is_a_conflict",
)
class TakesAnyStreamForTheSame(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        if entry is not None and message.continues is None and message.stream_id is not None:
            (stream_id, digest), *later = entry.writers
            if stream_id is not None and digest == message.digest() and not later:
                return Appended.DUPLICATE
        return await super().append(key, message)


@breaks("test_no_stream_is_not_the_stream_that_said_it")
class TakesNoStreamForAny(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        stream_id, digest = (None, None) if entry is None else entry.writers[-1]
        if stream_id is not None and message.stream_id is None and digest == message.digest():
            return Appended.DUPLICATE
        return await super().append(key, message)


@breaks(
    "test_a_conflict_changes_nothing",
    "test_a_late_message_whose_id_is_taken_where_it_belongs_is_a_conflict",
    "test_a_late_retry_is_known",
    "test_the_old_text_of_an_edited_question_is_a_conflict",
)
class TouchesBeforeItRefuses(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        try:
            return await super().append(key, message)
        except MessageConflictError:
            entry = self.entry(key, message.message_id)
            if entry is not None and message.continues is None:
                entry.updated_at += 1
            raise


@breaks("test_a_status_follows_from_the_outcome")
class TakesFailureForSuccess(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        answer = await super().append(key, message)
        entry = self.entry(key, message.message_id)
        if message.outcome is Outcome.FAILED and entry is not None:
            entry.status = MessageStatus.COMPLETE
        return answer


@breaks("test_a_message_names_the_stream_that_said_it")
class NamesNoStream(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        return [_named(stored) for stored in await super().list(key, after=after, limit=limit, branches=branches)]

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        return _named(await super().get(key, message_id, branches=branches))


def _named(stored: StoredMessage) -> StoredMessage:
    return replace(stored, streams=stored.streams or ("",))


@breaks("test_a_new_message_was_updated_when_it_was_created")
class UpdatesBeforeItCreates(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        answer = await super().append(key, message)
        entry = self.entry(key, message.message_id)
        if answer is Appended.CREATED and entry is not None:
            entry.updated_at -= 1
        return answer


@breaks(
    "test_appends_at_once_take_contiguous_positions",
    "test_an_append_and_a_superseding_at_once_agree",
)
class CountsThenWrites(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        position = len(self.entries(key)) + 1
        await asyncio.sleep(0)
        answer = await super().append(key, message)
        entry = self.entry(key, message.message_id)
        if answer is Appended.CREATED and entry is not None:
            entry.position = position
        return answer


@breaks("test_of_the_same_message_at_once_one_is_created")
class LooksThenWrites(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        unknown = self.entry(key, message.message_id) is None
        await asyncio.sleep(0)
        answer = await super().append(key, message)
        return Appended.CREATED if unknown and answer is Appended.DUPLICATE else answer


@breaks("test_of_different_contents_at_once_one_is_stored")
class LastOneWins(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        unknown = self.entry(key, message.message_id) is None
        await asyncio.sleep(0)
        entry: _Entry | None = self.entry(key, message.message_id)
        if unknown and entry is not None:
            entry.content, digest = encode_content("append", message)
            entry.writers = [(message.stream_id, digest)]
        return await super().append(key, message)
