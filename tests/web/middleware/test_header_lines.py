"""The header lines of a host's may be of anything that its server takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Literal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import ConfigurationError, Observation, Signal, StreamGuard
from streamguard.web.headers import plain_lines

from ..rules.inside import PATH, client_of, guarding
from ..serving import USER, make_guard, serving, user_of

pytestmark = pytest.mark.anyio


class Adding:
    """A host's middleware that adds headers, which are not of `bytes`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def added(message: Message) -> None:
            if message["type"] == "http.response.start":
                lines = [[b"x-one", bytearray(b"1")], (bytearray(b"x-two"), b"2"), (b"x-three", memoryview(b"3"))]
                message["headers"] = [*message["headers"], *lines]
            await send(message)

        await self._app(scope, receive, added)


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_those_of_a_middleware_are_passed_on(http: Literal["h11", "httptools"]) -> None:
    """ASGI says bytes; uvicorn takes whatever is like them."""
    guard = make_guard()

    @guard.stream(lambda request: "s", protocol="plain")
    async def chat() -> AsyncIterator[str]:
        yield "one"

    routes = [Route("/chat", chat, methods=["POST"])]
    app = Starlette(routes=routes, lifespan=guard.lifespan, middleware=[Middleware(Adding)])
    guard.install(app, "/api/chat")
    async with serving(app, http=http) as port, httpx.AsyncClient(headers=USER, trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/chat")
    assert answer.status_code == 200
    assert [answer.headers[name] for name in ("x-one", "x-two", "x-three")] == ["1", "2", "3"]
    assert "x-stream-id" in answer.headers


async def said() -> AsyncIterator[bytes]:
    yield b"data: one\n\n"


class SentItself(Response):
    """Sends itself, with lines that are only like bytes."""

    media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lines = [[bytearray(b"content-type"), memoryview(b"text/event-stream")], (b"x-one", bytearray(b"1"))]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": b"data: one\n\n"})


def streaming() -> Response:
    response = StreamingResponse(said(), media_type="text/event-stream")
    response.raw_headers = [
        (b"content-type", bytearray(b"text/event-stream")),  # type: ignore[list-item] # a host's
        (bytearray(b"content-encoding"), memoryview(b"identity")),  # type: ignore[list-item]
        (bytearray(b"x-one"), b"1"),  # type: ignore[list-item]
    ]
    return response


@pytest.mark.parametrize("made", [streaming, SentItself])
async def test_a_returned_response_may_have_them(made: Callable[[], Response]) -> None:
    guard = make_guard()

    @guard.stream(lambda request: "s")
    async def chat() -> Response:
        return made()

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with serving(app) as port, httpx.AsyncClient(headers=USER, trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/chat")
    assert (answer.status_code, answer.headers["x-one"]) == (200, "1")
    assert "data: one\n" in answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_so_may_an_application_that_a_rule_guards() -> None:
    guard = make_guard()

    async def chat(_: Request) -> Response:
        return SentItself()

    async with client_of(guarding(guard, chat)) as client:
        answer = await client.post(PATH, json={"id": "s"})
    assert (answer.status_code, answer.headers["x-one"]) == (200, "1")
    assert "x-stream-id" in answer.headers
    assert "data: one\n" in answer.text


class HeadersOnce(Response):
    """Its header lines can be read once: servers read them once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": iter(self.raw_headers)})
        await send({"type": "http.response.body", "body": self.body})


def guarded(guard: StreamGuard, endpoint: Callable[[Request], Awaitable[Response]], *, by_rule: bool) -> Starlette:
    """An application with this endpoint, which a rule or a decorator guards."""
    if by_rule:
        return guarding(guard, endpoint, binding="chat")
    decorated = guard.stream(lambda request: "s")(endpoint)
    app = Starlette(routes=[Route(PATH, decorated, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    return app


@pytest.mark.parametrize("by_rule", [False, True], ids=["endpoint", "rule"])
async def test_those_that_can_be_read_once_are_passed_on(by_rule: bool) -> None:
    guard = make_guard()

    async def chat(_: Request) -> Response:
        return HeadersOnce("{}", media_type="application/json", headers={"x-one": "1"})

    async with client_of(guarded(guard, chat, by_rule=by_rule)) as client:
        answer = await client.post(PATH, json={"id": "s"})
    assert (answer.status_code, answer.text) == (200, "{}")
    assert (answer.headers["content-type"], answer.headers["x-one"]) == ("application/json", "1")


@pytest.mark.parametrize("line", [("x-one", "1"), (b"x-one", "1"), ("x-one", b"1"), (b"x-one", 7)])
@pytest.mark.parametrize("given", [list, iter])
def test_those_of_text_are_told_by_name_and_without_their_value(
    line: tuple[object, object], given: Callable[[list[object]], Iterable[tuple[bytes, bytes]]]
) -> None:
    with pytest.raises(ConfigurationError, match=r"'x-one' is \((str|bytes), (str|bytes|int)\): encode both") as told:
        plain_lines(given([(b"x-two", b"2"), line]))
    assert "x-two" not in str(told.value)


@pytest.mark.parametrize("by_rule", [False, True], ids=["endpoint", "rule"])
async def test_a_returned_response_that_has_them_is_answered_with_500_and_observers_hear_why(by_rule: bool) -> None:
    seen: list[Observation] = []
    guard = StreamGuard(authenticate=user_of, observers=(seen.append,))

    async def chat(_: Request) -> Response:
        response = streaming()
        response.raw_headers.append(("x-one", "1"))  # type: ignore[arg-type] # a host's
        return response

    async with client_of(guarded(guard, chat, by_rule=by_rule)) as client:
        answer = await client.post(PATH, json={"id": "s"})
    assert answer.status_code == 500
    (told,) = [one for one in seen if one.name is Signal.FAULT]
    assert isinstance(told.error, ConfigurationError)
    assert "'x-one' is (str, str)" in str(told.error)
    assert str(told.fields["binding"]).endswith("chat")
