"""The SDKs of OpenAI and Anthropic read a provider's streams through `StreamGuardMiddleware`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import anthropic
import httpx
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from ..web.serving import USER
from .provider import Provider, provider
from .test_clients import node, run_script

__all__ = ["node"]

pytestmark = pytest.mark.anyio

CHATS = ["openai-chat-text", "openai-chat-tools", "openai-chat-reasoning", "openai-chat-crlf", "openai-chat-search"]
RESPONSES = ["openai-responses-text", "openai-responses-calls", "openai-responses-reasoning"]
if not hasattr(openai.resources, "Responses"):  # before 1.66
    RESPONSES = []
MESSAGES = ["anthropic-text", "anthropic-tools", "anthropic-thinking", "anthropic-search"]
MODELS = [*CHATS, *RESPONSES, *MESSAGES]
ONE_EACH = ["openai-chat-text", *RESPONSES[:1], "anthropic-text"]

OPEN: list[Any] = []
"""Clients of the present test, which are closed after it."""

Item = dict[str, object]
Stream = Any
"""The stream of one of the SDKs."""


@pytest.fixture
async def api() -> AsyncIterator[Provider]:
    async with provider() as found:
        yield found
        for sdk in OPEN:
            await sdk.close()
        OPEN.clear()


class Client:
    """One SDK's client of one session."""

    def __init__(self, model: str, base: str, *, ids: bool = False, **headers: str) -> None:
        self.session = f"s-{uuid4()}"
        self.base = base
        self._model = model
        self._more = {
            "extra_headers": {**USER, "x-session": self.session, **headers},
            "extra_query": {"ids": "1"} if ids else {},
            "timeout": 20,
        }
        self.sdk: Any
        if model.startswith("anthropic"):
            self.sdk = AsyncAnthropic(api_key="key", base_url=base, max_retries=0)
        else:
            self.sdk = AsyncOpenAI(api_key="key", base_url=f"{base}/v1", max_retries=0)
        OPEN.append(self.sdk)

    async def begin(self) -> Stream:
        """A stream, as the SDK gives it."""
        create: Any
        if isinstance(self.sdk, AsyncAnthropic):
            create = self.sdk.messages.create
            asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100}
        elif "chat" in self._model:
            create = self.sdk.chat.completions.create
            asked = {"messages": [{"role": "user", "content": "Hi"}]}
        else:
            create = self.sdk.responses.create
            asked = {"input": "Hi"}
        stream: Stream = await create(model=self._model, stream=True, **asked, **self._more)
        return stream

    async def resume(self, cursor: str, like: Stream) -> Stream:
        """The rest of the session's stream, read by the same parser of the SDK's."""
        found: Stream = await self.sdk.get(
            f"{self.base}/api/chat/{self.session}/stream",
            cast_to=object,
            options={"headers": {**USER, "last-event-id": cursor}},
            stream=True,
            stream_cls=type(like)[like._cast_to],
        )
        return found


async def items(stream: Stream) -> list[Item]:
    return [json.loads(item.model_dump_json(exclude_unset=True)) async for item in stream]


async def read_into(seen: list[object], stream: Stream) -> None:
    async for item in stream:
        seen += [item]


async def test_whole_streams(api: Provider) -> None:
    """Without ids and with; with keep-alives between the events, and an upstream's own comments."""
    for model in MODELS:
        expected = await items(await Client(model, api.bare).begin())
        assert len(expected) > 2, model
        for ids in (False, True):
            assert await items(await Client(model, api.guarded, ids=ids).begin()) == expected, model
    for model in ONE_EACH:
        expected = await items(await Client(model, api.bare).begin())
        for how in ("slow", "pings"):
            for ids in (False, True):
                assert await items(await Client(f"{model}@{how}", api.guarded, ids=ids).begin()) == expected, how


@pytest.mark.promise("I3")
@pytest.mark.parametrize("model", ONE_EACH)
async def test_a_stream_that_is_cut_is_resumed_by_its_cursor(api: Provider, model: str) -> None:
    expected = await items(await Client(model, api.bare).begin())
    client = Client(f"{model}@slow", api.guarded, ids=True)
    stream = await client.begin()
    events = stream._iter_events()
    seen, cursor = 0, ""
    async for event in events:
        seen, cursor = seen + 1, str(event.id)
        if seen == 3:
            break
    await stream.response.aclose()
    rest = await items(await client.resume(cursor, stream))
    assert 0 < len(rest) < len(expected)
    assert rest == expected[-len(rest) :]
    again = await items(await client.resume("", stream))
    assert again == expected


@pytest.mark.parametrize("model", ONE_EACH)
async def test_an_upstream_that_breaks_off_raises_with_our_code(api: Provider, model: str) -> None:
    client = Client(f"{model}@reset", api.guarded)
    stream = await client.begin()
    seen: list[object] = []
    with pytest.raises((openai.APIError, anthropic.APIError)) as raised:
        await read_into(seen, stream)
    assert len(seen) >= 2
    assert _code(raised.value) == "provider_aborted"
    async with httpx.AsyncClient(headers=USER) as http:
        last = (await http.get(f"{api.guarded}/api/chat/{client.session}")).json()["last"]
    assert (last["outcome"], last["quota"]) == ("failed", "settled")


@pytest.mark.parametrize("model", ONE_EACH)
async def test_an_upstream_that_is_not_there_is_an_http_error(api: Provider, model: str) -> None:
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as raised:
        await Client(f"{model}@unreachable", api.guarded).begin()
    assert getattr(raised.value, "status_code", 0) == 502
    assert _code(raised.value) == "provider_aborted"
    with pytest.raises((openai.NotFoundError, anthropic.NotFoundError)) as refused:
        await Client(f"{model}@refused", api.guarded).begin()
    assert _code(refused.value) == "model_not_found"


@pytest.mark.parametrize("model", ONE_EACH)
async def test_a_warning_disturbs_nothing(api: Provider, model: str) -> None:
    expected = await items(await Client(model, api.bare).begin())
    for ids in (False, True):
        client = Client(model, api.guarded, ids=ids, **{"x-unsaved": "1"})
        assert await items(await client.begin()) == expected
        async with httpx.AsyncClient(headers=USER) as http:
            raw = await http.get(f"{api.guarded}/api/chat/{client.session}/stream")
            assert b": streamguard {" in raw.content


def _code(error: Exception) -> object:
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        inner = body.get("error", body)
        return inner.get("code") if isinstance(inner, dict) else None
    return getattr(error, "code", None)


async def test_in_node(node: str, api: Provider) -> None:
    environment = {"GUARDED_URL": api.guarded, "BARE_URL": api.bare, "MODELS": json.dumps(MODELS)}
    await asyncio.to_thread(run_script, node, "sdks.test.mjs", environment)
