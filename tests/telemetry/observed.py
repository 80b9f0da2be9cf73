"""An application with one guard whose observer keeps what it is told."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Observation, Observer, Settings, Signal, StreamGuard
from streamguard.quota import Quota
from streamguard.stores import StreamStore
from streamguard.stores.memory import MemoryStore
from streamguard.testing import Answer, GuardedApp
from tests.web.serving import USER, user_of

__all__ = ["QUICK", "Told", "Worker", "asked"]

QUICK: Final[dict[str, Any]] = {
    "drain_seconds": 0.2,
    "lease_seconds": 1.0,
    "heartbeat_seconds": 0.1,
    "sweep_seconds": 0.05,
    "outbox_seconds": 0.05,
    "outbox_retry_seconds": 0.05,
    "save_visible_seconds": 0.1,
    "save_total_seconds": 0.2,
    "settle_visible_seconds": 0.1,
    "quota_seconds": 0.2,
    "breaker_probe_seconds": 0.05,
    "registration_seconds": 0.2,
    "append_deadline_seconds": 0.2,
}
"""Nobody waits for a clock longer than a test has to."""


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self._more = asyncio.Event()

    def __call__(self, observation: Observation) -> None:
        self.observations.append(observation)
        self._more.set()

    async def of(self, signal: Signal) -> Observation:
        """Wait for the first of a kind."""
        async with asyncio.timeout(20):
            while not (found := [seen for seen in self.observations if seen.name is signal]):
                self._more.clear()
                await self._more.wait()
        return found[0]


class Worker:
    """An application with one guard and one endpoint, `POST /api/chat?id=`, which goes as far as the test says."""

    def __init__(
        self,
        store: StreamStore | None = None,
        *,
        quota: Quota | None = None,
        quotas: Any = None,
        installed: bool = True,
        debug: bool = False,
        observers: tuple[Observer, ...] = (),
        messages: Any = None,
        **settings: Any,
    ) -> None:
        self.told = Told()
        self.go = asyncio.Event()
        """The endpoint ends."""
        self.fails = False
        self.deaf = False
        self.refuses = False
        """The endpoint answers with no stream."""
        self.parts: list[dict[str, object]] = []
        """What the endpoint gives before its text."""
        self.guard = StreamGuard(
            store or MemoryStore(),
            authenticate=user_of,
            messages=messages,
            quota=quotas,
            observers=(self.told, *observers),
            settings=Settings.model_validate({**QUICK, **settings}),
            debug=debug,
        )

        @self.guard.stream("request.query_params.id", binding="chat", quota=quota, on_conflict="reject")
        async def chat(request: Request) -> AsyncIterator[str | dict[str, object]]:
            if self.refuses:
                raise HTTPException(402)
            for part in self.parts:
                yield part
            yield "one "
            if self.fails:
                raise RuntimeError(f"the model failed on {request.query_params['id']}: {uuid.uuid4()}")
            while not self.go.is_set():
                try:
                    await self.go.wait()
                except asyncio.CancelledError:
                    if not self.deaf:
                        raise
            yield "two"

        self.app = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])], lifespan=self.guard.lifespan)
        if installed:
            self.guard.install(self.app, "/api/chat")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[GuardedApp]:
        async with GuardedApp(self.app, self.guard, headers=USER) as chat:
            try:
                yield chat
            finally:
                self.go.set()

    async def whole(self, chat: GuardedApp, session: str = "s") -> Answer:
        self.go.set()
        answer = await asked(chat, session)
        await answer.rest()
        await chat.ended(answer)
        return answer


async def asked(chat: GuardedApp, session: str = "s") -> Answer:
    """An answer that has begun."""
    answer = await chat.post({}, path=f"/api/chat?id={session}")
    await answer.read(2)
    return answer
