"""Endpoints that return a response, whose body then fails: each kind of response is called in its own way, most of them
in a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from streamguard import FaultCode, Settings, StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.testing import GuardedApp
from tests.web.serving import user_of

from ..observed import QUICK
from .canaries import Canaries
from .of_ends import database_error
from .scenario import Scenario, Stage

__all__ = ["HANDED_ON", "SCENARIOS"]

SSE: Final = "text/event-stream"
Make = Callable[[Canaries], Response]


async def text_of(canaries: Canaries) -> AsyncIterator[str]:
    """An answer that breaks off."""
    yield f'data: {{"text": "{canaries.completion}"}}\n\n'
    await asyncio.sleep(0)
    raise database_error(canaries)


def streaming(canaries: Canaries) -> Response:
    return StreamingResponse(text_of(canaries), media_type=SSE)


def event_source(canaries: Canaries) -> Response:
    return EventSourceResponse(text_of(canaries))


def sending_beside(canaries: Canaries) -> Response:
    """What produces the items runs in a task beside."""
    waiting: asyncio.Queue[str] = asyncio.Queue()

    async def items() -> AsyncIterator[str]:
        while True:
            yield await waiting.get()

    async def produce() -> None:
        await waiting.put(canaries.completion)
        raise database_error(canaries)

    return EventSourceResponse(items(), data_sender_callable=produce)


def called(canaries: Canaries) -> Response:
    """A class of the host's own."""

    class Own(Response):
        media_type = SSE

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            headers = [(b"content-type", SSE.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for text in text_of(canaries):
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    return Own()


@asynccontextmanager
async def running(stage: Stage, make: Make, *, ruled: bool) -> AsyncIterator[GuardedApp]:
    """An application whose endpoint returns that response; `ruled`: the endpoint knows nothing of the guard."""
    canaries = stage.canaries
    guard = StreamGuard(
        authenticate=user_of,
        observers=(stage.told, *stage.observers),
        settings=Settings.model_validate(QUICK),
        debug=False,
    )

    async def answer(request: Request) -> Response:
        password = canaries.password  # a local variable, which Sentry would send with a frame
        await request.json()
        del password
        return make(canaries)

    if ruled:
        inside = Starlette(routes=[Route("/api/chat", answer, methods=["POST"])], lifespan=guard.lifespan)
        app: ASGIApp = StreamGuardMiddleware(inside, guard=guard, rules=[StreamRule("/api/chat", session="query.id")])
    else:
        chat = guard.stream("request.query_params.id", binding="chat")(answer)
        starlette = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
        guard.install(starlette, "/api/chat")
        app = starlette
    headers = {
        "x-user": canaries.owner,
        "authorization": f"Bearer {canaries.authorization}",
        "cookie": f"session={canaries.cookie}",
    }
    async with GuardedApp(app, guard, headers=headers) as chat_app:
        yield chat_app


def fails(make: Make, *, ruled: bool = False) -> Callable[[Stage], Awaitable[None]]:
    async def play(stage: Stage) -> None:
        async with running(stage, make, ruled=ruled) as chat:
            body = {"prompt": stage.canaries.prompt}
            answer = stage.keep(await chat.post(body, path=f"/api/chat?id=conversation&token={stage.canaries.query}"))
            await stage.rest(chat, answer)
            assert [one for one in stage.told.observations if one.error is not None]

    return play


_KINDS: Final[dict[str, Make]] = {
    "streaming": streaming,
    "event_source": event_source,
    "sending_beside": sending_beside,
    "called": called,
}

SCENARIOS: Final = tuple(
    Scenario(FaultCode.INTERNAL, f"{name}{'_by_rule' if ruled else ''}", fails(make, ruled=ruled))
    for name, make in _KINDS.items()
    for ruled in (False, True)
)
"""Each kind of response, returned by a guarded endpoint and by one that a rule guards."""
HANDED_ON: Final = frozenset(f"{name}_by_rule" for name in _KINDS)
"""Where the framework, which is inside, sees the exception before we do."""
