"""Misuses in a Litestar application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
from litestar import Litestar, asgi, get, post
from litestar.types import ControllerRouterHandler, Receive, Scope, Send
from pydantic import BaseModel
from starlette.types import ASGIApp

from streamguard import ConfigurationError
from streamguard.contrib.litestar import StreamGuardPlugin
from streamguard.web.misuse import Misuse

from ...harness.litestar_markers import FromPath, JSONBody, NamedDependency
from ..serving import make_guard
from .sites import row, said, told_of_requests, visiting

__all__: list[str] = []

HERE = f"{__name__}:"


class Body(BaseModel):
    id: str


async def chat(data: JSONBody[Body]) -> AsyncIterator[str]:
    yield "word"


async def database() -> AsyncIterator[str]:
    yield "a connection"


async def users(database: NamedDependency[str]) -> str:
    return database


async def with_database(data: JSONBody[Body], database: NamedDependency[str]) -> AsyncIterator[str]:
    yield database


async def with_users(data: JSONBody[Body], users: NamedDependency[str]) -> AsyncIterator[str]:
    yield users


def as_in_app(text: str) -> str:
    """As if the endpoint were written at the top of `app.py`, where Litestar could not look for its names."""
    return (
        text.replace(HERE, "app:")
        .replace("app:with_database", "app:chat")
        .replace("app:with_users", "app:chat")
        .replace("app:endless", "app:chat")
    )


def plugin() -> StreamGuardPlugin:
    return StreamGuardPlugin(make_guard())


def application(streams: StreamGuardPlugin, *handlers: ControllerRouterHandler) -> Litestar:
    return Litestar(
        [post("/api/chat")(streams.stream(session="data.id")(chat)), *handlers], plugins=[streams], logging_config=None
    )


def refused(handler: Callable[[StreamGuardPlugin], ControllerRouterHandler]) -> str:
    streams = plugin()
    return as_in_app(said(lambda: Litestar([handler(streams)], plugins=[streams], logging_config=None)))


async def refused_at_the_start(streams: StreamGuardPlugin, app: Litestar) -> str:
    with pytest.raises(BaseExceptionGroup) as failed:  # Litestar's event emitter has a task group around the start
        async with visiting(cast("ASGIApp", app), streams.guard):
            raise AssertionError("it started")
    refusals, _ = failed.value.split(ConfigurationError)
    assert refusals is not None
    return str(refusals.exceptions[0])


@row(Misuse.DECORATED_HANDLER)
def the_guards_decorator_above_litestars() -> str:
    streams = plugin()
    return said(lambda: streams.stream(session="data.id")(post("/api/chat", sync_to_thread=False)(chat)))


@row(Misuse.GUARD_DECORATOR)
def the_guards_own_decorator() -> str:
    return refused(lambda streams: post("/api/chat")(streams.guard.stream(session="data.id")(chat)))


@row(Misuse.YIELD_DEPENDENCY)
def a_dependency_that_yields() -> str:
    return refused(
        lambda streams: post("/api/chat", dependencies={"database": database})(streams.stream()(with_database))
    )


@row(
    Misuse.YIELD_DEPENDENCY,
    "app:chat depends on users -> database, a generator that Litestar closes as soon as the handler has returned, "
    "while its stream would still be using what it gave: have the dependency return something that opens it, and "
    "open it in the endpoint itself, async with …",
)
def a_dependency_of_a_dependency_that_yields() -> str:
    return refused(
        lambda streams: post("/api/chat", dependencies={"database": database, "users": users})(
            streams.stream()(with_users)
        )
    )


@row(Misuse.CACHED_ENDPOINT)
def an_endpoint_with_a_cache() -> str:
    return refused(lambda streams: get("/api/chat", cache=True)(streams.stream()(endless)))


async def endless() -> AsyncIterator[str]:
    yield "word"


@row(
    Misuse.NOT_INSTALLED,
    "app:chat is guarded, but the routes of its guard are nowhere, so that no client can resume or stop its answers: "
    "give the application StreamGuardPlugin(guard, '/api/chat') in plugins=[…]",
)
async def a_plugin_that_no_application_has() -> str:
    streams = plugin()
    app = Litestar(
        [post("/api/chat")(streams.stream(session="data.id")(chat))],
        lifespan=[streams.guard.lifespan],
        logging_config=None,
    )
    return as_in_app(await told_of_requests(cast("ASGIApp", app), streams.guard))


@row(
    Misuse.INSTALL_TARGET,
    "guard.install takes the application, a FastAPI or Starlette object, not a Litestar: give it "
    "plugins=[StreamGuardPlugin(guard, '/api/chat')], of streamguard.contrib.litestar",
)
def installed_in_litestar() -> str:
    return said(lambda: make_guard().install(Litestar(logging_config=None), "/api/chat"))  # type: ignore[arg-type]


@row(
    Misuse.INSTALL_PREFIX,
    "install needs a plain path such as '/api/chat', with a slash first, none last and no parameters, not '/chat/'",
)
def a_plugin_with_a_slash_at_its_end() -> str:
    return said(lambda: StreamGuardPlugin(make_guard(), "/chat/"))


@row(Misuse.PREFIX_TAKEN)
def two_plugins_on_one_prefix() -> str:
    return said(lambda: Litestar(plugins=[plugin(), plugin()], logging_config=None))


@row(
    Misuse.ROUTE_HIDDEN,
    "GET /api/chat/{chat_id:str}/export belongs to the guard that is installed under '/api/chat', so "
    "GET /api/chat/{chat_id:str}/export (export) would never be reached: install the guard under another prefix, or "
    "move that route",
)
async def a_route_with_a_parameter_below_the_prefix() -> str:
    @get("/api/chat/{chat_id:str}/export")
    async def export(chat_id: FromPath[str]) -> str:
        return chat_id

    streams = plugin()
    return await refused_at_the_start(streams, application(streams, export))


@row(Misuse.BEHIND_MOUNT)
async def a_mount_above_the_prefix() -> str:
    @asgi("/", is_mount=True, copy_scope=True)
    async def front_end(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it was called")

    streams = plugin()
    return await refused_at_the_start(streams, Litestar([front_end], plugins=[streams], logging_config=None))
