"""A guard that limits bodies, bodies of any length, and how much of them was taken."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuard

from ..serving import make_guard

__all__ = ["LIMIT", "PIECE", "Counting", "code_of", "endless", "limited"]

LIMIT = 100_000
PIECE = b"x" * 10_000


def limited(**settings: object) -> StreamGuard:
    return make_guard(max_request_bytes=LIMIT, **settings)


class Counting:
    """Counts the pieces of a body that the application took."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.taken = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted() -> Message:
            message = await receive()
            self.taken += len(message.get("body", b""))
            return message

        await self.app(scope, counted if scope["type"] == "http" else receive, send)


async def endless() -> AsyncIterator[bytes]:
    """A body that would be 100 MiB."""
    for _ in range(10_486):
        yield PIECE


def code_of(answer: httpx.Response) -> object:
    return answer.json()["error"]["code"]
