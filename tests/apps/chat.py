"""The guarded app that end-to-end tests run in worker processes: an endpoint per protocol and per policy.

A body says what its model does:

- `id`: the session; `n`: how many pieces (`w0 `, `w1 `, …), `size`: bytes of each instead; `gap_ms` between them;
- `gate`: before piece `gate_at` (default 0) the model waits until `POST /gate/<gate>` opened it, and before piece
  `again_at` for `POST /gate/<gate>-again`;
- `crash_at`: raises before that piece; `messages`: as AI SDK sends them, ignored.

`GET /trace` tells what ran in this process: one line per thing, in order. `POST /hold-up` holds up the event loop until
a test writes a byte to the named pipe in its query, `pipe`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from streamguard import Run, StreamGuard
from tests.harness.probe import Probe

from .given import SETTINGS, URL, owner

__all__ = ["app", "application"]

TRACE: list[str] = []
GATES: dict[str, asyncio.Event] = {}


class Script(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str
    n: int = 10
    size: int = 0
    gap_ms: float = 0
    gate: str | None = None
    gate_at: int = 0
    again_at: int | None = None
    crash_at: int | None = None


def pieces(script: Script) -> Iterator[str]:
    for number in range(script.n):
        piece = f"w{number} "
        yield piece if not script.size else piece.ljust(script.size, "x")


class ModelError(Exception):
    """As provider SDKs make them."""

    status_code = 500


async def model(script: Script) -> AsyncIterator[str]:
    TRACE.append(f"model {script.id}")
    try:
        for number, piece in enumerate(pieces(script)):
            if script.gate is not None and number == script.gate_at:
                await GATES.setdefault(script.gate, asyncio.Event()).wait()
            if script.gate is not None and number == script.again_at:
                await GATES.setdefault(f"{script.gate}-again", asyncio.Event()).wait()
            if number == script.crash_at:
                raise ModelError("secret words of the provider")
            yield piece
            if script.gap_ms:
                await asyncio.sleep(script.gap_ms / 1000)
        TRACE.append(f"completed {script.id}")
    finally:
        TRACE.append(f"finally {script.id}")


class Database:
    """Stands for a session of a database: usable until it is closed."""

    def __init__(self) -> None:
        self.open = True


async def database() -> AsyncIterator[Database]:
    session = Database()
    TRACE.append("database opened")
    yield session
    session.open = False
    TRACE.append("database closed")


def steered(app: FastAPI) -> Probe:
    """`app` with the ways in which a test reaches its models and its process."""

    @app.post("/gate/{name}")
    async def open_gate(name: str) -> Response:
        GATES.setdefault(name, asyncio.Event()).set()
        return Response(status_code=204)

    @app.get("/trace")
    async def trace() -> Response:
        return PlainTextResponse("\n".join(TRACE))

    @app.post("/hold-up")
    async def hold_up(pipe: Path) -> Response:
        with pipe.open("rb", buffering=0) as opened:
            opened.read(1)  # what a host should not do, and does
        return Response(status_code=204)

    return Probe(app)


guard = StreamGuard(
    URL,
    authenticate=owner,
    settings=SETTINGS,
)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: Script, run: Run) -> AsyncIterator[str]:
    async for piece in model(body):
        yield piece


@app.post("/api/strict")
@guard.stream(session="body.id", on_store_failure="fail")
async def strict(body: Script) -> AsyncIterator[str]:
    async for piece in model(body):
        yield piece


@app.post("/api/replace")
@guard.stream(session="body.id", on_conflict="replace")
async def replace(body: Script) -> AsyncIterator[str]:
    async for piece in model(body):
        yield piece


@app.post("/api/join")
@guard.stream(session="body.id", on_conflict="join")
async def join(body: Script) -> AsyncIterator[str]:
    async for piece in model(body):
        yield piece


@app.post("/api/plain")
@guard.stream(session="body.id", protocol="plain")
async def plain(body: Script) -> AsyncIterator[str]:
    async for piece in model(body):
        yield piece


@app.post("/api/opaque")
@guard.stream(session="body.id")
async def opaque(body: Script) -> StreamingResponse:
    async def blocks() -> AsyncIterator[bytes]:
        async for piece in model(body):
            yield b"data: " + json.dumps({"delta": piece}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    return StreamingResponse(blocks(), media_type="text/event-stream")


@app.post("/api/parts")
@guard.stream(session="body.id")
async def parts(body: Script) -> StreamingResponse:
    """What it speaks, and its message's id, are known with its first block."""

    async def blocks() -> AsyncIterator[str]:
        yield 'data: {"type":"start","messageId":"theirs"}\n\n'
        async for piece in model(body):
            yield f"data: {json.dumps({'type': 'text-delta', 'id': 't', 'delta': piece})}\n\n"

    headers = {"x-vercel-ai-ui-message-stream": "v1"}
    return StreamingResponse(blocks(), media_type="text/event-stream", headers=headers)


@app.post("/api/threaded")
@guard.stream(session="body.id")
def threaded(body: Script) -> Iterator[str]:
    TRACE.append(f"model {body.id}")
    try:
        yield from pieces(body)
        TRACE.append(f"completed {body.id}")
    finally:
        TRACE.append(f"finally {body.id}")


@app.post("/api/database")
@guard.stream(session="body.id")
async def with_database(body: Script, session: Database = Depends(database)) -> AsyncIterator[str]:  # noqa: B008
    async for piece in model(body):
        TRACE.append(f"database {'usable' if session.open else 'CLOSED'}")
        yield piece


guard.install(app, "/api/chat")


if os.environ.get("CHAT_BASE_HTTP_MIDDLEWARE"):

    class Meddling(BaseHTTPMiddleware):
        """The kind of middleware that hides how a response ended."""

        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            return await call_next(request)

    app.add_middleware(Meddling)

application = steered(app)
