"""Stores that are wrong about what comes after the history it belongs to was superseded."""

from __future__ import annotations

from dataclasses import replace

from streamguard.errors import MessageConflictError
from streamguard.messages import Appended, Message, StoredMessage
from streamguard.messages.branches import addressed
from streamguard.messages.content import Clash, conflict, encode_content
from streamguard.messages.memory import _Entry
from streamguard.values import SessionKey

from .bench import Bench, breaks


class Misplacing(Bench):
    """Puts some messages elsewhere once they are created."""

    def placed(self, key: SessionKey, message: Message, entry: _Entry) -> None:
        """`entry` was made of `message`."""

    def answered(self, key: SessionKey, message: Message, branch: int | None) -> _Entry | None:
        """What a message answers: the newest version of at most `branch`."""
        versions = [entry for entry in self.entries(key) if entry.message_id == message.replies_to]
        return addressed(versions, len(self.supersedings(key)) if branch is None else branch)

    def is_late(self, key: SessionKey, message: Message) -> bool:
        return message.branch is not None and message.branch < len(self.supersedings(key))

    async def append(self, key: SessionKey, message: Message) -> Appended:
        before = len(self.entries(key))
        answer = await super().append(key, message)
        if len(self.entries(key)) == before:
            return answer
        entry = self.entries(key)[-1]
        self.placed(key, message, entry)
        return Appended.CREATED if entry.superseded is None else Appended.SUPERSEDED


