"""An application with a chat endpoint, for tests of answers that begin without a request."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from streamguard import (
    Run,
    Settings,
    StartedRun,
    StreamEnd,
    StreamGuard,
)
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota
from streamguard.testing import GuardedApp

__all__ = ["QUOTA", "Site", "ended", "owner"]

QUOTA = Quota(limit=100, per="day", unit="tokens")


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


class Site:
    """An application with a chat endpoint, whose quota and protocol answers may borrow."""

    def __init__(self, *, messages: MemoryMessageStore | None = None, **settings: object) -> None:
        self.messages = messages or MemoryMessageStore()
        self.guard = guard = StreamGuard(
            authenticate=owner,
            messages=self.messages,
            settings=Settings.model_validate({"drain_seconds": 1.0, **settings}),
        )

        @guard.stream(session=lambda request: request.query_params["id"], binding="chat", quota=QUOTA, estimate=10)
        async def chat(request: Request, run: Run) -> AsyncIterator[str]:
            yield "hello"
            run.usage(tokens=3)

        @guard.stream(binding="plain", protocol="plain", stall_seconds=0.05)
        async def plain(request: Request) -> AsyncIterator[str]:
            yield "hello"

        @guard.stream(binding="measured", quota=QUOTA, estimate=lambda request: 10)
        async def measured(request: Request) -> AsyncIterator[str]:
            yield "hello"

        @guard.stream(binding="passed-on")
        async def passed_on(request: Request) -> StreamingResponse:
            return StreamingResponse(iter(()), media_type="text/event-stream")

        self.chat = chat
        app = Starlette(lifespan=guard.lifespan, routes=[Route("/api/chat", chat, methods=["POST"])])
        guard.install(app, "/api/chat")
        self.app = app

    def enter(self) -> GuardedApp:
        return GuardedApp(self.app, self.guard, headers={"X-User": "ann"})


def ended(run: StartedRun) -> StreamEnd:
    assert run.end is not None
    return run.end
