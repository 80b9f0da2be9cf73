"""The chat of `tests.apps.chat` with a quota of 1,000 tokens a day and 100 reserved for each reply, of which each piece
is one: kept in the Redis that `COUNTING_REDIS` names, by default the guard's own.

`POST /gate/<name>`, `POST /hold-up` and `GET /trace` as there.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from fastapi import FastAPI

from streamguard import Run, StreamGuard
from streamguard.quota import Quota, RedisQuotaStore
from streamguard.stores import RedisClient

from .chat import Script, model, steered
from .given import SETTINGS, URL, owner

__all__ = ["ESTIMATE", "LIMIT", "app", "application"]

LIMIT = Quota(limit=1_000, per="day", unit="tokens")
ESTIMATE = 100

client = RedisClient(os.environ.get("COUNTING_REDIS", "redis://127.0.0.1:6379/0"), command_seconds=5.0)
guard = StreamGuard(
    URL,
    authenticate=owner,
    quota=RedisQuotaStore(
        client,
        hold_seconds=float(os.environ.get("COUNTING_HOLD", "60")),
        stale_seconds=float(os.environ.get("COUNTING_HOLD", "60")) / 2,
    ),
    settings=SETTINGS,
)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id", quota=LIMIT, estimate=ESTIMATE)
async def chat(body: Script, run: Run) -> AsyncIterator[str]:
    async for piece in model(body):
        run.usage(tokens=1)
        yield piece


guard.install(app, "/api/chat")
application = steered(app)
