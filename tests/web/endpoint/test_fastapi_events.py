"""FastAPI's own style, `response_class=EventSourceResponse` above the guard: what FastAPI would send, and resumable."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from streamguard import StreamGuard, Usage
from streamguard.contrib.fastapi import install
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota
from streamguard.testing import GuardedApp

from ...harness.versions import only_from
from ..serving import USER, user_of

with suppress(ImportError):  # earlier versions
    from fastapi.sse import EventSourceResponse, ServerSentEvent

pytestmark = [pytest.mark.anyio, only_from("fastapi", "0.135", "has no SSE of its own")]


class Token(BaseModel):
    text: str = Field(alias="t", default="")
    at: int | None = None


EVENTS: Final[Callable[[], list[object]]] = lambda: [  # noqa: E731 -- the class is imported with newer versions only
    ServerSentEvent(data={"token": "ä b"}, event="token", id="7", retry=5, comment="one\ntwo"),
    ServerSentEvent(raw_data="a\nb"),
    ServerSentEvent(data=Token(t="x")),
    ServerSentEvent(data="text"),
    ServerSentEvent(comment="only"),
]
ITEMS: Final[tuple[object, ...]] = (
    {"b": [1, 2.5, None], "a": "ü"},
    "data: text\n\n",
    {"data": "no event", "event": "x"},
    {"type": "text-delta", "id": "t", "delta": "a"},
    Token(t="y", at=1),
    7,
    None,
    b"bytes",
    [],
)


async def unannotated():  # type: ignore[no-untyped-def] # what FastAPI writes depends on it
    for item in (*EVENTS(), *ITEMS):
        yield item


def in_a_thread():  # type: ignore[no-untyped-def] # likewise
    yield from (*EVENTS(), *ITEMS)


async def of_events() -> AsyncIterator[ServerSentEvent]:
    for event in EVENTS():
        yield event  # type: ignore[misc] # a mixed list


async def of_tokens() -> AsyncIterable[Token]:
    yield Token(t="x", at=2)
    yield {"t": "y"}  # type: ignore[misc] # FastAPI makes a Token of it
    yield ServerSentEvent(data={"a": 1}, event="done")  # type: ignore[misc] # never checked


def of_tokens_in_a_thread() -> Iterator[Token]:
    yield Token(t="x")


async def of_anything() -> AsyncIterator[Any]:
    yield {"a": [1, 2]}
    yield "text"


def of_dicts() -> Iterable[dict[str, int]]:
    yield {"a": 1}


ENDPOINTS: Final = (unannotated, in_a_thread, of_events, of_tokens, of_tokens_in_a_thread, of_anything, of_dicts)


def route(app: FastAPI, guard: StreamGuard, endpoint: Callable[..., Any], **options: Any) -> None:
    app.post("/chat", response_class=EventSourceResponse, **options)(endpoint)
    guard.install(app, "/api/chat")


def route_after(app: FastAPI, guard: StreamGuard, endpoint: Callable[..., Any], **options: Any) -> None:
    guard.install(app, "/api/chat")
    app.post("/chat", response_class=EventSourceResponse, **options)(endpoint)


def default(app: FastAPI, guard: StreamGuard, endpoint: Callable[..., Any]) -> None:
    app.router.default_response_class = EventSourceResponse  # as FastAPI(default_response_class=…) does
    app.post("/chat")(endpoint)
    guard.install(app, "/api/chat")


def included(app: FastAPI, guard: StreamGuard, endpoint: Callable[..., Any]) -> None:
    router, outer = APIRouter(default_response_class=EventSourceResponse), APIRouter()
    router.post("/chat")(endpoint)
    outer.include_router(router)
    app.include_router(outer)
    guard.install(app, "/api/chat")


def included_after(app: FastAPI, guard: StreamGuard, endpoint: Callable[..., Any]) -> None:
    guard.install(app, "/api/chat")
    router = APIRouter()
    router.post("/chat")(endpoint)
    app.include_router(router, default_response_class=EventSourceResponse)


def mounted(app: FastAPI, guard: StreamGuard, endpoint: Callable[..., Any]) -> None:
    inner = FastAPI()
    inner.post("/chat", response_class=EventSourceResponse)(endpoint)
    guard.install(app, "/api/chat")
    app.mount("/", inner)


def with_contrib(app: FastAPI, guard: StreamGuard, endpoint: Callable[..., Any]) -> None:
    app.post("/chat", response_class=EventSourceResponse)(endpoint)
    install(guard, app, "/api/chat")


WAYS: Final = (route, route_after, default, included, included_after, mounted, with_contrib)


def make_guard(url: str = "memory://", **options: Any) -> StreamGuard:
    return StreamGuard(url, authenticate=user_of, **options)


def guarded_app(
    guard: StreamGuard, endpoint: Callable[..., Any], way: Callable[..., None] = route, **options: Any
) -> GuardedApp:
    app = FastAPI(lifespan=guard.lifespan)
    way(app, guard, guard.stream("request.query_params.id", **options)(endpoint))
    return GuardedApp(app, guard, headers=USER)


async def unguarded(endpoint: Callable[..., Any], **options: Any) -> httpx.Response:
    app = FastAPI()
    app.post("/chat", response_class=EventSourceResponse, **options)(endpoint)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://chat.example") as client:
        return await client.post("/chat")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_it_is_what_fastapi_sends_byte_for_byte(endpoint: Callable[..., Any]) -> None:
    expected = await unguarded(endpoint)
    async with guarded_app(make_guard(), endpoint) as app:
        answer = await app.request("POST", "/chat?id=s")
        body = await answer.whole()
        again = await (await app.request("GET", "/api/chat/s/stream")).whole()
    assert body == again == expected.content
    assert answer.headers["content-type"] == expected.headers["content-type"]


@pytest.mark.parametrize("way", WAYS)
async def test_it_is_guarded_however_the_class_gets_to_its_route(way: Callable[..., None]) -> None:
    """Also with the guard's lifespan, and with `async with guard` in one of the host's own."""
    expected = (await unguarded(unannotated)).content
    async with guarded_app(make_guard(), unannotated, way) as app:
        assert await (await app.request("POST", "/chat?id=s")).whole() == expected
    guard = make_guard()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with guard:
            yield

    own = FastAPI(lifespan=lifespan)
    way(own, guard, guard.stream("request.query_params.id")(unannotated))
    async with GuardedApp(own, guard, headers=USER) as app:
        assert await (await app.request("POST", "/chat?id=s")).whole() == expected
    if way is not mounted:
        assert list(own.openapi()["paths"]["/chat"]["post"]["responses"]["200"]["content"]) == ["text/event-stream"]


async def test_a_route_says_how_pydantic_writes_its_items() -> None:
    options = {"response_model_exclude_none": True, "response_model_by_alias": False}
    expected = await unguarded(of_tokens, **options)
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)
    route(app, guard, guard.stream("request.query_params.id")(of_tokens), **options)
    async with GuardedApp(app, guard, headers=USER) as chatting:
        assert await (await chatting.request("POST", "/chat?id=s")).whole() == expected.content
    assert b'"text":"y"' in expected.content


async def test_numbers_that_json_does_not_have_are_null() -> None:
    async def numbers():  # type: ignore[no-untyped-def] # without an annotation
        yield {"a": [math.nan, math.inf, 1.5]}

    async with guarded_app(make_guard(), numbers) as app:
        assert await (await app.request("POST", "/chat?id=s")).whole() == b'data: {"a": [null, null, 1.5]}\n\n'


@pytest.mark.promise("I3")
async def test_it_goes_on_without_its_client_and_is_resumed_after_a_cursor() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def tokens() -> AsyncIterator[Token]:
        yield Token(t="one")
        entered.set()
        await go_on.wait()
        yield Token(t="two")

    async with guarded_app(make_guard(messages=MemoryMessageStore()), tokens) as app:
        answer = await app.request("POST", "/chat?id=s&ids=1")
        await entered.wait()
        first = await app.request("GET", "/api/chat/s/stream?ids=1")
        await first.next_event()
        cursor = first.cursor
        answer.drop()
        go_on.set()
        whole = await first.whole()
        await app.idle()
        assert cursor
        rest = await (await app.request("GET", "/api/chat/s/stream", headers={"Last-Event-ID": cursor})).whole()
        (saved,) = await app.messages("s")
        status = await app.status("s")
    assert b'data: {"t":"one","at":null}' in whole
    assert b"one" not in rest
    assert b'data: {"t":"two","at":null}' in rest
    assert status.last is not None
    assert status.last.outcome == "completed"
    assert saved.parts[0]["type"] == "data-streamguard-sse"


async def test_a_stop_ends_it() -> None:
    closed = asyncio.Event()

    async def tokens() -> AsyncIterator[Token]:
        try:
            yield Token(t="one")
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with guarded_app(make_guard(), tokens) as app:
        answer = await app.request("POST", "/chat?id=s")
        stopped = await app.request("POST", "/api/chat/s/stop", headers={"content-type": "application/json"})
        body = await answer.whole()
        await asyncio.wait_for(closed.wait(), 10)
        status = await app.status("s")
    assert stopped.status == 202
    assert body.startswith(b'data: {"t":"one","at":null}\n\n')
    assert status.last is not None
    assert status.last.outcome == "stopped"


@pytest.mark.parametrize("wrong", [False, True])
async def test_a_failure_in_mid_stream_is_told(wrong: bool) -> None:
    """Also an item that the annotation does not admit."""

    async def tokens() -> AsyncIterator[Token]:
        yield Token(t="one")
        if not wrong:
            raise RuntimeError("a secret")
        yield {"at": "a secret"}  # type: ignore[misc] # that is wrong

    async with guarded_app(make_guard(), tokens) as app:
        body = await (await app.request("POST", "/chat?id=s")).whole()
        status = await app.status("s")
    assert body.startswith(b'data: {"t":"one","at":null}\n\n')
    assert b'"streamguard_error"' in body
    assert b"a secret" not in body
    assert status.last is not None
    assert status.last.outcome == "failed"


async def test_its_dependencies_run_and_its_own_errors_pass() -> None:
    ran: list[str] = []

    async def checked(bad: bool = False) -> AsyncIterator[str]:
        ran.append("in")
        try:
            yield "dependent"
        finally:
            ran.append("out")

    async def tokens(bad: bool = False, text: str = Depends(checked)) -> AsyncIterator[Token]:
        if bad:
            raise HTTPException(418, "no", {"X-Own": "1"})
        yield Token(t=text)

    async with guarded_app(make_guard(), tokens) as app:
        fine = await (await app.request("POST", "/chat?id=s")).whole()
        refused = await app.request("POST", "/chat?id=r&bad=1")
        body = await refused.whole()
        invalid = await app.request("POST", "/chat?id=q&bad=neither")
        await invalid.rest()
    assert fine == b'data: {"t":"dependent","at":null}\n\n'
    assert (refused.status, refused.headers["x-own"], body) == (418, "1", b'{"detail":"no"}')
    assert invalid.status == 422
    assert ran == ["in", "out"] * 2


async def test_usage_is_charged_and_not_sent() -> None:
    async def tokens() -> AsyncIterator[object]:
        yield {"a": 1}
        yield Usage({"input_tokens": 3})

    limit = Quota(limit=100, per="day", unit="input_tokens")
    async with guarded_app(make_guard(), tokens, quota=limit, estimate={"input_tokens": 50}) as app:
        assert await (await app.request("POST", "/chat?id=s")).whole() == b'data: {"a":1}\n\n'
        await app.idle()
        used = await (await app.request("GET", "/api/chat/s")).whole()
    assert b'"used":3' in used.replace(b" ", b"")


@pytest.mark.parametrize(
    ("protocol", "sent"),
    [
        ("openai", b'data: {"object": "chat.completion.chunk", "choices": []}\n\n'),
        ("auto", b'data: {"object": "chat.completion.chunk", "choices": []}\n\n'),
        ("plain", b"data: word\n\n"),
    ],
)
async def test_a_protocol_that_is_named_counts(protocol: str, sent: bytes) -> None:
    """What is neither text nor parts is still written as FastAPI does."""

    async def chunks():  # type: ignore[no-untyped-def] # without an annotation
        yield "word" if protocol == "plain" else {"object": "chat.completion.chunk", "choices": []}

    async with guarded_app(make_guard(), chunks, protocol=protocol) as app:
        body = await (await app.request("POST", "/chat?id=s&ids=0")).whole()
    assert sent in body


async def test_a_response_that_it_returns_is_still_recognised() -> None:
    async def events() -> EventSourceResponse:
        return EventSourceResponse(iter(["data: one\n\n"]))

    async with guarded_app(make_guard(), events) as app:
        assert await (await app.request("POST", "/chat?id=s")).whole() == b"data: one\n\n"


async def test_a_router_that_gets_another_route_later_stays_guarded() -> None:
    """Newer FastAPI then builds its included routes anew."""
    guard = make_guard()
    app, router = FastAPI(lifespan=guard.lifespan), APIRouter(default_response_class=EventSourceResponse)
    router.post("/chat")(guard.stream("request.query_params.id")(of_tokens))
    app.include_router(router)
    guard.install(app, "/api/chat")
    router.get("/other")(of_anything)
    async with GuardedApp(app, guard, headers=USER) as chatting:
        body = await (await chatting.request("POST", "/chat?id=s")).whole()
    assert body == (await unguarded(of_tokens)).content


async def test_a_route_of_the_hosts_own_class_and_a_decorator_above_the_guard_stay() -> None:
    class Stamped(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def stamped(request: Request) -> Response:
                response = await handler(request)
                response.headers["x-stamp"] = "1"
                return response

            return stamped

    guard = make_guard()
    endpoint = guard.stream("request.query_params.id")(of_tokens)

    @functools.wraps(endpoint)
    async def decorated(*args: Any, **kwargs: Any) -> Response:
        response = await endpoint(*args, **kwargs)
        response.headers["x-decorated"] = "1"
        return response

    app, router = FastAPI(lifespan=guard.lifespan), APIRouter(route_class=Stamped)
    router.post("/chat", response_class=EventSourceResponse)(decorated)
    app.include_router(router, prefix="/v1")
    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, headers=USER) as chatting:
        answer = await chatting.request("POST", "/v1/chat?id=s")
        body = await answer.whole()
    assert body == (await unguarded(of_tokens)).content
    assert (answer.headers["x-stamp"], answer.headers["x-decorated"]) == ("1", "1")
