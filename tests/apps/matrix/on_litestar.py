"""The application on Litestar."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import cast

from litestar import Litestar, post
from litestar.params import JSONBody
from starlette.types import ASGIApp

from streamguard import Run
from streamguard.contrib.litestar import StreamGuardPlugin

from .common import ESTIMATE, LIMIT, PREFIX, Script, Steered, answer, guard, threaded_answer

__all__ = ["app", "application"]

streams = StreamGuardPlugin(guard, PREFIX)


@post(PREFIX)
@streams.stream(session="data.id", quota=LIMIT, estimate=ESTIMATE)
async def chat(data: JSONBody[Script], run: Run) -> AsyncIterator[str]:
    async for piece in answer(data, run):
        yield piece


@post("/api/threaded")
@streams.stream(session="data.id", quota=LIMIT, estimate=ESTIMATE)
def threaded(data: JSONBody[Script], run: Run) -> Iterator[str]:
    yield from threaded_answer(data, run)


app = Litestar([chat, threaded], plugins=[streams])
application = Steered(cast("ASGIApp", app))
