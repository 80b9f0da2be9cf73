"""What samples that show only a fragment take for granted: the names a reader of the how-to pages knows by then."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from streamguard import Anonymous, Run, Settings, StreamGuard, anonymous

__all__ = [
    "Anonymous",
    "AsyncIterator",
    "ChatBody",
    "FastAPI",
    "HTTPConnection",
    "Run",
    "Settings",
    "StreamGuard",
    "anonymous",
    "app",
    "guard",
    "model",
    "owner",
]


class ChatBody(BaseModel):
    """A conversation's id and its messages so far."""

    id: str
    messages: list[dict[str, object]]


async def owner(connection: HTTPConnection) -> str | None:
    """Who is asking."""
    return connection.headers.get("x-user")


async def model(messages: list[dict[str, object]]) -> AsyncIterator[str]:
    """Stands for a provider's client."""
    yield f"an answer to {len(messages)} messages"


guard = StreamGuard("memory://", authenticate=owner)
app = FastAPI(lifespan=guard.lifespan)
