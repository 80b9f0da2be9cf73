"""Clauses of the message store contract about what comes after the history it belongs to was superseded."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from dataclasses import replace

import pytest

from ...errors import MessageSupersededError
from ...messages.records import Appended
from ...messages.store import MessageStore
from ...values import Outcome, SessionKey
from .clauses import Clauses
from .steps import (
    all_branches,
    asked,
    conflicts,
    continued,
    everything,
    facts,
    opened,
    places,
    put,
    replied,
    superseded,
    texts,
)

QUESTION = asked("q1", message_id="q1")
REPLY = replied("a1", message_id="a1", stream_id="s1", replies_to="q1", branch=0)
EDITED = asked("q1b", message_id="q1")


async def _edited(store: MessageStore) -> SessionKey:
    """A session whose only turn, a question and its answer, was superseded by another question of the same id."""
    key = await opened(store)
    await put(store, key, QUESTION, REPLY)
    await superseded(store, key, "q1", None, EDITED)
    return key


async def _branches(store: MessageStore, key: SessionKey) -> dict[str, int | None]:
    """What superseded each text."""
    return {str(text): stored.superseded for stored in await all_branches(store, key) for text in texts([stored])}


class LateClauses(Clauses):
    async def test_a_message_has_the_branch_it_was_stored_in(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, QUESTION, replace(REPLY, branch=9))
        await superseded(store, key, "a1", "q1", asked("q2", branch=0))
        await put(store, key, replied("a2"), replied("a3", branch=1), replied("late", replies_to="q1", branch=0))
        found = await all_branches(store, key)
        assert [(*texts([stored]), stored.message.branch) for stored in found] == [
            ("q1", 0),
            ("a1", 0),
            ("q2", 1),
            ("a2", 1),
            ("a3", 1),
            ("late", 0),
        ]

    async def test_a_branch_is_no_content(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, QUESTION, REPLY)
        for message in (QUESTION, REPLY):
            for branch in (None, 0, 7):
                assert await store.append(key, replace(message, branch=branch)) is Appended.DUPLICATE

    async def test_a_late_reply_to_a_superseded_message_joins_its_branch(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, QUESTION)
        await superseded(store, key, "q1", None, EDITED)
        assert await store.append(key, REPLY) is Appended.SUPERSEDED
        assert texts(await everything(store, key)) == ["q1b"]
        found = await all_branches(store, key)
        assert (places(found), [stored.superseded for stored in found]) == ([1, 2, 3], [1, None, 1])
        assert facts(found[2].message) == facts(REPLY)

    async def test_a_late_reply_to_a_visible_message_is_visible(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, QUESTION, asked("q2", message_id="q2"))
        await superseded(store, key, "q2", "a1", asked("q2b", message_id="q2"))
        assert await store.append(key, REPLY) is Appended.CREATED
        assert texts(await everything(store, key)) == ["q1", "q2b", "a1"]

    async def test_a_late_reply_that_was_asked_for_again_is_superseded(self, store: MessageStore) -> None:
        """Also when the superseding could not tell it by its id."""
        for start in ("a1", None):
            key = await opened(store)
            await put(store, key, QUESTION)
            await superseded(store, key, start, "q1")
            await put(store, key, replied("a1b", replies_to="q1"))
            assert await store.append(key, REPLY) is Appended.SUPERSEDED
            assert texts(await everything(store, key)) == ["q1", "a1b"]

    async def test_a_late_message_that_a_superseding_names_is_where_that_says(self, store: MessageStore) -> None:
        key = await opened(store)
        await superseded(store, key, "a1", "q1")
        assert await store.append(key, replace(QUESTION, branch=0)) is Appended.CREATED
        assert await store.append(key, REPLY) is Appended.SUPERSEDED
        assert await _branches(store, key) == {"q1": None, "a1": 1}

    async def test_a_late_message_that_nothing_tells_of_was_at_the_end(self, store: MessageStore) -> None:
        key = await _edited(store)
        for message in (asked("q2", branch=0), replied("a2", branch=0), replied("a3", replies_to="?", branch=0)):
            assert await store.append(key, message) is Appended.SUPERSEDED
        assert texts(await everything(store, key)) == ["q1b"]

    async def test_a_late_message_goes_with_the_first_that_hides_it(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, QUESTION, asked("q2", message_id="q2"))
        await superseded(store, key, "q2", "a1", asked("q2b", message_id="q2"))
        await superseded(store, key, "a1", "q1")
        await superseded(store, key, "q1", None, EDITED)
        late = (REPLY, replied("a2", replies_to="q2", branch=0), replied("a2b", replies_to="q2", branch=1))
        for message in late:
            assert await store.append(key, message) is Appended.SUPERSEDED
        assert await _branches(store, key) == {"q1": 3, "q2": 1, "q2b": 2, "q1b": None, "a1": 2, "a2": 1, "a2b": 2}

    async def test_a_late_reply_answers_the_question_of_its_own_branch(self, store: MessageStore) -> None:
        key = await _edited(store)
        assert await store.append(key, replied("a1b", replies_to="q1", branch=1)) is Appended.CREATED
        assert await store.append(key, replied("a0", replies_to="q1", branch=0)) is Appended.SUPERSEDED
        assert texts(await everything(store, key)) == ["q1b", "a1b"]

    async def test_a_late_version_of_an_edited_question_is_superseded(self, store: MessageStore) -> None:
        key = await opened(store)
        await superseded(store, key, "q1", None, EDITED)
        assert await store.append(key, replace(QUESTION, branch=0)) is Appended.SUPERSEDED
        assert await _branches(store, key) == {"q1b": None, "q1": 1}

    async def test_a_late_retry_is_known(self, store: MessageStore) -> None:
        key = await _edited(store)
        before = await all_branches(store, key)
        for message in (replace(QUESTION, branch=0), REPLY, replace(REPLY, branch=None), replace(REPLY, branch=1)):
            assert await store.append(key, message) is Appended.SUPERSEDED
        assert await conflicts(store, key, replace(QUESTION, parts=(), branch=0))
        assert await conflicts(store, key, replace(REPLY, parts=()))
        assert await all_branches(store, key) == before

    async def test_the_old_text_of_an_edited_question_is_a_conflict(self, store: MessageStore) -> None:
        key = await _edited(store)
        before = await all_branches(store, key)
        for branch in (None, 1):
            assert await conflicts(store, key, replace(QUESTION, branch=branch))
            assert await store.append(key, replace(EDITED, branch=branch)) is Appended.DUPLICATE
        assert await all_branches(store, key) == before

    async def test_a_repeated_question_of_an_old_branch_stays_there(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, QUESTION, REPLY, asked("q2", message_id="q2"))
        await superseded(store, key, "q1", None, EDITED)
        before = await all_branches(store, key)
        for branch in (None, 0, 1):
            assert await store.append(key, asked("q2", message_id="q2", branch=branch)) is Appended.SUPERSEDED
            assert await conflicts(store, key, asked("q3", message_id="q2", branch=branch))
        assert await all_branches(store, key) == before

    async def test_a_new_reply_to_a_question_of_an_old_branch_joins_it(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, asked("q0", message_id="q0"), QUESTION)
        await superseded(store, key, "q0", None)
        for branch in (None, 1):
            assert await store.append(key, replied(f"{branch}", replies_to="q1", branch=branch)) is Appended.SUPERSEDED
        assert await _branches(store, key) == {"q0": 1, "q1": 1, "None": 1, "1": 1}

    async def test_a_stream_that_began_before_continues_in_the_old_branch(self, store: MessageStore) -> None:
        key = await _edited(store)
        more = continued(REPLY, "a1 and more", outcome=Outcome.STOPPED, branch=0)
        for _ in range(2):
            assert await store.append(key, more) is Appended.SUPERSEDED
        found = (await all_branches(store, key))[1]
        assert (texts([found]), found.superseded, found.position) == (["a1 and more"], 1, 2)
        assert found.streams == (REPLY.stream_id, more.stream_id)
        assert texts(await everything(store, key)) == ["q1b"]

    async def test_a_stream_that_began_after_may_not_continue_what_was_superseded(self, store: MessageStore) -> None:
        key = await _edited(store)
        before = await all_branches(store, key)
        for branch in (None, 1):
            with pytest.raises(MessageSupersededError):
                await store.append(key, continued(REPLY, "a1 and more", branch=branch))
        assert await all_branches(store, key) == before

    async def test_a_stream_that_began_after_may_use_the_id_again(self, store: MessageStore) -> None:
        key = await _edited(store)
        again = replied("a1b", message_id="a1", replies_to="q1", branch=1)
        assert await store.append(key, again) is Appended.CREATED
        assert await store.append(key, again) is Appended.DUPLICATE
        assert await store.append(key, REPLY) is Appended.SUPERSEDED
        assert await store.append(key, continued(again, "a1c", branch=1)) is Appended.CONTINUED
        assert texts(await everything(store, key)) == ["q1b", "a1c"]
        assert await _branches(store, key) == {"q1": 1, "a1": 1, "q1b": None, "a1c": None}

    async def test_a_late_message_whose_id_is_taken_where_it_belongs_is_a_conflict(self, store: MessageStore) -> None:
        key = await opened(store)
        await put(store, key, QUESTION, asked("q2", message_id="q2"))
        await superseded(store, key, "q2", "a1")
        for question, answer in (("q1", Appended.CREATED), ("q2", Appended.SUPERSEDED)):
            taken = replied("mine", message_id=f"to {question}", replies_to=question, branch=1)
            assert await store.append(key, taken) is answer
            before = await all_branches(store, key)
            assert await conflicts(store, key, replace(taken, stream_id="another", branch=0))
            assert await all_branches(store, key) == before
