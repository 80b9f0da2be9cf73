"""The chat of `tests.apps.chat`, kept in a SQLite database that a test breaks: `SAVING_DATABASE_URL`.

Files in `SAVING_FAULTS` say how: while `fail` is there every append of a reply fails, with `fail-<session>` that of a
session, while `slow` is there each waits. `POST /gate/<name>`, `POST /hold-up` and `GET /trace` as there; an
append of a reply is traced as `saving <session>`, and, once it is carried out, as `stored <session>`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI

from streamguard import Run, StreamGuard
from streamguard.errors import MessageUnavailableError
from streamguard.messages import Appended, Message, Role
from streamguard.messages.sql import SQLMessageStore
from streamguard.values import SessionKey
from tests.harness.waiting import wait_until_async

from .chat import TRACE, Script, model, steered
from .given import SETTINGS, URL, owner

__all__ = ["app", "application"]

FAULTS = Path(os.environ.get("SAVING_FAULTS", "/nonexistent"))
_SLOWEST_SECONDS = 300
"""Longer than any test takes: who is tested gives up first."""


class BreakableStore(SQLMessageStore):
    """Fails, or waits, as the files say."""

    async def append(self, key: SessionKey, message: Message) -> Appended:
        if message.role is Role.ASSISTANT:
            TRACE.append(f"saving {key.session_id}")
            await wait_until_async(
                lambda: not (FAULTS / "slow").exists(), description="the test mends it", timeout=_SLOWEST_SECONDS
            )
            if (FAULTS / "fail").exists() or (FAULTS / f"fail-{key.session_id}").exists():
                raise MessageUnavailableError("append: the test says so", operation="append")
        answer = await super().append(key, message)
        if message.role is Role.ASSISTANT:
            TRACE.append(f"stored {key.session_id}")
        return answer


class Asking(Script):
    question: dict[str, object] | None = None


guard = StreamGuard(
    URL,
    authenticate=owner,
    messages=BreakableStore(os.environ.get("SAVING_DATABASE_URL", "sqlite+aiosqlite:///saving.db")),
    settings=SETTINGS,
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
application = steered(app)
