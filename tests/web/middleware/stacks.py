"""An application with one guarded endpoint, in every stack of applications and middlewares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from streamguard import StreamGuard

from .host_middlewares import Passing

__all__ = [
    "STACKS",
    "Build",
    "Site",
    "installed_inside",
    "mounted",
    "never_installed",
    "never_installed_under_middleware",
    "plain",
    "stacks",
    "under_middleware",
]


@dataclass
class Site:
    """An application with one guarded endpoint, as it is served."""

    guard: StreamGuard
    app: ASGIApp
    path: str


Build = Callable[[StreamGuard, Callable[..., object]], Site]


def plain(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/chat")(endpoint)
    guard.install(app, "/api/chat")
    return Site(guard, app, "/chat")


def under_middleware(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    site = plain(guard, endpoint)
    assert isinstance(site.app, FastAPI)
    site.app.add_middleware(Passing)
    site.app.add_middleware(Passing)
    return site


def mounted(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    """Installed in the outer application; the inner one has a middleware of its own."""
    inner = FastAPI()
    inner.post("/chat")(endpoint)
    inner.add_middleware(Passing)
    app = Starlette(routes=[Mount("/v1", inner)], lifespan=guard.lifespan, middleware=[Middleware(Passing)])
    guard.install(app, "/api/chat")
    return Site(guard, app, "/v1/chat")


def installed_inside(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    """Installed in an application that is mounted in another, under a middleware."""
    inner = FastAPI()
    inner.post("/chat")(endpoint)
    guard.install(inner, "/api/chat")
    app = Starlette(routes=[Mount("/v1", inner)], lifespan=guard.lifespan, middleware=[Middleware(Passing)])
    return Site(guard, app, "/v1/chat")


def never_installed(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/chat")(endpoint)
    return Site(guard, app, "/chat")


def never_installed_under_middleware(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    site = never_installed(guard, endpoint)
    assert isinstance(site.app, FastAPI)
    site.app.add_middleware(Passing)
    return site


STACKS: list[Build] = [
    plain,
    under_middleware,
    mounted,
    installed_inside,
    never_installed,
    never_installed_under_middleware,
]
stacks = pytest.mark.parametrize("build", STACKS, ids=lambda build: build.__name__)
