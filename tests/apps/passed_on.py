"""An application that nobody may edit, guarded by `StreamGuardMiddleware` alone; steered like those of the matrix."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from streamguard import StreamGuardMiddleware, StreamRule
from streamguard.quota import Quota

from .matrix.common import PREFIX, ModelError, Script, Steered, guard, opened

__all__ = ["application"]


def _block(delta: dict[str, object], **more: object) -> str:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": more.pop("finish_reason", None)}]
    return f"data: {json.dumps({**chunk, **more})}\n\n"


async def completions(request: Request) -> Response:
    asked = {**request.query_params}
    script = Script.model_validate(asked)
    if asked.get("whole"):
        return JSONResponse({"id": script.id})

    async def blocks() -> AsyncIterator[str]:
        for number in range(script.n):
            if script.gate and number == script.gate_at:
                await opened(script.gate)
            if number == script.crash_at:
                raise ModelError("secret words of the provider")
            if asked.get("polls") and await request.is_disconnected():
                break
            yield _block({"content": f"w{number} "})
        yield _block({}, finish_reason="stop", usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
        yield "data: [DONE]\n\n"

    return StreamingResponse(blocks(), media_type="text/event-stream")


async def upload(request: Request) -> Response:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return PlainTextResponse(str(size))


async def download(request: Request) -> Response:
    return FileResponse(Path(__file__), media_type="text/x-python")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


app = Starlette(
    routes=[
        Route("/v1/chat/completions", completions, methods=["POST"]),
        Route("/v1/files", upload, methods=["POST"]),
        Route("/v1/files", download, methods=["GET"]),
        WebSocketRoute("/v1/echo", echo),
    ],
    middleware=[
        Middleware(BaseHTTPMiddleware, dispatch=pass_on),
        Middleware(
            StreamGuardMiddleware,
            guard=guard,
            rules=[
                StreamRule(
                    "/v1/*",
                    methods=["GET", "POST"],
                    session="query.id",
                    quota=Quota(limit=1_000, per="day", unit="total_tokens"),
                    estimate=100,
                )
            ],
        ),
        Middleware(BaseHTTPMiddleware, dispatch=pass_on),
    ],
    lifespan=guard.lifespan,
)
guard.install(app, PREFIX)
application = Steered(app)
