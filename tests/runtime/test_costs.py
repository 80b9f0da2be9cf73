"""What a request costs does not grow with what others do, nor with what was said before: operations are counted."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Run, StreamGuard
from streamguard.messages import MemoryMessageStore, Message, MessageStatus, Role, StoredMessage
from streamguard.runtime import LiveStream
from streamguard.runtime.producing.live_streams import LiveStreams
from streamguard.settings import Settings
from streamguard.stores.memory import MemoryStore
from streamguard.testing import GuardedApp
from streamguard.values import SessionKey, StreamRef, new_stream_id
from tests.apps.given import owner

from .stage import Worker, working

pytestmark = pytest.mark.anyio

KEY = SessionKey("ann", "chat")


class CountingKey(SessionKey):
    """A session whose comparisons are counted."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        CountingKey.compared += 1
        return super().__eq__(other)

    __hash__ = SessionKey.__hash__


async def three_streams(worker: Worker) -> list[LiveStream]:
    """Of one owner, in three sessions."""
    return [await worker.open(worker.request(CountingKey("ann", f"chat {number}"))) for number in range(3)]


@pytest.mark.parametrize("others", [10, 1_000])
async def test_a_sessions_streams_are_found_without_looking_at_others(others: int) -> None:
    async with working(MemoryStore()) as worker:
        mine = await three_streams(worker)
        streams = LiveStreams()
        for number in range(others):
            streams[StreamRef(CountingKey(f"owner {number}", f"chat {number}"), new_stream_id())] = mine[0]
        for stream in mine:
            streams[stream.ref] = stream
        asked = StreamRef(CountingKey("ann", "chat 1"), mine[1].ref.stream_id)
        CountingKey.compared = 0
        assert streams.of_session(asked.key) == [mine[1]]
        assert streams.of_owner("ann") == mine
        assert streams.get(asked) is mine[1]
        assert CountingKey.compared <= 3
        assert streams.get(StreamRef(CountingKey("ann", "chat 2"), mine[1].ref.stream_id)) is None


async def test_a_stream_that_ended_is_in_no_index() -> None:
    async with working(MemoryStore()) as worker:
        _, first, second = await three_streams(worker)
        streams = LiveStreams()
        streams[first.ref], streams[second.ref] = first, second
        streams.discard(first.ref)
        streams.discard(first.ref)
        assert (streams.of_session(first.ref.key), streams.of_session(second.ref.key)) == ([], [second])
        assert (streams.of_owner("ann"), streams.get(first.ref), len(streams)) == ([second], None, 1)
        streams.discard(second.ref)
        assert (streams.of_session(second.ref.key), streams.of_owner("ann"), list(streams.values())) == ([], [], [])


class CountingMessages(MemoryMessageStore):
    """Counts the messages that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        found = await super().list(key, after=after, limit=limit, branches=branches)
        self.read += len(found)
        return found

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        self.read += 1
        return await super().get(key, message_id, branches=branches)

    async def last(self, key: SessionKey) -> StoredMessage | None:
        self.read += 1
        return await super().last(key)


class Body(BaseModel):
    id: str
    fails: bool


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("length", [10, 1_000])
async def test_a_reply_reads_as_many_messages_after_a_long_conversation_as_after_a_short_one(
    length: int, fails: bool
) -> None:
    messages = CountingMessages()
    guard = StreamGuard("memory://", authenticate=owner, messages=messages, settings=Settings(drain_seconds=0.5))
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/api/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body, run: Run) -> AsyncIterator[str]:
        run.save("a question")
        if body.fails:
            raise RuntimeError("the provider is down")
        yield "an answer"

    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, headers={"X-User": KEY.owner}) as visitor:
        await messages.open_session(KEY)
        for number in range(length):
            await messages.append(KEY, Message(f"m{number}", Role.USER, ({"type": "text", "text": "x"},)))
        messages.read = 0
        await visitor.post({"id": KEY.session_id, "fails": fails})
        await visitor.idle()
        assert messages.read <= 2
        last = await messages.last(KEY)
        assert last is not None
        assert (last.status is MessageStatus.UNANSWERED) is fails
