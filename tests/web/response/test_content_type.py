"""Every SSE response says that it is UTF-8: a client that goes by the type alone takes text for Latin-1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, TypeAlias

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from streamguard import StreamGuard

from ..serving import calling, make_guard

pytestmark = pytest.mark.anyio

Items: TypeAlias = AsyncIterator[str]
WANTED: Final = "text/event-stream; charset=utf-8"


def app_of(guard: StreamGuard, *, own_type: str | None = None) -> Starlette:
    """An endpoint of each protocol, and one that returns a response of `own_type`."""
    endpoints: list[Route] = []
    for protocol in ("ui-message", "plain", "opaque"):

        async def chat(request: Request, text: str = "data: Grüße\n\n" if protocol == "opaque" else "Grüße") -> Items:
            yield text

        decorate = guard.stream("request.query_params.id", protocol=protocol, binding=protocol, on_conflict="join")
        endpoints.append(Route(f"/{protocol}", decorate(chat), methods=["POST", "GET"]))

    @guard.stream("request.query_params.id")
    async def passed_on(request: Request) -> StreamingResponse:
        headers = {} if own_type is None else {"Content-Type": own_type}
        return StreamingResponse(iter([b"data: x\n\n"]), media_type="text/event-stream", headers=headers)

    app = Starlette(routes=[*endpoints, Route("/passed-on", passed_on, methods=["POST"])])
    guard.install(app, "/api/chat")
    return app


def types_of(answer: httpx.Response) -> list[str]:
    return answer.headers.get_list("content-type")


@pytest.mark.parametrize("name", ["ui-message", "plain", "opaque", "passed-on"])
async def test_the_answer_and_each_replay_name_their_charset(name: str) -> None:
    guard = make_guard()
    async with calling(app_of(guard), guard) as client:
        answer = await client.post(f"/{name}?id=s")
        replay = await client.get("/api/chat/s/stream")
        head = await client.head("/api/chat/s/stream")
    assert answer.content == replay.content
    assert types_of(answer) == types_of(replay) == types_of(head) == [WANTED]


async def test_so_do_a_head_request_a_repeated_one_and_a_failure_told_in_a_stream() -> None:
    guard = make_guard()
    async with calling(app_of(guard), guard) as client:
        key = {"Idempotency-Key": "k"}
        first = await client.post("/ui-message?id=s", headers=key)
        answers = [
            await client.head("/ui-message?id=s"),
            await client.post("/ui-message?id=s", headers=key),
            await client.get("/api/chat/s/stream?errors=stream", headers={"Last-Event-ID": "$"}),
        ]
    assert answers[1].content == first.content
    assert [types_of(answer) for answer in answers] == [[WANTED]] * 3


@pytest.mark.parametrize(
    ("own_type", "wanted"),
    [
        ("text/event-stream", WANTED),
        ("Text/Event-Stream", "Text/Event-Stream; charset=utf-8"),
        ("text/event-stream;profile=x", "text/event-stream;profile=x; charset=utf-8"),
        ("text/event-stream; Charset=UTF-8", "text/event-stream; Charset=UTF-8"),
        ("text/event-stream;charset=iso-8859-1", "text/event-stream;charset=iso-8859-1"),
    ],
)
async def test_a_type_that_is_passed_on_gets_what_it_lacks(own_type: str, wanted: str) -> None:
    guard = make_guard()
    async with calling(app_of(guard, own_type=own_type), guard) as client:
        answer = await client.post("/passed-on?id=s")
    assert types_of(answer) == [wanted]
