"""Endpoints that return, or yield, a stream of every kind whose protocol nobody names.

Each says two pieces and ends. With `?wait=1` it waits for `GATES` between them; with `?fail=1` it breaks after the
first, in the way that its library does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from fastapi.responses import EventSourceResponse as FastAPIEventSourceResponse
from fastapi.sse import ServerSentEvent as FastAPIServerSentEvent
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from streamguard import Run

__all__ = ["GATES", "KINDS", "QUESTION", "SECRET", "Kind", "Script", "agent_of", "block", "with_header"]

SECRET: Final = "the provider's own words"
QUESTION: Final = {
    "id": "s",
    "trigger": "submit-message",
    "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "weather?"}]}],
}
GATES: Final[dict[str, asyncio.Event]] = {}
"""By session: the endpoint of one that waits goes on when it is set."""


class Kind(NamedTuple):
    endpoint: Callable[..., object]
    protocol: str
    """What it is recognised as."""
    first: str
    """How its client knows that the first piece is there."""
    text: str
    """The text of its saved message; empty where nothing can be read in it."""
    body: bytes | None = None
    """The bytes of the whole answer, where they are the upstream's."""
    response_class: type[Response] | None = None
    """That of its route in FastAPI; None for a route of Starlette's."""


def block(data: object, event: str = "") -> str:
    named = f"event: {event}\n" if event else ""
    return f"{named}data: {data if isinstance(data, str) else json.dumps(data)}\n\n"


@dataclass
class Script:
    """What one request asks for."""

    session: str
    waits: bool
    fails: bool

    @classmethod
    def of(cls, request: Request) -> Script:
        query = request.query_params
        return cls(query["id"], "wait" in query, "fail" in query)

    async def between(self, error: Exception | None = None) -> None:
        """Between the two pieces."""
        if self.waits:
            await GATES[self.session].wait()
        if self.fails:
            raise error or ConnectionResetError(SECRET)


# -- pydantic-ai ------------------------------------------------------------------------------------------------------


def agent_of(script: Script) -> Agent:
    async def answer(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        yield "It is "
        await script.between(ModelHTTPError(429, "model", SECRET))
        yield "sunny."

    return Agent(FunctionModel(stream_function=answer))


async def dispatched(request: Request, run: Run) -> Response:
    def count(result: object) -> None:
        run.usage(input_tokens=3, output_tokens=4)

    agent = agent_of(Script.of(request))
    return await VercelAIAdapter.dispatch_request(request, agent=agent, on_complete=count)


async def adapted(request: Request) -> StreamingResponse:
    adapter = await VercelAIAdapter.from_request(request, agent=agent_of(Script.of(request)))
    return adapter.streaming_response(adapter.run_stream())


# -- hand-written streams ---------------------------------------------------------------------------------------------


async def parts(script: Script) -> AsyncIterator[str]:
    """As endpoints write them that turn LangChain's events into parts."""
    yield block({"type": "start", "messageId": "theirs"})
    yield block({"type": "text-start", "id": "t"})
    yield block({"type": "text-delta", "id": "t", "delta": "It is "})
    await script.between()
    yield block({"type": "text-delta", "id": "t", "delta": "sunny."})
    yield block({"type": "text-end", "id": "t"})
    usage = {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}}
    yield block({"type": "finish", "messageMetadata": usage})
    yield block("[DONE]")


async def with_header(request: Request) -> StreamingResponse:
    headers = {"x-vercel-ai-ui-message-stream": "v1"}
    return StreamingResponse(parts(Script.of(request)), media_type="text/event-stream", headers=headers)


async def without_header(request: Request) -> StreamingResponse:
    return StreamingResponse(parts(Script.of(request)), media_type="text/event-stream")


def chunk(**fields: object) -> dict[str, object]:
    return {"id": "c1", "object": "chat.completion.chunk", "choices": [], **fields}


def said(text: str) -> dict[str, object]:
    return chunk(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])


