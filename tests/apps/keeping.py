"""The chat of `tests.apps.chat` whose messages are kept in a database: `KEEPING_DATABASE_URL`, an SQLAlchemy URL.

A body is a script as there, with the user's message, `{"id", "role", "parts"}`, as `question`.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.responses import Response

from streamguard import Run, Settings, StreamGuard
from streamguard.messages.sql import SQLMessageStore
from tests.harness.probe import Probe

from .chat import Script, model, open_gate, owner, trace

__all__ = ["app", "application"]


class Asking(Script):
    question: dict[str, object]


guard = StreamGuard(
    os.environ.get("STREAMGUARD_URL", "memory://"),
    authenticate=owner,
    messages=SQLMessageStore(os.environ.get("KEEPING_DATABASE_URL", "sqlite+aiosqlite:///keeping.db")),
    settings=Settings(**json.loads(os.environ.get("STREAMGUARD_SETTINGS", "{}"))),
)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: Asking, run: Run) -> AsyncIterator[str]:
    await run.save(body.question)
    async for piece in model(body):
        yield piece


guard.install(app, "/api/chat")


@app.post("/gate/{name}")
async def gate(name: str) -> Response:
    return await open_gate(name)


@app.get("/trace")
async def lines() -> Response:
    return await trace()


application = Probe(app)
