"""FastAPI's and Starlette's own ways with a guarded endpoint. This module's annotations are strings on purpose."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from streamguard import Run
from tests.harness.sse import EventReader, open_sse, ui_text

from ..serving import USER, Gate, calling, make_guard, serving

pytestmark = pytest.mark.anyio


class Body(BaseModel):
    id: str
    words: list[str] = ["one ", "two "]


def text_of(content: bytes) -> str:
    return ui_text(EventReader().feed(content))


async def tenant(response: Response, x_tenant: Annotated[str, Header()] = "none") -> str:
    response.headers["x-from-dependency"] = x_tenant
    response.set_cookie("seen", "1")
    return x_tenant


async def test_body_dependency_header_and_run_are_injected() -> None:
    guard, app = make_guard(), FastAPI()
    seen: list[tuple[str, str]] = []

    @app.post("/chat/{room}")
    @guard.stream(session="body.id")
    async def chat(
        room: str, body: Body, run: Run, who: Annotated[str, Depends(tenant)], q: int = 7
    ) -> AsyncIterator[str]:
        seen.append((run.session_id, run.owner))
        for word in [*body.words, room, who, str(q)]:
            yield word

    async with calling(app, guard) as client:
        answer = await client.post("/chat/r?q=8", json={"id": "s"}, headers={"X-Tenant": "t"})
        invalid = await client.post("/chat/r", json={})
    assert text_of(answer.content) == "one two rt8"
    assert seen == [("s", "ann")]
    assert answer.headers["x-session-id"] == "s"
    assert answer.headers["x-from-dependency"] == "t"
    assert "seen=1" in answer.headers["set-cookie"]
    assert invalid.status_code == 422


async def test_openapi_shows_the_body_and_nothing_of_ours() -> None:
    guard, app = make_guard(), FastAPI()

    @app.post("/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body, run: Run) -> AsyncIterator[str]:
        """Ask something."""
        yield ""

    guard.install(app, "/api/chat")
    schema = app.openapi()
    operation: dict[str, Any] = schema["paths"]["/chat"]["post"]
    assert operation["description"] == "Ask something."
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Body"}
    assert "parameters" not in operation
    assert "streamguard" not in str(schema)


async def test_sync_generators_get_the_same() -> None:
    guard, app = make_guard(), FastAPI()

    @app.post("/chat")
    @guard.stream(session="body.id")
    def chat(body: Body, run: Run) -> Iterator[str]:
        yield run.session_id
        yield from body.words

    async with calling(app, guard) as client:
        answer = await client.post("/chat", json={"id": "s"})
    assert text_of(answer.content) == "sone two "


async def test_callable_objects_methods_and_partials() -> None:
    guard, app = make_guard(), FastAPI()

    class Endpoint:
        async def __call__(self, body: Body) -> AsyncIterator[str]:
            yield "call"

        @guard.stream(session="body.id")
        async def method(self, body: Body, run: Run) -> AsyncIterator[str]:
            yield run.session_id

    async def greet(body: Body, word: str) -> AsyncIterator[str]:
        yield word

    endpoint = Endpoint()
    app.post("/object")(guard.stream(session="body.id")(endpoint))
    app.post("/method")(endpoint.method)
    app.post("/partial")(guard.stream(session="body.id")(functools.partial(greet, word="hi")))
    async with calling(app, guard) as client:
        for path, text in (("object", "call"), ("method", "of-method"), ("partial", "hi")):
            answer = await client.post(f"/{path}", json={"id": f"of-{path}"})
            assert (answer.status_code, text_of(answer.content)) == (200, text)


async def test_plain_starlette_endpoints() -> None:
    guard = make_guard()

    @guard.stream(session="request.path_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield (await request.body()).decode()

    @guard.stream()
    async def bare(run: Run) -> AsyncIterator[str]:
        yield run.session_id[:4]

    routes = [Route("/chat/{id}", chat, methods=["POST"]), Route("/bare", bare)]
    async with calling(Starlette(routes=routes), guard) as client:
        answer = await client.post("/chat/s", content="hello")
        made = await client.get("/bare")
        head = await client.head("/bare")
    assert (answer.headers["x-session-id"], text_of(answer.content)) == ("s", "hello")
    assert text_of(made.content) == "ses_"
    assert (head.status_code, head.content) == (200, b"")
    assert "x-stream-id" not in head.headers


async def test_background_tasks_run_after_the_stream() -> None:
    guard, app = make_guard(), FastAPI()
    order: list[str] = []

    @app.post("/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body, tasks: BackgroundTasks) -> AsyncIterator[str]:
        tasks.add_task(order.append, "background")
        yield "word"
        order.append("endpoint")

    async with calling(app, guard) as client:
        await client.post("/chat", json={"id": "s"})
    assert order == ["endpoint", "background"]


async def test_a_hosts_http_error_before_the_first_item_passes_unchanged() -> None:
    guard, app = make_guard(), FastAPI()

    @app.post("/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body) -> AsyncIterator[str]:
        if body.words:
            raise HTTPException(402, "pay first", headers={"X-Price": "7"})
        yield "free"

    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        answer = await client.post("/chat", json={"id": "s"})
        again = await client.post("/chat", json={"id": "s", "words": []})
        resumed = await client.get("/api/chat/s/stream")
    assert (answer.status_code, answer.json()) == (402, {"detail": "pay first"})
    assert answer.headers["x-price"] == "7"
    assert answer.headers["x-session-id"] == "s"  # added by the layer that install put outside
    assert "x-stream-id" not in answer.headers  # there is none
    assert text_of(again.content) == "free"
    assert resumed.status_code == 200


async def test_a_yield_dependency_is_open_until_the_producer_ends() -> None:
    """Measured: left alone, FastAPI closes it when the client leaves, under the producer's feet."""
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)
    gate, order = Gate(), list[str]()

    async def database() -> AsyncIterator[str]:
        order.append("opened")
        yield "session"
        order.append("closed")

    @app.post("/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body, session: Annotated[str, Depends(database)]) -> AsyncIterator[str]:
        yield "one"
        await gate.wait()
        order.append("used")
        yield "two"

    guard.install(app, "/api/chat")
    async with serving(app) as port:
        headers = {"Content-Type": "application/json", **USER}
        async with open_sse(port, "/chat", method="POST", headers=headers, body=b'{"id": "s"}') as stream:
            assert [event.event for event in await stream.read_events(2)]
            await gate.reached.wait()
        async with open_sse(port, "/api/chat/s/stream", headers=USER) as resumed:
            await resumed.read_events(2)
            assert order == ["opened"]
            gate.open()
            assert ui_text(await resumed.read_rest()) == "onetwo"
    assert order == ["opened", "used", "closed"]


async def test_an_injected_status_and_a_returned_json_are_the_hosts() -> None:
    guard, app = make_guard(), FastAPI()

    @app.post("/created")
    @guard.stream(session="body.id")
    async def created(body: Body, response: Response) -> AsyncIterator[str]:
        response.status_code = 201
        response.headers["x-mine"] = "1"
        response.headers["cache-control"] = "public"
        yield "word"

    @app.post("/json")
    @guard.stream(session="body.id")
    async def answer(body: Body) -> JSONResponse:
        return JSONResponse({"cached": True}, status_code=203)

    async with calling(app, guard) as client:
        streamed = await client.post("/created", json={"id": "a"})
        whole = await client.post("/json", json={"id": "b"})
    assert (streamed.status_code, streamed.headers["x-mine"]) == (201, "1")
    assert streamed.headers["cache-control"] == "no-cache, no-transform"
    assert (whole.status_code, whole.json()) == (203, {"cached": True})
