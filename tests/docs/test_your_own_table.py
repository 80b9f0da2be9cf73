"""The page about a table of one's own: its application keeps each message once, on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import ModuleType

import pytest

from streamguard.errors import MessageConflictError
from streamguard.messages import MessageToSave, Supersedes
from streamguard.testing import GuardedApp
from streamguard.testing._message_store.steps import asked, continued, replied
from streamguard.values import Outcome, SessionKey

from ..harness.postgres import PostgresServer
from .samples import run_page

pytestmark = pytest.mark.anyio

PAGE = "docs/how-to/your-own-table.md"
ANN, BOB = {"x-user": "ann"}, {"x-user": "bob"}


@pytest.fixture
async def page(
    redis_url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ModuleType]:
    monkeypatch.setenv("DATABASE_URL", postgres_server.url())
    with run_page(PAGE, redis_url=redis_url) as module:
        async with module.engine.begin() as connection:
            await connection.run_sync(module.Base.metadata.create_all)
        try:
            yield module
        finally:
            async with module.engine.begin() as connection:
                await connection.run_sync(module.Base.metadata.drop_all)
            await module.engine.dispose()


def question(message_id: str, text: str, **trigger: str) -> dict[str, object]:
    parts = [{"type": "text", "text": text}]
    return {"id": "c1", "messages": [{"id": message_id, "role": "user", "parts": parts}], **trigger}


async def test_questions_and_replies_are_in_the_applications_own_table(page: ModuleType) -> None:
    async with GuardedApp(page.app, page.guard) as app:
        ann, bob = app.visitor(ANN), app.visitor(BOB)

        async def rows() -> list[tuple[str, str]]:
            answered = await ann.request("GET", "/api/chats/c1/messages")
            return [(row["role"], row["text"]) for row in json.loads(answered.body)]

        async def ask(body: dict[str, object]) -> None:
            answer = await ann.post(body)
            await answer.rest()
            assert answer.faults == []
            assert any(part["type"] == "data-streamguard-persisted" for part in answer.parts)

        await ask(question("m1", "one"))
        await ask(question("m2", "two"))
        whole = [("user", "one"), ("assistant", "The answer to 1 messages.")]
        assert await rows() == [*whole, ("user", "two"), ("assistant", "The answer to 3 messages.")]

        refused = await bob.post(question("m3", "may I?"))
        assert refused.status == 404
        assert json.loads((await bob.request("GET", "/api/chats/c1/messages")).body) == []

        await ask(question("m2", "two, edited", trigger="submit-message", messageId="m2"))
        edited = [*whole, ("user", "two, edited"), ("assistant", "The answer to 3 messages.")]
        assert await rows() == edited
        await ask(question("m2", "two, edited", trigger="regenerate-message", messageId="gone"))
        assert await rows() == edited


async def test_a_repeated_save_changes_nothing_and_an_unfinished_one_is_marked(page: ModuleType) -> None:
    reply = replied("half an", message_id="a1", stream_id="s1", outcome=Outcome.STOPPED)
    message = MessageToSave(SessionKey("ann", "c9"), reply)
    await page.save(message)
    await page.save(message)
    async with page.database() as db:
        (row,) = await db.scalars(page.select(page.ChatMessage))
    assert (row.chat_id, row.message_id, row.text, row.is_whole) == ("c9", "a1", "half an", False)


async def test_a_save_that_is_repeated_late_undoes_nothing(page: ModuleType) -> None:
    """Its first attempt was committed, though nobody heard of it; meanwhile the question was edited, the reply went
    on."""
    key, question = SessionKey("ann", "c9"), asked("why?", message_id="q1")
    part = replied("calling", message_id="a1", stream_id="s1")
    whole = continued(part, "calling, and called")
    edited = MessageToSave(key, asked("how?", message_id="q1"), Supersedes("s3", "q1", None))
    first, second = MessageToSave(key, question), MessageToSave(key, part)

    async def texts() -> list[str]:
        async with page.database() as db:
            return list(await db.scalars(page.select(page.ChatMessage.text).order_by(page.ChatMessage.id)))

    for message in (first, second, MessageToSave(key, whole), second):
        await page.save(message)
    assert await texts() == ["why?", "calling, and called"]
    for message in (edited, first, second, edited):
        await page.save(message)
    assert await texts() == ["how?"]
    # An old text that was never saved before does not replace the edited one either.
    await page.save(MessageToSave(SessionKey("ann", "c8"), edited.message, edited.supersedes))
    with pytest.raises(MessageConflictError):
        await page.save(MessageToSave(SessionKey("ann", "c8"), question))
    assert await texts() == ["how?", "how?"]
