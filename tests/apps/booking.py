"""A chat whose model calls tools: one that runs in the browser, and one that its user has to approve.

Asked anything, it looks for the user's place (a tool of the browser's), then wants to book a table there (a tool of the
server's, which needs approval), and says what came of it: three streams, one message. Asked to `hold 2` or `hold 3`, it
goes on in that stream until it is stopped. Messages are kept where streams are logged: in memory, or in the Redis of
`STREAMGUARD_URL`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Run, StreamGuard
from streamguard.messages import MemoryMessageStore, RedisMessageStore
from streamguard.stores import RedisClient

from .given import SETTINGS, URL, owner

__all__ = ["app"]

client = RedisClient(URL) if URL.startswith("redis://") else None
Part = dict[str, object]


class Message(BaseModel):
    id: str
    role: str
    parts: list[Part]


class ChatBody(BaseModel):
    id: str
    messages: list[Message]


def reply_id(body: ChatBody) -> str | None:
    """The message that is continued; None for a new one."""
    return body.messages[-1].id if body.messages[-1].role == "assistant" else None


guard = StreamGuard(
    URL,
    authenticate=owner,
    messages=MemoryMessageStore() if client is None else RedisMessageStore(client, ttl_seconds=600.0),
    settings=SETTINGS,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        async with guard.lifespan(app):
            yield
    finally:
        if client is not None:
            await client.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id", message_id=reply_id)
async def chat(body: ChatBody, run: Run) -> AsyncIterator[str | Part]:
    last = body.messages[-1]
    run.save({"id": last.id, "role": last.role, "parts": last.parts})
    calls = {part["type"]: part for part in last.parts if "toolCallId" in part}
    asked = str(body.messages[0].parts)
    yield {"type": "start-step"}
    if "tool-book" in calls:
        async for part in booked(calls["tool-book"]):
            yield part
        if "hold 3" in asked:
            await asyncio.Event().wait()
    elif "tool-locate" in calls:
        place = calls["tool-locate"].get("output", "nowhere")
        yield f"You are in {place}. "
        if "hold 2" in asked:
            await asyncio.Event().wait()
        yield {"type": "tool-input-available", "toolCallId": "call-2", "toolName": "book", "input": {"place": place}}
        yield {"type": "tool-approval-request", "approvalId": "approval-1", "toolCallId": "call-2"}
    else:
        yield "Let me see where you are. "
        yield {"type": "tool-input-start", "toolCallId": "call-1", "toolName": "locate"}
        yield {"type": "tool-input-available", "toolCallId": "call-1", "toolName": "locate", "input": {}}
    yield {"type": "finish-step"}


async def booked(call: Part) -> AsyncIterator[str | Part]:
    approval = call["approval"]
    assert isinstance(approval, dict)
    if approval["approved"]:
        yield {"type": "tool-output-available", "toolCallId": call["toolCallId"], "output": {"table": 7}}
        yield "Table 7 is yours."
    else:
        yield {"type": "tool-output-denied", "toolCallId": call["toolCallId"]}
        yield "I booked nothing."


guard.install(app, "/api/chat")
