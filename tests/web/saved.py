"""Conversations in a message store, and an application whose routes read them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Observer, Settings, StreamGuard
from streamguard.messages import MemoryMessageStore, Message, MessageStore, Role, StoredMessage
from streamguard.values import Outcome, SessionKey

from .serving import user_of

__all__ = ["KEY", "Body", "FailingStore", "app_of", "fill", "guard_with", "ids_of", "read", "refusal"]

KEY = SessionKey("ann", "s")


class Body(BaseModel):
    id: str


class FailingStore(MemoryMessageStore):
    """A database that is away while `error` is set."""

    error: Exception | None = None
    asked = 0

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        self._fail()
        return await super().list(key, after=after, limit=limit, branches=branches)

    async def delete_session(self, key: SessionKey) -> None:
        self._fail()
        await super().delete_session(key)

    def _fail(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


def guard_with(messages: MessageStore | None, *, observers: Iterable[Observer] = (), **settings: object) -> StreamGuard:
    valid = Settings.model_validate(settings)
    return StreamGuard(authenticate=user_of, messages=messages, observers=observers, settings=valid)


def app_of(guard: StreamGuard, **options: MessageStore | bool | None) -> FastAPI:
    """Its endpoint saves nothing by itself unless told so: the tests say what is stored."""
    app = FastAPI()

    @app.post("/api/chat")
    @guard.stream("body.id", save=options.get("save", False))  # type: ignore[arg-type] # None, False or a store
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "hello"

    guard.install(app, "/api/chat")
    return app


async def fill(store: MessageStore, count: int, key: SessionKey = KEY) -> None:
    """Questions m1, m3, … and answers m2, m4, …"""
    await store.open_session(key)
    for number in range(1, count + 1):
        answer = number % 2 == 0
        message = Message(
            message_id=f"m{number}",
            role=Role.ASSISTANT if answer else Role.USER,
            parts=({"type": "text", "text": f"text {number}"},),
            metadata={"tone": "kind"} if answer else None,
            stream_id=f"{number:024x}" if answer else None,
            outcome=Outcome.STOPPED if answer else None,
            usage={"output_tokens": number} if answer else {},
        )
        await store.append(key, message)


async def read(client: httpx.AsyncClient, query: str = "", session: str = "s") -> httpx.Response:
    return await client.get(f"/api/chat/{session}/messages{query}")


def ids_of(answer: httpx.Response) -> list[str]:
    return [message["id"] for message in answer.json()["messages"]]


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["phase"]
