"""The cases, played by OpenAI's Agents SDK with a scripted model. It imports it: import this in fixtures only."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, cast

import httpx
import openai
from agents import (
    Agent,
    Model,
    ModelProvider,
    ModelResponse,
    RunConfig,
    Runner,
    function_tool,
    handoff,
    set_trace_processors,
)
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionToolCall,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseReasoningSummaryTextDeltaEvent,
    ResponseStreamEvent,
    ResponseTextDeltaEvent,
)
from openai.types.responses.response_reasoning_item import Summary
from openai.types.responses.response_usage import ResponseUsage

from streamguard.contrib import openai_agents

from .guarded import ANSWER, BROKEN, LOOK, THOUGHT, Case, Held

__all__ = ["ScriptedModel", "agent_for", "items"]

set_trace_processors([])  # nothing is sent, and what sends is made now, not on the event loop

REQUEST = httpx.Request("POST", "https://provider.invalid/v1")
_DETAILS = {"input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}}


def said(text: str) -> ResponseOutputMessage:
    content = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(id="msg-1", type="message", role="assistant", status="completed", content=[content])


def called(call_id: str, name: str, arguments: str) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        id=f"fc-{call_id}", type="function_call", call_id=call_id, name=name, arguments=arguments, status="completed"
    )


def thought(text: str) -> ResponseReasoningItem:
    return ResponseReasoningItem(id="rs-1", type="reasoning", summary=[Summary(type="summary_text", text=text)])


def streamed(name: str, output: list[Any], consumed: tuple[int, int]) -> Iterator[ResponseStreamEvent]:
    """The events of a response of these items, as OpenAI sends them."""
    for index, item in enumerate(output):
        yield ResponseOutputItemAddedEvent.construct(
            type="response.output_item.added", item=item, output_index=index, sequence_number=0
        )
        if isinstance(item, ResponseOutputMessage):
            content = item.content[0]
            assert isinstance(content, ResponseOutputText)
            for piece in (content.text[:5], content.text[5:]):
                yield ResponseTextDeltaEvent.construct(
                    type="response.output_text.delta", item_id=item.id, output_index=index, content_index=0, delta=piece
                )
        elif isinstance(item, ResponseFunctionToolCall):
            for piece in (item.arguments[:9], item.arguments[9:]):
                yield ResponseFunctionCallArgumentsDeltaEvent.construct(
                    type="response.function_call_arguments.delta", item_id=item.id, output_index=index, delta=piece
                )
        else:
            yield ResponseReasoningSummaryTextDeltaEvent.construct(
                type="response.reasoning_summary_text.delta",
                item_id=item.id,
                output_index=index,
                summary_index=0,
                delta=item.summary[0].text,
            )
        yield ResponseOutputItemDoneEvent.construct(
            type="response.output_item.done", item=item, output_index=index, sequence_number=0
        )
    given, made = consumed
    usage = ResponseUsage.model_validate(
        {
            "input_tokens": given,
            "output_tokens": made,
            "total_tokens": given + made,
            "output_tokens_details": {"reasoning_tokens": 0},
            **_DETAILS,
        }
    )
    response = Response.construct(id=name, object="response", output=output, usage=usage, status="completed")
    yield ResponseCompletedEvent.construct(type="response.completed", response=response, sequence_number=0)


class ScriptedModel(Model):
    """Calls the tools, and answers once it has their results."""

    def __init__(self, case: Case, held: Held | None = None) -> None:
        self._case = case
        self._held = held or Held()
        self.inputs: list[Any] = []
        """What each request was given."""

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        raise NotImplementedError

    async def stream_response(
        self,
        system_instructions: str | None,
        input: Any,  # noqa: A002 -- its name in the SDK
        *_: Any,
        **__: Any,
    ) -> AsyncIterator[ResponseStreamEvent]:
        case = self._case
        self.inputs.append(input)
        if case is Case.FAILS_FIRST:
            response = httpx.Response(429, request=REQUEST)
            raise openai.RateLimitError("the provider's own", response=response, body=None)  # type: ignore[arg-type]
        results = isinstance(input, list) and any(item.get("type") == "function_call_output" for item in input)
        if case is Case.TEXT or results:
            for event in streamed("response-2", [said(ANSWER)], (20, 2)):
                yield event
                if case is Case.FAILS_LATER and event.type == "response.output_text.delta":
                    await self._held.reached.wait()  # the SDK drops what was not read when its model fails
                    raise openai.APIConnectionError(message="the provider's own", request=REQUEST)  # type: ignore[arg-type]
            return
        output = [
            thought(THOUGHT),
            said(LOOK),
            called("call-1", "weather", '{"city":"Rome"}'),
            called("call-2", "broken", '{"city":"Atlantis"}'),
        ]
        for event in streamed("response-1", output, (10, 5)):
            yield event


class Provider(ModelProvider):
    """Gives one model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def get_model(self, model_name: str | None) -> Model:
        return self._model


def agent_for(case: Case, held: Held, model: Model) -> Agent[None]:
    """An agent with two tools, of which the second fails."""

    @function_tool
    async def weather(city: str) -> dict[str, object]:
        """The weather in a city."""
        if case is Case.STOPPED:
            await held.wait()
        return {"city": city, "degrees": 20}

    @function_tool
    async def broken(city: str) -> str:
        """The weather in no city."""
        raise ValueError(BROKEN)

    return Agent(name="Weather", model=model, tools=[weather, broken])


async def items(case: Case, way: str, held: Held) -> AsyncIterator[object]:
    """The items of a run."""
    agent = agent_for(case, held, ScriptedModel(case, held))
    config = RunConfig(tracing_disabled=True)
    parts = openai_agents.run_parts(Runner.run_streamed(agent, "The weather?", run_config=config))
    async with aclosing(cast("AsyncGenerator[object]", parts)) as found:
        async for part in found:
            if case is Case.FAILS_LATER and isinstance(part, dict) and part.get("delta") == ANSWER[:5]:
                held.reached.set()
            yield part


class Desk(ScriptedModel):
    """Hands over to another agent, whose model answers."""

    async def stream_response(
        self,
        system_instructions: str | None,
        input: Any,  # noqa: A002 -- its name in the SDK
        *_: Any,
        **__: Any,
    ) -> AsyncIterator[ResponseStreamEvent]:
        for event in streamed("response-0", [called("call-0", "transfer_to_weather", "{}")], (4, 1)):
            yield event


def handing_over() -> AsyncIterator[object]:
    """The items of a run that is handed over."""
    weather = Agent(name="Weather", model=ScriptedModel(Case.TEXT))
    desk: Agent[None] = Agent(name="Desk", model=Desk(Case.TEXT), handoffs=[handoff(weather)])
    return openai_agents.run_parts(
        Runner.run_streamed(desk, "The weather?", run_config=RunConfig(tracing_disabled=True))
    )


def without_end(turns: int) -> AsyncIterator[object]:
    """The items of a run that calls its tools more often than it may."""
    agent = agent_for(Case.TOOLS, Held(), ScriptedModel(Case.TOOLS))
    config = RunConfig(tracing_disabled=True)
    return openai_agents.run_parts(Runner.run_streamed(agent, "The weather?", max_turns=turns, run_config=config))
