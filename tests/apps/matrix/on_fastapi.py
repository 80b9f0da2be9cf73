"""The application on FastAPI, with the guard's routes as FastAPI's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from fastapi import FastAPI

from streamguard import Run
from streamguard.contrib.fastapi import install

from .common import ESTIMATE, LIMIT, PREFIX, Script, Steered, answer, guard, threaded_answer

__all__ = ["app", "application"]

app = FastAPI(lifespan=guard.lifespan)


@app.post(PREFIX)
@guard.stream(session="body.id", quota=LIMIT, estimate=ESTIMATE)
async def chat(body: Script, run: Run) -> AsyncIterator[str]:
    async for piece in answer(body, run):
        yield piece


@app.post("/api/threaded")
@guard.stream(session="body.id", quota=LIMIT, estimate=ESTIMATE)
def threaded(body: Script, run: Run) -> Iterator[str]:
    yield from threaded_answer(body, run)


install(guard, app, PREFIX)
application = Steered(app)
