"""The chat of `tests.apps.chat`, kept in a SQLite database that a test breaks: `SAVING_DATABASE_URL`.

Files in `SAVING_FAULTS` say how: while `fail` is there every append of a reply fails, with `fail-<session>` that of a
session, while `slow` is there each waits. `POST /stall/<seconds>` holds up the event loop.
`POST /gate/<name>` and `GET /trace` as there; an append of a reply is traced as `saving <session>`, and, once it is
carried out, as `stored <session>`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response

from streamguard import Run, Settings, StreamGuard
from streamguard.errors import MessageUnavailableError
from streamguard.messages import Appended, Message, Role
from streamguard.messages.sql import SQLMessageStore
from streamguard.model import SessionKey
from tests.harness.probe import Probe

from .chat import TRACE, Script, model, open_gate, owner, trace

__all__ = ["app", "application"]

FAULTS = Path(os.environ.get("SAVING_FAULTS", "/nonexistent"))


class BreakableStore(SQLMessageStore):
    """Fails, or waits, as the files say."""

    async def append(self, key: SessionKey, message: Message) -> Appended:
        if message.role is Role.ASSISTANT:
            TRACE.append(f"saving {key.session_id}")
            while (FAULTS / "slow").exists():
                await asyncio.sleep(0.02)
            if (FAULTS / "fail").exists() or (FAULTS / f"fail-{key.session_id}").exists():
                raise MessageUnavailableError("append: the test says so", operation="append")
        answer = await super().append(key, message)
        if message.role is Role.ASSISTANT:
            TRACE.append(f"stored {key.session_id}")
        return answer


class Asking(Script):
    question: dict[str, object] | None = None


guard = StreamGuard(
    os.environ.get("STREAMGUARD_URL", "memory://"),
    authenticate=owner,
    messages=BreakableStore(os.environ.get("SAVING_DATABASE_URL", "sqlite+aiosqlite:///saving.db")),
    settings=Settings(**json.loads(os.environ.get("STREAMGUARD_SETTINGS", "{}"))),
)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: Asking, run: Run) -> AsyncIterator[str]:
    if body.question is not None:
        await run.save(body.question)
    async for piece in model(body):
        yield piece


guard.install(app, "/api/chat")


@app.post("/gate/{name}")
async def gate(name: str) -> Response:
    return await open_gate(name)


@app.post("/stall/{seconds}")
async def stall(seconds: float) -> Response:
    time.sleep(seconds)  # what a host should not do, and does
    return Response(status_code=204)


@app.get("/trace")
async def lines() -> Response:
    return await trace()


application = Probe(app)
