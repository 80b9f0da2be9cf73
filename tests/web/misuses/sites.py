"""Applications that are made to be misused, and what is said of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from streamguard import ConfigurationError, Signal, StreamGuard
from streamguard.observations import Observation
from streamguard.testing import GuardedApp
from streamguard.web.misuse import Misuse

from ..serving import USER

__all__ = [
    "ID",
    "ROWS",
    "TIMING",
    "Body",
    "Row",
    "asked",
    "chat_of",
    "endless",
    "named",
    "own_lifespan",
    "row",
    "said",
    "said_when",
    "site",
    "timing",
    "told",
    "told_of_requests",
    "visiting",
    "with_front_end",
]

ID: Final = "body.id"


@dataclass(frozen=True, slots=True)
class Row:
    """One misuse, and what is said of it."""

    misuse: Misuse
    commit: Callable[[], str | Awaitable[str]]
    text: str | None
    """What is said; None for what the page says."""

    def __str__(self) -> str:
        return f"{self.misuse.name.lower()}: {self.commit.__name__}"


ROWS: Final[list[Row]] = []


def row(misuse: Misuse, text: str | None = None) -> Callable[[Callable[[], str | Awaitable[str]]], object]:
    def register(commit: Callable[[], str | Awaitable[str]]) -> object:
        ROWS.append(Row(misuse, commit, text))
        return commit

    return register


class Body(BaseModel):
    id: str | None
    messages: list[dict[str, object]] = []


def named(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """As if it were written at the top of `app.py`."""
    endpoint.__module__ = "app"
    endpoint.__qualname__ = endpoint.__name__
    return endpoint


def chat_of(guard: StreamGuard, **options: Any) -> Callable[..., Any]:
    options = {"session": ID, **options}

    @guard.stream(**options)
    @named
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "word"

    return chat


def site(guard: StreamGuard, prefix: str = "/api/chat", **options: Any) -> FastAPI:
    """An application as it should be, but for `options`."""
    app = FastAPI(**{"lifespan": guard.lifespan, **options})
    app.post("/api/chat")(chat_of(guard))
    guard.install(app, prefix)
    return app


def said(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        call()
    return str(refused.value)


async def said_when(awaitable: Awaitable[object]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        await awaitable
    return str(refused.value)


def visiting(app: ASGIApp, guard: StreamGuard, prefix: str = "/api/chat") -> GuardedApp:
    return GuardedApp(app, guard, prefix=prefix, headers=USER)


def told(observations: list[Observation]) -> list[str]:
    return [str(seen.fields["warning"]) for seen in observations if seen.name is Signal.MISUSE]


async def told_of_requests(app: ASGIApp, guard: StreamGuard, path: str = "/api/chat", id_: str | None = "s") -> str:
    """What observers are told, once, of two requests."""
    async with visiting(app, guard, path) as chat:
        for _ in range(2):
            await (await chat.post({"id": id_})).rest()
        (warning,) = told(chat.observations)
    return warning


async def asked(app: ASGIApp, path: str = "/api/chat", client: tuple[str, int] = ("10.0.0.1", 4711)) -> object:
    transport = httpx.ASGITransport(app, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=USER) as caller:
        return await caller.post(path, json={"id": "s"})


async def timing(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


TIMING: Final = Middleware(BaseHTTPMiddleware, dispatch=timing)


def own_lifespan(guard: StreamGuard) -> Any:
    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with guard:
            yield

    return lifespan


def endless(guard: StreamGuard) -> FastAPI:
    app = FastAPI()

    @app.post("/api/chat")
    @guard.stream(ID)
    @named
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "word"
        await asyncio.Event().wait()

    guard.install(app, "/api/chat")
    return app


def with_front_end(app: FastAPI) -> FastAPI:
    @app.get("/{page:path}")
    async def front_end(page: str) -> Response:
        return HTMLResponse(page)

    return app
