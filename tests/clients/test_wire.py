"""The wire of each endpoint, read whole by real clients, with a keep-alive between every two items.

Some of them know SSE; others take lines, wherever they believe that a line ends, and look how each begins.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx
import httpx_sse
import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from ..apps.paced import Paced
from ..web.serving import USER, make_guard, serving
from .test_clients import node, run_script

__all__ = ["node"]

pytestmark = pytest.mark.anyio

ODD: Final = "a\u2028b\u2029c\x85d\x1ce\x1df\x1eg\x0bh\x0ci\rj\r\nk\nl\ufeffm\0n"
"""Whatever anybody takes for a line's end, and what a careless reader trips over."""
CALL: Final = {"toolCallId": "c1", "toolName": "read_page"}
PARTS: Final[list[dict[str, object]]] = [
    {"type": "start-step"},
    {"type": "text-start", "id": "t"},
    {"type": "text-delta", "id": "t", "delta": "Grüße, 世界 🌞 ✅"},
    {"type": "text-delta", "id": "t", "delta": ODD},
    {"type": "text-end", "id": "t"},
    {"type": "tool-input-available", **CALL, "input": {"url": ODD}},
    {"type": "tool-output-available", "toolCallId": "c1", "output": [ODD, {ODD: None}]},
    {"type": "data-page", "data": {"title": ODD}},
    {"type": "finish-step"},
    {"type": "finish", "messageMetadata": {"said": ODD}},
]
"""Parts that every version of AI SDK's client takes."""
LATE_PARTS: Final[list[dict[str, object]]] = [
    {"type": "text-delta", "id": "t", "delta": "said", "ofTheHost": 1},
    {"type": "text-end", "id": "t"},
    {"type": "tool-input-start", **CALL, "title": "Reads pages"},
    {"type": "tool-input-error", **CALL, "input": "{", "errorText": "no JSON"},
    {"type": "tool-input-available", "toolCallId": "c2", "toolName": "find", "input": {}, "dynamic": True},
    {"type": "tool-output-available", "toolCallId": "c2", "output": 1, "preliminary": True},
    {"type": "custom", "kind": "a.b"},
    {"type": "reasoning-file", "url": "https://example.com", "mediaType": "image/png"},
    {"type": "of-the-future", "value": 1},
    {"type": "finish", "finishReason": "interrupted"},
    {"type": "done"},
]
"""Parts that some versions do not take, or not all of."""
TEXTS: Final = ("Grüße, ", "世界 🌞 ✅\n", "second line")
"""Of `plain`, which cannot escape what else a reader may take for a line's end."""


@dataclass(frozen=True)
class Endpoint:
    protocol: str
    ids: bool | None = None
    block: bool = False
    returns: bool = False
    """A response, whose body is passed on."""


ENDPOINTS: Final = {
    "ui": Endpoint("ui-message"),
    "ui-without-ids": Endpoint("ui-message", ids=False),
    "ui-block": Endpoint("ui-message", ids=False, block=True),
    "plain": Endpoint("plain"),
    "plain-block": Endpoint("plain", ids=False, block=True),
    "opaque": Endpoint("opaque"),
    "opaque-ids": Endpoint("opaque", ids=True),
    "raw-parts": Endpoint("ui-message-raw"),
    "passed-on": Endpoint("opaque", returns=True),
}


def items_of(endpoint: Endpoint) -> list[object]:
    if endpoint.protocol == "ui-message":
        return list(PARTS)
    if endpoint.protocol == "plain":
        return list(TEXTS)
    return [f"data: {text}\n\n" for text in (*map(json.dumps, PARTS), "[DONE]")]


