"""The chat of `tests.apps.counting`, and what sets workers against each other over what is reserved.

`POST /api/rationed` has a quota of 37 requests a week, and nothing else. `POST /reconcile` makes a round at once and
says what it did: stream, duty, result and reason of each piece of work. `POST /hold-up` as there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import JSONResponse, Response

from streamguard.quota import Quota

from .chat import Script, model
from .counting import app, application, guard

__all__ = ["RATION", "application"]

RATION = Quota(limit=37, per="week", unit="requests")


@app.post("/api/rationed")
@guard.stream(session="body.id", quota=RATION)
async def rationed(body: Script) -> AsyncIterator[str]:
    async for piece in model(body):
        yield piece


@app.post("/reconcile")
async def reconcile() -> Response:
    report = await guard.reconcile(patience=False)
    return JSONResponse([[one.ref.stream_id, one.duty, one.result, one.reason] for one in report.treated])
