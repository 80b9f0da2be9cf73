"""The cases, played by LangChain and LangGraph with a scripted chat model. It imports the libraries: import it in
fixtures only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import openai
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool, ToolException, tool

from streamguard.contrib import langchain, langgraph

from .guarded import ANSWER, BROKEN, LOOK, THOUGHT, Case, Held

__all__ = ["ScriptedModel", "agent_for", "items", "tools_for"]

REQUEST = httpx.Request("POST", "https://provider.invalid/v1")

ANSWERED: list[AIMessageChunk] = [
    AIMessageChunk(content=ANSWER[:5]),
    AIMessageChunk(content=ANSWER[5:]),
    AIMessageChunk(
        content="",
        usage_metadata={
            "input_tokens": 20,
            "output_tokens": 2,
            "total_tokens": 22,
            "input_token_details": {"cache_read": 8},
        },
    ),
]

CALLED: list[AIMessageChunk] = [
    AIMessageChunk(content=[{"type": "reasoning", "reasoning": THOUGHT, "index": 0}]),
    AIMessageChunk(content=[{"type": "text", "text": LOOK[:4], "index": 1}]),
    AIMessageChunk(content=[{"type": "text", "text": LOOK[4:], "index": 1}]),
    AIMessageChunk(content="", tool_call_chunks=[{"name": "weather", "args": "", "id": "call-1", "index": 0}]),
    AIMessageChunk(content="", tool_call_chunks=[{"name": None, "args": '{"city": "Ro', "id": None, "index": 0}]),
    AIMessageChunk(content="", tool_call_chunks=[{"name": None, "args": 'me"}', "id": None, "index": 0}]),
    AIMessageChunk(
        content="", tool_call_chunks=[{"name": "broken", "args": '{"city": "Atlantis"}', "id": "call-2", "index": 1}]
    ),
    AIMessageChunk(content="", usage_metadata={"input_tokens": 10, "output_tokens": 0, "total_tokens": 10}),
    AIMessageChunk(
        content="",
        usage_metadata={
            "input_tokens": 0,
            "output_tokens": 5,
            "total_tokens": 5,
            "output_token_details": {"reasoning": 3},
        },
    ),
]


class ScriptedModel(BaseChatModel):
    """Calls the tools, and answers once it has their results."""

    case: str = Case.TOOLS

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> ScriptedModel:
        return self

    def _script(self, messages: list[BaseMessage]) -> list[AIMessageChunk | Exception]:
        answers = [*ANSWERED]
        if self.case == Case.FAILS_FIRST:
            response = httpx.Response(429, headers={"retry-after": "7"}, request=REQUEST)
            return [openai.RateLimitError("the provider's own", response=response, body=None)]  # type: ignore[arg-type]
        if self.case == Case.TEXT or messages[-1].type == "tool":
            failure = openai.APIConnectionError(message="the provider's own", request=REQUEST)  # type: ignore[arg-type]
            return [answers[0], failure] if self.case == Case.FAILS_LATER else [*answers]
        return [*CALLED]

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._script(messages):
            if isinstance(chunk, Exception):
                raise chunk
            yield ChatGenerationChunk(message=chunk.model_copy(deep=True))

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        whole: AIMessageChunk | None = None
        for chunk in self._script(messages):
            if isinstance(chunk, Exception):
                raise chunk
            whole = chunk if whole is None else whole + chunk
        assert whole is not None
        message = AIMessage(content=whole.content, tool_calls=whole.tool_calls, usage_metadata=whole.usage_metadata)
        return ChatResult(generations=[ChatGeneration(message=message)])


def tools_for(case: Case, held: Held) -> list[BaseTool]:
    """The two tools, of which the second fails."""

    @tool
    async def weather(city: str) -> dict[str, object]:
        """The weather in a city."""
        if case is Case.STOPPED:
            await held.wait()
        return {"city": city, "degrees": 20}

    @tool
    async def broken(city: str) -> str:
        """The weather in no city."""
        raise ToolException(BROKEN)

    broken.handle_tool_error = True
    return [weather, broken]


def agent_for(case: Case, held: Held) -> Any:
    """An agent of LangChain's: a graph with a model and two tools."""
    return create_agent(ScriptedModel(case=case), tools_for(case, held))


async def _loop(case: Case, held: Held) -> AsyncIterator[BaseMessage]:
    """A host that calls the tools itself, without a graph."""
    model = ScriptedModel(case=case)
    tools = {tool.name: tool for tool in tools_for(case, held)}
    history: list[BaseMessage] = [HumanMessage("The weather?")]
    while True:
        answer: AIMessageChunk | None = None
        async for chunk in model.astream(history):
            assert isinstance(chunk, AIMessageChunk)
            answer = chunk if answer is None else answer + chunk
            yield chunk
        assert answer is not None
        history.append(answer)
        if not answer.tool_calls:
            return
        for call in answer.tool_calls:
            message: ToolMessage = await tools[call["name"]].ainvoke(call)
            history.append(message)
            yield message


def items(case: Case, way: str, held: Held) -> AsyncIterator[object]:
    """The items of a run, whose stream is read in one of the ways that there are."""
    if way == "loop":
        return langchain.stream_parts(_loop(case, held))
    agent = agent_for(case, held)
    state = {"messages": [HumanMessage("Hello"), AIMessage("Hello."), HumanMessage("The weather?")]}
    match way:
        case "langchain events":
            return langchain.stream_parts(agent.astream_events(state, version="v2"))
        case "events":
            return langgraph.graph_parts(agent.astream_events(state, version="v2"))
        case "modes":
            return langgraph.graph_parts(agent.astream(state, stream_mode=["messages", "updates", "values", "custom"]))
        case "subgraphs":
            stream = agent.astream(state, stream_mode=["messages", "updates"], subgraphs=True)
            return langgraph.graph_parts(stream)
        case "subgraphs, one mode":
            return langgraph.graph_parts(agent.astream(state, stream_mode="messages", subgraphs=True))
        case _:
            return langgraph.graph_parts(agent.astream(state, stream_mode=way), stream_mode=way)
