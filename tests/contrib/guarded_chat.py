"""A guarded endpoint for tests of FastAPI's routes, which any FastAPI that is allowed can import."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from pydantic import BaseModel

from streamguard import StreamGuard

__all__ = ["Body", "chat_of"]


class Body(BaseModel):
    id: str | None


def chat_of(guard: StreamGuard, **options: Any) -> Callable[..., Any]:
    @guard.stream(session="body.id", **options)
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "word"

    return chat
