"""The application that a soak's workers serve: `uvicorn benchmarks.soak.app:application`.

Its model says what the request's body tells it to say. Messages are in a SQLite file. Saving fails while there is a
file `fail` in `SOAK_FAULTS`, and it is slow while there is a file `slow`. Quotas are counted in a Redis of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse

from streamguard import Run, Settings, StreamGuard
from streamguard.errors import MessageUnavailableError
from streamguard.messages import Appended, Message
from streamguard.messages.sql import SQLMessageStore
from streamguard.quota import Quota, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.values import SessionKey

__all__ = ["LIMIT", "PREFIX", "SETTINGS", "Script", "application", "ledger"]

PREFIX: Final = "/chats"
LIMIT: Final = Quota(limit=150, per="week", unit="tokens")
HOLD_SECONDS: Final = 10.0

SETTINGS: Final = Settings(
    lease_seconds=3.0,
    heartbeat_seconds=1.0,
    sweep_seconds=1.0,
    keep_alive_seconds=1.0,
    registration_seconds=1.0,
    append_deadline_seconds=2.0,
    command_seconds=1.0,
    save_visible_seconds=1.5,
    save_total_seconds=8.0,
    save_attempt_seconds=3.0,
    outbox_seconds=1.0,
    outbox_retry_seconds=1.0,
    outbox_max_retry_seconds=4.0,
    max_outbox_attempts=1_000,
    quota_seconds=1.0,
    headers_after_seconds=2.0,
    drain_seconds=3.0,
    replace_wait_seconds=3.0,
    replay_after_finish_seconds=20.0,
    breaker_probe_seconds=0.25,
    max_streams_per_owner=10_000,
    max_viewers_per_owner=10_000,
    max_resumes_per_minute=1_000_000,
)
"""Periodic work runs often, so that much happens in a minute."""

_FAULTS: Final = Path(os.environ.get("SOAK_FAULTS", "/nonexistent"))
_SLOW_SECONDS: Final = 2.0


class Script(BaseModel):
    """The body of a client's request."""

    id: str
    nonce: str
    count: int
    size: int = 0
    gap_ms: float = 0.0
    crash_at: int | None = None

    def piece(self, number: int) -> str:
        if number == self.crash_at:
            raise RuntimeError("the provider broke off")
        return f"{self.nonce}:{number} ".ljust(self.size, "x")


class BreakableStore(SQLMessageStore):
    """A message store that fails or is slow while the files say so."""

    async def append(self, key: SessionKey, message: Message) -> Appended:
        if (_FAULTS / "slow").exists():
            await asyncio.sleep(_SLOW_SECONDS)
        if (_FAULTS / "fail").exists():
            raise MessageUnavailableError("append: the soak says so", operation="append")
        return await super().append(key, message)


def ledger(url: str) -> RedisQuotaStore:
    """The quota's store."""
    client = RedisClient(url, command_seconds=1.0)
    return RedisQuotaStore(client, hold_seconds=HOLD_SECONDS, stale_seconds=HOLD_SECONDS / 2)


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


guard = StreamGuard(
    os.environ.get("SOAK_REDIS", "memory://"),
    authenticate=owner,
    messages=BreakableStore(os.environ.get("SOAK_DATABASE", "sqlite+aiosqlite:///soak.db")),
    quota=ledger(os.environ.get("SOAK_LEDGER", "redis://127.0.0.1:6379/0")),
    settings=SETTINGS,
)
application = FastAPI(lifespan=guard.lifespan)


async def model(script: Script) -> AsyncIterator[str]:
    for number in range(script.count):
        yield script.piece(number)
        await asyncio.sleep(script.gap_ms / 1000)


def _question(script: Script) -> dict[str, object]:
    return {"id": f"q-{script.nonce}", "role": "user", "parts": [{"type": "text", "text": script.nonce}]}


@application.post("/chats/ui")
@guard.stream(session="body.id")
async def ui(body: Script, run: Run) -> AsyncIterator[str]:
    run.save(_question(body))
    async for piece in model(body):
        yield piece


@application.post("/chats/plain")
@guard.stream(session="body.id", protocol="plain")
async def plain(body: Script) -> AsyncIterator[str]:
    async for piece in model(body):
        yield piece


@application.post("/chats/opaque")
@guard.stream(session="body.id", ids=True)
async def opaque(body: Script) -> StreamingResponse:
    async def blocks() -> AsyncIterator[bytes]:
        async for piece in model(body):
            yield b"data: " + json.dumps({"delta": piece}, separators=(",", ":")).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    return StreamingResponse(blocks(), media_type="text/event-stream")


@application.post("/chats/sync")
@guard.stream(session="body.id")
def sync(body: Script) -> Iterator[str]:
    for number in range(body.count):
        yield body.piece(number)


@application.post("/chats/replace")
@guard.stream(session="body.id", on_conflict="replace")
async def replace(body: Script) -> AsyncIterator[str]:
    async for piece in model(body):
        yield piece


@application.post("/chats/join")
@guard.stream(session="body.id", on_conflict="join")
async def join(body: Script) -> AsyncIterator[str]:
    async for piece in model(body):
        yield piece


@application.post("/chats/strict")
@guard.stream(session="body.id", on_store_failure="fail")
async def strict(body: Script) -> AsyncIterator[str]:
    async for piece in model(body):
        yield piece


def _estimate(body: Script) -> int:
    return body.count


@application.post("/chats/counted")
@guard.stream(session="body.id", quota=LIMIT, estimate=_estimate)
async def counted(body: Script, run: Run) -> AsyncIterator[str]:
    async for piece in model(body):
        run.usage(tokens=1)
        yield piece


guard.install(application, PREFIX)
