"""A chat whose scripted model calls tools, for AI SDK's own client; its messages are kept in memory.

What the user says decides: `where` calls a tool of the browser's, `delete` one that needs approval, and anything else
is answered. In a chat whose id begins with `unsaved`, saving a reply fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.requests import HTTPConnection

from streamguard import Run, Settings, StreamGuard
from streamguard.errors import MessageUnavailableError
from streamguard.messages import Appended, MemoryMessageStore, Message, Role
from streamguard.values import SessionKey

__all__ = ["app"]

Part = dict[str, object]


class BreakableStore(MemoryMessageStore):
    """Takes no reply in some sessions."""

    async def append(self, key: SessionKey, message: Message) -> Appended:
        if key.session_id.startswith("unsaved") and message.role is Role.ASSISTANT:
            raise MessageUnavailableError("append: the test says so", operation="append")
        return await super().append(key, message)


class UIMessage(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str
    role: str
    parts: list[Part]


class Body(BaseModel):
    id: str
    messages: list[UIMessage]


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


def reply_id(body: Body) -> str | None:
    last = body.messages[-1]
    return last.id if last.role == "assistant" else None


guard = StreamGuard(
    authenticate=owner,
    messages=BreakableStore(),
    settings=Settings(save_total_seconds=0.5, outbox_seconds=60.0),
)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id", message_id=reply_id)
async def chat(body: Body, run: Run) -> AsyncIterator[str | Part]:
    last = body.messages[-1]
    await run.save(last)
    yield {"type": "start-step"}
    async for piece in said(last):
        yield piece
    yield {"type": "finish-step"}


async def said(last: UIMessage) -> AsyncIterator[str | Part]:
    tools = [part for part in last.parts if str(part["type"]).startswith("tool-")]
    if last.role == "assistant" and tools[-1]["type"] == "tool-where":
        yield f"You are {tools[-1]['output']}."
    elif last.role == "assistant":
        yield {"type": "tool-output-available", "toolCallId": tools[-1]["toolCallId"], "output": "gone"}
        yield "It is gone."
    elif last.parts[0].get("text") == "where":
        yield "Let me see. "
        yield {"type": "tool-input-available", "toolCallId": "call-1", "toolName": "where", "input": {}}
    elif last.parts[0].get("text") == "delete":
        yield {"type": "tool-input-available", "toolCallId": "call-1", "toolName": "delete", "input": {"what": "it"}}
        yield {"type": "tool-approval-request", "approvalId": "approval-1", "toolCallId": "call-1"}
    else:
        yield "An answer."


guard.install(app, "/api/chat")
