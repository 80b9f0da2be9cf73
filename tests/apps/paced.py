"""An application whose answers stand still before each item until a keep-alive has gone out to their client."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard.wire import KEEP_ALIVE

__all__ = ["Paced"]

T = TypeVar("T")


class Paced:
    """The application, and the pace of its endpoints: by session, which a request names as `?id=` and a route in its
    path. So one client at a time views a session's answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._beat: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.beats: Counter[str] = Counter()
        """How many keep-alives went out, by session."""

    async def items(self, request: Request, items: Iterable[T]) -> AsyncIterator[T]:
        """The items, with at least one keep-alive before each."""
        beat = self._beat[_session_of(request.scope)]
        for item in items:
            beat.clear()
            await beat.wait()
            yield item

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counting(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and message.get("body", b"").startswith(KEEP_ALIVE):
                session = _session_of(scope)
                self.beats[session] += 1
                self._beat[session].set()

        await self._app(scope, receive, counting)


def _session_of(scope: Scope) -> str:
    (named,) = parse_qs(scope["query_string"].decode()).get("id", [""])
    return named or str(scope["path"]).split("/")[-2]
