"""An application whose answers stand still after each item until a keep-alive has gone out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard.wire import KEEP_ALIVE

__all__ = ["Paced"]

T = TypeVar("T")


class Paced:
    """The application, and the pace of its endpoints: all of them share it, so one answer at a time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._beat = asyncio.Event()
        self.beats: int = 0
        """Keep-alives that went out."""

    async def items(self, items: Iterable[T]) -> AsyncIterator[T]:
        """The items, with at least one keep-alive before each."""
        for item in items:
            self._beat.clear()
            await self._beat.wait()
            yield item

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counting(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and message.get("body", b"").startswith(KEEP_ALIVE):
                self.beats += 1
                self._beat.set()

        await self._app(scope, receive, counting)
