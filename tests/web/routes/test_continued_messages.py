"""What a client that resumes without a cursor gets of a stream that continues a message: the whole message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeVar

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import Message

from streamguard import Run, StreamGuard
from streamguard.errors import MessageUnavailableError
from streamguard.messages import MemoryMessageStore, MessageStore, StoredMessage
from streamguard.values import SessionKey
from streamguard.wire.folding import fold
from streamguard.wire.sse import EventParser, SseEvent

from ..saved import guard_with
from ..serving import USER, calling, request_scope

pytestmark = pytest.mark.anyio

Part = dict[str, Any]
M = TypeVar("M", bound=MemoryMessageStore)
QUESTION: Final[Part] = {"id": "q1", "role": "user", "parts": [{"type": "text", "text": "Where am I?"}]}
CALL: Final[Part] = {"type": "tool-input-available", "toolCallId": "c1", "toolName": "where", "input": {"exact": True}}
CHART: Final[Part] = {"type": "data-chart", "id": "d1", "data": 1}
FIRST: Final[Sequence[str | Part]] = [{"type": "start-step"}, "Let me see.", CHART, CALL, {"type": "finish-step"}]
SECOND: Final[Sequence[str | Part]] = [
    {"type": "start-step"},
    {**CHART, "data": 2},
    "At home.",
    {"type": "finish-step"},
]


class Body(BaseModel):
    id: str
    messages: list[Part]


class AwayStore(MemoryMessageStore):
    """A database that cannot be read while `away` is set."""

    away = False
    read = 0

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        self.read += 1
        if self.away:
            raise MessageUnavailableError("get: the test says so", operation="get")
        return await super().get(key, message_id, branches=branches)


def reply_id(body: Body) -> str | None:
    last = body.messages[-1]
    return str(last["id"]) if last["role"] == "assistant" else None


def make(messages: M) -> tuple[StreamGuard, M]:
    return guard_with(messages), messages


def app_of(
    guard: StreamGuard,
    second: Sequence[str | Part] = SECOND,
    *,
    first: Sequence[str | Part] = FIRST,
    saves: bool = True,
) -> FastAPI:
    app = FastAPI()

    @app.post("/api/chat")
    @guard.stream("body.id", message_id=reply_id)
    async def chat(body: Body, run: Run) -> AsyncIterator[str | Part]:
        if saves:
            await run.save(body.messages[-1])
        for item in first if reply_id(body) is None else second:
            yield item

    guard.install(app, "/api/chat")
    return app


def events(answer: httpx.Response) -> list[SseEvent]:
    assert answer.status_code == 200
    return EventParser().feed(answer.content)


def ids_in(answer: httpx.Response) -> set[str]:
    return {event.last_event_id for event in events(answer)}


def message_in(answer: httpx.Response) -> Part:
    payloads = [event.data.encode() for event in events(answer) if event.data != "[DONE]"]
    return fold("unnamed", payloads).as_dict()


async def ask(client: httpx.AsyncClient) -> str:
    answer = await client.post("/api/chat", json={"id": "s", "messages": [QUESTION]})
    return str(answer.headers["x-message-id"])


async def answer_call(client: httpx.AsyncClient, message_id: str) -> httpx.Response:
    """Send the message back, with the call's result."""
    result = {"type": "tool-where", "toolCallId": "c1", "state": "output-available", "input": {}, "output": "home"}
    reply = {"id": message_id, "role": "assistant", "parts": [result]}
    return await client.post("/api/chat", json={"id": "s", "messages": [QUESTION, reply]})


async def stored(client: httpx.AsyncClient) -> Part:
    message = (await client.get("/api/chat/s/messages")).json()["messages"][-1]
    return {name: message[name] for name in ("id", "role", "parts")}


async def test_a_resumed_continuation_is_the_whole_message() -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        message_id = await ask(client)
        posted = await answer_call(client, message_id)
        resumed = await client.get("/api/chat/s/stream")
        kept = await stored(client)
    assert [part["type"] for part in kept["parts"]][:4] == ["step-start", "text", "data-chart", "tool-where"]
    assert kept["parts"][3]["output"] == "home"
    assert message_in(resumed) == kept
    # The log follows as it is: a cursor leads on from where it did.
    assert resumed.content.endswith(posted.content)
    new = ids_in(resumed) - ids_in(posted)
    (beginning,) = new - {""}
    assert beginning.endswith(".0")


