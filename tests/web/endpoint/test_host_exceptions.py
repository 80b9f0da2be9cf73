"""Exceptions for which the host has registered a handler get to it, from a guarded endpoint as from any other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from streamguard import Signal, StreamGuard
from streamguard.quota import Quota
from streamguard.testing import GuardedApp
from tests.web.serving import USER, make_guard

pytestmark = pytest.mark.anyio

ONE: Final = Quota(1, "day", "requests")


class ShopError(Exception):
    """Of a host, which has a handler for it."""


class SoldOutError(ShopError):
    """One kind of it."""


def handled(request: Request, error: Exception) -> Response:
    return JSONResponse({"shop": str(error)}, 422)


def of_starlette(guard: StreamGuard, raised: Exception, *, estimate: bool = False) -> ASGIApp:
    app = Starlette(
        routes=[Route("/chat", _endpoint(guard, raised, estimate=estimate), methods=["POST"])], lifespan=guard.lifespan
    )
    app.add_exception_handler(ShopError, handled)
    guard.install(app, "/api/chat")
    return app


def of_fastapi(guard: StreamGuard, raised: Exception, *, estimate: bool = False) -> ASGIApp:
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/chat")(_endpoint(guard, raised, estimate=estimate))
    app.add_exception_handler(ShopError, handled)
    guard.install(app, "/api/chat")
    return app


def mounted(guard: StreamGuard, raised: Exception, *, estimate: bool = False) -> ASGIApp:
    """The application that is mounted has the handler."""
    inside, app = FastAPI(), FastAPI(lifespan=guard.lifespan)
    inside.post("/")(_endpoint(guard, raised, estimate=estimate))
    inside.add_exception_handler(ShopError, handled)
    guard.install(app, "/api/chat")
    app.mount("/chat", inside)
    return app


def _endpoint(guard: StreamGuard, raised: Exception, *, estimate: bool) -> Callable[..., object]:
    def amount(request: Request) -> int:
        if estimate:
            raise raised
        return 1

    @guard.stream(
        session=lambda request: request.query_params["id"],
        quota=ONE,
        estimate={"requests": 1} if not estimate else amount,
    )
    async def chat(request: Request) -> AsyncIterator[str]:
        if request.query_params.get("late"):
            yield "half "
        raise raised

    return chat


@pytest.mark.parametrize("build", [of_starlette, of_fastapi, mounted])
@pytest.mark.parametrize("error", [ShopError("closed"), SoldOutError("no tea")], ids=lambda one: type(one).__name__)
async def test_an_exception_with_a_handler_before_the_first_event_is_the_hosts_to_answer(
    build: Callable[..., ASGIApp], error: Exception
) -> None:
    guard = make_guard()
    path = "/chat/" if build is mounted else "/chat"
    async with GuardedApp(build(guard, error), guard, prefix="/api/chat", headers=USER) as ann:
        for _ in range(2):  # of a quota of one
            answer = await ann.post({}, path=f"{path}?id=c1")
            assert (answer.status, json.loads(answer.body)) == (422, {"shop": str(error)})
            assert answer.headers["x-session-id"] == "c1"
            assert "x-stream-id" not in answer.headers
            await ann.idle()
        status = await ann.status("c1")
        assert status.active is status.last is None
        withdrawn = [seen for seen in ann.observations if seen.name == Signal.STREAM_WITHDRAWN]
        assert [seen.fields["status"] for seen in withdrawn] == [None, None]  # a handler decides it later
        assert not {seen.name for seen in ann.observations} & {Signal.FAULT, Signal.STREAM_ENDED}


@pytest.mark.parametrize("build", [of_starlette, of_fastapi])
async def test_so_is_one_of_an_estimate(build: Callable[..., ASGIApp]) -> None:
    guard = make_guard()
    app = build(guard, ShopError("closed"), estimate=True)
    async with GuardedApp(app, guard, prefix="/api/chat", headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        assert (answer.status, json.loads(answer.body)) == (422, {"shop": "closed"})


async def test_fastapis_own_handlers_count() -> None:
    guard = make_guard()
    app = of_fastapi(guard, RequestValidationError([]))
    async with GuardedApp(app, guard, prefix="/api/chat", headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        assert (answer.status, json.loads(answer.body)) == (422, {"detail": []})


async def test_after_the_first_event_its_client_is_told_in_the_stream() -> None:
    guard = make_guard()
    app = of_fastapi(guard, ShopError("closed"))
    async with GuardedApp(app, guard, prefix="/api/chat", headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1&late=1")
        await answer.rest()
        assert (answer.status, answer.text, [fault.code for fault in answer.faults]) == (200, "half ", ["internal"])


async def test_a_handler_of_every_exception_gets_none_of_them() -> None:
    """It is what a framework falls back to, and does not know what a failure of a model is."""
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/chat")(_endpoint(guard, RuntimeError("secret"), estimate=False))
    app.add_exception_handler(Exception, handled)
    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, prefix="/api/chat", headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        assert (answer.status, [fault.code for fault in answer.faults]) == (500, ["internal"])
