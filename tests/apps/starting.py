"""Answers that no request begins, in worker processes, and `python -m tests.apps.starting` for one in a job process.

`POST /job` begins a background task, whose body is a script of `tests.apps.chat` and more: `binding` ("chat" or none,
which is the default binding), `key` (an idempotency key), `replace`. It answers at once. `GET /job/<session>` tells how
the task ended, one line per thing. `POST /gate/<name>` and `GET /trace` as in `tests.apps.chat`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.responses import PlainTextResponse, Response

from streamguard import AlreadyStartedError, FaultError, Run, StreamGuard
from streamguard.messages import RedisMessageStore
from streamguard.quota import Quota
from streamguard.stores import RedisClient

from .chat import Script, model, steered
from .given import SETTINGS, URL, owner

__all__ = ["ESTIMATE", "LIMIT", "app", "application", "guard"]

LIMIT = Quota(limit=1_000, per="day", unit="tokens")
ESTIMATE = 100

TOLD: defaultdict[str, list[str]] = defaultdict(list)
"""What became of the jobs, by session."""
TASKS: set[asyncio.Task[None]] = set()


class Job(Script):
    binding: str | None = None
    key: str | None = None
    replace: bool = False


client = RedisClient(os.environ.get("STREAMGUARD_URL", "redis://127.0.0.1:6379/0"), command_seconds=5.0)
guard = StreamGuard(URL, authenticate=owner, messages=RedisMessageStore(client, ttl_seconds=86_400), settings=SETTINGS)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id", binding="chat", quota=LIMIT, estimate=ESTIMATE)
async def chat(body: Script, run: Run) -> AsyncIterator[str]:
    async for piece in model(body):
        run.usage(tokens=1)
        yield piece


async def work(job: Job) -> None:
    told = TOLD[job.id]
    try:
        async with guard.start(
            "ann",
            job.id,
            binding=job.binding,
            idempotency_key=job.key,
            on_conflict="replace" if job.replace else "reject",
        ) as run:
            told.append(f"begun {run.stream_id}")
            async for piece in model(job):
                run.usage(tokens=1)
                await run.send(piece)
        if run.end is not None:
            told.append(f"left {run.end.outcome} {run.end.persisted} {run.end.quota}")
    except AlreadyStartedError as known:
        told.append(f"known {known.stream_id} {known.outcome}")
    except FaultError as refused:
        told.append(f"{type(refused).__name__} {refused.fault.code}")


@app.post("/job")
async def begin(job: Job) -> Response:
    task = asyncio.create_task(work(job))
    TASKS.add(task)
    task.add_done_callback(TASKS.discard)
    return Response(status_code=202)


@app.get("/job/{session}")
async def tell(session: str) -> Response:
    return PlainTextResponse("\n".join(TOLD[session]))


guard.install(app, "/api/chat")
application = steered(app)


async def main(job: Job) -> None:
    async with guard:
        await work(job)
    sys.stdout.write("\n".join(TOLD[job.id]))


if __name__ == "__main__":
    asyncio.run(main(Job.model_validate_json(sys.argv[1])))
