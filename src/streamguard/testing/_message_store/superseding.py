"""Clauses of the message store contract about replacing the end of a history."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ...errors import MessageConflictError, MessageInvalidError, MessageNotFoundError, MessageSupersededError
from ...messages.records import Appended, Message, MessageStatus, Superseded
from ...messages.store import MessageStore
from ...values import MAX_ID_BYTES, SessionKey, new_message_id, new_stream_id
from .clauses import Clauses
from .steps import (
    RACERS,
    all_branches,
    asked,
    continued,
    everything,
    fresh_key,
    insistently,
    opened,
    places,
    put,
    replied,
    superseded,
    texts,
)

TURNS = ("q1", "a1", "q2", "a2", "q3", "a3")


async def _three_turns(store: MessageStore) -> SessionKey:
    """A session of three questions and their answers, whose ids are their texts."""
    key = await opened(store)
    for question, answer in (TURNS[0:2], TURNS[2:4], TURNS[4:6]):
        await put(store, key, asked(question, message_id=question))
        await put(store, key, replied(answer, message_id=answer, stream_id=f"s-{answer}", replies_to=question))
    return key


async def _refused(store: MessageStore, key: SessionKey, start: str | None, after: str | None, by: str = "s") -> bool:
    try:
        await superseded(store, key, start, after, by=by)
    except MessageSupersededError:
        return True
    return False


class SupersedeClauses(Clauses):
    async def test_a_superseding_hides_a_message_and_all_behind_it(self, store: MessageStore) -> None:
        for number, start in enumerate(TURNS):
            key = await _three_turns(store)
            answer = await superseded(store, key, start, TURNS[number - 1] if number else None)
            assert answer == Superseded(branch=1, hidden=len(TURNS) - number, appended=None)
            assert texts(await everything(store, key)) == list(TURNS[:number])

    async def test_an_edited_question_takes_the_place_of_the_old_one(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        edited = asked("better", message_id="q2")
        answer = await superseded(store, key, "q2", "a1", edited)
        assert answer == Superseded(branch=1, hidden=4, appended=Appended.CREATED)
        assert texts(await everything(store, key)) == ["q1", "a1", "better"]
        assert texts([await store.get(key, "q2")]) == ["better"]
        assert await store.append(key, replied("a2b", replies_to="q2")) is Appended.CREATED
        assert texts(await everything(store, key)) == ["q1", "a1", "better", "a2b"]

    async def test_a_message_may_get_its_old_content_back(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        await superseded(store, key, "q1", None, asked("better", message_id="q1"))
        answer = await superseded(store, key, "q1", None, asked("q1", message_id="q1"))
        assert (answer.branch, answer.hidden, answer.appended) == (2, 1, Appended.CREATED)
        assert texts(await everything(store, key)) == ["q1"]

    async def test_positions_go_on_past_what_was_superseded(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        await superseded(store, key, "q2", "a1", asked("q2b", message_id="q2"))
        await put(store, key, replied("a2b"))
        assert places(await everything(store, key)) == [1, 2, 7, 8]
        assert places(await all_branches(store, key)) == [1, 2, 3, 4, 5, 6, 7, 8]

    async def test_old_branches_are_listed_to_whoever_asks(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        before = await everything(store, key)
        await superseded(store, key, "q3", "a2", asked("q3b", message_id="q3"))
        await superseded(store, key, "q2", "a1", asked("q2b", message_id="q2"))
        found = await all_branches(store, key)
        assert texts(found) == [*TURNS, "q3b", "q2b"]
        assert [stored.superseded for stored in found] == [None, None, 2, 2, 1, 1, 2, None]
        assert [replace(stored, superseded=None) for stored in found[:6]] == before
        assert await store.list(key, after=2, limit=3, branches=True) == found[2:5]

    async def test_pages_pass_over_old_branches(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        await superseded(store, key, "a1", "q1")
        await put(store, key, *(asked(text) for text in ("x", "y", "z")))
        assert texts(await store.list(key, limit=2)) == ["q1", "x"]
        assert texts(await store.list(key, after=2, limit=2)) == ["x", "y"]
        assert texts(await store.list(key, after=8)) == ["z"]

    async def test_the_last_message_is_a_visible_one(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        await superseded(store, key, "q2", "a1")
        last = await store.last(key)
        assert last is not None
        assert (last.message.message_id, last.position) == ("a1", 2)
        await superseded(store, key, None, None)
        assert await store.last(key) is None

    async def test_a_superseded_message_is_not_found(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        await superseded(store, key, "a2", "q2")
        before = await all_branches(store, key)
        with pytest.raises(MessageNotFoundError):
            await store.get(key, "a2")
        with pytest.raises(MessageNotFoundError):
            await store.mark(key, "q3", MessageStatus.UNANSWERED)
        assert await all_branches(store, key) == before

    async def test_an_old_version_is_found_by_whoever_asks_for_it(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked("good", message_id="q1"))
        await superseded(store, key, "q1", None, asked("better", message_id="q1"))
        await superseded(store, key, "q1", None, asked("another", message_id="q2"))
        found = await store.get(key, "q1", branches=True)
        assert (texts([found]), found.superseded) == (["better"], 2)

    async def test_a_mark_concerns_the_visible_version(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        await superseded(store, key, "q3", "a2", asked("q3b", message_id="q3"))
        await store.mark(key, "q3", MessageStatus.UNANSWERED)
        marked = [stored for stored in await all_branches(store, key) if stored.status is MessageStatus.UNANSWERED]
        assert texts(marked) == ["q3b"]

    async def test_where_the_first_is_not_there_all_behind_the_one_before_goes(self, store: MessageStore) -> None:
        for start in (None, "owed"):
            key = await _three_turns(store)
            answer = await superseded(store, key, start, "q2")
            assert (answer.hidden, texts(await everything(store, key))) == (3, ["q1", "a1", "q2"])

    async def test_without_one_before_everything_goes(self, store: MessageStore) -> None:
        for start in (None, "owed"):
            key = await _three_turns(store)
            answer = await superseded(store, key, start, None, asked("new"))
            assert (answer.hidden, texts(await everything(store, key))) == (6, ["new"])

    async def test_superseding_what_was_never_stored_hides_nothing(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        answer = await superseded(store, key, "owed", "owed too")
        assert answer == Superseded(branch=1, hidden=0, appended=None)
        assert texts(await everything(store, key)) == list(TURNS)

    async def test_superseding_what_was_replaced_already_is_a_conflict(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        await superseded(store, key, "a1", "q1")
        before = await all_branches(store, key)
        assert await _refused(store, key, "q2", None)
        assert await _refused(store, key, "owed", "a2")
        assert await _refused(store, key, "q2", "owed")
        assert await all_branches(store, key) == before
        assert (await store.open_session(key)).branch == 1
        assert (await superseded(store, key, "a1", "q1", by="s")).branch == 2

    async def test_a_reply_saved_late_stands_behind_its_question(self, store: MessageStore) -> None:
        for start, left in (("q2", ["q1", "a1"]), ("a2", ["q1", "q2", "a1"]), ("a1", ["q1"])):
            key = await opened(store)
            await put(store, key, asked("q1", message_id="q1"), asked("q2", message_id="q2"))
            await put(store, key, replied("a2", message_id="a2", replies_to="q2"))
            await put(store, key, replied("a1", message_id="a1", replies_to="q1"))
            await superseded(store, key, start, "unknown")
            assert texts(await everything(store, key)) == left

    async def test_a_session_counts_its_branches(self, store: MessageStore) -> None:
        key = fresh_key()
        assert (await store.open_session(key)).branch == 0
        await put(store, key, asked("q1", message_id="q1"))
        for branch in (1, 2, 3):
            answer = await superseded(store, key, "q1", None, asked(f"version {branch}", message_id="q1"))
            assert answer.branch == branch
            assert (await store.open_session(key)).branch == branch

    async def test_a_repeated_superseding_changes_nothing(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        edited = asked("q2b", message_id="q2")
        first = await superseded(store, key, "q2", "a1", edited, by="s")
        await put(store, key, replied("a2b", message_id="a2b"))
        await superseded(store, key, "a2b", "q2", by="other")
        before = await all_branches(store, key)
        assert await superseded(store, key, "q2", "a1", edited, by="s") == first
        await superseded(store, key, "q2", "a1", asked("q2c", message_id="q2"), by="third")
        assert await superseded(store, key, "q2", "a1", edited, by="s") == first
        assert (await all_branches(store, key))[:6] == before[:6]
        assert (await store.open_session(key)).branch == 3
        assert texts(await everything(store, key)) == ["q1", "a1", "q2c"]

    async def test_a_stream_supersedes_once(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        edited = asked("q3b", message_id="q3")
        await superseded(store, key, "q3", "a2", edited, by="s")
        before = await all_branches(store, key)
        others: tuple[tuple[str, str, Message | None], ...] = (
            ("q2", "a2", edited),
            ("q3", "a1", edited),
            ("q3", "a2", None),
            ("q3", "a2", asked("q3c", message_id="q3")),
            ("q3", "a2", asked("q3b", message_id="q4")),
        )
        for start, after, message in others:
            with pytest.raises(MessageConflictError):
                await superseded(store, key, start, after, message, by="s")
        assert await all_branches(store, key) == before

    async def test_a_message_that_stays_visible_is_a_duplicate(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        answer = await superseded(store, key, "a2", "q2", asked("q2", message_id="q2"))
        assert answer == Superseded(branch=1, hidden=3, appended=Appended.DUPLICATE)
        assert texts(await everything(store, key)) == ["q1", "a1", "q2"]

    async def test_a_superseding_with_what_cannot_be_stored_changes_nothing(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        before = await all_branches(store, key)
        for message in (
            asked("q1b", message_id="q1"),
            replied("a1", message_id="a1"),
            replied("a2", message_id="a2", continues="s-a2"),
            continued(replied(message_id="a1", stream_id="s-a1"), "a1b"),
        ):
            with pytest.raises(MessageConflictError):
                await superseded(store, key, "q2", "a1", message)
        assert await all_branches(store, key) == before
        assert (await store.open_session(key)).branch == 0

    async def test_superseding_in_a_session_that_is_not_there_finds_none(self, store: MessageStore) -> None:
        gone = await _three_turns(store)
        await store.delete_session(gone)
        for key in (gone, fresh_key()):
            with pytest.raises(MessageNotFoundError):
                await superseded(store, key, "q1", None, asked())
            assert await all_branches(store, key) == []

    async def test_deleting_a_session_deletes_its_branches(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        await superseded(store, key, "q1", None, asked("q1b", message_id="q1"), by="s")
        await store.delete_session(key)
        assert await all_branches(store, key) == []
        found = await store.open_session(key)
        assert (found.created, found.branch) == (True, 0)
        assert await all_branches(store, key) == []
        await put(store, key, asked("q1", message_id="q1"))
        assert (await superseded(store, key, "q1", None, asked("new", message_id="q1"), by="s")).branch == 1
        assert texts(await all_branches(store, key)) == ["q1", "new"]

    async def test_sessions_are_superseded_separately(self, store: MessageStore) -> None:
        one, other = await _three_turns(store), await _three_turns(store)
        assert (await superseded(store, one, "q2", "a1", by="s")).hidden == 4
        assert texts(await everything(store, other)) == list(TURNS)
        assert (await superseded(store, other, "q3", "a2", by="s")).branch == 1
        assert texts(await everything(store, one)) == ["q1", "a1"]

    async def test_ids_of_a_superseding_are_bounded(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        long, longest = "x" * (MAX_ID_BYTES + 1), "x" * MAX_ID_BYTES
        for by, start, after, message in (
            (long, "q1", None, None),
            ("s", long, None, None),
            ("s", "q1", long, None),
            ("s", "q1", None, asked(message_id=long)),
        ):
            with pytest.raises(MessageInvalidError):
                await store.supersede(key, by=by, start=start, after=after, message=message)
        assert texts(await everything(store, key)) == list(TURNS)
        await store.supersede(key, by=longest, start=longest, after=None, message=asked("m", message_id=longest))
        assert texts(await everything(store, key)) == ["m"]

    async def test_supersedings_at_once_make_a_branch_each(self, store: MessageStore) -> None:
        key = await _three_turns(store)
        versions = [asked(f"version {number}", message_id="q2") for number in range(RACERS)]
        streams = [new_stream_id() for _ in versions]

        async def edit(number: int) -> Superseded:
            return await superseded(store, key, "q2", "a1", versions[number], by=streams[number])

        answers = await asyncio.gather(*(insistently(edit, number) for number in range(RACERS)))
        assert sorted(answer.branch for answer in answers) == list(range(1, RACERS + 1))
        assert sorted(answer.hidden for answer in answers) == [1] * (RACERS - 1) + [4]
        last = max(range(RACERS), key=lambda number: answers[number].branch)
        assert texts(await everything(store, key)) == ["q1", "a1", f"version {last}"]
        assert places(await all_branches(store, key)) == list(range(1, 7 + RACERS))

    async def test_an_append_and_a_superseding_at_once_agree(self, store: MessageStore) -> None:
        """What came late is where it would be had it come in time."""
        key = await _three_turns(store)
        late = [asked(f"late {number}", branch=0) for number in range(RACERS)]
        owed = [replied(f"owed {number}", replies_to="q1", branch=0) for number in range(RACERS)]
        edited = asked("q2b", message_id=new_message_id())
        appends = [insistently(store.append, key, message) for pair in zip(late, owed, strict=True) for message in pair]
        half = len(appends) // 2
        await asyncio.gather(
            *appends[:half], insistently(superseded, store, key, "q2", "a1", edited, by="s"), *appends[half:]
        )
        visible = texts(await everything(store, key))
        assert sorted(map(str, visible)) == sorted(["q1", "a1", "q2b", *(f"owed {number}" for number in range(RACERS))])
        assert places(await all_branches(store, key)) == list(range(1, 8 + 2 * RACERS))