async def test_a_client_that_lost_its_connection_after_the_earlier_parts_gets_the_log_alone() -> None:
    """Such a client would get them twice, or, if they cannot be read any more, take the log's first events for them."""
    guard, messages = make(AwayStore())
    async with calling(app_of(guard), guard) as client:
        posted = await answer_call(client, await ask(client))
        resumed = await client.get("/api/chat/s/stream")
        earlier = events(resumed)[: -len(events(posted))]
        messages.away = True
        again = await client.get("/api/chat/s/stream", headers={"Last-Event-ID": earlier[-1].last_event_id})
    assert [bool(event.last_event_id) for event in earlier] == [False] * (len(earlier) - 1) + [True]
    assert again.content == posted.content


async def test_without_ids_there_is_none_at_all() -> None:
    guard, _ = make(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        await answer_call(client, await ask(client))
        resumed = await client.get("/api/chat/s/stream?ids=0")
    assert ids_in(resumed) == {""}
    assert len(message_in(resumed)["parts"]) > len(SECOND)


async def test_a_long_message_is_sent_in_pieces_that_a_slow_client_can_take() -> None:
    guard, _ = make(MemoryMessageStore())
    app = app_of(guard, first=["word " * 60_000, *FIRST])
    pieces: list[bytes] = []

    async def send(message: Message) -> None:
        pieces.append(message.get("body", b""))

    async def receive() -> Message:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return] # the client stays

    async with calling(app, guard) as client:
        posted = await answer_call(client, await ask(client))
        names = [(name.lower().encode(), value.encode()) for name, value in USER.items()]
        await app({**request_scope("/api/chat/s/stream", "GET"), "headers": names}, receive, send)
    sent = b"".join(pieces)
    assert len(sent) > 300_000
    assert sent.endswith(posted.content)
    assert max(map(len, pieces)) <= 65_536


async def test_one_that_ended_early_is_whole_too() -> None:
    guard = guard_with(MemoryMessageStore())
    failing = [*SECOND, {"type": "error", "errorText": "no more"}]
    async with calling(app_of(guard, failing), guard) as client:
        await answer_call(client, await ask(client))
        resumed = await client.get("/api/chat/s/stream")
        kept = await stored(client)
    assert message_in(resumed)["parts"] == kept["parts"]


async def test_a_client_with_a_cursor_gets_what_follows_it() -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        first, *rest = events(await answer_call(client, await ask(client)))
        resumed = await client.get("/api/chat/s/stream", headers={"Last-Event-ID": first.last_event_id})
    assert events(resumed) == rest


async def test_a_message_of_one_stream_is_its_log() -> None:
    """No message store is asked: it may be slow, and many pages come back at once."""
    guard, messages = make(AwayStore())
    async with calling(app_of(guard), guard) as client:
        posted = await client.post("/api/chat", json={"id": "s", "messages": [QUESTION]})
        messages.read = 0
        assert (await client.get("/api/chat/s/stream")).content == posted.content
    assert messages.read == 0


async def test_a_client_that_appends_what_it_resumes_gets_the_log_alone() -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard, **{"X-AI-SDK-Version": "6.0.0"}) as client:
        posted = await answer_call(client, await ask(client))
        assert (await client.get("/api/chat/s/stream")).content == posted.content


async def save(message: object) -> None:
    """A host's own function: what it saves cannot be read."""


@pytest.mark.parametrize("make", [lambda: None, lambda: save, AwayStore])
async def test_without_the_message_the_log_is_sent_all_the_same(make: Callable[[], MessageStore | None]) -> None:
    messages = make()
    guard = guard_with(messages)
    async with calling(app_of(guard, saves=messages is not None), guard) as client:
        posted = await answer_call(client, await ask(client))
        if isinstance(messages, AwayStore):
            messages.away, messages.read = True, 0
        resumed = await client.get("/api/chat/s/stream")
    assert resumed.content == posted.content
    assert not isinstance(messages, AwayStore) or messages.read == 1
