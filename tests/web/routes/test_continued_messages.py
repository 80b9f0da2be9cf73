"""What a client that resumes without a cursor gets of a stream that continues a message: the whole message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Run, StreamGuard
from streamguard.errors import MessageUnavailableError
from streamguard.messages import MemoryMessageStore, MessageStore, StoredMessage
from streamguard.values import SessionKey
from streamguard.wire.folding import fold
from streamguard.wire.sse import EventParser, SseEvent

from ..saved import guard_with
from ..serving import calling

pytestmark = pytest.mark.anyio

Part = dict[str, Any]
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


def app_of(guard: StreamGuard, second: Sequence[str | Part] = SECOND, *, saves: bool = True) -> FastAPI:
    app = FastAPI()

    @app.post("/api/chat")
    @guard.stream("body.id", message_id=reply_id)
    async def chat(body: Body, run: Run) -> AsyncIterator[str | Part]:
        if saves:
            await run.save(body.messages[-1])
        for item in FIRST if reply_id(body) is None else second:
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
    # The log follows as it is, and only its events have ids: a cursor leads on from where it did.
    assert resumed.content.endswith(posted.content)
    assert {event.last_event_id for event in events(resumed)} - {""} == {
        event.last_event_id for event in events(posted)
    }


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
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        posted = await client.post("/api/chat", json={"id": "s", "messages": [QUESTION]})
        assert (await client.get("/api/chat/s/stream")).content == posted.content


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
