"""Stores that are wrong about replacing the end of a history."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from streamguard.errors import MessageConflictError, MessageNotFoundError
from streamguard.messages import Appended, Message, MessageStatus, Opened, StoredMessage, Superseded, Supersedes
from streamguard.messages.branches import Superseding
from streamguard.messages.content import Clash, conflict
from streamguard.messages.memory import _Entry
from streamguard.values import MAX_ID_BYTES, SessionKey, new_stream_id

from .bench import Bench, breaks


class Bending(Bench):
    """Bends what a superseding asks for, or what came of it."""

    def bent(self, key: SessionKey, request: Supersedes, message: Message | None) -> Supersedes:
        return request

    def settled(self, key: SessionKey, message: Message | None, answer: Superseded, hidden: list[_Entry]) -> Superseded:
        return answer

    def shows(self, key: SessionKey, message_id: str | None) -> bool:
        return message_id is not None and self.entry(key, message_id) is not None

    def knows(self, key: SessionKey, message_id: str | None) -> bool:
        return message_id in [entry.message_id for entry in self.entries(key)]

    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        request = self.bent(key, Supersedes(by, start, after), message)
        visible = [entry for entry in self.entries(key) if entry.superseded is None]
        answer = await super().supersede(key, by=request.by, start=request.start, after=request.after, message=message)
        return self.settled(key, message, answer, [entry for entry in visible if entry.superseded is not None])


@breaks(
    "test_a_superseding_hides_a_message_and_all_behind_it",
    "test_a_late_message_goes_with_the_first_that_hides_it",
    "test_a_late_message_whose_id_is_taken_where_it_belongs_is_a_conflict",
    "test_a_reply_saved_late_stands_behind_its_question",
)
class LeavesTheVeryLast(Bending):
    def settled(self, key: SessionKey, message: Message | None, answer: Superseded, hidden: list[_Entry]) -> Superseded:
        if message is None and len(hidden) == 1:
            hidden[0].superseded = None
        return answer


@breaks("test_an_edited_question_takes_the_place_of_the_old_one")
class SaysDuplicateOfWhatIsEdited(Bending):
    def settled(self, key: SessionKey, message: Message | None, answer: Superseded, hidden: list[_Entry]) -> Superseded:
        return replace(answer, appended=Appended.DUPLICATE) if message is not None and answer.hidden == 4 else answer


@breaks("test_a_message_may_get_its_old_content_back")
class KnowsOldContent(Bending):
    def bent(self, key: SessionKey, request: Supersedes, message: Message | None) -> Supersedes:
        if message is not None and request.by not in self.supersedings(key):
            versions = [entry for entry in self.entries(key) if entry.message_id == message.message_id]
            if any(entry.superseded and (None, message.digest()) in entry.writers for entry in versions):
                raise conflict(Clash.TAKEN, "supersede")
        return request


@breaks(
    "test_positions_go_on_past_what_was_superseded",
    "test_a_late_reply_to_a_superseded_message_joins_its_branch",
    "test_a_superseding_that_was_broken_off_can_be_repeated",
    "test_an_append_and_a_superseding_at_once_agree",
    "test_supersedings_at_once_make_a_branch_each",
)
class GivesPositionsAgain(Bending):
    def settled(self, key: SessionKey, message: Message | None, answer: Superseded, hidden: list[_Entry]) -> Superseded:
        if answer.appended is Appended.CREATED and hidden:
            self.entries(key)[-1].position = hidden[0].position
        return answer


@breaks("test_old_branches_are_listed_to_whoever_asks")
class TouchesWhatItHides(Bending):
    def settled(self, key: SessionKey, message: Message | None, answer: Superseded, hidden: list[_Entry]) -> Superseded:
        for entry in hidden:
            entry.updated_at += 1
        return answer


@breaks("test_pages_pass_over_old_branches")
class CountsWhatIsHidden(Bench):
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        found = await super().list(key, after=after, limit=limit, branches=True)
        return [stored for stored in found if branches or stored.superseded is None]


@breaks("test_the_last_message_is_a_visible_one")
class EndsWithWhatIsHidden(Bench):
    async def last(self, key: SessionKey) -> StoredMessage | None:
        entries = self.entries(key)
        return entries[-1].stored() if entries else await super().last(key)


@breaks("test_a_superseded_message_is_not_found")
class FindsWhatIsHidden(Bench):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        try:
            return await super().get(key, message_id, branches=branches)
        except MessageNotFoundError:
            for entry in self.entries(key):
                if entry.message_id == message_id:
                    return entry.stored()
            raise


@breaks("test_an_old_version_is_found_by_whoever_asks_for_it")
class FindsTheFirstVersion(Bench):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        found = await super().get(key, message_id, branches=branches)
        versions = [entry for entry in self.entries(key) if entry.message_id == message_id]
        return found if found.superseded is None else versions[0].stored()


@breaks("test_a_mark_concerns_the_visible_version")
class MarksTheFirstVersion(Bench):
    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        await super().mark(key, message_id, status)
        first, *others = [entry for entry in self.entries(key) if entry.message_id == message_id]
        if others:
            first.status = status


@breaks("test_where_the_first_is_not_there_all_behind_the_one_before_goes")
class HidesTheOneBeforeToo(Bending):
    def bent(self, key: SessionKey, request: Supersedes, message: Message | None) -> Supersedes:
        if not self.knows(key, request.start) and self.shows(key, request.after) and len(self.entries(key)) == 6:
            return replace(request, start=request.after)
        return request


@breaks(
    "test_without_one_before_everything_goes",
    "test_a_superseding_that_was_broken_off_can_be_repeated",
    "test_ids_of_a_superseding_are_bounded",
)
class HidesNothingWithoutAStart(Bending):
    def bent(self, key: SessionKey, request: Supersedes, message: Message | None) -> Supersedes:
        if message is not None and not self.knows(key, request.start) and request.after is None:
            return replace(request, after="nothing")
        return request


@breaks("test_superseding_what_was_never_stored_hides_nothing")
class HidesEverythingWhenInDoubt(Bending):
    def bent(self, key: SessionKey, request: Supersedes, message: Message | None) -> Supersedes:
        if self.entries(key) and not self.knows(key, request.start) and not self.knows(key, request.after):
            return replace(request, after=None)
        return request


@breaks("test_superseding_what_was_replaced_already_is_a_conflict")
class TakesWhatIsHiddenForUnknown(Bending):
    def bent(self, key: SessionKey, request: Supersedes, message: Message | None) -> Supersedes:
        known = self.knows(key, request.start) or self.knows(key, request.after)
        if known and not self.shows(key, request.start) and not self.shows(key, request.after):
            return Supersedes(request.by, "nothing", "nothing")
        return request


@breaks("test_a_reply_saved_late_stands_behind_its_question")
class GoesByBarePositions(Bending):
    def bent(self, key: SessionKey, request: Supersedes, message: Message | None) -> Supersedes:
        if self.shows(key, "a1") and self.shows(key, "q2") and request.after == "unknown":
            for entry in self.entries(key):
                entry.replies_to = None
        return request


@breaks(
    "test_a_session_counts_its_branches",
    "test_a_repeated_superseding_changes_nothing",
)
class CountsToTwo(Bench):
    async def open_session(self, key: SessionKey) -> Opened:
        opened = await super().open_session(key)
        return replace(opened, branch=min(opened.branch, 2))


@breaks("test_a_repeated_superseding_changes_nothing")
class RemembersTheLastStream(Bending):
    def bent(self, key: SessionKey, request: Supersedes, message: Message | None) -> Supersedes:
        known = list(self.supersedings(key))
        return replace(request, by=new_stream_id()) if request.by in known[:-1] else request


@breaks("test_a_stream_supersedes_once")
class AsksOnlyWhoAsks(Bending):
    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        try:
            return await super().supersede(key, by=by, start=start, after=after, message=message)
        except MessageConflictError:
            known = self.supersedings(key).get(by)
            if known is None:
                raise
            return known.answer(known.request)


@breaks("test_a_message_that_stays_visible_is_a_duplicate")
class SaysCreatedOfWhatStays(Bending):
    def settled(self, key: SessionKey, message: Message | None, answer: Superseded, hidden: list[_Entry]) -> Superseded:
        return replace(answer, appended=Appended.CREATED) if answer.appended is Appended.DUPLICATE else answer


@breaks("test_a_superseding_with_what_cannot_be_stored_changes_nothing")
class HidesBeforeItRefuses(Bending):
    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        try:
            return await super().supersede(key, by=by, start=start, after=after, message=message)
        except MessageConflictError:
            if message is not None and by not in self.supersedings(key):
                await super().supersede(key, by=by, start=start, after=after)
            raise


@breaks("test_superseding_in_a_session_that_is_not_there_finds_none", "test_an_error_names_what_was_asked")
class OpensWhatItSupersedes(Bending):
    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        if key not in self.known:
            await self.open_session(key)
        return await super().supersede(key, by=by, start=start, after=after, message=message)


@breaks("test_deleting_a_session_deletes_its_branches")
class KeepsBranchesOfWhatWasDeleted(Bending):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[SessionKey, dict[str, Superseding]] = {}

    async def delete_session(self, key: SessionKey) -> None:
        self.kept[key] = self.supersedings(key)
        await super().delete_session(key)

    async def open_session(self, key: SessionKey) -> Opened:
        opened = await super().open_session(key)
        session = self.session(key)
        if session is not None and key in self.kept:
            session.supersedings = self.kept.pop(key)
        return replace(opened, branch=len(self.supersedings(key)))


@breaks("test_sessions_are_superseded_separately")
class KnowsStreamsOfOtherSessions(Bending):
    def bent(self, key: SessionKey, request: Supersedes, message: Message | None) -> Supersedes:
        others = [one for one in self.known if one != key and request.by in self.supersedings(one)]
        if others:
            raise conflict(Clash.ANOTHER, "supersede")
        return request


@breaks("test_ids_of_a_superseding_are_bounded")
class CutsTheStreamsId(Bending):
    def bent(self, key: SessionKey, request: Supersedes, message: Message | None) -> Supersedes:
        return replace(request, by=request.by[:MAX_ID_BYTES])


@breaks("test_supersedings_at_once_make_a_branch_each")
class CountsThenSupersedes(Bending):
    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        known, branch = by in self.supersedings(key), len(self.supersedings(key)) + 1
        await asyncio.sleep(0)
        answer = await super().supersede(key, by=by, start=start, after=after, message=message)
        return answer if known else replace(answer, branch=branch)


@breaks("test_an_append_and_a_superseding_at_once_agree")
class PlacesThenWrites(Bending):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        newest = not self.supersedings(key)
        await asyncio.sleep(0)
        return await super().append(key, replace(message, branch=None) if newest else message)
