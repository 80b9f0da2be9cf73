"""A chat endpoint whose answers survive: Litestar, streamguard and one page of plain JavaScript; and a proxy for
OpenAI's chat completions, `/v1/chat/completions`, that is guarded from outside.

Run it with `python main.py` (or `uvicorn main:app`) and open http://127.0.0.1:8000/. What it shares with the chat on
FastAPI is in `examples/shared`: the page, the model, the guard, and what the environment may say (`surroundings.py`).
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from litestar import Litestar, MediaType, Request, Response, asgi, get, post
from litestar.openapi import OpenAPIConfig
from litestar.params import JSONBody
from litestar.response import File
from litestar.static_files import create_static_files_router
from starlette.requests import HTTPConnection

from streamguard import Fault, FaultCode, Run, StreamGuardMiddleware, StreamRule
from streamguard.contrib.litestar import StreamGuardPlugin

sys.path.append(str(Path(__file__).resolve().parent))  # the app starts from any directory, by any name
sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from answering import OPENAI_TOKENS, QUOTA, answer, guard, most
from chat_body import ChatBody
from inside import demo
from proxy import completions, upstream
from surroundings import HOST, METRICS, PAGE_HEADERS, PORT, STATIC, VISITORS

streams = StreamGuardPlugin(guard, "/api/chat")


@post("/api/chat")
@streams.stream(
    session="data.id",
    quota=QUOTA,
    estimate=lambda data: most(body=data),
    on_quota_failure="continue",  # better an answer that nobody counts than none
)
async def chat(data: JSONBody[ChatBody], run: Run) -> AsyncIterator[str]:
    return answer(data, run)


def invalid(_request: Request[Any, Any, Any], _error: Exception) -> Response[bytes]:
    # Litestar's own answer repeats what was sent.
    fault = Fault.of(FaultCode.REQUEST_INVALID, status=422)
    return Response(fault.envelope(), status_code=fault.status, media_type=MediaType.JSON)


@get("/", include_in_schema=False)
async def page(request: Request[Any, Any, Any]) -> File:
    headers = dict(PAGE_HEADERS)
    # The first answer would bring the cookie too, but whoever reloads before it begins must be the same visitor.
    if cookie := (await VISITORS(HTTPConnection(request.scope))).set_cookie:  # type: ignore[arg-type]
        headers["Set-Cookie"] = cookie
    return File(STATIC / "index.html", headers=headers, media_type=MediaType.HTML, content_disposition_type="inline")


# For Prometheus: keep it from the public.
metrics = asgi("/metrics", is_mount=True, copy_scope=True)(METRICS.asgi_app().__call__)

# For the page's side panel.
inside = asgi("/demo", is_mount=True, copy_scope=True)(demo.__call__)

litestar = Litestar(
    [chat, completions, page, metrics, inside, create_static_files_router("/static", [STATIC])],
    plugins=[streams],
    exception_handlers={400: invalid},
    on_shutdown=[upstream.aclose],
    openapi_config=OpenAPIConfig("streamguard demo", "1"),
)

# The proxy's streams are guarded from outside, byte for byte. A client that names its conversation comes back to an
# answer at `GET /api/chat/{X-Session-Id}/stream`.
app = StreamGuardMiddleware(
    litestar,  # type: ignore[arg-type] # Litestar has types of its own for ASGI
    guard=guard,
    rules=[
        StreamRule(
            "/v1/chat/completions",
            when="body.stream",
            session="header.x-session-id",
            quota=QUOTA,
            estimate=OPENAI_TOKENS if QUOTA else None,
            on_quota_failure="continue",
        )
    ],
)

if __name__ == "__main__":
    uvicorn.run(app, host=HOST, port=PORT)
