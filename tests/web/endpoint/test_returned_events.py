"""Endpoints that yield or return events as objects: annotated, they are passed on; unannounced, they are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from fastapi.sse import ServerSentEvent as FastAPIServerSentEvent
from httpx_sse import ServerSentEvent as ClientServerSentEvent
from sse_starlette import ServerSentEvent
from starlette.requests import Request

from .test_returned_ui_messages import chat_of

pytestmark = pytest.mark.anyio


async def fastapis(request: Request) -> AsyncIterator[FastAPIServerSentEvent]:
    yield FastAPIServerSentEvent(data={"n": 1}, event="token", id="7", retry=5, comment="note")
    yield FastAPIServerSentEvent(data="text")
    yield FastAPIServerSentEvent(raw_data="text")


def starlettes(request: Request) -> Iterator[ServerSentEvent]:
    yield ServerSentEvent("text", event="token", sep="\n")


async def upstreams(request: Request) -> AsyncIterator[ClientServerSentEvent]:
    yield ClientServerSentEvent(event="token", data="two\nlines")


async def returned_iterator(request: Request) -> AsyncIterator[ServerSentEvent]:
    async def events() -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent("text", sep="\n")

    return events()


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (
            fastapis,
            b': note\nid: 7\nevent: token\nretry: 5\ndata: {"n":1}\n\ndata: "text"\n\ndata: text\n\n',
        ),
        (starlettes, b"event: token\ndata: text\n\n"),
        (upstreams, b"event: token\ndata: two\ndata: lines\n\n"),
        (returned_iterator, b"data: text\n\n"),
    ],
)
async def test_events_that_an_endpoint_is_annotated_to_yield_are_passed_on(
    endpoint: Callable[..., object], body: bytes
) -> None:
    async with chat_of(endpoint) as chat:
        answer = await chat.request("POST", "/chat?id=s")
        assert await answer.whole() == body
        assert (await chat.ended(answer)).fields["outcome"] == "completed"


async def unsaid(request: Request) -> AsyncIterator[object]:
    yield ServerSentEvent("text")


async def unsaid_dict(request: Request) -> AsyncIterator[object]:
    yield {"data": "text", "event": "token"}


async def unsaid_model(request: Request) -> AsyncIterator[object]:
    yield FastAPIServerSentEvent(data="text")


@pytest.mark.parametrize("endpoint", [unsaid, unsaid_dict, unsaid_model])
async def test_events_that_nobody_announced_are_refused_with_the_remedy(
    endpoint: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    async with chat_of(endpoint) as chat:
        assert (await chat.request("POST", "/chat?id=s")).status == 500
    assert "need protocol='opaque' in @guard.stream" in caplog.text
    async with chat_of(endpoint, protocol="opaque") as chat:
        answer = await chat.request("POST", "/chat?id=s")
        assert b"text" in await answer.whole()


async def sse_starlettes_dicts(request: Request) -> AsyncIterator[object]:
    yield {"comment": "ping"}
    yield {"retry": 5}
    yield {"id": "7", "event": "token", "data": "text"}


async def test_dicts_without_data_are_events_as_sse_starlette_has_them() -> None:
    async with chat_of(sse_starlettes_dicts, protocol="opaque") as chat:
        answer = await chat.request("POST", "/chat?id=s")
        assert await answer.whole() == b": ping\n\nretry: 5\n\nid: 7\nevent: token\ndata: text\n\n"
        assert (await chat.ended(answer)).fields["outcome"] == "completed"
