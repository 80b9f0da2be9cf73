"""A guarded endpoint that calls a provider through the real `openai` client; the provider is played by respx.

The session's id names the scenario.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import respx
from fastapi import FastAPI
from openai import AsyncOpenAI
from pydantic import BaseModel

from streamguard import StreamGuard

from .given import SETTINGS, URL, owner

__all__ = ["app"]

SECRET = "words only the provider says"
SCENARIO = "x-scenario"


def chunk(text: str) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps({**body, "choices": [choice]}).encode() + b"\n\n"


async def ten_chunks() -> AsyncIterator[bytes]:
    for number in range(10):
        yield chunk(f"w{number} ")
        await asyncio.sleep(0)


async def reset() -> AsyncIterator[bytes]:
    async for data in ten_chunks():
        yield data
    raise httpx.ReadError(SECRET)


async def garbage() -> AsyncIterator[bytes]:
    async for data in ten_chunks():
        yield data
    yield b"data: {" + SECRET.encode() + b"\n\n"


async def silence() -> AsyncIterator[bytes]:
    async for data in ten_chunks():
        yield data
    await asyncio.Event().wait()


async def whole() -> AsyncIterator[bytes]:
    async for data in ten_chunks():
        yield data
    yield b"data: [DONE]\n\n"


BODIES = {"reset": reset, "garbage": garbage, "silence": silence, "whole": whole}


def provider(request: httpx.Request) -> httpx.Response:
    scenario = request.headers[SCENARIO]
    if scenario == "rate-limited":
        return httpx.Response(429, headers={"retry-after": "7"}, json={"error": {"message": SECRET}})
    if scenario == "unreachable":
        raise httpx.ConnectError(SECRET)
    if scenario == "refused":
        return httpx.Response(401, json={"error": {"message": SECRET}})
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=BODIES[scenario]())


router = respx.mock(assert_all_called=False)
router.post("https://provider.invalid/v1/chat/completions").mock(side_effect=provider)
router.start()


class Body(BaseModel):
    id: str


guard = StreamGuard(
    URL,
    authenticate=owner,
    settings=SETTINGS,
)
app = FastAPI(lifespan=guard.lifespan)
# openai 3 brings an HTTP client of its own that respx does not know; at run time it takes httpx's as well.
client = AsyncOpenAI(
    api_key="none",
    base_url="https://provider.invalid/v1",
    max_retries=0,
    http_client=httpx.AsyncClient(),  # type: ignore[arg-type, unused-ignore] # openai 3's annotation names its own only
)


@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: Body) -> AsyncIterator[str]:
    answer = await client.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        extra_headers={SCENARIO: body.id.partition(".")[0]},
    )
    async for part in answer:
        if part.choices and part.choices[0].delta.content:
            yield part.choices[0].delta.content


guard.install(app, "/api/chat")
