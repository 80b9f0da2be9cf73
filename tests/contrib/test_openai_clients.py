"""Every way in which OpenAI's clients stream gives the same parts, and closing them ends the call to the provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from streamguard.contrib import openai

from .reading import read
from .upstream import Upstream, provider

pytestmark = pytest.mark.anyio

Json = Any


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with provider() as one:
        yield one


def clients(upstream: Upstream) -> tuple[Json, Json]:
    """An asynchronous and a synchronous client."""
    from openai import AsyncOpenAI, OpenAI

    options: Json = {"base_url": f"{upstream.url}/v1", "api_key": "none"}
    return AsyncOpenAI(**options), OpenAI(**options)


def said(prompt: str) -> Json:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}]}


async def chat_ways(upstream: Upstream, prompt: str) -> AsyncIterator[AsyncIterator[object]]:
    client, _ = clients(upstream)
    helper = getattr(client.chat.completions, "stream", None) or client.beta.chat.completions.stream
    yield openai.chat_parts(await client.chat.completions.create(**said(prompt), stream=True))
    yield openai.chat_parts(client.chat.completions.create(**said(prompt), stream=True))
    yield openai.chat_parts(helper(**said(prompt)))


async def responses_ways(upstream: Upstream, prompt: str) -> AsyncIterator[AsyncIterator[object]]:
    client, _ = clients(upstream)
    yield openai.responses_parts(await client.responses.create(model="m", input=prompt, stream=True))
    yield openai.responses_parts(client.responses.stream(model="m", input=prompt))


@pytest.mark.parametrize("ways", [chat_ways, responses_ways])
@pytest.mark.parametrize("prompt", ["Hello", "!tools"])
async def test_every_way_gives_the_same(upstream: Upstream, ways: Json, prompt: str) -> None:
    _, synchronous = clients(upstream)
    if ways is chat_ways:
        stream = await asyncio.to_thread(synchronous.chat.completions.create, **said(prompt), stream=True)
        expected = await asyncio.to_thread(lambda: list(openai.iter_chat_parts(stream)))
    else:
        stream = await asyncio.to_thread(synchronous.responses.create, model="m", input=prompt, stream=True)
        expected = await asyncio.to_thread(lambda: list(openai.iter_responses_parts(stream)))
    assert len(expected) > 5
    async for items in ways(upstream, prompt):
        assert await read(items) == expected


@pytest.mark.parametrize("ways", [chat_ways, responses_ways])
async def test_closing_ends_the_call_to_the_provider(upstream: Upstream, ways: Json) -> None:
    async for items in ways(upstream, "!hold"):
        upstream.take()
        assert await anext(items) == {"type": "start-step"}
        assert not upstream.dropped.is_set()
        await items.aclose()
        assert await asyncio.to_thread(upstream.dropped.wait, 10)
