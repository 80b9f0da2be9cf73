"""`quota=` and `estimate=`: what is refused, with what headers; what a session's status says; whose service counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from streamguard import ConfigurationError, Run, StreamGuard
from streamguard.errors import MessageForbiddenError, QuotaExceededError
from streamguard.quota import CallableQuota, MemoryQuotaStore, Quota, QuotaCall, QuotaService
from streamguard.web.endpoint.demand_source import EstimateSource
from tests.harness.sse import EventReader, ui_text
from tests.runtime.counting import QuotaLine, used
from tests.runtime.savers import Messages

from ..serving import Gate, calling, user_of

pytestmark = pytest.mark.anyio

TOKENS = Quota(limit=100, per="day", unit="tokens")
REQUESTS = Quota(limit=3, per="minute", unit="requests")


class Body(BaseModel):
    id: str = "s"
    tokens: Any = 40
    uses: int | None = None
    fails: bool = False


class Chat:
    """`POST /chat` costs what its body says."""

    def __init__(
        self,
        quota: QuotaService | None = None,
        *,
        limits: object = (TOKENS, REQUESTS),
        estimate: EstimateSource = "body.tokens",
        gate: Gate | None = None,
        messages: Messages | None = None,
        url: str = "memory://",
    ) -> None:
        self.guard = StreamGuard(url, authenticate=user_of, quota=quota, messages=messages)
        self.runs = 0
        self.app = FastAPI()

        @self.app.post("/chat")
        @self.guard.stream("body.id", quota=limits, estimate=estimate)  # type: ignore[arg-type] # some are wrong
        async def chat(body: Body, run: Run) -> AsyncIterator[str]:
            self.runs += 1
            if body.fails:
                raise HTTPException(402, "pay first")
            if body.uses is not None:
                run.usage(input_tokens=body.uses)
            yield "word"
            if gate is not None:
                await gate.wait()

        self.guard.install(self.app, "/chat")


def error_of(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    return found


async def test_what_does_not_fit_is_answered_429_before_the_model_is_called() -> None:
    """Promise I8."""
    chat = Chat()
    async with calling(chat.app, chat.guard) as client:
        answer = await client.post("/chat", json={"tokens": 70, "uses": 61})
        assert ui_text(EventReader().feed(answer.content)) == "word"
        assert answer.headers["ratelimit-policy"] == '"tokens-day";q=100;w=86400, "requests-minute";q=3;w=60'
        assert answer.headers["ratelimit"].startswith('"tokens-day";r=30;t=')
        refused = await client.post("/chat", json={"id": "t", "tokens": 40})
        assert refused.status_code == 429
        error = error_of(refused)
        assert (error["code"], error["phase"], error["reason"]) == ("quota_exceeded", "quota", "spent")
        assert error["retryable"] is True
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
        assert int(refused.headers["retry-after"]) == error["retry_after_seconds"]
        assert refused.headers["ratelimit"].startswith('"tokens-day";r=39;t=')
        assert refused.headers["x-session-id"] == "t"
        assert chat.runs == 1


async def test_what_never_fits_is_not_to_be_tried_again() -> None:
    chat = Chat()
    async with calling(chat.app, chat.guard) as client:
        refused = await client.post("/chat", json={"tokens": 101})
        assert (refused.status_code, error_of(refused)["reason"]) == (429, "too_large")
        assert error_of(refused)["retryable"] is False
        assert "retry-after" not in refused.headers


async def test_requests_are_counted_too() -> None:
    chat = Chat(limits=REQUESTS, estimate=None)
    async with calling(chat.app, chat.guard) as client:
        codes = [(await client.post("/chat", json={})).status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        assert (await client.post("/chat", json={}, headers={"X-User": "bob"})).status_code == 200


async def test_each_of_many_at_once_is_admitted_or_refused() -> None:
    """Never one more than there is room for."""
    quota, gate = QuotaLine(), Gate()
    chat = Chat(quota, limits=TOKENS, gate=gate)
    async with calling(chat.app, chat.guard) as client:
        posts = [asyncio.create_task(client.post("/chat", json={"id": f"s{n}", "tokens": 40})) for n in range(6)]
        await gate.reached.wait()
        gate.open()
        codes = sorted([(await post).status_code for post in posts])
    assert codes == [200, 200, 429, 429, 429, 429]
    assert await used(quota, "ann") == (80, 0)


@pytest.mark.parametrize("tokens", ["many", -1, 1.5, True, 2**60, None, {"tokens": "x"}, {"pages": 3}])
async def test_an_estimate_that_is_none_is_answered_500(tokens: object) -> None:
    quota = QuotaLine()
    chat = Chat(quota)
    async with calling(chat.app, chat.guard) as client:
        answer = await client.post("/chat", json={"tokens": tokens})
        assert (answer.status_code, error_of(answer)["code"]) == (500, "internal")
        assert (chat.runs, quota.calls["reserve"]) == (0, 0)


async def test_an_estimate_may_be_a_function_that_raises() -> None:
    async def estimate(body: Body) -> Mapping[str, int]:
        if body.fails:
            raise HTTPException(402, "pay first")
        return {"tokens": 1 // int(body.tokens)}

    chat = Chat(estimate=estimate)
    async with calling(chat.app, chat.guard) as client:
        assert (await client.post("/chat", json={"tokens": 1})).status_code == 200
        assert (await client.post("/chat", json={"tokens": 0})).status_code == 500
        assert (await client.post("/chat", json={"fails": True})).status_code == 402


async def test_a_quota_that_is_away_is_answered_503() -> None:
    quota = QuotaLine()
    quota.down.add("reserve")
    chat = Chat(quota)
    async with calling(chat.app, chat.guard) as client:
        answer = await client.post("/chat", json={})
        assert (answer.status_code, error_of(answer)["code"]) == (503, "quota_unavailable")
        assert answer.headers["retry-after"] == "5"
        assert chat.runs == 0


async def test_an_http_exception_costs_nothing() -> None:
    quota = QuotaLine()
    chat = Chat(quota)
    async with calling(chat.app, chat.guard) as client:
        assert (await client.post("/chat", json={"fails": True})).status_code == 402
        await chat.guard.idle()
    assert await used(quota, "ann") == (0, 0)


async def test_somebody_else_s_session_costs_nothing() -> None:
    quota, messages, gate = QuotaLine(), Messages(), Gate()
    messages.may_forbid = True
    messages.errors["open_session"] = MessageForbiddenError("no", operation="open_session")
    chat = Chat(quota, messages=messages, gate=gate)
    async with calling(chat.app, chat.guard) as client:
        assert (await client.post("/chat", json={})).status_code == 404
        await chat.guard.idle()
    assert await used(quota, "ann") == (0, 0)


async def test_a_key_s_requests_are_counted_once() -> None:
    quota = QuotaLine()
    chat = Chat(quota)
    async with calling(chat.app, chat.guard) as client:
        for _ in range(3):
            answer = await client.post("/chat", json={"tokens": 60}, headers={"Idempotency-Key": "k"})
            assert answer.status_code == 200
        refused = await client.post("/chat", json={"tokens": 60}, headers={"Idempotency-Key": "other"})
        assert refused.status_code == 429
        small = await client.post("/chat", json={"tokens": 5, "id": "t"}, headers={"Idempotency-Key": "third"})
        assert small.status_code == 200
    assert await used(quota, "ann") == (65, 0)


async def test_the_status_tells_how_the_owner_stands() -> None:
    quota = QuotaLine()
    chat = Chat(quota)
    async with calling(chat.app, chat.guard) as client:
        await client.post("/chat", json={"uses": 12})
        answer = await client.get("/chat/s")
        body = answer.json()
        assert body["last"]["quota"] == "settled"
        tokens, requests = body["quota"]["limits"]
        assert 0 < tokens.pop("resets_in_seconds") <= 86_400
        assert tokens == {
            "name": "tokens-day",
            "unit": "tokens",
            "per_seconds": 86_400,
            "limit": 100,
            "used": 12,
            "reserved": 0,
            "remaining": 88,
        }
        assert (requests["used"], requests["remaining"]) == (1, 2)
        assert body["quota"]["pending_release"] == 0
        assert (await client.get("/chat/never")).json()["quota"]["limits"][0]["used"] == 12
        quota.down.add("status")
        answer = await client.get("/chat/s")
        assert (answer.status_code, answer.json()["quota"]) == (200, None)
        assert answer.headers["x-streamguard-notice"] == "quota_unavailable"


@pytest.mark.long
async def test_the_next_answer_says_that_an_earlier_one_is_not_settled() -> None:
    quota = QuotaLine()
    chat = Chat(quota)
    async with calling(chat.app, chat.guard) as client:
        quota.down.add("commit")
        first = await client.post("/chat", json={})
        assert '"code":"quota_release_failed"' in first.text
        assert (await client.get("/chat/s")).json()["last"]["quota"] == "pending"
        quota.down.clear()
        second = await client.post("/chat", json={})
        assert second.headers["x-streamguard-notice"] == "quota_release_failed"
        assert '"reason":"earlier_reply"' in second.text
        third = await client.post("/chat", json={"tokens": 1})
        assert "x-streamguard-notice" not in third.headers


@pytest.mark.parametrize(
    ("usage", "charged"),
    [
        ({"totalUsage": {"inputTokens": 5, "outputTokens": 6, "totalTokens": 11}}, 11),
        ({"usage": {"inputTokens": 5, "outputTokens": 6}}, 11),
        ({"usage": {"inputTokens": -5, "outputTokens": "6"}}, 40),
        ({"usage": "much"}, 40),
        ({}, 40),
    ],
)
async def test_what_the_finish_part_says_is_charged(usage: object, charged: int) -> None:
    quota = QuotaLine()
    guard = StreamGuard(authenticate=user_of, quota=quota)
    app = FastAPI()

    @app.post("/chat")
    @guard.stream("body.id", quota=TOKENS, estimate=40)
    async def chat(body: Body) -> AsyncIterator[object]:
        yield "word"
        yield {"type": "finish", "messageMetadata": usage}

    async with calling(app, guard) as client:
        await client.post("/chat", json={})
    assert await used(quota, "ann") == (charged, 0)


async def test_a_service_of_the_host_s_own() -> None:
    calls: list[tuple[str, str, dict[str, int]]] = []

    async def reserve(call: QuotaCall) -> None:
        calls.append(("reserve", call.stream_id, dict(call.amounts)))
        if call.amounts["tokens"] > 50:
            raise QuotaExceededError("no", retry_after_seconds=7)

    async def commit(call: QuotaCall) -> None:
        calls.append(("commit", call.stream_id, dict(call.amounts)))

    async def release(call: QuotaCall) -> None:
        calls.append(("release", call.stream_id, dict(call.amounts)))

    chat = Chat(CallableQuota(reserve, commit, release), limits=None)
    async with calling(chat.app, chat.guard) as client:
        answer = await client.post("/chat", json={"tokens": 40, "uses": 9})
        stream_id = answer.headers["x-stream-id"]
        assert (await client.get("/chat/s")).json()["quota"] is None
        refused = await client.post("/chat", json={"tokens": 51})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
        assert "ratelimit" not in refused.headers
    assert [(step, amounts) for step, stream, amounts in calls if stream == stream_id] == [
        ("reserve", {"requests": 1, "tokens": 40}),
        ("commit", {"input_tokens": 9, "tokens": 9}),
    ]


async def test_without_a_quota_of_its_own_a_guard_counts_where_it_logs(redis_url: str) -> None:
    for url in ("memory://", redis_url):
        chat = Chat(url=url)
        async with calling(chat.app, chat.guard) as client:
            await client.post("/chat", json={"uses": 12})
            assert (await client.get("/chat/s")).json()["quota"]["limits"][0]["used"] == 12


@pytest.mark.parametrize(
    ("limits", "estimate", "match"),
    [
        ("many", 1, "quotas"),
        (5, 1, "quota is"),
        ([], 1, "quotas"),
        (TOKENS, None, "estimate"),
        (TOKENS, -1, "estimate"),
        (TOKENS, {"pages": 1}, "estimate"),
        (TOKENS, "nobody.tokens", "estimate"),
        ((TOKENS, Quota(limit=5, per="day", unit="pages")), 5, "estimate"),
        (None, 5, "quota="),
    ],
)
def test_what_can_never_work_is_refused_when_decorating(limits: object, estimate: EstimateSource, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        Chat(limits=limits, estimate=estimate)


def test_wrong_options() -> None:
    guard = StreamGuard(authenticate=user_of)

    async def chat() -> AsyncIterator[str]:
        yield "word"

    for wrong in ({"charge_partial": "half"}, {"on_quota_failure": "retry"}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            guard.stream(quota=REQUESTS, **wrong)(chat)  # type: ignore[arg-type] # that is the point
    guard.stream(binding="chat", quota=REQUESTS)(chat)
    with pytest.raises(ConfigurationError, match="binding"):
        guard.stream(binding="chat")(chat)
    guard.stream(binding="free", quota=False, estimate=5)(chat)
    with pytest.raises(ConfigurationError, match="CallableQuota"):
        StreamGuard(authenticate=user_of, quota=REQUESTS)  # type: ignore[arg-type] # that is the point


async def test_a_guard_starts_and_closes_the_quota_it_was_given() -> None:
    steps: list[str] = []

    class Told(MemoryQuotaStore):
        async def start(self) -> list[str]:
            steps.append("start")
            return ["beware"]

        async def aclose(self) -> None:
            steps.append("close")

    chat = Chat(Told())
    async with calling(chat.app, chat.guard):
        assert steps == ["start"]
    assert steps == ["start", "close"]
