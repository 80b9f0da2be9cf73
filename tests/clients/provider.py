"""A provider's API that nobody may edit, guarded by `StreamGuardMiddleware` alone, and the same without a guard.

What it answers is in the request: `model` is `<transcript>` or `<transcript>@<how>`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from streamguard import Settings, StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.quota import Quota

from ..web.serving import serving, user_of

__all__ = ["Provider", "provider"]

TRANSCRIPTS: Final = Path(__file__).parents[1] / "wire/transcripts"
KEEP_ALIVE_SECONDS: Final = 0.05


class Provider:
    """Where it listens: guarded, and as it is."""

    def __init__(self, guarded: int, bare: int) -> None:
        self.guarded: str = f"http://127.0.0.1:{guarded}"
        self.bare: str = f"http://127.0.0.1:{bare}"


def _blocks(name: str) -> list[bytes]:
    body = (TRANSCRIPTS / f"{name}.sse").read_bytes()
    return [block + b"\n\n" for block in body.split(b"\n\n") if block]


async def _answer(request: Request) -> Response:
    asked = await request.json()
    name, _, how = str(asked["model"]).partition("@")
    if how == "refused":
        return JSONResponse({"error": {"message": "no such model", "code": "model_not_found"}}, status_code=404)

    async def body() -> AsyncIterator[bytes]:
        for number, block in enumerate(_blocks(name)):
            if how == "unreachable" or (how == "reset" and number == 4):
                raise ConnectionResetError("the upstream's connection broke")
            if how == "reset" and number == 3:
                yield block + b"event: half\ndata: {"
                continue
            if (how == "slow" and number in range(1, 5)) or (how == "pings" and number == 1):
                await asyncio.sleep(3 * KEEP_ALIVE_SECONDS)
            if how == "pings":
                yield b": OPENROUTER PROCESSING\n\n"
            yield block

    return StreamingResponse(body(), media_type="text/event-stream")


async def _unsaved(message: object) -> None:
    raise RuntimeError("the database is away")


def _routes() -> list[Route]:
    paths = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
    return [Route(path, _answer, methods=["POST"]) for path in paths]


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """Serve it while entered. What the guard saves fails for sessions that begin with `unsaved`."""
    settings = Settings(
        keep_alive_seconds=KEEP_ALIVE_SECONDS,
        max_resumes_per_minute=10_000,
        max_streams_per_owner=1_000,
        save_visible_seconds=0.2,
        save_total_seconds=0.3,
    )
    guard = StreamGuard(authenticate=user_of, settings=settings)
    quota = Quota(limit=1_000_000, per="day", unit="total_tokens")
    common = {"session": "header.x-session", "when": "body.stream"}
    rules = [
        StreamRule("/v1/*", **{**common, "when": "header.x-unsaved"}, save=_unsaved, binding="unsaved"),  # type: ignore[arg-type] # a mapping of options
        StreamRule("/v1/*", **common, quota=quota, estimate={"total_tokens": 1_000}),  # type: ignore[arg-type] # likewise
    ]
    app = Starlette(routes=_routes(), lifespan=guard.lifespan)
    app.add_middleware(StreamGuardMiddleware, guard=guard, rules=rules)
    guard.install(app, "/api/chat")
    async with serving(app) as guarded, serving(Starlette(routes=_routes())) as bare:
        yield Provider(guarded, bare)
