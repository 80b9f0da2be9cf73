"""A Python producer of this protocol: pydantic-ai's adapter, whose own parts an endpoint yields."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final, Literal

import httpx
import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import (
    AgentInfo,
    DeltaThinkingCalls,
    DeltaThinkingPart,
    DeltaToolCall,
    DeltaToolCalls,
    FunctionModel,
)
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Run, StreamGuard
from streamguard.messages import MemoryMessageStore

from ..serving import calling, user_of

pytestmark = pytest.mark.anyio

QUESTION: Final = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "How is the weather?"}]}


async def answer(
    messages: list[ModelMessage], info: AgentInfo
) -> AsyncIterator[str | DeltaToolCalls | DeltaThinkingCalls]:
    if any(part.part_kind == "tool-return" for message in messages for part in message.parts):
        yield "It is "
        yield "sunny."
        return
    yield {0: DeltaThinkingPart(content="A tool knows.", signature="signed")}
    yield {1: DeltaToolCall(name="weather", json_args='{"city": "Par', tool_call_id="c1")}
    yield {1: DeltaToolCall(json_args='is"}')}


def app_of(guard: StreamGuard, sdk_version: Literal[5, 6]) -> Starlette:
    agent = Agent(FunctionModel(stream_function=answer))

    @agent.tool_plain
    def weather(city: str) -> str:
        return f"sunny in {city}"

    @guard.stream("request.query_params.id", client_version=f"{sdk_version}.0.0")
    async def chat(request: Request, run: Run) -> AsyncIterator[object]:
        run.save((await request.json())["messages"][-1])
        adapter = await VercelAIAdapter.from_request(request, agent=agent, sdk_version=sdk_version)
        async for part in adapter.run_stream():
            yield part

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    guard.install(app, "/api/chat")
    return app


def parts_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    data = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    assert "[DONE]" not in data
    return [json.loads(one) for one in data]


@pytest.mark.parametrize("sdk_version", [5, 6])
async def test_its_parts_pass_to_the_end(sdk_version: Literal[5, 6]) -> None:
    guard = StreamGuard(authenticate=user_of, messages=MemoryMessageStore())
    async with calling(app_of(guard, sdk_version), guard) as client:
        question = {"id": "s", "trigger": "submit-message", "messages": [QUESTION]}
        parts = parts_of(await client.post("/chat?id=s", json=question))
        saved = (await client.get("/api/chat/s/messages")).json()["messages"]
        history = [{name: message[name] for name in ("id", "role", "parts")} for message in saved]
        again = {**question, "messages": [*history, {**QUESTION, "id": "m2"}]}
        next_parts = parts_of(await client.post("/chat?id=s", json=again))
    for answered in (parts, next_parts):
        assert not [part for part in answered if part["type"] in ("error", "data-streamguard-error")]
        assert answered[-1]["type"] == "finish"
        assert "".join(part["delta"] for part in answered if part["type"] == "text-delta") == "It is sunny."
    assert [part["text"] for part in saved[-1]["parts"] if part["type"] == "text"] == ["It is sunny."]
    assert [part["output"] for part in saved[-1]["parts"] if part["type"] == "tool-weather"] == ["sunny in Paris"]
