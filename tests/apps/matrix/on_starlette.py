"""The application on plain Starlette."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Run

from .common import ESTIMATE, LIMIT, PREFIX, Script, Steered, answer, guard, threaded_answer

__all__ = ["app", "application"]


@guard.stream(session="request.query_params.id", quota=LIMIT, estimate=ESTIMATE)
async def chat(request: Request, run: Run) -> AsyncIterator[str]:
    async for piece in answer(Script.model_validate(await request.json()), run):
        yield piece


@guard.stream(session="request.query_params.id", quota=LIMIT, estimate=ESTIMATE)
def threaded(request: Request, run: Run) -> Iterator[str]:
    yield from threaded_answer(Script.model_validate(dict(request.query_params)), run)


app = Starlette(
    routes=[Route(PREFIX, chat, methods=["POST"]), Route("/api/threaded", threaded, methods=["POST"])],
    lifespan=guard.lifespan,
)
guard.install(app, PREFIX)
application = Steered(app)
