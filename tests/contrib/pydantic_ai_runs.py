"""The cases, played by pydantic-ai with its `FunctionModel`. It imports the library: import it in fixtures only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from pydantic_ai import Agent, ModelRetry
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from pydantic_ai.usage import RunUsage

from streamguard.contrib import pydantic_ai

from .guarded import ANSWER, BROKEN, LOOK, THOUGHT, Case, Held

__all__ = ["VERSION", "agent_for", "items", "spent"]

REQUEST = b"""{"trigger": "submit-message", "id": "c1", "messages": [
    {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "The weather?"}]}]}"""

VERSION = int(version("pydantic-ai-slim").partition(".")[0])
"""In version 1, events tell what was consumed at their end only, and a run does not count a response that failed."""

spent = RunUsage()
"""What the last run says that it consumed."""


def agent_for(case: Case, held: Held, *, spoken: bool = True) -> Agent[None, str]:
    """An agent with two tools. `spoken`: the model says something before it calls them."""

    async def model(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        if case is Case.TEXT:
            yield ANSWER[:5]
            yield ANSWER[5:]
        elif case is Case.FAILS_FIRST:
            raise ModelHTTPError(status_code=429, model_name="scripted", body={"secret": "the provider's own"})
        elif len(messages) == 1:
            yield {0: DeltaThinkingPart(content=THOUGHT)}
            if spoken:
                yield LOOK
            yield {1: DeltaToolCall(name="weather", json_args='{"city": ', tool_call_id="call-1")}
            yield {1: DeltaToolCall(json_args='"Rome"}', tool_call_id="call-1")}
            yield {2: DeltaToolCall(name="broken", json_args='{"city": "Atlantis"}', tool_call_id="call-2")}
        else:
            yield ANSWER[:5]
            if case is Case.FAILS_LATER:
                raise ModelHTTPError(status_code=500, model_name="scripted", body={"secret": "the provider's own"})
            yield ANSWER[5:]

    agent = Agent(FunctionModel(stream_function=model), retries=3)

    @agent.tool_plain
    async def weather(city: str) -> dict[str, object]:
        if case is Case.STOPPED:
            await held.wait()
        return {"city": city, "degrees": 20, "wind": None}

    @agent.tool_plain
    async def broken(city: str) -> str:
        raise ModelRetry(BROKEN)

    return agent


def items(case: Case, way: str, held: Held) -> AsyncIterator[object]:
    """The items of a run, whose stream is read in one of the ways that there are."""
    global spent  # noqa: PLW0603 -- of the last run
    spent = RunUsage()
    agent = agent_for(case, held, spoken=way != "stream")
    match way:
        case "events":
            stream = agent.run_stream_events("The weather?", usage=spent)
            return pydantic_ai.agent_parts(stream, usage=spent if VERSION == 1 else None)
        case "iter":
            return pydantic_ai.agent_parts(agent.iter("The weather?", usage=spent))
        case "nodes":
            return _nodes(agent)
        case "stream":
            return pydantic_ai.agent_parts(agent.run_stream("The weather?", usage=spent))
    adapter = VercelAIAdapter(agent=agent, run_input=VercelAIAdapter.build_run_input(REQUEST))
    if way == "adapter":
        return pydantic_ai.agent_parts(adapter.run_stream_native(usage=spent), usage=spent)
    chunks = adapter.run_stream(usage=spent)
    if way == "encoded":
        return pydantic_ai.adapter_parts(adapter.encode_stream(chunks), usage=spent)
    return pydantic_ai.adapter_parts(chunks, usage=spent)


async def _nodes(agent: Agent[None, str]) -> AsyncIterator[object]:
    """A host that runs through the nodes itself."""
    async with agent.iter("The weather?", usage=spent) as run:
        async for node in run:
            if Agent.is_model_request_node(node) or Agent.is_call_tools_node(node):
                async with node.stream(run.ctx) as events:
                    async for part in pydantic_ai.agent_parts(events):
                        yield part