@breaks("test_a_message_has_the_branch_it_was_stored_in")
class ForgetsTheBranch(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        found = await super().list(key, after=after, limit=limit, branches=branches)
        return [replace(stored, message=replace(stored.message, branch=None)) for stored in found]


@breaks("test_a_branch_is_no_content")
class TakesTheBranchForContent(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        if entry is not None and message.branch is not None and message.branch > len(self.supersedings(key)):
            raise conflict(Clash.DIFFERS)
        return await super().append(key, message)


@breaks("test_a_late_reply_to_a_superseded_message_joins_its_branch")
class LosesWhatComesLate(Misplacing):
    def placed(self, key: SessionKey, message: Message, entry: _Entry) -> None:
        if entry.superseded is not None:
            entry.content, _ = encode_content("append", replace(message, replies_to=None))


@breaks(
    "test_a_late_reply_to_a_visible_message_is_visible",
    "test_an_append_and_a_superseding_at_once_agree",
)
class HidesAllThatComesLate(Misplacing):
    def placed(self, key: SessionKey, message: Message, entry: _Entry) -> None:
        if self.is_late(key, message) and message.replies_to is not None:
            entry.superseded = len(self.supersedings(key)) if entry.superseded is None else entry.superseded


@breaks("test_a_late_reply_that_was_asked_for_again_is_superseded")
class ShowsEveryReplyToWhatIsVisible(Misplacing):
    def placed(self, key: SessionKey, message: Message, entry: _Entry) -> None:
        answered = self.answered(key, message, message.branch)
        if answered is not None and answered.superseded is None and len(self.entries(key)) == 3:
            entry.superseded = None


@breaks(
    "test_a_late_message_that_a_superseding_names_is_where_that_says",
    "test_a_late_message_goes_with_the_first_that_hides_it",
    "test_a_late_reply_to_a_visible_message_is_visible",
)
class ForgetsTheOneBefore(Misplacing):
    def placed(self, key: SessionKey, message: Message, entry: _Entry) -> None:
        for one in self.supersedings(key).values():
            if self.is_late(key, message) and one.after == message.message_id:
                entry.superseded = one.branch


@breaks(
    "test_a_late_message_that_nothing_tells_of_was_at_the_end",
    "test_an_append_and_a_superseding_at_once_agree",
)
class ShowsWhatNothingTellsOf(Misplacing):
    def placed(self, key: SessionKey, message: Message, entry: _Entry) -> None:
        named = [one.start for one in self.supersedings(key).values()]
        if message.message_id not in named and self.answered(key, message, message.branch) is None:
            entry.superseded = None


@breaks("test_a_late_message_goes_with_the_first_that_hides_it")
class PutsAllInTheLastBranch(Misplacing):
    def placed(self, key: SessionKey, message: Message, entry: _Entry) -> None:
        if entry.superseded is not None:
            entry.superseded = len(self.supersedings(key))


@breaks(
    "test_a_late_reply_answers_the_question_of_its_own_branch",
    "test_a_late_message_goes_with_the_first_that_hides_it",
    "test_a_late_message_that_a_superseding_names_is_where_that_says",
    "test_a_late_reply_that_was_asked_for_again_is_superseded",
    "test_a_late_reply_to_a_superseded_message_joins_its_branch",
)
class AnswersTheVisibleVersion(Misplacing):
    def placed(self, key: SessionKey, message: Message, entry: _Entry) -> None:
        if message.replies_to is not None and self.entry(key, message.replies_to) is not None:
            entry.superseded = None


@breaks(
    "test_a_late_version_of_an_edited_question_is_superseded",
    "test_a_late_message_that_a_superseding_names_is_where_that_says",
    "test_a_late_reply_to_a_visible_message_is_visible",
    "test_an_append_and_a_superseding_at_once_agree",
)
class RefusesLateVersions(Misplacing):
    def placed(self, key: SessionKey, message: Message, entry: _Entry) -> None:
        if self.is_late(key, message) and self.entry(key, message.message_id) is not None:
            raise conflict(Clash.DIFFERS)


@breaks("test_a_late_retry_is_known")
class SaysDuplicateOfWhatIsHidden(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        before = len(self.entries(key))
        answer = await super().append(key, message)
        repeated = message.branch is None and message.stream_id is not None and len(self.entries(key)) == before
        return Appended.DUPLICATE if repeated and answer is Appended.SUPERSEDED else answer


@breaks("test_the_old_text_of_an_edited_question_is_a_conflict")
class KnowsTheOldText(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        for entry in self.entries(key):
            known = entry.message_id == message.message_id and (message.stream_id, message.digest()) in entry.writers
            if known and entry.superseded is not None and self.entry(key, message.message_id) is not None:
                return Appended.SUPERSEDED
        return await super().append(key, message)


@breaks("test_a_repeated_question_of_an_old_branch_stays_there")
class ShowsARepeatedQuestion(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        answer = await super().append(key, message)
        if message.stream_id is None and message.branch is None and answer is Appended.SUPERSEDED:
            for entry in self.entries(key):
                if entry.message_id == message.message_id:
                    entry.superseded = None
        return answer


@breaks(
    "test_a_new_reply_to_a_question_of_an_old_branch_joins_it",
    "test_a_late_message_whose_id_is_taken_where_it_belongs_is_a_conflict",
)
class ShowsWhatIsNew(Misplacing):
    def placed(self, key: SessionKey, message: Message, entry: _Entry) -> None:
        if not self.is_late(key, message):
            entry.superseded = None


@breaks("test_a_stream_that_began_before_continues_in_the_old_branch")
class ContinuesNothingHidden(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        branch = len(self.supersedings(key)) if message.branch is None else message.branch
        hidden = self.entry(key, message.message_id) is None
        if message.continues is not None and branch < len(self.supersedings(key)) and hidden:
            raise conflict(Clash.SUPERSEDED)
        return await super().append(key, message)


@breaks("test_a_stream_that_began_after_may_not_continue_what_was_superseded")
class ContinuesWhatIsHidden(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        hidden = self.entry(key, message.message_id) is None
        return await super().append(key, replace(message, branch=0) if message.continues and hidden else message)


@breaks("test_a_stream_that_began_after_may_use_the_id_again")
class GivesAnIdOnce(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        for entry in self.entries(key):
            taken = entry.message_id == message.message_id and not entry.is_by(message.stream_id)
            if taken and entry.superseded is not None and message.continues is None:
                raise conflict(Clash.TAKEN)
        return await super().append(key, message)


@breaks("test_a_late_message_whose_id_is_taken_where_it_belongs_is_a_conflict")
class TakesAnyLateOneForTheSame(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        try:
            return await super().append(key, message)
        except MessageConflictError:
            if message.branch == 0 and message.continues is None and message.stream_id == "another":
                return Appended.DUPLICATE
            raise
