"""A returned response whose pieces are cut anywhere, as a proxy gets them: each byte arrives, whoever sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from tests.harness.sse import EventReader

from ..serving import calling, make_guard
from .test_returned_responses import SSE, app_of

pytestmark = pytest.mark.anyio

BODIES = {
    "lines": b"data: one\n\n: ping\n\nid: 7\nevent: token\ndata: two\n\n",
    "carriage returns": b"data: one\r\rdata: two\r: note\rdata\r\r",
    "both": b":\r\n\r\ndata:: one\r\n\r\ndata: two\r\n\r\n",
    "byte order mark": "\ufeffdata: ✓\n\nretry: 5\ndata: two\n\n".encode(),
}


class Sending(StreamingResponse):
    """Sends in a way of its own, so the guard has to call it."""

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self.body_iterator:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def cut(body: bytes, size: int, kind: Callable[[bytes], bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
    for start in range(0, len(body), size):
        yield kind(body[start : start + size])


async def answer_to(make: Callable[[], Response], protocol: str | None = None) -> bytes:
    guard = make_guard()

    @guard.stream(protocol=protocol, ids=False)
    async def chat(request: Request) -> Response:
        return make()

    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat")
    assert answer.status_code == 200
    return answer.content


@pytest.mark.promise("I3")
@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", [bytes, memoryview])
@pytest.mark.parametrize("response", [StreamingResponse, Sending])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_every_event_of_a_response_that_is_cut_anywhere(
    body: bytes, response: type[StreamingResponse], kind: type[memoryview], size: int
) -> None:
    got = await answer_to(lambda: response(cut(body, size, kind), media_type=SSE))
    assert EventReader().feed(got) == EventReader().feed(body)


async def test_many_comments_that_come_with_an_event() -> None:
    """As they do once a loop that stood still goes on."""

    async def body() -> AsyncIterator[bytes]:
        yield b": ping\r\n\r\n" * 1_000 + b"data: one\r\n\r\n"

    got = await answer_to(lambda: Sending(body(), media_type=SSE))
    assert [event.data for event in EventReader().feed(got)] == ["one"]


async def test_lines_of_json() -> None:
    chunks = [b'{"a":1}', b"\n", b'{"b":2}', b"\r\n"]

    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    assert await answer_to(lambda: Sending(body(), media_type="application/x-ndjson")) == b"".join(chunks)


async def test_text() -> None:
    async def body() -> AsyncIterator[bytes]:
        for chunk in (b"Two", b":\n", b"\n", b": one"):
            yield chunk

    got = await answer_to(lambda: Sending(body(), media_type="text/plain"), protocol="plain")
    text = "".join(event.data for event in EventReader().feed(got) if event.event == "message")
    assert text == "Two:\n\n: one"
