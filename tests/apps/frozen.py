"""An application with two guards that tells whether the objects of its start are collected."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streamguard import Settings, StreamGuard

MADE_AT_START = ["as routes and schemas are"]


async def user(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


def settings() -> Settings:
    return Settings.model_validate_json(os.environ.get("STREAMGUARD_SETTINGS", "{}"))


guard = StreamGuard("memory://", authenticate=user, settings=settings())
second_guard = StreamGuard("memory://", authenticate=user, settings=settings())


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with guard, second_guard:
        yield


async def frozen(_: Request) -> Response:
    """Whether the collector looks at what was made at the start, and how much it does not look at."""
    looked_at = any(found is MADE_AT_START for found in gc.get_objects())
    return JSONResponse({"frozen": not looked_at, "count": gc.get_freeze_count()})


app = Starlette(routes=[Route("/frozen", frozen)], lifespan=lifespan)
