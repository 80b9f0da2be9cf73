"""Every way in which Anthropic's clients stream gives the same parts; closing one ends the call to the provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from streamguard import Usage
from streamguard.contrib import anthropic

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
    from anthropic import Anthropic, AsyncAnthropic

    return AsyncAnthropic(base_url=upstream.url, api_key="none"), Anthropic(base_url=upstream.url, api_key="none")


def said(prompt: str) -> Json:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": prompt}]}


async def ways(upstream: Upstream, prompt: str) -> AsyncIterator[AsyncIterator[object]]:
    client, _ = clients(upstream)
    yield anthropic.message_parts(await client.messages.create(**said(prompt), stream=True))
    yield anthropic.message_parts(client.messages.create(**said(prompt), stream=True))
    yield anthropic.message_parts(client.messages.stream(**said(prompt)))


@pytest.mark.parametrize("prompt", ["Hello", "!tools"])
async def test_every_way_gives_the_same(upstream: Upstream, prompt: str) -> None:
    _, client = clients(upstream)
    stream = await asyncio.to_thread(client.messages.create, **said(prompt), stream=True)
    expected = await asyncio.to_thread(lambda: list(anthropic.iter_message_parts(stream)))
    assert len(expected) > 5
    helper = await asyncio.to_thread(lambda: list(anthropic.iter_message_parts(client.messages.stream(**said(prompt)))))
    assert helper == expected
    async for items in ways(upstream, prompt):
        assert await read(items) == expected


async def test_closing_ends_the_call_to_the_provider(upstream: Upstream) -> None:
    async for items in ways(upstream, "!hold"):
        upstream.take()
        assert isinstance(await anext(items), Usage)
        assert await anext(items) == {"type": "start-step"}
        assert not upstream.dropped.is_set()
        await items.aclose()  # type: ignore[attr-defined] # a generator
        assert await asyncio.to_thread(upstream.dropped.wait, 10)
