"""Stores that are wrong about messages that another stream goes on with."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from streamguard.messages import Appended, Message, StoredMessage
from streamguard.messages.content import Clash, check_ids, conflict, encode_content
from streamguard.messages.memory import _Entry
from streamguard.values import SessionKey

from .bench import Bench, breaks


def wrote(entry: _Entry, stream_id: str | None) -> bool:
    return stream_id in [writer for writer, _ in entry.writers]


class Lenient(Bench):
    """Continues what it should not: a message that `accepts` is taken for one that continues the last stream."""

    def accepts(self, entry: _Entry, message: Message) -> bool:
        return False

    async def append(self, key: SessionKey, message: Message) -> Appended:
        check_ids("append", key, message.message_id, message.stream_id, message.continues)
        entry = self.entry(key, message.message_id)
        if entry is not None and not wrote(entry, message.stream_id) and self.accepts(entry, message):
            content, digest = encode_content("append", message)
            entry.writers.append((message.stream_id, digest))
            entry.content, entry.status = content, message.status
            return Appended.CONTINUED
        return await super().append(key, message)


@breaks(
    "test_the_next_stream_continues_a_message",
    "test_a_stream_that_began_after_may_use_the_id_again",
)
class SaysCreatedOfWhatItContinued(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        answer = await super().append(key, message)
        return Appended.CREATED if answer is Appended.CONTINUED else answer


@breaks("test_a_continued_message_has_what_the_last_stream_wrote")
class KeepsTheFirstUsage(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        if entry is not None and message.continues is not None:
            message = replace(message, usage=entry.stored().message.usage)
        return await super().append(key, message)


@breaks("test_a_continued_message_keeps_its_place_and_its_beginning")
class MovesWhatItContinuesToTheEnd(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        answer = await super().append(key, message)
        entry, entries = self.entry(key, message.message_id), self.entries(key)
        if answer is Appended.CONTINUED and entry is not None:
            entries.sort(key=lambda one: one is entry)
            for position, one in enumerate(entries, 1):
                one.position = position
        return answer


@breaks("test_a_continued_message_names_every_stream_in_order", "test_stream_ids_are_compared_exactly")
class RemembersThreeStreams(Bench):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        stored = await super().get(key, message_id, branches=branches)
        return replace(stored, streams=stored.streams[-3:])


@breaks("test_a_continuation_may_change_nothing")
class TakesTheSameContentForADuplicate(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        if entry is not None and message.continues is not None and entry.writers[-1][1] == message.digest():
            return Appended.DUPLICATE
        return await super().append(key, message)


@breaks("test_a_repeated_continuation_is_a_duplicate")
class AsksFirstWhatItContinues(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        if entry is not None and message.continues is not None and wrote(entry, message.stream_id):
            raise conflict(Clash.TAKEN)
        return await super().append(key, message)


@breaks("test_a_repeated_continuation_with_other_content_is_a_conflict")
class TrustsTheStreamThatContinued(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        if entry is not None and message.continues is not None and wrote(entry, message.stream_id):
            return Appended.DUPLICATE
        return await super().append(key, message)


@breaks("test_an_earlier_stream_repeated_after_a_continuation_is_a_duplicate")
class ForgetsEarlierStreams(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        if entry is not None and message.stream_id != entry.writers[-1][0] and wrote(entry, message.stream_id):
            raise conflict(Clash.TAKEN)
        return await super().append(key, message)


@breaks("test_an_earlier_stream_with_other_content_is_a_conflict")
class TrustsEarlierStreams(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        if entry is not None and message.stream_id != entry.writers[-1][0] and wrote(entry, message.stream_id):
            return Appended.DUPLICATE
        return await super().append(key, message)


@breaks("test_continuing_from_a_stream_that_never_wrote_it_is_a_conflict", "test_stream_ids_are_compared_exactly")
class ContinuesFromStrangers(Lenient):
    def accepts(self, entry: _Entry, message: Message) -> bool:
        return message.continues is not None and not wrote(entry, message.continues) and not wrote(entry, None)


@breaks("test_continuing_from_a_stream_that_was_continued_is_a_conflict", "test_of_continuations_at_once_one_continues")
class ContinuesFromAnyOfItsStreams(Lenient):
    def accepts(self, entry: _Entry, message: Message) -> bool:
        return message.continues is not None and wrote(entry, message.continues)


@breaks("test_continuing_a_users_message_is_a_conflict")
class ContinuesUsers(Lenient):
    def accepts(self, entry: _Entry, message: Message) -> bool:
        return message.continues is not None and wrote(entry, None)


@breaks(
    "test_continuing_a_message_that_is_not_there_is_a_conflict",
    "test_a_stream_that_began_after_may_not_continue_what_was_superseded",
    "test_a_stream_that_began_before_continues_in_the_old_branch",
)
class CreatesWhatItShouldContinue(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        if self.session(key) is not None and self.entry(key, message.message_id) is None:
            message = replace(message, continues=None)
        return await super().append(key, message)


@breaks("test_of_continuations_at_once_one_continues")
class LooksThenContinues(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        entry = self.entry(key, message.message_id)
        fits = entry is not None and message.continues is not None and entry.writers[-1][0] == message.continues
        await asyncio.sleep(0)
        if fits and entry is not None and not wrote(entry, message.stream_id):
            message = replace(message, continues=entry.writers[-1][0])
        return await super().append(key, message)
