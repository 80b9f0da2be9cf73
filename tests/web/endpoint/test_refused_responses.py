"""Responses that cannot be guarded: refused before anything is sent, with the remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from streamguard import ConfigurationError

from ..serving import calling
from .test_returned_responses import SSE, app_of, blocks, guard_of, guarded, words

pytestmark = pytest.mark.anyio


class Pieces(Response):
    """Streams, and says nothing of that."""

    media_type = "text/plain"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})


class Late(Pieces):
    """Says it only when it is called."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", SSE.encode())]})
        await send({"type": "http.response.body", "body": b"data: one\n\n"})


def zipped() -> Response:
    return StreamingResponse(blocks(), media_type=SSE, headers={"Content-Encoding": "gzip"})


def text() -> Response:
    return StreamingResponse(words(), media_type=SSE)


def unlabelled_text() -> Response:
    return StreamingResponse(words())


def table() -> Response:
    return StreamingResponse(words(), media_type="text/csv")


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (Pieces, "test_returned_responses:.*chat returned a Pieces that streams.*media_type='text/event-stream'"),
        (Late, "a Late that streams its body"),
        (text, "StreamingResponse has text in its body.*protocol='ui-message' or protocol='plain'"),
        (unlabelled_text, "StreamingResponse has text in its body"),
        (zipped, "StreamingResponse whose body is compressed"),
        (table, "a StreamingResponse of text/csv.*name protocol="),
    ],
)
async def test_one_that_cannot_be_guarded_is_refused_with_the_remedy(make: Callable[[], Response], remedy: str) -> None:
    guard = guard_of()
    app = app_of(guard, guarded(guard, make))
    async with calling(app, guard) as client:
        with pytest.raises(ConfigurationError, match=remedy):
            await client.post("/chat?id=s")
        assert (await client.get("/api/chat/s")).json()["active"] is None
