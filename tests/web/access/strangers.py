"""Visitors without names, who ask from any address, and how they are refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Anonymous, Settings, StreamGuard
from streamguard.observations import Observation, Signal
from streamguard.quota import Quota

from ..serving import Gate

__all__ = ["SECRET", "Body", "Strangers", "owner_cookie", "why"]

SECRET = "a secret of at least so many letters"


class Body(BaseModel):
    id: str


class Strangers:
    """An application for visitors without names, asked from any address."""

    def __init__(self, url: str = "memory://", *, quota: Quota | None = None, **settings: object) -> None:
        self.guard = StreamGuard(
            url, authenticate=Anonymous(SECRET), settings=Settings.model_validate({"drain_seconds": 0.1} | settings)
        )
        self.gate: Gate | None = None
        self.seen: list[Observation] = []
        self.app = FastAPI()

        @self.app.post("/api/chat")
        @self.guard.stream(session="body.id", quota=quota)
        async def chat(body: Body) -> AsyncIterator[str]:
            yield "a"
            if self.gate is not None:
                await self.gate.wait()

        self.guard.install(self.app, "/api/chat")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Strangers]:
        with self.guard.instrumented(observer=self.seen.append):
            async with self.guard:
                yield self

    async def ask(self, address: str, method: str = "POST", path: str = "/api/chat", **headers: str) -> httpx.Response:
        """One request from an address, with no cookie unless it is given."""
        transport = httpx.ASGITransport(app=self.app, client=(address, 5000))
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(transport=transport, base_url="http://chat.example", headers=named) as client:
            return await client.request(method, path, json={"id": "s"} if method == "POST" else None)

    @property
    def warnings(self) -> list[str]:
        return [str(seen.fields["warning"]) for seen in self.seen if seen.name is Signal.STORE_WARNING]


def why(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and reason of a refusal that says when to come back."""
    error = json.loads(answer.content)["error"]
    assert int(answer.headers["retry-after"]) >= 1
    return answer.status_code, error["code"], error.get("reason")


async def owner_cookie(strangers: Strangers, address: str) -> str:
    answer = await strangers.ask(address)
    return answer.headers["set-cookie"].partition(";")[0]
