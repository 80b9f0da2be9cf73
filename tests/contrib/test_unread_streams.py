"""What an endpoint returned and nobody reads is closed, with the model's stream in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from streamguard.contrib import anthropic, langchain, langgraph, litellm, openai, openai_agents, pydantic_ai
from streamguard.web.endpoint.closing import close_unread

from .reading import Stream, read_until_failure

pytestmark = pytest.mark.anyio

ADAPTERS: dict[str, Callable[[Any], AsyncIterator[object]]] = {
    "anthropic": anthropic.message_parts,
    "langchain": langchain.stream_parts,
    "langgraph": langgraph.graph_parts,
    "litellm": litellm.completion_parts,
    "openai chat": openai.chat_parts,
    "openai responses": openai.responses_parts,
    "pydantic-ai": pydantic_ai.agent_parts,
    "pydantic-ai's adapter": pydantic_ai.adapter_parts,
}
SYNCHRONOUS: dict[str, Callable[[Any], Iterator[object]]] = {
    "anthropic": anthropic.iter_message_parts,
    "litellm": litellm.iter_completion_parts,
    "openai chat": openai.iter_chat_parts,
    "openai responses": openai.iter_responses_parts,
}


class Counted(Stream):
    """Counts how often it is closed, in either way."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__([], error)
        self.times = 0

    async def close(self) -> None:
        self.times += 1

    async def aclose(self) -> None:
        self.times += 1


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_stream_that_nobody_reads_is_closed(adapter: str) -> None:
    stream = Counted()
    parts = ADAPTERS[adapter](stream)
    for _ in range(2):
        await close_unread(parts)
    assert stream.times == 1


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_stream_that_was_read_is_closed_once(adapter: str) -> None:
    stream = Counted(ConnectionResetError())
    parts = ADAPTERS[adapter](stream)
    await read_until_failure(parts)
    await close_unread(parts)
    assert stream.times == 1


@pytest.mark.parametrize("adapter", SYNCHRONOUS)
async def test_a_synchronous_stream_that_nobody_reads_is_closed(adapter: str) -> None:
    class Synchronous:
        times = 0

        def __iter__(self) -> Iterator[object]:
            return iter([])

        def close(self) -> None:
            self.times += 1

    stream = Synchronous()
    parts = SYNCHRONOUS[adapter](stream)
    for _ in range(2):
        await close_unread(parts)
    assert stream.times == 1


async def test_a_call_that_nobody_waits_for_is_not_made() -> None:
    """Such a coroutine would warn that it was never awaited."""
    made = []

    async def create() -> Stream:
        made.append(True)
        return Stream([])

    await close_unread(openai.chat_parts(create()))
    task = asyncio.get_running_loop().create_task(create())
    await close_unread(openai.chat_parts(task))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made == []


async def test_an_agents_run_that_nobody_reads_ends() -> None:
    """It began when it was made."""

    class Run:
        is_complete = False

        def __init__(self) -> None:
            self.run_loop_task = asyncio.get_running_loop().create_task(asyncio.Event().wait())

        def cancel(self) -> None:
            self.run_loop_task.cancel()

    run = Run()
    parts = openai_agents.run_parts(run)  # type: ignore[arg-type] # as much of one as is asked for
    await close_unread(parts)
    assert run.run_loop_task.cancelled()
