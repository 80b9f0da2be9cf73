"""Stores that change what they are given, or refuse what they must take."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace

from streamguard.errors import MessageInvalidError
from streamguard.messages import Appended, Message, StoredMessage
from streamguard.values import Outcome, SessionKey
from streamguard.wire.folding import Json

from .bench import Bench, Rewriting, breaks


def refusal(reason: str) -> MessageInvalidError:
    return MessageInvalidError(f"append: {reason}", operation="append")


def changed(change: Callable[[Json], Json], value: Json) -> Json:
    """A tree with every leaf changed; a key is a leaf too."""
    if isinstance(value, list):
        return [changed(change, one) for one in value]
    if isinstance(value, dict):
        return {str(change(name)): changed(change, one) for name, one in value.items()}
    return change(value)


def depth(value: Json) -> int:
    """How deeply a tree is nested; no recursion."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        below: list[Json] = []
        for one in level:
            if isinstance(one, list):
                below += one
            elif isinstance(one, dict):
                below += one.values()
        level = below
    return deepest


class ChangingLeaves(Rewriting):
    """Stores messages with every text, number and word changed."""

    def leaf(self, value: Json) -> Json:
        return value

    def rewritten(self, message: Message) -> Message:
        if depth(self.metadata(message)) > 100:
            return message
        return replace(message, parts=tuple(map(self.tree, message.parts)), metadata=self.metadata_of(message))

    def metadata(self, message: Message) -> Json:
        return None if message.metadata is None else dict(message.metadata)

    def metadata_of(self, message: Message) -> Mapping[str, Json] | None:
        return None if message.metadata is None else self.tree(message.metadata)

    def tree(self, part: Mapping[str, Json]) -> dict[str, Json]:
        return {str(self.leaf(name)): changed(self.leaf, value) for name, value in part.items()}


@breaks("test_every_kind_of_message_comes_back")
class DropsEmptyKeys(Rewriting):
    def rewritten(self, message: Message) -> Message:
        return replace(message, parts=tuple(dropped(dict(part)) for part in message.parts))


def dropped(part: dict[str, Json]) -> dict[str, Json]:
    return {
        name: dropped(value) if isinstance(value, dict) else value
        for name, value in part.items()
        if name and value is not None
    }


@breaks("test_a_message_may_be_empty")
class RefusesNothingSaid(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        if not message.parts and message.outcome is Outcome.STOPPED:
            raise refusal("nothing was said")
        return await super().append(key, message)


@breaks(
    "test_what_a_reply_answers_comes_back_and_is_no_content",
    "test_a_late_message_whose_id_is_taken_where_it_belongs_is_a_conflict",
    "test_a_late_reply_to_a_superseded_message_joins_its_branch",
    "test_a_new_reply_to_a_question_of_an_old_branch_joins_it",
    "test_a_reply_saved_late_stands_behind_its_question",
    "test_an_append_and_a_superseding_at_once_agree",
)
class ForgetsQuestions(Rewriting):
    def rewritten(self, message: Message) -> Message:
        return replace(message, replies_to=None)


@breaks("test_empty_metadata_is_not_the_lack_of_it")
class DropsEmptyMetadata(Rewriting):
    def rewritten(self, message: Message) -> Message:
        return replace(message, metadata=message.metadata or None)


@breaks("test_every_text_comes_back")
class NormalisesText(ChangingLeaves):
    def leaf(self, value: Json) -> Json:
        return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


@breaks("test_text_that_an_encoding_may_refuse_comes_back_or_is_refused")
class DropsNul(ChangingLeaves):
    def leaf(self, value: Json) -> Json:
        return value.replace("\0", "") if isinstance(value, str) else value


@breaks("test_every_number_comes_back")
class HasOnlyDoubles(ChangingLeaves):
    def leaf(self, value: Json) -> Json:
        return int(float(value)) if type(value) is int and abs(value) < 2**63 else value


@breaks("test_numbers_that_few_can_hold_come_back_or_are_refused")
class HasNumbersOf64Bits(ChangingLeaves):
    def leaf(self, value: Json) -> Json:
        return float(value) if type(value) is int and abs(value) > 2**63 else value


@breaks("test_numbers_that_are_not_json_are_refused_or_come_back")
class TakesNotANumberForNothing(ChangingLeaves):
    def leaf(self, value: Json) -> Json:
        return None if value != value else value


@breaks("test_deeply_nested_content_comes_back")
class NestsThirtyTwoLevels(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        if message.metadata is not None and depth(dict(message.metadata)) > 32:
            raise refusal("nested too deeply")
        return await super().append(key, message)


@breaks("test_content_nested_past_all_bounds_is_refused_or_comes_back")
class DropsWhatIsNestedTooDeeply(Rewriting):
    def rewritten(self, message: Message) -> Message:
        metadata = message.metadata
        return replace(message, metadata={}) if metadata and depth(dict(metadata)) > 100 else message


@breaks("test_a_mebibyte_comes_back")
class CutsLongText(ChangingLeaves):
    def leaf(self, value: Json) -> Json:
        return value[:65_535] if isinstance(value, str) else value


@breaks("test_what_was_read_can_be_changed_without_harm")
class HandsOutWhatItHolds(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[SessionKey, bytes], Message] = {}

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        stored = await super().get(key, message_id, branches=branches)
        entry = self.entry(key, message_id)
        if entry is None:
            return stored
        return replace(stored, message=self.held.setdefault((key, entry.content), stored.message))


@breaks(
    "test_what_was_written_can_be_changed_without_harm",
    "test_an_edited_question_takes_the_place_of_the_old_one",
)
class HoldsWhatItWasGiven(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[tuple[SessionKey, str], tuple[Mapping[str, Json], ...]] = {}

    async def append(self, key: SessionKey, message: Message) -> Appended:
        answer = await super().append(key, message)
        self.parts[key, message.message_id] = message.parts
        return answer

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        stored = await super().get(key, message_id, branches=branches)
        if stored.superseded is not None:
            return stored
        return replace(stored, message=replace(stored.message, parts=self.parts[key, message_id]))


@breaks("test_a_refusal_holds_nothing_of_the_content")
class QuotesWhatItRefuses(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        try:
            return await super().append(key, message)
        except MessageInvalidError as exc:
            raise refusal(f"{exc}: {[part.get('text') for part in message.parts]}") from exc
