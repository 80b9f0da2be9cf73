"""`POST /v1/chat/completions`, passed on to whoever answers at `OPENAI_BASE_URL` (`https://api.openai.com/v1`, a model
server of your own), with the client's key; to a scripted upstream if that is not set.

Nothing here knows streamguard: `StreamGuardMiddleware` guards it, as it would guard code that nobody may change.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
from litestar import Request, Response, post
from litestar.background_tasks import BackgroundTask
from litestar.response import Stream
from surroundings import GAP_SECONDS
from upstream import ScriptedUpstream

BASE_URL = os.environ.get("OPENAI_BASE_URL", "").rstrip("/")
PASSED_ON = ("authorization", "content-type", "openai-organization", "openai-project")

upstream = httpx.AsyncClient(
    base_url=BASE_URL or "http://scripted.invalid/v1",
    transport=None if BASE_URL else ScriptedUpstream(gap_seconds=GAP_SECONDS),
    timeout=httpx.Timeout(10, read=None),  # a model may think for minutes; the guard knows how long is too long
)


@post("/v1/chat/completions", status_code=200)
async def completions(request: Request[Any, Any, Any]) -> Response[Any]:
    """OpenAI's chat completions."""
    headers = {name: value for name in PASSED_ON if (value := request.headers.get(name))}
    asked = upstream.build_request("POST", "/chat/completions", content=await request.body(), headers=headers)
    try:
        answer = await upstream.send(asked, stream=True)
    except httpx.HTTPError:
        return Response({"error": {"message": "the upstream does not answer", "type": "api_error"}}, status_code=502)
    media_type = answer.headers.get("content-type", "application/json")
    if not media_type.startswith("text/event-stream"):
        content = await answer.aread()
        await answer.aclose()
        return Response(content, status_code=answer.status_code, media_type=media_type)

    async def body() -> AsyncIterator[bytes]:
        async for chunk in answer.aiter_bytes():
            yield chunk

    return Stream(
        body(), status_code=answer.status_code, media_type=media_type, background=BackgroundTask(answer.aclose)
    )
