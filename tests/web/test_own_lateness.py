"""An event loop that stands still: its own lateness is nobody else's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest
import uvloop
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Settings, StreamGuard
from streamguard.messages import RedisMessageStore
from streamguard.observations import Signal
from streamguard.quota import Quota, QuotaStore, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.stores.store import StreamStore
from streamguard.testing import GuardedApp
from streamguard.testing._passing import PassingMessageStore, PassingStore
from streamguard.testing.faulty_stores import FaultyStore
from streamguard.values import Outcome, Persisted, QuotaState
from tests.runtime.counting import QuotaLine

T = TypeVar("T")

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
SHORT = 0.3
STALL = 0.8
SETTINGS = Settings(
    registration_seconds=SHORT,
    command_seconds=SHORT,
    append_deadline_seconds=SHORT,
    quota_seconds=SHORT,
    settle_visible_seconds=SHORT,
    save_attempt_seconds=SHORT,
    save_visible_seconds=SHORT,
    heartbeat_seconds=0.5,
    lease_seconds=60.0,
    drain_seconds=0.5,
    first_item_seconds=SHORT,
    stall_seconds=SHORT,
    viewer_send_seconds=SHORT,
)
"""Every patience is shorter than the stall."""


class Stall:
    """Stops the event loop once, while the named step is under way."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.armed = False
        self.happened = False

    def at(self, step: str) -> None:
        if self.armed and not self.happened and step == self.step:
            self.happened = True
            loop = asyncio.get_running_loop()
            # Some turns later: what the step asks has been sent by then, or is about to be.
            loop.call_soon(loop.call_soon, loop.call_soon, time.sleep, STALL)


class StallingStore(PassingStore):
    def __init__(self, inner: StreamStore, stall: Stall) -> None:
        super().__init__(inner)
        self.stall = stall

    async def _pass(self, step: str, call: Callable[[], Awaitable[T]], /) -> T:
        self.stall.at(step)
        return await call()


class StallingMessages(PassingMessageStore):
    def __init__(self, inner: RedisMessageStore, stall: Stall) -> None:
        super().__init__(inner)
        self.stall = stall

    async def _pass(self, step: str, call: Callable[[], Awaitable[T]], /) -> T:
        self.stall.at(f"messages.{step}")
        return await call()


class StallingQuota(QuotaLine):
    def __init__(self, inner: QuotaStore, stall: Stall) -> None:
        super().__init__(inner)
        self.stall = stall

    async def _pass(self, operation: str, step: Callable[[], Awaitable[T]]) -> T:
        self.stall.at(f"quota.{operation}")
        return await step()


class Body(BaseModel):
    id: str


STEPS = [
    "claim_request",
    "session",
    "register",
    "append",
    "heartbeat",
    "seal",
    "close",
    "messages.open_session",
    "messages.append",
    "quota.reserve",
    "quota.commit",
    "model",
    "viewer",
]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("step", STEPS)
def test_a_stall_is_not_taken_for_an_outage(redis_url: str, step: str, loop: str) -> None:
    """Whoever is waited for meanwhile, and whatever the patience with it: nothing degrades, and nothing times out."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(_chat_through(redis_url, Stall(step)))


async def _chat_through(url: str, stall: Stall) -> None:
    async with RedisClient(url, command_seconds=SHORT) as client:
        guard = StreamGuard(
            url,
            authenticate=lambda connection: "ann",
            settings=SETTINGS,
            messages=StallingMessages(RedisMessageStore(client, ttl_seconds=60), stall),
            quota=StallingQuota(RedisQuotaStore(client), stall),
        )
        app = FastAPI(lifespan=guard.lifespan)

        @app.post("/api/chat")
        @guard.stream(session="body.id", quota=Quota(limit=1_000, per="day", unit="tokens"), estimate=10)
        async def chat(body: Body) -> AsyncIterator[str]:
            stall.at("model")
            yield "one "
            stall.at("viewer")
            if stall.step == "heartbeat" and stall.armed:
                while not stall.happened:
                    yield "."
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)
            yield "two"

        guard.install(app, "/api/chat")
        async with GuardedApp(app, guard, wait_seconds=30) as visitor:
            store = guard._running().store
            assert isinstance(store, FaultyStore)
            store.inner = StallingStore(store.inner, stall)
            await visitor.ended(await visitor.post({"id": "warm"}, headers={"Idempotency-Key": "warm"}))
            stall.armed = True
            answer = await visitor.post({"id": "c1"}, headers={"Idempotency-Key": "k1"})
            await answer.rest()
            ended = await visitor.ended(answer)
            assert stall.happened
            assert (answer.status, answer.headers.get("x-streamguard-notice")) == (200, None)
            assert ended.fields["outcome"] == Outcome.COMPLETED
            assert ended.fields["persisted"] == Persisted.YES
            assert ended.fields["quota"] == QuotaState.SETTLED
            assert answer.faults == []
            names = {one.name for one in visitor.observations}
            assert not names & {Signal.BREAKER_OPENED, Signal.STREAM_DEGRADED, Signal.FAULT, Signal.VIEWER_CUT}
