"""A quota service of the host's own, in an application: what clients are answered when its functions or the estimate
give what they should not."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import StreamGuard
from streamguard.errors import QuotaExceededError
from streamguard.quota import CallableQuota, QuotaCall
from streamguard.web.endpoint.demand_source import EstimateSource

from ..serving import calling, user_of

pytestmark = pytest.mark.anyio


class Body(BaseModel):
    id: str = "s"


class Chat:
    """`POST /chat` of an application whose own service refuses after `wait`; None admits. With `loses_commits`, the
    service awaits a task that somebody else cancelled."""

    def __init__(
        self, *, wait: float | None = None, estimate: EstimateSource = 40, loses_commits: bool = False
    ) -> None:
        self.reserved = 0

        async def reserve(call: QuotaCall) -> None:
            self.reserved += 1
            if wait is not None:
                raise QuotaExceededError("no", retry_after_seconds=wait)

        async def commit(call: QuotaCall) -> None:
            if loses_commits:
                task = asyncio.ensure_future(asyncio.Event().wait())
                task.cancel()
                await task

        async def release(call: QuotaCall) -> None: ...

        self.guard = StreamGuard("memory://", authenticate=user_of, quota=CallableQuota(reserve, commit, release))
        self.app = FastAPI()

        @self.app.post("/chat")
        @self.guard.stream("body.id", estimate=estimate)
        async def chat(body: Body) -> AsyncIterator[str]:
            yield "word"

        self.guard.install(self.app, "/chat")


@pytest.mark.parametrize(("wait", "retryable", "header"), [(math.inf, False, None), (math.nan, True, "1")])
async def test_a_refusal_for_no_finite_time_is_answered_429(wait: float, retryable: bool, header: str | None) -> None:
    chat = Chat(wait=wait)
    async with calling(chat.app, chat.guard) as client:
        refused = await client.post("/chat", json={})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["retryable"]) == (429, "quota_exceeded", retryable)
        assert refused.headers.get("retry-after") == header


@pytest.mark.parametrize("unit", ["Tokens", "", 1])
async def test_an_estimate_in_what_is_no_unit_is_answered_500_internal(unit: object) -> None:
    chat = Chat(estimate=lambda body: {unit: 3})  # type: ignore[dict-item] # it is wrong
    async with calling(chat.app, chat.guard) as client:
        answer = await client.post("/chat", json={})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["reason"]) == (500, "internal", "estimate")
    assert chat.reserved == 0


async def test_an_answer_ends_although_its_settlement_awaited_a_cancelled_task() -> None:
    chat = Chat(loses_commits=True)
    async with calling(chat.app, chat.guard) as client:
        answer = await client.post("/chat", json={})
        assert answer.text.rstrip().endswith("data: [DONE]")
        last = (await client.get("/chat/s")).json()["last"]
        assert (last["outcome"], last["quota"]) == ("completed", "pending")
