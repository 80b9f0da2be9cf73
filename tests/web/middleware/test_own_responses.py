"""A middleware that answers with a response of its own around the application's body: it is as whole as the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ..serving import calling, make_guard

pytestmark = pytest.mark.anyio


class Rewriting(BaseHTTPMiddleware):
    """Sends a new response, which ends when it hears of a disconnect: of the client's, not of the stream's end."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        body: AsyncIterator[bytes] = response.body_iterator  # type: ignore[attr-defined] # Starlette's own subclass

        async def rewritten() -> AsyncIterator[bytes]:
            async for chunk in body:
                yield chunk.replace(b"two", b"TWO")

        headers = {name: value for name, value in response.headers.items() if name != "content-length"}
        return StreamingResponse(rewritten(), response.status_code, headers)


@pytest.mark.promise("I3")
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("way", "status", "expected"),
    [
        ("whole", 200, ("data: one", "data: TWO", '"outcome":"completed"')),
        ("fails", 200, ("data: one", '"code":"internal"', '"outcome":"failed"')),
        ("fails at once", 500, ('"code":"internal"',)),
        ("refuses", 418, ("no coffee",)),
    ],
)
async def test_an_answer_that_a_middleware_rewrites_is_whole(
    way: str, status: int, expected: tuple[str, ...], layers: int
) -> None:
    guard = make_guard()

    @guard.stream("request.query_params.id", protocol="plain")
    async def chat(request: Request) -> AsyncIterator[str]:
        if way == "refuses":
            raise HTTPException(418, "no coffee")
        if way == "fails at once":
            raise RuntimeError
        yield "one"
        if way == "fails":
            raise RuntimeError
        yield "two"

    middleware = [Middleware(Rewriting)] * layers
    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], middleware=middleware, lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        answer = await client.post("/chat?id=s")
    assert answer.status_code == status
    for text in expected:
        assert text in answer.text
