"""What runs of pydantic-ai stream besides text and calls of functions, and what stored messages keep of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from streamguard import Outcome
from streamguard.contrib import pydantic_ai

from .guarded import ANSWER, Case, Held, answered

pytestmark = pytest.mark.anyio


class Weather(BaseModel):
    """What an agent gives back."""

    city: str
    degrees: int


@pytest.mark.parametrize("way", ["events", "iter", "stream"])
async def test_a_structured_result_is_a_call_that_is_answered(way: str) -> None:
    from pydantic_ai import Agent  # it takes seconds
    from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

    async def model(_: list[Any], info: AgentInfo) -> AsyncIterator[Any]:
        name = info.output_tools[0].name
        yield {0: DeltaToolCall(name=name, json_args='{"city": "Rome", ', tool_call_id="o1")}
        yield {0: DeltaToolCall(json_args='"degrees": 20}', tool_call_id="o1")}

    agent = Agent(FunctionModel(stream_function=model), output_type=Weather)
    run = getattr(agent, {"events": "run_stream_events", "iter": "iter", "stream": "run_stream"}[way])
    answer = await answered(lambda: pydantic_ai.agent_parts(run("The weather?")))
    call = answer.call("final_result")
    assert (answer.outcome, call["state"]) == (Outcome.COMPLETED, "output-available")
    assert call["input"] == {"city": "Rome", "degrees": 20}
    assert answer.used["output_tokens"] > 0


async def test_a_call_that_needs_an_approval() -> None:
    from pydantic_ai import Agent, DeferredToolRequests
    from pydantic_ai.models.function import DeltaToolCall, FunctionModel

    async def model(_: list[Any], __: object) -> AsyncIterator[Any]:
        yield {0: DeltaToolCall(name="book", json_args='{"city": "Rome"}', tool_call_id="b1")}

    agent = Agent(FunctionModel(stream_function=model), output_type=[str, DeferredToolRequests])

    @agent.tool_plain(requires_approval=True)
    async def book(city: str) -> str:
        raise AssertionError("nobody approved it")

    answer = await answered(lambda: pydantic_ai.agent_parts(agent.run_stream_events("Book it"), approvals=True))
    assert (answer.outcome, answer.call("book")["state"]) == (Outcome.COMPLETED, "approval-requested")
    answer = await answered(lambda: pydantic_ai.agent_parts(agent.run_stream_events("Book it")))
    assert answer.call("book")["state"] == "input-available"


async def test_chunks_of_the_adapter_are_parts_as_they_are() -> None:
    """An endpoint may yield them itself, its `done` among them."""
    from pydantic_ai.ui.vercel_ai import VercelAIAdapter

    from .pydantic_ai_runs import REQUEST, agent_for

    adapter = VercelAIAdapter(agent=agent_for(Case.TEXT, Held()), run_input=VercelAIAdapter.build_run_input(REQUEST))
    answer = await answered(adapter.run_stream)
    assert (answer.outcome, answer.fault, answer.text) == (Outcome.COMPLETED, None, ANSWER)
    assert not [part for part in answer.saved if part["type"].startswith("data-")]


async def test_what_an_earlier_run_consumed_is_not_charged_again() -> None:
    from pydantic_ai.usage import RunUsage

    from .pydantic_ai_runs import agent_for

    for way in ("run_stream_events", "iter", "run_stream"):
        usage = RunUsage(input_tokens=1_000, output_tokens=500)
        run = getattr(agent_for(Case.TEXT, Held()), way)("The weather?", usage=usage)
        answer = await answered(lambda run=run, usage=usage: pydantic_ai.agent_parts(run, usage=usage))  # type: ignore[misc]
        assert 0 < answer.used["output_tokens"] < 100
        assert usage.output_tokens == 500 + answer.used["output_tokens"]


async def test_thinking_keeps_its_signature_from_answer_to_history() -> None:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, ThinkingPart
    from pydantic_ai.models.function import DeltaThinkingPart, FunctionModel

    async def model(_: list[Any], __: object) -> AsyncIterator[Any]:
        yield {0: DeltaThinkingPart(content="Hm.", signature="signed")}
        yield "Yes."

    agent = Agent(FunctionModel(stream_function=model))
    answer = await answered(lambda: pydantic_ai.agent_parts(agent.run_stream_events("Well?")))
    assert answer.message is not None
    (response,) = pydantic_ai.message_history([answer.message])
    assert isinstance(response, ModelResponse)
    (thinking,) = (part for part in response.parts if isinstance(part, ThinkingPart))
    assert (thinking.content, thinking.signature) == ("Hm.", "signed")


async def test_an_object_that_is_no_run() -> None:
    answer = await answered(lambda: pydantic_ai.agent_parts(object()))
    assert (answer.status, answer.fault) == (500, "internal")