USED: Final = chunk(usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
CHAT: Final = "".join(map(block, (said("It is "), said("sunny."), USED, "[DONE]")))


async def sse_starlettes(request: Request) -> EventSourceResponse:
    script = Script.of(request)

    async def events() -> AsyncIterator[dict[str, str]]:
        yield {"data": json.dumps(said("It is "))}
        await script.between()
        yield {"data": json.dumps(said("sunny."))}
        yield {"data": json.dumps(USED)}
        yield {"data": "[DONE]"}

    return EventSourceResponse(events(), sep="\n")


async def fastapis(request: Request) -> FastAPIEventSourceResponse:
    script = Script.of(request)

    async def events() -> AsyncIterator[str]:
        yield block({"token": "It is "}, "token")
        await script.between()
        yield block({"token": "sunny."}, "token")

    return FastAPIEventSourceResponse(events())


async def yielded_events(request: Request) -> AsyncIterator[FastAPIServerSentEvent]:
    script = Script.of(request)
    yield FastAPIServerSentEvent(data={"token": "It is "}, event="token")
    await script.between()
    yield FastAPIServerSentEvent(data={"token": "sunny."}, event="token")


async def yielded_items(request: Request) -> AsyncIterator[object]:
    script = Script.of(request)
    yield FastAPIServerSentEvent(data={"token": "It is "}, event="token", comment="first")
    await script.between()
    yield {"token": "sunny."}


ITEMS: Final = ': first\nevent: token\ndata: {"token": "It is "}\n\ndata: {"token":"sunny."}\n\n'
TOKENS: Final = block('{"token":"It is "}', "token") + block('{"token":"sunny."}', "token")

ANTHROPIC: Final = (
    {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It is "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "sunny."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
)
MESSAGES: Final = "".join(block(event, str(event["type"])) for event in ANTHROPIC)


async def plain(request: Request) -> StreamingResponse:
    """Of Anthropic's bytes, cut anywhere."""
    script = Script.of(request)

    async def pieces() -> AsyncIterator[bytes]:
        body = MESSAGES.encode()
        middle = body.index(b"It is ") + 20
        for at in range(0, middle, 11):
            yield body[at : min(at + 11, middle)]
        await script.between()
        yield body[middle:]

    return StreamingResponse(pieces(), media_type="text/event-stream; charset=utf-8")


async def lines(request: Request) -> StreamingResponse:
    script = Script.of(request)

    async def pieces() -> AsyncIterator[str]:
        yield '{"token":"It is "}\n'
        await script.between()
        yield '{"token":"sunny."}\n'

    return StreamingResponse(pieces(), media_type="application/x-ndjson")


KINDS: Final = {
    "pydantic-ai, dispatch_request": Kind(dispatched, "ui-message", "It is ", "It is sunny."),
    "pydantic-ai, streaming_response": Kind(adapted, "ui-message", "It is ", "It is sunny."),
    "a UI message stream": Kind(with_header, "ui-message", "It is ", "It is sunny."),
    "a UI message stream without its header": Kind(without_header, "ui-message-raw", "It is ", "It is sunny."),
    "sse-starlette": Kind(sse_starlettes, "openai", "It is ", "It is sunny.", CHAT.encode()),
    "FastAPI's response": Kind(fastapis, "opaque", "It is ", "", TOKENS.replace('":"', '": "').encode()),
    "FastAPI's events": Kind(yielded_events, "opaque", "It is ", "", TOKENS.encode()),
    "FastAPI's own style": Kind(
        yielded_items, "opaque", "It is ", "", ITEMS.encode(), response_class=FastAPIEventSourceResponse
    ),
    "a StreamingResponse": Kind(plain, "anthropic", "It is ", "It is sunny.", MESSAGES.encode()),
    "lines of JSON": Kind(lines, "ndjson", "It is ", "", b'{"token":"It is "}\n{"token":"sunny."}\n'),
}
