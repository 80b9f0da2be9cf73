"""Misuses of `guard.install` and of the outermost layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount, Router
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from streamguard import ConfigurationWarning
from streamguard.web.misuse import Misuse

from ...harness.versions import skip_before
from ..serving import make_guard
from .sites import (
    TIMING,
    chat_of,
    endless,
    own_lifespan,
    row,
    said,
    said_when,
    site,
    timing,
    told_of_requests,
    visiting,
    with_front_end,
)

__all__: list[str] = []


@row(Misuse.NOT_INSTALLED)
async def install_forgotten() -> str:
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/api/chat")(chat_of(guard))
    return await told_of_requests(app, guard)


@row(Misuse.NOT_INSTALLED)
async def another_guard_installed() -> str:
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/api/chat")(chat_of(guard))
    make_guard().install(app, "/api/chat")
    return await told_of_requests(app, guard)


@row(Misuse.PREFIX_TAKEN)
def two_guards_on_one_prefix() -> str:
    app = site(make_guard())
    return said(lambda: make_guard().install(app, "/api/chat"))


@row(Misuse.PREFIX_TAKEN)
def one_guard_twice() -> str:
    guard = make_guard()
    app = site(guard)
    return said(lambda: guard.install(app, "/api/chat"))


@row(Misuse.PREFIX_TAKEN)
def two_guards_on_one_path_by_a_mount() -> str:
    app, mounted = FastAPI(), FastAPI()
    make_guard().install(mounted, "/chat")
    app.mount("/api", mounted)
    return said(lambda: make_guard().install(app, "/api/chat"))


def with_show_chat(app: Any, path: str = "/api/chat/{chat_id}", method: str = "get") -> Any:
    async def show_chat(chat_id: str) -> str:
        return chat_id

    getattr(app, method)(path)(show_chat)
    return app


@row(Misuse.ROUTE_HIDDEN)
def a_route_of_the_hosts_before_install() -> str:
    app = with_show_chat(FastAPI())
    return said(lambda: make_guard().install(app, "/api/chat"))


@row(Misuse.ROUTE_HIDDEN)
async def a_route_of_the_hosts_after_install() -> str:
    guard = make_guard()
    return await said_when(visiting(with_show_chat(site(guard)), guard).__aenter__())


@row(
    Misuse.ROUTE_HIDDEN,
    "DELETE /api/chat/{session} belongs to the guard that is installed under '/api/chat', so DELETE "
    "/api/chat/{chat_id} (show_chat) would never be reached: install the guard under another "
    "prefix, or move that route",
)
def a_route_of_an_included_router() -> str:
    app, router = FastAPI(), with_show_chat(APIRouter(prefix="/chat"), "/{chat_id}", "delete")
    app.include_router(router, prefix="/api")
    return said(lambda: make_guard().install(app, "/api/chat"))


@row(Misuse.ROUTE_HIDDEN)
def a_route_in_a_mounted_application() -> str:
    app = FastAPI()
    app.mount("/api", with_show_chat(FastAPI(), "/chat/{chat_id}"))
    return said(lambda: make_guard().install(app, "/api/chat"))


@row(Misuse.GUARD_HIDDEN)
async def a_catch_all_route_before_the_mount() -> str:
    guard = make_guard()
    sub = FastAPI()
    guard.install(sub, "/chat")
    app = with_front_end(FastAPI(lifespan=guard.lifespan))
    app.mount("/api", sub)
    return await said_when(visiting(app, guard).__aenter__())


@row(Misuse.GUARD_HIDDEN)
async def the_same_in_an_application_that_is_first_met_in_a_request() -> str:
    guard = make_guard()
    sub = FastAPI()
    sub.post("/chat")(chat_of(guard))
    guard.install(sub, "/chat")
    app = with_front_end(FastAPI(lifespan=own_lifespan(guard)))
    app.mount("/api", sub)
    return await told_of_requests(app, guard)


@row(Misuse.GUARD_HIDDEN)
async def a_catch_all_route_before_the_routes_alone() -> str:
    guard = make_guard()
    app = with_front_end(FastAPI(lifespan=guard.lifespan))
    app.mount("/api/chat", guard.app)
    return await said_when(visiting(app, guard).__aenter__())


@row(
    Misuse.GUARD_HIDDEN,
    "GET /api/chat/{session}/stream of the guard never gets to it, because / (front) comes first: move what the guard "
    "is mounted in up, or call guard.install(app, '/api/chat') with the outermost application, which needs no order",
)
async def static_files_before_the_routes_alone() -> str:
    guard = make_guard()
    files = StaticFiles(directory=Path(__file__).parent)
    routes = [Mount("/", files, name="front"), Mount("/api/chat", guard.app)]
    app = Starlette(routes=routes, lifespan=guard.lifespan)
    return await said_when(visiting(app, guard).__aenter__())


@row(Misuse.INSTALL_TARGET)
def a_router_of_fastapi() -> str:
    return said(lambda: make_guard().install(APIRouter(prefix="/v1"), "/chat"))  # type: ignore[arg-type]


_TARGET: Final = "guard.install takes the application, a FastAPI or Starlette object, not {}: {}"


@row(
    Misuse.INSTALL_TARGET,
    _TARGET.format("a Router", "install it in the application that includes the router, guard.install(app, '/chat')"),
)
def a_router_of_starlette() -> str:
    return said(lambda: make_guard().install(Router(), "/chat"))  # type: ignore[arg-type]


@row(
    Misuse.INSTALL_TARGET,
    _TARGET.format(
        "a CORSMiddleware",
        "install it in the application inside, before that is wrapped, guard.install(app, '/chat')",
    ),
)
def a_wrapped_application() -> str:
    return said(lambda: make_guard().install(CORSMiddleware(FastAPI()), "/chat"))  # type: ignore[arg-type]


@row(Misuse.INSTALL_TARGET, _TARGET.format("the class FastAPI", "call it first"))
def the_applications_class() -> str:
    return said(lambda: make_guard().install(FastAPI, "/chat"))  # type: ignore[arg-type]


@row(
    Misuse.INSTALL_TARGET,
    _TARGET.format("an object", "elsewhere, mount guard.app, which is an ASGI application"),
)
def another_framework() -> str:
    return said(lambda: make_guard().install(object(), "/chat"))  # type: ignore[arg-type]


@row(Misuse.INSTALL_PREFIX)
def a_prefix_with_a_slash_at_its_end() -> str:
    return said(lambda: make_guard().install(FastAPI(), "/api/chat/"))


@row(Misuse.INSTALLED_LATE)
async def install_in_a_running_application() -> str:
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)
    async with visiting(app, guard):
        return said(lambda: guard.install(app, "/api/chat"))


async def paying(x_plan: Annotated[str, Header()] = "") -> None:
    """A dependency that guards a whole application."""


def warned(call: Callable[[], object]) -> str:
    with pytest.warns(ConfigurationWarning) as found:
        call()
    (warning,) = found
    assert Path(warning.filename) == Path(__file__)  # where install was called
    return str(warning.message)


@row(Misuse.UNPROTECTED_ROUTES)
def dependencies_of_the_application() -> str:
    app = FastAPI(dependencies=[Depends(paying)])
    return warned(lambda: make_guard().install(app, "/api/chat"))


@row(Misuse.UNPROTECTED_ROUTES)
async def the_same_once_it_starts() -> str:
    guard = make_guard()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigurationWarning)
        app = site(guard, dependencies=[Depends(paying)])
    return await told_of_requests(app, guard)


@row(
    Misuse.UNPROTECTED_ROUTES,
    "APIRouter(dependencies=[Depends(paying)]) does not protect the routes that the guard adds under '/api/chat': "
    "FastAPI runs dependencies for its own endpoints only. Install with streamguard.contrib.fastapi.install(guard, "
    "app, '/api/chat'), which makes the routes FastAPI's own, or check the same in authenticate=…, which every route "
    "of the guard but health asks first, and which may raise HTTPException",
)
async def dependencies_of_the_router() -> str:
    skip_before("fastapi", "0.137", "keeps no trace of a router's dependencies")
    guard = make_guard()
    app, router = FastAPI(lifespan=guard.lifespan), APIRouter(dependencies=[Depends(paying)])
    guard.install(app, "/api/chat")
    router.post("/api/chat")(chat_of(guard))
    app.include_router(router)
    return await told_of_requests(app, guard)


@row(Misuse.HTTP_1_0)
async def a_proxy_that_speaks_http_1_0() -> str:
    guard = make_guard()
    app = site(guard)

    async def older(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "http_version": "1.0"} if scope["type"] == "http" else scope, receive, send)

    return await told_of_requests(older, guard)


@row(Misuse.LAYER_INSIDE)
async def a_mounted_application_under_a_middleware() -> str:
    guard = make_guard()
    app = FastAPI(lifespan=own_lifespan(guard), middleware=[TIMING])
    app.mount("/v1", site(guard))
    return await told_of_requests(app, guard, "/v1/api/chat")


@row(Misuse.LAYER_INSIDE)
async def an_application_inside_a_middleware() -> str:
    guard = make_guard()
    app = BaseHTTPMiddleware(site(guard, lifespan=own_lifespan(guard)), timing)
    return await told_of_requests(app, guard)


@row(Misuse.ENDED_BY_ERROR)
async def what_such_an_answer_ends_with() -> str:
    guard = make_guard(drain_seconds=0.2)
    app = FastAPI(lifespan=own_lifespan(guard), middleware=[TIMING])
    app.mount("/v1", endless(guard))
    async with visiting(app, guard, "/v1/api/chat") as chat:
        answer = await chat.post({"id": "s"})
        await answer.next_event()
        for viewer in list(guard._running().viewer_registry.viewers):
            viewer.drop("slow")
        await answer.rest()
        return str(answer._exchange.error)


@row(Misuse.NO_LAYER)
async def the_routes_alone_beside_the_endpoint() -> str:
    guard = make_guard()
    app = FastAPI(lifespan=own_lifespan(guard))
    app.mount("/chat", guard.app)
    app.post("/api/chat")(chat_of(guard))
    return await told_of_requests(app, guard)
