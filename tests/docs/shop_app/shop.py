"""The application in the examples of the command line's page: an endpoint, and a database that can be out of order.

While the file that `SHOP_FAULT` names is there, no reply is saved. An `endless` answer never ends by
itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from streamguard import Settings, StreamGuard
from streamguard.messages import MessageToSave
from streamguard.quota import Quota

__all__ = ["app", "guard"]


class Question(BaseModel):
    id: str
    endless: bool = False


async def save(message: MessageToSave) -> None:
    if Path(os.environ["SHOP_FAULT"]).exists():
        raise OSError("the database is out of order")


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


guard = StreamGuard(
    os.environ["SHOP_REDIS"],
    authenticate=owner,
    messages=save,
    settings=Settings(
        lease_seconds=4.0,
        heartbeat_seconds=1.0,
        command_seconds=5.0,
        save_visible_seconds=0.5,
        save_total_seconds=0.5,
        outbox_seconds=0.2,
        outbox_retry_seconds=0.1,
        max_outbox_attempts=1,
    ),
)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id", quota=Quota(100_000, per="day"), estimate=2_000)
async def chat(body: Question) -> AsyncIterator[str]:
    for word in ("It ", "depends ", "on ", "what ", "you ", "would ", "like ", "to ", "see."):
        yield word
    if body.endless:
        await asyncio.Event().wait()


guard.install(app, "/api/chat")
