"""How a route handler gives its answer: it yields, or returns an iterator or a response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from litestar import MediaType, Response, post
from litestar.response import Redirect, ServerSentEvent, Stream
from starlette.responses import StreamingResponse

from streamguard import Run

from ...harness.litestar_markers import FromPath, JSONBody
from .apps import ChatBody, plugin, visiting, words

pytestmark = pytest.mark.anyio

BODY = {"id": "c1"}
TEXT = "w0 w1 w2 "


async def yielding(data: JSONBody[ChatBody], run: Run) -> AsyncIterator[str]:
    for word in words(data.words):
        yield word


def yielding_in_a_thread(data: JSONBody[ChatBody]) -> Iterator[str]:
    yield from words(data.words)


async def returning_an_iterator(data: JSONBody[ChatBody]) -> AsyncIterator[str]:
    async def produce() -> AsyncIterator[str]:
        for word in words(data.words):
            yield word

    return produce()


@pytest.mark.parametrize("handler", [yielding, yielding_in_a_thread, returning_an_iterator])
async def test_a_handler_yields_or_returns_its_answer(handler: Any) -> None:
    streams = plugin()
    async with visiting(streams, post("/api/chat")(streams.stream(session="data.id")(handler))) as chat:
        answer = await chat.post(BODY)
        await answer.rest()
        assert (answer.status, answer.session_id, answer.text) == (200, "c1", TEXT)
        assert (await (await chat.resume("c1")).whole()).count(b"text-delta") == 3


async def returning_a_stream(data: JSONBody[ChatBody]) -> Stream:
    async def produce() -> AsyncIterator[str]:
        for word in words(data.words):
            yield f"data: {word}\n\n"

    return Stream(produce(), media_type="text/event-stream", headers={"X-Own": "1"}, cookies={"seen": "yes"})


def returning_a_stream_of_a_sync_iterator(data: JSONBody[ChatBody]) -> Stream:
    return Stream((f"data: {word}\n\n" for word in words(data.words)), media_type="text/event-stream")


async def returning_events(data: JSONBody[ChatBody]) -> ServerSentEvent:
    async def produce() -> AsyncIterator[dict[str, str]]:
        for word in words(data.words):
            yield {"data": word}

    return ServerSentEvent(produce())


async def returning_starlettes_stream(data: JSONBody[ChatBody]) -> StreamingResponse:
    async def produce() -> AsyncIterator[str]:
        for word in words(data.words):
            yield f"data: {word}\n\n"

    return StreamingResponse(produce(), media_type="text/event-stream")


async def returning_text_of_events(data: JSONBody[ChatBody]) -> Response[str]:
    return Response("".join(f"data: {word}\n\n" for word in words(data.words)), media_type="text/event-stream")


RETURNING = [
    returning_a_stream,
    returning_a_stream_of_a_sync_iterator,
    returning_events,
    returning_starlettes_stream,
    returning_text_of_events,
]


@pytest.mark.filterwarnings("ignore:Use of a synchronous callable")
@pytest.mark.parametrize("handler", RETURNING)
async def test_a_returned_stream_goes_through_the_log(handler: Any) -> None:
    streams = plugin()
    async with visiting(streams, post("/api/chat")(streams.stream(session="data.id")(handler))) as chat:
        answer = await chat.post(BODY)
        assert await answer.whole()
        assert answer.status == 200
        assert [event.data for event in answer.events] == words(3)
        raw = await chat.raw("c1", answer.stream_id or "")
        assert raw.encode() == answer.body
        if handler is returning_a_stream:
            assert answer.headers["x-own"] == "1"
            assert chat.cookies["seen"] == "yes"


async def test_a_returned_stream_is_closed_when_its_answer_is_stopped() -> None:
    closed = asyncio.Event()
    streams = plugin()

    @post("/api/chat")
    @streams.stream(session="data.id")
    async def chat_handler(data: JSONBody[ChatBody]) -> ServerSentEvent:
        async def produce() -> AsyncIterator[str]:
            try:
                yield "first"
                await asyncio.Event().wait()
            finally:
                closed.set()

        return ServerSentEvent(produce())

    async with visiting(streams, chat_handler) as chat:
        answer = await chat.post(BODY)
        await answer.read(1)
        assert (await chat.stop("c1")).status == 202
        await answer.rest()
        async with asyncio.timeout(20):
            await closed.wait()


class Upstream:
    """A provider's stream."""

    closed = 0

    def __aiter__(self) -> Upstream:
        return self

    async def __anext__(self) -> str:
        return "word"

    async def aclose(self) -> None:
        self.closed += 1


class SyncUpstream:
    closed = 0

    def __iter__(self) -> SyncUpstream:
        return self

    def __next__(self) -> str:
        return "word"

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("make", [Upstream, SyncUpstream])
async def test_a_stream_that_is_refused_is_closed(make: Any) -> None:
    """Nobody has asked it for anything by then."""
    streams, upstream = plugin(), make()

    @post("/api/chat")
    @streams.stream(session="data.id")
    async def chat_handler(data: JSONBody[ChatBody]) -> Stream:
        return Stream(upstream, media_type="text/csv")

    async with visiting(streams, chat_handler) as chat:
        assert (await chat.post(BODY)).status == 500
    assert upstream.closed == 1


async def test_a_stream_that_is_none_of_events_is_refused_with_the_fix() -> None:
    streams = plugin()

    @post("/api/chat")
    @streams.stream(session="data.id")
    async def chat_handler(data: JSONBody[ChatBody]) -> Stream:
        return Stream(iter(words(3)))

    async with visiting(streams, chat_handler, debug=True) as chat:
        answer = await chat.post(BODY)
        assert answer.status == 500
        assert b"set media_type='text/event-stream'" in answer.body


async def test_other_responses_pass_as_they_are() -> None:
    streams = plugin()

    @post("/api/{kind:str}")
    @streams.stream()
    async def answering(kind: FromPath[str]) -> Response[object]:
        match kind:
            case "json":
                return Response({"a": 1}, media_type=MediaType.JSON, status_code=202, headers={"X-Own": "1"})
            case "gone":
                return Response("gone", media_type=MediaType.TEXT, status_code=410)
            case _:
                return Redirect("/elsewhere")

    async with visiting(streams, answering) as chat:
        json = await chat.post({}, path="/api/json")
        assert (json.status, json.body, json.headers["x-own"]) == (202, b'{"a":1}', "1")
        assert (await chat.post({}, path="/api/gone")).body == b"gone"
        assert (await chat.post({}, path="/api/redirect")).headers["location"] == "/elsewhere"
