"""streamguard with its default settings, except for limits that would refuse the load."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from streamguard import Settings, StreamGuard, StreamGuardMiddleware, StreamRule

from ..pieces import as_plain_block, piece
from .bare import HEADERS
from .contract import Contender, Store, Wire
from .source import source

__all__ = ["CONTENDERS", "app"]

_RESUME: Final = "/chat/{session}/stream"
_ON_REDIS: Final = (
    Contender(
        "plain",
        "@guard.stream on a generator of texts",
        Store.REDIS,
        Wire(resume=_RESUME, end="event: streamguard.end", ids=True),
    ),
    Contender(
        "ui-message",
        "@guard.stream on a generator, for useChat",
        Store.REDIS,
        Wire(resume=_RESUME, end="data: [DONE]", ids=True),
        baseline="bare-ui",
    ),
    Contender(
        "response", "@guard.stream on a returned StreamingResponse", Store.REDIS, Wire(resume=f"{_RESUME}?ids=1")
    ),
    Contender(
        "middleware", "StreamGuardMiddleware around an unguarded app", Store.REDIS, Wire(resume=f"{_RESUME}?ids=1")
    ),
)
CONTENDERS: Final = (
    *(replace(one, ours=True) for one in _ON_REDIS),
    *(
        replace(one, name=f"{one.name}-memory", title=f"{one.title}, in memory", store=Store.MEMORY, ours=True)
        for one in _ON_REDIS
    ),
)


async def _owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


def app(contender: Contender, url: str) -> Starlette:
    """The application of one of `CONTENDERS`, with its log at `url`."""
    guard = StreamGuard(
        url,
        authenticate=_owner,
        settings=Settings(
            max_viewers_per_owner=10_000, max_resumes_per_minute=100_000, replay_after_finish_seconds=600
        ),
    )

    blocks = source(as_plain_block)

    async def response(request: Request) -> Response:
        return StreamingResponse(blocks(request), media_type="text/event-stream", headers=HEADERS)

    made = Starlette(lifespan=guard.lifespan)
    kind = contender.name.removesuffix("-memory")
    if kind == "middleware":
        made.router.routes.append(Route("/chat", response, methods=["POST"]))
        made.add_middleware(StreamGuardMiddleware, guard=guard, rules=[StreamRule("/chat")])
    elif kind == "response":
        made.router.routes.append(Route("/chat", guard.stream()(response), methods=["POST"]))
    else:
        made.router.routes.append(Route("/chat", guard.stream(protocol=kind)(source(piece)), methods=["POST"]))
    guard.install(made, "/chat")
    return made
