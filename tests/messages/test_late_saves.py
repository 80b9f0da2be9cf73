"""Whenever replies are saved, a session shows in the end what its client shows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamguard.errors import MessageConflictError
from streamguard.messages import Appended, MemoryMessageStore, Message, MessageStore, StoredMessage
from streamguard.messages.branches import Row, places
from streamguard.testing._message_store.steps import all_branches, asked, everything, fresh_key, replied, superseded
from streamguard.values import SessionKey

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Turn:
    """What a user does: `ask`, or `edit` a question, or `regenerate` an answer, which is chosen by `which`; and after
    how many more turns the reply is saved."""

    kind: str
    which: int
    owed_for: int


turns = st.builds(Turn, st.sampled_from(["ask", "ask", "edit", "regenerate"]), st.integers(0, 7), st.integers(0, 4))


class Client:
    """A page, and the server behind it that owes some saves."""

    def __init__(self, store: MessageStore, key: SessionKey) -> None:
        self.store = store
        self.key = key
        self.page: list[Message] = []
        self.owed: list[tuple[int, Message]] = []
        self.count = 0

    async def take(self, turn: Turn) -> None:
        self.count += 1
        await self.pay(self.count)
        questions = [number for number, message in enumerate(self.page) if message.replies_to is None]
        branch = (await self.store.open_session(self.key)).branch
        if turn.kind == "ask" or not questions:
            question = asked(f"question {self.count}", message_id=f"q{self.count}", branch=branch)
            assert await self.store.append(self.key, question) is Appended.CREATED
            self.page.append(question)
        else:
            at = questions[turn.which % len(questions)]
            question = self.page[at]
            first = at + (turn.kind == "regenerate")
            before = self.page[first - 1].message_id if first else None
            edited = None
            if turn.kind == "edit":
                question = edited = asked(f"edited {self.count}", message_id=question.message_id)
            start = self.page[first].message_id if first < len(self.page) else None
            answer = await superseded(self.store, self.key, start, before, edited, by=f"s{self.count}")
            branch = answer.branch
            self.page = [*self.page[:at], question]
        reply = replied(
            f"answer {self.count}",
            message_id=f"a{self.count}",
            stream_id=f"s{self.count}",
            replies_to=question.message_id,
            branch=branch,
        )
        self.page.append(reply)
        self.owed.append((self.count + turn.owed_for, reply))
        await self.pay(self.count)

    async def pay(self, now: float) -> None:
        """Save what is due by then."""
        due = [reply for at, reply in self.owed if at <= now]
        self.owed = [(at, reply) for at, reply in self.owed if at > now]
        for reply in due:
            answer = await self.store.append(self.key, reply)
            assert answer is (Appended.CREATED if reply in self.page else Appended.SUPERSEDED)


def in_order(visible: list[StoredMessage]) -> list[str]:
    rows = [Row(one.message.message_id, one.position, 0, None, one.message.replies_to) for one in visible]
    by_place = sorted(zip(places(rows), visible, strict=True), key=lambda pair: pair[0])
    return [str(one.message.parts[0]["text"]) for _, one in by_place]


@settings(max_examples=300, deadline=None)
@given(st.lists(turns, min_size=1, max_size=12))
@pytest.mark.long
def test_a_page_is_the_same_after_a_reload_however_late_its_replies_are_saved(sequence: list[Turn]) -> None:
    async def run() -> None:
        client = Client(MemoryMessageStore(), fresh_key())
        for turn in sequence:
            await client.take(turn)
        await client.pay(float("inf"))
        shown = [str(message.parts[0]["text"]) for message in client.page]
        assert in_order(await everything(client.store, client.key)) == shown
        rows = await all_branches(client.store, client.key)
        assert [row.position for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) == len({(row.message.message_id, row.superseded) for row in rows})

    asyncio.run(run())


async def test_two_tabs_of_which_one_is_stale() -> None:
    """The last to commit wins; what was replaced meanwhile is not replaced again."""
    store, key = MemoryMessageStore(), fresh_key()
    await store.open_session(key)
    for number in (1, 2):
        await store.append(key, asked(f"q{number}", message_id=f"q{number}"))
        await store.append(key, replied(f"a{number}", message_id=f"a{number}", replies_to=f"q{number}"))
    await superseded(store, key, "q1", None, asked("one tab", message_id="q1"), by="first")
    with pytest.raises(MessageConflictError):
        await superseded(store, key, "q2", "a1", asked("stale", message_id="q2"), by="second")
    await superseded(store, key, "q1", None, asked("other tab", message_id="q1"), by="third")
    late = replied("answer to one tab", stream_id="first", replies_to="q1", branch=1)
    assert await store.append(key, late) is Appended.SUPERSEDED
    assert in_order(await everything(store, key)) == ["other tab"]
