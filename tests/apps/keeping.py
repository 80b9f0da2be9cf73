"""The chat of `tests.apps.chat` whose messages are kept in a database: `KEEPING_DATABASE_URL`, an SQLAlchemy URL.

A body is a script as there, with the user's message, `{"id", "role", "parts"}`, as `question`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from fastapi import FastAPI

from streamguard import Run, StreamGuard
from streamguard.messages.sql import SQLMessageStore

from .chat import Script, model, steered
from .given import SETTINGS, URL, owner

__all__ = ["app", "application"]


class Asking(Script):
    question: dict[str, object]


guard = StreamGuard(
    URL,
    authenticate=owner,
    messages=SQLMessageStore(os.environ.get("KEEPING_DATABASE_URL", "sqlite+aiosqlite:///keeping.db")),
    settings=SETTINGS,
)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: Asking, run: Run) -> AsyncIterator[str]:
    await run.save(body.question)
    async for piece in model(body):
        yield piece


guard.install(app, "/api/chat")
application = steered(app)
