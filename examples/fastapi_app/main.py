"""A chat endpoint whose answers survive: FastAPI, streamguard and one page of plain JavaScript.

Run it with `python main.py` (or `uvicorn main:app`) and open http://127.0.0.1:8000/. Everything is optional:

- `STREAMGUARD_URL`: where streams are logged; default `memory://`, several workers need `redis://…`.
- `STREAMGUARD_SETTINGS`: `streamguard.Settings` as JSON.
- `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_MODEL`: a real model instead of the scripted one.
- `DEMO_DATABASE_URL`: where chats are kept, an SQLAlchemy asyncio URL such as `postgresql+asyncpg://…` or
  `mysql+asyncmy://…`; default a SQLite file in `~/.local/state/streamguard-demo` (`XDG_STATE_HOME`).
- `DEMO_DAILY_TOKENS`: how many tokens a visitor may use a day; default 20000, and 0 for any number. A piece of the
  scripted model is one. `!quota` shows a refusal, `!quota-release-fail` an answer that is counted late.
- `DEMO_GAP_MS`: milliseconds between the scripted model's pieces; default 30.
- `DEMO_SECRET`: signs the visitors' cookies; several machines need the same one. Default one made on first use, beside
  the SQLite file.
- `DEMO_TRUST_X_USER=1`: take the user from the header `X-User`, for tests; never behind a public address.
- `SENTRY_DSN`: report faults to Sentry.
- `HOST`, `PORT`: where `python main.py` listens; default 127.0.0.1:8000.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import sentry_sdk
import uvicorn
from fastapi import FastAPI, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from openai import AsyncOpenAI
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import HTTPConnection, Request

from streamguard import Anonymous, Fault, FaultCode, Run, Settings, StreamGuard
from streamguard.quota import Quota
from streamguard.values import SessionKey, StreamRef

sys.path.append(str(Path(__file__).resolve().parent))  # so that the app starts from any directory, by any module name

import model as scripted
from allowance import MORE_THAN_ANY_DAY, AllowanceStore
from chats import ChatStore, database_in, own_directory, secret_in

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

STATIC = Path(__file__).resolve().parent / "static"
GAP_SECONDS = float(os.environ.get("DEMO_GAP_MS", "30")) / 1000
OWN = own_directory()
VISITORS = Anonymous(os.environ.get("DEMO_SECRET") or secret_in(OWN))
TRUST_X_USER = os.environ.get("DEMO_TRUST_X_USER") == "1"
OPENAI_MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
OPENAI_TOKENS = 1_000  # what an answer of a real model is expected to have; one that has more is charged more
DAILY_TOKENS = int(os.environ.get("DEMO_DAILY_TOKENS") or 20_000)
URL = os.environ.get("STREAMGUARD_URL", "memory://")
SETTINGS = Settings.model_validate_json(os.environ.get("STREAMGUARD_SETTINGS", "{}"))
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    # Nothing but our own files: what a model writes can never run, load or send anything.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

if dsn := os.environ.get("SENTRY_DSN"):
    # Local variables and request bodies hold what users wrote; faults are told apart by their tags, not by content.
    sentry_sdk.init(dsn=dsn, include_local_variables=False, max_request_body_size="never", send_default_pii=False)


class Part(BaseModel):
    """Any part of a message; those that are not text are kept as they are."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str | None = None


class Message(BaseModel):
    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    role: Literal["system", "user", "assistant"]
    parts: list[Part] = []

    @property
    def text(self) -> str:
        return "".join(part.text or "" for part in self.parts if part.type == "text")


class ChatBody(BaseModel):
    """What AI SDK's `DefaultChatTransport` posts. The guard reads its other fields itself: `trigger` and `messageId`
    say that a question was edited, or is to be answered again."""

    id: str
    messages: Annotated[list[Message], Field(min_length=1)]

    @property
    def question(self) -> Message:
        return next((message for message in reversed(self.messages) if message.role == "user"), Message(role="user"))


async def owner(connection: HTTPConnection) -> str | None:
    """Who is asking: a signed cookie, given out on the first visit; in tests the header `X-User`."""
    if TRUST_X_USER and (user := connection.headers.get("x-user")):
        return user
    return await VISITORS(connection)


def most(body: ChatBody) -> dict[str, int]:
    """How many tokens question and answer may be."""
    prompt = body.question.text
    if scripted.is_refused(prompt):
        return {"tokens": MORE_THAN_ANY_DAY}
    if openai is None or scripted.is_command(prompt):
        return {"tokens": scripted.tokens_in(prompt) + scripted.most_tokens(prompt)}
    return {"tokens": sum(scripted.tokens_in(message.text) for message in body.messages) * 2 + OPENAI_TOKENS}


allowance = AllowanceStore(URL, SETTINGS)
guard = StreamGuard(
    URL,
    authenticate=owner,
    messages=ChatStore(os.environ.get("DEMO_DATABASE_URL") or database_in(OWN)),
    quota=allowance if DAILY_TOKENS else None,
    settings=SETTINGS,
)
app = FastAPI(title="streamguard demo", lifespan=guard.lifespan)
openai = AsyncOpenAI() if os.environ.get("OPENAI_API_KEY") else None


@app.post("/api/chat")
@guard.stream(
    session="body.id",
    quota=Quota(limit=DAILY_TOKENS, per="day", unit="tokens") if DAILY_TOKENS else False,
    estimate=most,
    on_quota_failure="continue",  # better an answer that nobody counts than none
)
async def chat(body: ChatBody, run: Run) -> AsyncIterator[str]:
    run.save(body.question)  # an edited one takes the old one's place; not awaited: the model need not wait for that
    prompt = body.question.text
    if DAILY_TOKENS and (milliseconds := scripted.settling_fails_ms(prompt)):
        ref = StreamRef(SessionKey(run.owner, run.session_id), run.stream_id)
        allowance.fail_settling(ref, milliseconds=milliseconds)
    if openai is None or scripted.is_command(prompt):
        run.usage(input_tokens=scripted.tokens_in(prompt))
        async for piece in scripted.answer(prompt, gap_seconds=GAP_SECONDS):
            run.usage(output_tokens=1)
            yield piece
        return
    messages = [{"role": message.role, "content": message.text} for message in body.messages]
    usage = None
    async with await openai.chat.completions.create(
        model=OPENAI_MODEL,
        messages=cast("list[ChatCompletionMessageParam]", messages),
        stream=True,
        stream_options={"include_usage": True},
    ) as chunks:
        async for chunk in chunks:
            usage = chunk.usage or usage  # the last one counts; without any, the estimate is charged
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield text
    if usage is not None:
        run.usage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)


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


app.mount("/static", StaticFiles(directory=STATIC))

if __name__ == "__main__":
    uvicorn.run(app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")))
