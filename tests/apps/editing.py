"""A chat whose questions are edited and whose answers are written again, for AI SDK's own clients.

Where its messages are kept is said by `EDITING_MESSAGES`: `memory`, a `redis://` URL, or an SQLAlchemy URL with tables
that begin with `EDITING_PREFIX`. Each answer is another, and what is asked decides on its course:

- `quiet …`: it never says anything, until it is stopped.
- `long …`: it says one piece, and goes on until it is stopped.
- `crash …`: it fails before its first piece, the first time that it is asked of a worker.
- anything else is answered.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Run, StreamGuard
from streamguard.messages import MemoryMessageStore, MessageStore, RedisMessageStore
from streamguard.messages.sql import MessageTables, SQLMessageStore
from streamguard.stores import RedisClient

from .given import SETTINGS, URL, owner

__all__ = ["app"]


class Body(BaseModel):
    id: str
    messages: list[dict[str, object]]


def store() -> MessageStore:
    where = os.environ.get("EDITING_MESSAGES", "memory")
    if where == "memory":
        return MemoryMessageStore()
    if where.startswith("redis"):
        return RedisMessageStore(RedisClient(where), ttl_seconds=600)
    return SQLMessageStore(where, tables=MessageTables(prefix=os.environ["EDITING_PREFIX"]))


guard = StreamGuard(URL, authenticate=owner, messages=store(), settings=SETTINGS)
app = FastAPI(lifespan=guard.lifespan)
crashed: set[tuple[str, str]] = set()


@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: Body, run: Run) -> AsyncIterator[str]:
    await run.save(body.messages[-1])
    parts = body.messages[-1]["parts"]
    assert isinstance(parts, list)
    asked = str(parts[0]["text"])
    if asked.startswith("crash") and (body.id, asked) not in crashed:
        crashed.add((body.id, asked))
        raise RuntimeError("the test says so")
    if asked.startswith("quiet"):
        await asyncio.Event().wait()
    yield f"Answer {run.stream_id} to "
    if asked.startswith("long"):
        await asyncio.Event().wait()
    yield asked


guard.install(app, "/api/chat")
