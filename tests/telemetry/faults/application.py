"""A guarded chat in which every text that must not leave the process is a canary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Observer, Run, Settings, StreamGuard
from streamguard.quota import Quota
from streamguard.stores import StreamStore
from streamguard.stores.memory import MemoryStore
from streamguard.testing import Answer, GuardedApp
from tests.web.serving import user_of

from ..observed import QUICK
from .canaries import Canaries

__all__ = ["SESSION", "Application", "Script", "answered", "spoken"]

SESSION: Final = "conversation"

Script = Callable[["Application", Run], AsyncIterator[object]]
"""What the endpoint yields."""


def spoken(canaries: Canaries) -> list[dict[str, object]]:
    """The parts of an answer with reasoning, a tool call and text."""
    return [
        {"type": "reasoning-start", "id": "r"},
        {"type": "reasoning-delta", "id": "r", "delta": canaries.reasoning},
        {"type": "reasoning-end", "id": "r"},
        {
            "type": "tool-input-available",
            "toolCallId": "call_1",
            "toolName": "search",
            "input": {"query": canaries.tool_arguments},
        },
        {"type": "tool-output-available", "toolCallId": "call_1", "output": {"found": canaries.tool_output}},
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": canaries.completion},
    ]


async def answered(app: Application, run: Run) -> AsyncIterator[object]:
    """Say something, and more once the application may go on."""
    for part in spoken(app.canaries):
        yield part
    await app.go.wait()
    yield {"type": "text-delta", "id": "t", "delta": "."}
    yield {"type": "text-end", "id": "t"}


class Application:
    """One process: a guard and one endpoint, `POST /api/chat`, whose answer is what `script` yields.

    Whoever asks is signed in by a header and by a cookie, and sends a prompt; the endpoint saves it, and keeps a
    password in a local variable.
    """

    def __init__(
        self,
        canaries: Canaries,
        observers: Iterable[Observer] = (),
        *,
        script: Script = answered,
        store: StreamStore | None = None,
        messages: Any = None,
        quota: Quota | None = None,
        quotas: Any = None,
        authenticate: Any = user_of,
        session: Any = "request.query_params.id",
        estimate: Any = None,
        protocol: str | None = None,
        on_conflict: Literal["reject", "replace", "join"] = "reject",
        on_store_failure: Literal["continue", "fail"] = "continue",
        debug: bool | None = False,
        **settings: object,
    ) -> None:
        self.canaries = canaries
        self.script = script
        self.go = asyncio.Event()
        """A script that waits goes on."""
        self.guard = StreamGuard(
            store or MemoryStore(),
            authenticate=authenticate,
            messages=messages,
            quota=quotas,
            observers=tuple(observers),
            settings=Settings.model_validate({**QUICK, **settings}),
            debug=debug,
        )

        @self.guard.stream(
            session,
            binding="chat",
            estimate=estimate,
            protocol=protocol,
            quota=quota,
            on_conflict=on_conflict,
            on_store_failure=on_store_failure,
        )
        async def chat(request: Request, run: Run) -> AsyncIterator[object]:
            password = canaries.password  # a local variable, which Sentry would send with a frame
            prompt = (await request.json())["prompt"]
            if messages is not None:
                run.save({"id": "u1", "role": "user", "parts": [{"type": "text", "text": prompt}]})
            async for item in self.script(self, run):
                yield item
            del password

        self.app = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])], lifespan=self.guard.lifespan)
        self.guard.install(self.app, "/api/chat")

    @property
    def headers(self) -> dict[str, str]:
        """Those of every request."""
        return {
            "x-user": self.canaries.owner,
            "authorization": f"Bearer {self.canaries.authorization}",
            "cookie": f"session={self.canaries.cookie}",
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[GuardedApp]:
        """The application, started. On leaving, scripts may go on to their ends."""
        async with GuardedApp(self.app, self.guard, headers=self.headers) as chat:
            try:
                yield chat
            finally:
                self.go.set()

    async def ask(
        self, chat: GuardedApp, *, session: str = SESSION, headers: dict[str, str] | None = None, prompt: str = ""
    ) -> Answer:
        """Post the prompt: an answer that has begun, or the refusal."""
        body = {"prompt": self.canaries.prompt + prompt}
        return await chat.post(body, path=f"/api/chat?id={session}&token={self.canaries.query}", headers=headers)
