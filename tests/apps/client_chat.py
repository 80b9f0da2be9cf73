"""A chat for the tests of `streamguard-client`: with questions and replies kept, quotas, and pages from a directory.

What is asked decides:

- `words N`: N words. `tools`: reasoning, a tool call, a source, data and text.
- `long`: one piece, then nothing until it is stopped. `open`: a call and a text that never finish, until it is stopped.
- `fail`: the model breaks within a text and a call.

`POST /api/limited` takes two requests a week of each user, and `/pages` has the files of the directory `CLIENT_PAGES`.
The user is the header `X-User`, or the cookie `user`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.staticfiles import StaticFiles

from streamguard import Run, StreamGuard
from streamguard.messages import MemoryMessageStore, RedisMessageStore
from streamguard.quota import MemoryQuotaStore, Quota
from streamguard.stores import RedisClient

from .given import SETTINGS, URL

__all__ = ["app"]

Part = dict[str, object]


class Body(BaseModel):
    id: str
    messages: list[dict[str, object]]


class ModelError(Exception):
    status_code = 500


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user") or connection.cookies.get("user")


async def answer(asked: str) -> AsyncIterator[str | Part]:
    name, _, number = asked.partition(" ")
    if name == "words":
        for n in range(int(number)):
            yield f"wörd{n} "
            await asyncio.sleep(0.001)
    elif name == "tools":
        for part in TOOLS:
            yield part
            await asyncio.sleep(0)
    elif name == "long":
        yield "It goes on "
        await asyncio.Event().wait()
    elif name in ("open", "fail"):
        yield {"type": "text-start", "id": "t1"}
        yield {"type": "text-delta", "id": "t1", "delta": "It begins "}
        yield {"type": "tool-input-start", "toolCallId": "c1", "toolName": "search"}
        yield {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"q": "a'}
        if name == "fail":
            raise ModelError("tenant 4711, key sk-secret")
        await asyncio.Event().wait()
    else:
        yield f"Answer to {asked}"


TOOLS: list[Part] = [
    {"type": "start-step"},
    {"type": "reasoning-start", "id": "r1"},
    {"type": "reasoning-delta", "id": "r1", "delta": "It wants "},
    {"type": "reasoning-delta", "id": "r1", "delta": "weather."},
    {"type": "reasoning-end", "id": "r1"},
    {"type": "tool-input-start", "toolCallId": "c1", "toolName": "weather"},
    {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"city":'},
    {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '"東京"}'},
    {"type": "tool-input-available", "toolCallId": "c1", "toolName": "weather", "input": {"city": "東京"}},
    {"type": "tool-output-available", "toolCallId": "c1", "output": {"degrees": 21}},
    {"type": "finish-step"},
    {"type": "start-step"},
    {"type": "source-url", "sourceId": "s1", "url": "https://example.org/", "title": "Weather"},
    {"type": "data-chart", "id": "d1", "data": {"points": [1, 2]}},
    {"type": "text-start", "id": "t1"},
    {"type": "text-delta", "id": "t1", "delta": "It is 21° "},
    {"type": "text-delta", "id": "t1", "delta": "🌊 there."},
    {"type": "text-end", "id": "t1"},
    {"type": "finish-step"},
]

messages = RedisMessageStore(RedisClient(URL), ttl_seconds=600) if URL.startswith("redis") else MemoryMessageStore()
guard = StreamGuard(URL, authenticate=owner, messages=messages, quota=MemoryQuotaStore(), settings=SETTINGS)
app = FastAPI(lifespan=guard.lifespan)


def asked_in(body: Body) -> str:
    parts = body.messages[-1]["parts"]
    assert isinstance(parts, list)
    return str(parts[0]["text"])


@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: Body, run: Run) -> AsyncIterator[str | Part]:
    await run.save(body.messages[-1])
    async for piece in answer(asked_in(body)):
        yield piece


@app.post("/api/limited")
@guard.stream(session="body.id", quota=Quota(limit=2, per="week", unit="requests"))
async def limited(body: Body, run: Run) -> AsyncIterator[str | Part]:
    await run.save(body.messages[-1])
    async for piece in answer(asked_in(body)):
        yield piece


@app.post("/api/plain")
@guard.stream(session="body.id", protocol="plain")
async def plain(body: Body) -> AsyncIterator[str]:
    async for piece in answer(asked_in(body)):
        yield str(piece)


for prefix in ("/api/chat", "/api/plain"):
    guard.install(app, prefix)
if pages := os.environ.get("CLIENT_PAGES"):
    app.mount("/pages", StaticFiles(directory=pages, html=True))
