"""A chat endpoint whose answers survive: FastAPI, streamguard and one page of plain JavaScript.

Run it with `python main.py` (or `uvicorn main:app`) and open http://127.0.0.1:8000/. What it shares with the chat on
Litestar is in `examples/shared`: the page, the model, the guard, and what the environment may say (`surroundings.py`).
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import Request

from streamguard import Fault, FaultCode, Run

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))  # the app starts from any directory, by any name

from answering import QUOTA, answer, guard, most
from chat_body import ChatBody
from inside import demo
from surroundings import HOST, METRICS, PAGE_HEADERS, PORT, STATIC, VISITORS

app = FastAPI(title="streamguard demo", lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(
    session="body.id",
    quota=QUOTA,
    estimate=most,
    on_quota_failure="continue",  # better an answer that nobody counts than none
)
async def chat(body: ChatBody, run: Run) -> AsyncIterator[str]:
    return answer(body, run)


guard.install(app, "/api/chat")


@app.exception_handler(RequestValidationError)
async def invalid(_request: Request, _error: RequestValidationError) -> Response:
    # FastAPI's own answer repeats what was sent, and fails with 500 on half a surrogate pair.
    fault = Fault.of(FaultCode.REQUEST_INVALID, status=422)
    return Response(fault.envelope(), fault.status, media_type="application/json")


@app.get("/", include_in_schema=False)
async def page(request: Request) -> FileResponse:
    response = FileResponse(STATIC / "index.html", headers=PAGE_HEADERS)
    # The first answer would bring the cookie too, but whoever reloads before it begins must be the same visitor.
    if cookie := (await VISITORS(request)).set_cookie:
        response.headers.append("set-cookie", cookie)
    return response


app.mount("/metrics", METRICS.asgi_app())  # for Prometheus: keep it from the public
app.mount("/demo", demo)  # for the page's side panel
app.mount("/static", StaticFiles(directory=STATIC))

if __name__ == "__main__":
    uvicorn.run(app, host=HOST, port=PORT)
