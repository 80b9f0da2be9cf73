"""An application of the test's own under a `GuardedApp`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.responses import Response

from streamguard import Settings, StreamGuard, anonymous
from streamguard.messages import MessageStore
from streamguard.testing import GuardedApp

__all__ = ["ANN", "BOB", "Body", "ModelError", "Site", "make_site", "owner"]

ANN, BOB = {"X-User": "ann"}, {"X-User": "bob"}


class Body(BaseModel):
    id: str
    n: int = 3
    size: int = 1
    wait_at: int | None = None
    crash_at: int | None = None


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


@dataclass
class Site:
    """An application of the test's own, and the event its endpoints wait for."""

    app: FastAPI
    guard: StreamGuard
    go_on: asyncio.Event

    def enter(self, headers: dict[str, str] | None = None) -> GuardedApp:
        return GuardedApp(self.app, self.guard, headers=ANN if headers is None else headers)


class ModelError(Exception):
    """As provider SDKs make them."""

    status_code = 500


def make_site(*, visitors: bool = False, messages: MessageStore | None = None, **settings: object) -> Site:
    guard = StreamGuard(
        authenticate=anonymous if visitors else owner,
        messages=messages,
        settings=Settings.model_validate({"drain_seconds": 1.0, **settings}),
    )
    app = FastAPI(lifespan=guard.lifespan)
    go_on = asyncio.Event()

    async def words(body: Body) -> AsyncIterator[str]:
        for number in range(body.n):
            if number == body.wait_at:
                await go_on.wait()
            if number == body.crash_at:
                raise ModelError("the model's own words")
            yield f"w{number} ".ljust(body.size, "x")

    app.post("/api/chat")(guard.stream(session="body.id")(words))
    app.post("/api/plain")(guard.stream(session="body.id", protocol="plain", binding="plain")(words))

    @app.get("/broken")
    async def broken() -> Response:
        raise RuntimeError("a bug of the host's")

    guard.install(app, "/api/chat")
    return Site(app, guard, go_on)
