"""What FastAPI adds to the answer of an endpoint that streams: the route's status, and what its dependencies set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from streamguard import StreamGuard
from streamguard.contrib.fastapi import install
from streamguard.testing import GuardedApp

from ...harness.versions import only_from
from ..serving import USER, user_of

with suppress(ImportError):  # earlier versions
    from fastapi.sse import EventSourceResponse

pytestmark = pytest.mark.anyio

new_fastapi: Final = only_from("fastapi", "0.135", "has no SSE of its own")


def make_guard() -> StreamGuard:
    return StreamGuard(authenticate=user_of)


def guarded_app(endpoint: Callable[..., Any], **route: Any) -> GuardedApp:
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/chat", **route)(guard.stream("request.query_params.id", protocol="opaque")(endpoint))
    guard.install(app, "/api/chat")
    return GuardedApp(app, guard, headers=USER)


async def unguarded(endpoint: Callable[..., Any], **route: Any) -> httpx.Response:
    app = FastAPI()
    app.post("/chat", **route)(endpoint)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://chat.example") as client:
        return await client.post("/chat")


async def words() -> AsyncIterator[bytes]:
    yield b"data: word\n\n"


# -- status, headers and cookies --------------------------------------------------------------------------------------


async def test_the_status_of_the_route_is_the_answers() -> None:
    async with guarded_app(words, status_code=202) as app:
        assert (await app.request("POST", "/chat?id=s")).status == 202


async def test_a_status_that_a_dependency_sets_goes_first() -> None:
    async def decide(response: Response) -> None:
        response.status_code = 203

    async with guarded_app(words, status_code=202, dependencies=[Depends(decide)]) as app:
        assert (await app.request("POST", "/chat?id=s")).status == 203


async def test_a_response_that_is_returned_has_its_own_status_as_in_fastapi() -> None:
    async def returning() -> Response:
        return StreamingResponse(words(), media_type="text/event-stream")

    bare = await unguarded(returning, status_code=202)
    async with guarded_app(returning, status_code=202) as app:
        assert (await app.request("POST", "/chat?id=s")).status == bare.status_code == 200


@new_fastapi
@pytest.mark.parametrize("status", [None, 202])
@pytest.mark.parametrize("own", [None, 203])
async def test_in_fastapis_own_style_they_are_what_fastapi_sends(status: int | None, own: int | None) -> None:
    ran: list[str] = []

    async def sets(response: Response, tasks: BackgroundTasks) -> None:
        response.headers["x-own"] = "1"
        response.set_cookie("seen", "yes")
        response.set_cookie("again", "yes")
        if own is not None:
            response.status_code = own
        tasks.add_task(ran.append, "dependency")

    async def events(tasks: BackgroundTasks):  # type: ignore[no-untyped-def] # FastAPI reads the annotation
        yield {"a": 1}
        tasks.add_task(ran.append, "endpoint")

    route = {"response_class": EventSourceResponse, "status_code": status, "dependencies": [Depends(sets)]}
    bare = await unguarded(events, **route)
    assert ran == ["dependency", "endpoint"]
    async with guarded_app(events, **route) as app:
        answer = await app.request("POST", "/chat?id=s")
        assert await answer.whole() == bare.content
    assert ran == ["dependency", "endpoint"] * 2
    assert answer.status == bare.status_code
    assert answer.set_cookies == bare.headers.get_list("set-cookie")
    assert answer.headers["x-own"] == bare.headers["x-own"]


def test_openapi_shows_the_answer_under_that_status() -> None:
    guard = make_guard()
    app = FastAPI()
    app.post("/chat", status_code=202)(guard.stream()(words))
    install(guard, app, "/api/chat")
    responses = app.openapi()["paths"]["/chat"]["post"]["responses"]
    assert "text/event-stream" in responses["202"]["content"]
    assert "200" not in responses


# -- background tasks -------------------------------------------------------------------------------------------------


@new_fastapi
@pytest.mark.parametrize("at_once", [False, True])
async def test_none_runs_after_an_answer_that_failed_as_in_fastapi(at_once: bool) -> None:
    """Also before its first event, when the answer is a failure of the guard's."""
    ran: list[str] = []

    async def fails(tasks: BackgroundTasks):  # type: ignore[no-untyped-def] # FastAPI reads the annotation
        tasks.add_task(ran.append, "later")
        if not at_once:
            yield {"a": 1}
        raise RuntimeError("no more")

    route = {"response_class": EventSourceResponse}
    await unguarded(fails, **route)
    assert not ran
    async with guarded_app(fails, **route) as app:
        await (await app.request("POST", "/chat?id=s")).rest()
        await app.idle()
    assert not ran


async def test_nor_after_a_response_whose_body_failed() -> None:
    ran: list[str] = []

    async def fails() -> AsyncIterator[bytes]:
        yield b"data: word\n\n"
        raise RuntimeError("no more")

    async def returning() -> Response:
        task = BackgroundTask(ran.append, "later")
        return StreamingResponse(fails(), media_type="text/event-stream", background=task)

    await unguarded(returning)
    assert not ran
    async with guarded_app(returning) as app:
        await (await app.request("POST", "/chat?id=s")).rest()
        await app.idle()
    assert not ran


async def test_nor_after_a_request_that_was_refused_as_for_an_http_exception() -> None:
    ran: list[str] = []

    async def sets(tasks: BackgroundTasks) -> None:
        tasks.add_task(ran.append, "later")

    async def refuses() -> Response:
        raise HTTPException(401)

    await unguarded(refuses, dependencies=[Depends(sets)])
    assert not ran
    async with guarded_app(words, dependencies=[Depends(sets)]) as app:
        answer = await app.visitor({}).request("POST", "/chat?id=s")
        await answer.rest()
    assert answer.status == 401
    assert not ran


@pytest.mark.parametrize("ends", ["stopped", "left"])
async def test_they_run_once_an_answer_has_ended_that_was_stopped_or_whose_client_left(ends: str) -> None:
    ran = asyncio.Event()
    go_on = asyncio.Event()

    async def waits(tasks: BackgroundTasks) -> AsyncIterator[bytes]:
        tasks.add_task(ran.set)
        yield b"data: one\n\n"
        await go_on.wait()
        assert not ran.is_set()
        yield b"data: two\n\n"

    async with guarded_app(waits) as app:
        answer = await app.request("POST", "/chat?id=s")
        await answer.next_event()
        if ends == "left":
            answer.drop()
            go_on.set()
        else:
            await app.request("POST", "/api/chat/s/stop", headers={"content-type": "application/json"})
        await asyncio.wait_for(ran.wait(), 10)