def paced_app() -> Paced:
    guard = make_guard(keep_alive_seconds=0.02, headers_after_seconds=0.01, max_resumes_per_minute=1_000)
    routes: list[Route] = []

    def add(name: str, endpoint: Endpoint, items: list[object]) -> None:
        decorate = guard.stream(
            "request.query_params.id",
            protocol=None if endpoint.returns else endpoint.protocol,
            ids=endpoint.ids,
            keep_alive="block" if endpoint.block else "comment",
            binding=name,
        )

        async def chat(request: Request) -> AsyncIterator[object]:
            async for item in pace.items(request, items):
                yield item

        async def passing_on(request: Request) -> StreamingResponse:
            return StreamingResponse(pace.items(request, map(str, items)), media_type="text/event-stream")

        decorated = decorate(passing_on if endpoint.returns else chat)
        routes.append(Route(f"/{name}", decorated, methods=["GET", "POST"]))

    for name, endpoint in ENDPOINTS.items():
        add(name, endpoint, items_of(endpoint))
    add("ui-late", Endpoint("ui-message"), list(LATE_PARTS))
    app = Starlette(routes=routes, lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    pace = Paced(app)
    return pace


def expected_of(endpoint: Endpoint) -> list[object]:
    """What a reader gets of the endpoint's own, part by part or text by text."""
    if endpoint.protocol == "plain":
        return list(TEXTS)
    return [*PARTS, "[DONE]"]


# -- clients in Python ------------------------------------------------------------------------------------------------

Url = str


def requests_text(method: str, url: Url) -> list[str]:
    with requests.request(method, url, headers=USER, stream=True, timeout=20) as answer:
        lines = [str(line) for line in answer.iter_lines(decode_unicode=True)]
    return [line[6:] for line in lines if line.startswith("data: ")]


def requests_bytes(method: str, url: Url) -> list[str]:
    with requests.request(method, url, headers=USER, stream=True, timeout=20) as answer:
        lines = [bytes(line) for line in answer.iter_lines()]
    return [line[6:].decode() for line in lines if line.startswith(b"data: ")]


def requests_whole(method: str, url: Url) -> list[str]:
    text = requests.request(method, url, headers=USER, timeout=20).text
    return [line[6:] for line in text.splitlines() if line.startswith("data: ")]


def httpx_lines(method: str, url: Url) -> list[str]:
    with httpx.stream(method, url, headers=USER, timeout=20) as answer:
        return [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]


def httpx_blocks(method: str, url: Url) -> list[str]:
    """As a page that takes an answer apart by itself, at blank lines; of a block, the lines with data."""
    blocks = httpx.request(method, url, headers=USER, timeout=20).text.split("\n\n")
    return [line[6:] for block in blocks for line in block.split("\n") if line.startswith("data: ")]


def httpx_sse_events(method: str, url: Url) -> list[str]:
    with httpx.Client(headers=USER, timeout=20) as client, httpx_sse.connect_sse(client, method, url) as source:
        return [event.data for event in source.iter_sse() if event.event in ("", "message")]


READERS: Final[dict[str, Callable[[str, Url], list[str]]]] = {
    reader.__name__: reader
    for reader in (requests_text, requests_bytes, requests_whole, httpx_lines, httpx_blocks, httpx_sse_events)
}


def understood(endpoint: Endpoint, data: list[str], *, lines: bool) -> list[object]:
    """What a reader makes of the data it got. One that reads by `lines` has a text's lines one by one, and cannot tell
    the record of the end, which is the last."""
    if endpoint.protocol == "plain":
        if not lines:
            return list(data)
        *texts, _ = data
        return ["".join([f"{text}\n" if text == "世界 🌞 ✅" else text for text in texts if text])]
    parts: list[object] = [one if one == "[DONE]" else json.loads(one) for one in data]
    return parts[1:] if endpoint.protocol == "ui-message" else parts  # `start`


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Paced, str]]:
    pace = paced_app()
    async with serving(pace) as port:
        yield pace, f"http://127.0.0.1:{port}"


async def begin(url: str) -> None:
    """Begin an answer, and leave it."""
    async with httpx.AsyncClient(headers=USER) as client, client.stream("POST", url) as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize("way", ["the answer", "a resume"])
@pytest.mark.parametrize("name", ENDPOINTS)
async def test_every_reader_gets_all_of_it(name: str, way: str) -> None:
    endpoint = ENDPOINTS[name]

    async def read(reader: str) -> list[str]:
        if way == "the answer":
            return await asyncio.to_thread(READERS[reader], "POST", f"{base}/{name}?id={reader}")
        await begin(f"{base}/{name}?id={reader}")
        ids = "" if endpoint.ids is None else f"?ids={int(endpoint.ids)}"
        return await asyncio.to_thread(READERS[reader], "GET", f"{base}/api/chat/{reader}/stream{ids}")

    async with running() as (pace, base):
        found = dict(zip(READERS, await asyncio.gather(*map(read, READERS)), strict=True))
    expected = expected_of(endpoint)
    for reader, data in found.items():
        lines = reader != "httpx_sse_events"
        wanted = ["".join(map(str, expected))] if lines and endpoint.protocol == "plain" else expected
        assert understood(endpoint, data, lines=lines) == wanted, reader
        assert pace.beats[reader] >= len(expected) - 1


@pytest.mark.parametrize("reader", READERS)
async def test_every_reader_gets_a_failure_that_is_told_in_a_stream(reader: str) -> None:
    async with running() as (_, base):
        url = f"{base}/api/chat/s/stream?errors=stream&cursor=nonsense"
        data = await asyncio.to_thread(READERS[reader], "GET", url)
    notice, error, done = data
    assert json.loads(notice)["data"]["code"] == "cursor_invalid"
    assert (json.loads(error)["type"], done) == ("error", "[DONE]")


# -- clients in JavaScript --------------------------------------------------------------------------------------------


async def test_clients_in_javascript_get_all_of_it(node: str) -> None:
    expected = {name: expected_of(endpoint) for name, endpoint in ENDPOINTS.items()}
    async with running() as (pace, base):
        environment = {"WIRE_URL": base, "EXPECTED": json.dumps(expected)}
        await asyncio.to_thread(run_script, node, "wire.test.mjs", environment)
    assert min(pace.beats.values()) >= len(TEXTS) - 1
