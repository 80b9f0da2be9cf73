"""A chat whose scripted model calls a tool that never comes back; its messages are in the Redis of its streams.

A body is `{"id", "parts"}`: what the model says, and then it hangs, or raises with `"breaks": true`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Run, StreamGuard
from streamguard.messages import RedisMessageStore
from streamguard.stores import RedisClient

from .given import SETTINGS, URL, owner

__all__ = ["app"]


class Body(BaseModel):
    id: str
    parts: list[dict[str, Any]]
    breaks: bool = False


guard = StreamGuard(
    URL, authenticate=owner, messages=RedisMessageStore(RedisClient(URL), ttl_seconds=600), settings=SETTINGS
)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: Body, run: Run) -> AsyncIterator[dict[str, Any]]:
    run.save("What is here?")
    for part in body.parts:
        yield part
    if body.breaks:
        raise RuntimeError("the tool broke")
    await asyncio.Event().wait()


guard.install(app, "/api/chat")
