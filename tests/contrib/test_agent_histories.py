"""Stored chats become messages that a model takes: each library sends them to a provider, which is asked of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from pydantic import SecretStr

from ..clients.pairing import REFUSALS
from .histories import HISTORIES
from .upstream import Upstream, provider

pytestmark = pytest.mark.anyio

LIBRARIES: Final = ["pydantic-ai", "langchain", "agents"]
APIS: Final = ["chat", "responses"]

Json = Any


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with provider() as upstream:
        yield upstream


async def ask_pydantic_ai(upstream: Upstream, api: str, messages: list[Json]) -> None:
    from pydantic_ai import Agent  # it takes seconds
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from streamguard.contrib import pydantic_ai

    own = OpenAIProvider(base_url=f"{upstream.url}/v1", api_key="none")
    model = OpenAIChatModel("m", provider=own) if api == "chat" else OpenAIResponsesModel("m", provider=own)
    history = pydantic_ai.message_history(messages)
    async for _ in pydantic_ai.agent_parts(Agent(model).run_stream_events(message_history=history)):
        pass
    await own.client.close()


async def ask_langchain(upstream: Upstream, api: str, messages: list[Json]) -> None:
    from langchain_openai import ChatOpenAI  # it takes seconds
    from openai import DefaultAsyncHttpxClient

    from streamguard.contrib import langchain

    async with DefaultAsyncHttpxClient() as client:
        model = ChatOpenAI(
            model="m",
            base_url=f"{upstream.url}/v1",
            api_key=SecretStr("none"),
            use_responses_api=api == "responses",
            http_async_client=client,
        )
        async for _ in langchain.stream_parts(model.astream(langchain.messages(messages))):
            pass


async def ask_agents(upstream: Upstream, api: str, messages: list[Json]) -> None:
    from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, RunConfig, Runner  # it takes seconds
    from openai import AsyncOpenAI

    from streamguard.contrib import openai_agents

    own = AsyncOpenAI(base_url=f"{upstream.url}/v1", api_key="none")
    kind = OpenAIChatCompletionsModel if api == "chat" else OpenAIResponsesModel
    agent = Agent(name="Agent", model=kind("m", openai_client=own))
    config = RunConfig(tracing_disabled=True)
    async for _ in openai_agents.run_parts(
        Runner.run_streamed(agent, openai_agents.input_items(messages), run_config=config)
    ):
        pass
    await own.close()


ASK: Final = {"pydantic-ai": ask_pydantic_ai, "langchain": ask_langchain, "agents": ask_agents}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("history", HISTORIES)
async def test_a_model_takes_the_history(history: str, library: str, api: str, upstream: Upstream) -> None:
    upstream.take()
    await ASK[library](upstream, api, HISTORIES[history])
    (body,) = upstream.take()
    assert REFUSALS[api](body) == []
    text = json.dumps(body)
    assert "And now?" in text
    match history:
        case "a chat with a picture and a file":
            assert "iVBORw0KGgo" in text
            assert "https://example.org/pixel.png" in text
            assert "JVBERi0x" in text
            assert "A pixel." in text
        case "tools, of which one failed":
            assert [text.count(part) for part in ("Let me look.", "It is sunny.", "degrees")] == [1, 1, 1]
            assert "no such place" in text
        case "calls that were never finished":
            assert "not carried out" in text
