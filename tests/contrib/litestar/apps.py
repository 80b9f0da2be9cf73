"""Litestar applications for the tests beside this file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from litestar import Litestar, post
from litestar.handlers import BaseRouteHandler
from litestar.types import ControllerRouterHandler
from pydantic import BaseModel
from starlette.types import ASGIApp

from streamguard import StreamGuard
from streamguard.contrib.litestar import StreamGuardPlugin
from streamguard.testing import GuardedApp

from ...harness.litestar_markers import JSONBody
from ...web.serving import USER, Gate, user_of

__all__ = ["ChatBody", "application", "chat_of", "plugin", "visiting", "words"]


class ChatBody(BaseModel):
    """What a chat page sends."""

    id: str
    words: int = 3


def plugin(prefix: str = "/api/chat", *, guard: StreamGuard | None = None, **options: Any) -> StreamGuardPlugin:
    """A plugin of a guard on memory, whose owner is `X-User`."""
    return StreamGuardPlugin(guard or StreamGuard(authenticate=user_of), prefix, **options)


def application(streams: StreamGuardPlugin, *handlers: ControllerRouterHandler, **options: Any) -> Litestar:
    """An application whose logging stays its own."""
    return Litestar(list(handlers), plugins=[streams], logging_config=None, **options)


@asynccontextmanager
async def visiting(
    streams: StreamGuardPlugin, *handlers: ControllerRouterHandler, headers: dict[str, str] = USER, **options: Any
) -> AsyncIterator[GuardedApp]:
    """A visitor of an application with these handlers."""
    app = application(streams, *handlers, **options)
    async with GuardedApp(cast("ASGIApp", app), streams.guard, prefix=streams.prefix, headers=headers) as visitor:
        yield visitor


def words(count: int) -> Sequence[str]:
    """What the model says."""
    return [f"w{number} " for number in range(count)]


def chat_of(streams: StreamGuardPlugin, gate: Gate | None = None, path: str = "/api/chat") -> BaseRouteHandler:
    """An endpoint that waits before its second word, if there is a gate."""

    @post(path)
    @streams.stream(session="data.id")
    async def chat(data: JSONBody[ChatBody]) -> AsyncIterator[str]:
        for number, word in enumerate(words(data.words)):
            if gate is not None and number == 1:
                await gate.wait()
            yield word

    return chat
