"""A Redis that accepts and says nothing: how long the first event of an answer, or its refusal, may take all told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Settings, StreamGuard
from streamguard.deadlines import LoopClock
from streamguard.messages import RedisMessageStore
from streamguard.observations import Signal
from streamguard.quota import CallableQuota, Quota, QuotaCall, QuotaService, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.testing import Answer, GuardedApp
from tests.harness.redis import RedisServer
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio

SETTINGS = Settings(
    registration_seconds=0.5, command_seconds=5.0, quota_seconds=5.0, drain_seconds=0.5, breaker_probe_seconds=0.1
)
"""Every other patience is so long that waiting it out shows."""
ALL_TOLD = SETTINGS.registration_seconds + 0.5


WAITING: list[asyncio.Event] = []
"""What the endpoints that run wait for."""


class Body(BaseModel):
    id: str
    waits: bool = False


@asynccontextmanager
async def chatting(
    server: RedisServer,
    *,
    quota: bool = False,
    on_quota_failure: Literal["fail", "continue"] = "fail",
    on_store_failure: Literal["fail", "continue"] = "continue",
    on_conflict: Literal["reject", "replace", "join"] = "reject",
    messages: bool = False,
    service: QuotaService | None = None,
) -> AsyncIterator[GuardedApp]:
    client = RedisClient(server.url, command_seconds=5.0)
    guard = StreamGuard(
        server.url,
        authenticate=lambda connection: connection.headers.get("x-user"),
        settings=SETTINGS,
        messages=RedisMessageStore(client, ttl_seconds=60) if messages else None,
        quota=service,
    )
    app = FastAPI(lifespan=guard.lifespan)
    limits: dict[str, Any] = {}
    if quota or service is not None:
        limits = {"quota": Quota(limit=1_000, per="day", unit="tokens"), "estimate": 10}
        limits["on_quota_failure"] = on_quota_failure

    @app.post("/api/chat")
    @guard.stream(session="body.id", on_store_failure=on_store_failure, on_conflict=on_conflict, **limits)
    async def chat(body: Body) -> AsyncIterator[str]:
        if body.waits:
            WAITING.append(event := asyncio.Event())
            await event.wait()
        yield "hello"

    guard.install(app, "/api/chat")
    async with client, GuardedApp(app, guard, headers={"X-User": "ann"}, wait_seconds=30) as visitor:
        warm = await visitor.post({"id": "warm"}, headers={"Idempotency-Key": "warm"})
        await visitor.ended(warm)
        try:
            yield visitor
        finally:
            WAITING.clear()
            server.resume()


async def timed(ask: Callable[[], Awaitable[Answer]]) -> tuple[Answer, float]:
    """An answer with its first event, if it has one, and what that took, but for this process's own lateness."""
    clock = LoopClock.current()
    clock.hold()
    try:
        begun = clock.time()
        answer = await ask()
        if answer.is_stream:
            await answer.read(1)
        return answer, clock.time() - begun
    finally:
        clock.release()


def refusal(answer: Answer) -> object:
    """The code of a refusal."""
    error = answer.json()["error"]
    assert isinstance(error, dict)
    return error["code"]


@pytest.mark.parametrize("messages", [False, True], ids=["unsaved", "saved"])
@pytest.mark.parametrize("on_store_failure", ["continue", "fail"])
@pytest.mark.parametrize("quota", ["", "fail", "continue"], ids=["uncounted", "counted", "lenient"])
@pytest.mark.parametrize("key", [False, True], ids=["no-key", "key"])
async def test_the_first_event_or_the_refusal_comes_within_one_budget(
    own_redis: Callable[..., RedisServer],
    key: bool,
    quota: Literal["", "fail", "continue"],
    on_store_failure: Literal["fail", "continue"],
    messages: bool,
) -> None:
    server = own_redis()
    headers = {"Idempotency-Key": "k1"} if key else {}
    async with chatting(
        server,
        quota=bool(quota),
        on_quota_failure=quota or "fail",
        on_store_failure=on_store_failure,
        messages=messages,
    ) as visitor:
        server.pause()
        answer, seconds = await timed(lambda: visitor.post({"id": "c1"}, headers=headers))
        assert seconds < ALL_TOLD
        runs = on_store_failure == "continue" and quota != "fail"
        assert answer.status == (200 if runs else 503)
        if runs:
            assert answer.headers["x-streamguard-notice"] == "not_resumable"
        assert [one.name for one in visitor.observations].count(Signal.BREAKER_OPENED) <= 1
        answer.drop()
        _, seconds = await timed(lambda: visitor.post({"id": "c2"}, headers=headers and {"Idempotency-Key": "k2"}))
        assert seconds < ALL_TOLD, "the next request too"


@pytest.mark.parametrize("on_conflict", ["reject", "replace", "join"])
async def test_a_redis_that_falls_silent_between_two_steps(
    own_redis: Callable[..., RedisServer], on_conflict: Literal["reject", "replace", "join"]
) -> None:
    """The budget is one for all steps, however many were answered before."""
    server = own_redis()
    async with chatting(server, quota=True, on_quota_failure="continue", on_conflict=on_conflict) as visitor:
        clock = LoopClock.current()
        visitor.store.hold("session")
        post = asyncio.create_task(timed(lambda: visitor.post({"id": "c1"}, headers={"Idempotency-Key": "k1"})))
        await visitor.store.held("session")
        server.pause()
        silent = clock.time()
        visitor.store.heal()
        answer, _ = await post
        assert clock.time() - silent < ALL_TOLD
        assert answer.status == 200


@pytest.mark.parametrize("on_store_failure", ["continue", "fail"])
@pytest.mark.parametrize("key", [False, True], ids=["no-key", "key"])
@pytest.mark.parametrize("quota", [False, True], ids=["uncounted", "counted"])
async def test_a_redis_that_falls_silent_before_the_first_append(
    own_redis: Callable[..., RedisServer], quota: bool, key: bool, on_store_failure: Literal["fail", "continue"]
) -> None:
    """The stream is registered; its first event, or the refusal, waits no longer than the registration may."""
    server = own_redis()
    async with chatting(server, quota=quota, on_store_failure=on_store_failure) as visitor:
        clock = LoopClock.current()
        visitor.store.hold("append")
        headers = {"Idempotency-Key": "k1"} if key else {}
        post = asyncio.create_task(timed(lambda: visitor.post({"id": "c1"}, headers=headers)))
        await visitor.store.held("append")
        server.pause()
        silent = clock.time()
        visitor.store.heal()
        answer, _ = await post
        assert clock.time() - silent < ALL_TOLD
        if on_store_failure == "continue":
            assert (answer.status, answer.headers["x-streamguard-notice"]) == (200, "not_resumable")
        else:
            assert (answer.status, refusal(answer)) == (503, "store_unavailable")
        assert Signal.BREAKER_OPENED in [one.name for one in visitor.observations], "later requests do not wait at all"


@pytest.mark.parametrize("on_store_failure", ["continue", "fail"])
async def test_a_redis_that_falls_silent_between_the_registration_and_the_claims_begin(
    own_redis: Callable[..., RedisServer], on_store_failure: Literal["fail", "continue"]
) -> None:
    """The claim has spent the budget: nothing is left for the first commit, which is not waited for again."""
    server = own_redis()
    async with chatting(server, on_store_failure=on_store_failure) as visitor:
        clock = LoopClock.current()
        visitor.store.hold("register")
        post = asyncio.create_task(timed(lambda: visitor.post({"id": "c1"}, headers={"Idempotency-Key": "k1"})))
        await visitor.store.held("register")
        visitor.store.hold("claim_request")
        visitor.store.release("register")
        await visitor.store.held("claim_request")
        server.pause()
        silent = clock.time()
        visitor.store.heal()
        answer, _ = await post
        assert clock.time() - silent < ALL_TOLD
        assert answer.status == (200 if on_store_failure == "continue" else 503)


async def test_a_first_event_that_comes_behind_a_hanging_append(own_redis: Callable[..., RedisServer]) -> None:
    """The writer hangs with another stream's events; a new stream's first does not wait for them."""
    server = own_redis()
    async with chatting(server) as visitor:
        clock = LoopClock.current()
        newer = asyncio.create_task(timed(lambda: visitor.post({"id": "c2", "waits": True})))
        await wait_until_async(lambda: WAITING, description="its endpoint runs, so it is registered")
        visitor.store.hold("append")
        older = asyncio.create_task(timed(lambda: visitor.post({"id": "c1"})))
        await visitor.store.held("append")
        server.pause()
        silent = clock.time()
        WAITING.pop().set()
        visitor.store.heal()
        for post in (older, newer):
            answer, _ = await post
            assert (answer.status, answer.headers["x-streamguard-notice"]) == (200, "not_resumable")
        assert clock.time() - silent < ALL_TOLD


@pytest.mark.parametrize("step", ["subscribe", "meta"])
async def test_a_redis_that_falls_silent_while_a_repeated_request_waits_for_the_first(
    own_redis: Callable[..., RedisServer], step: str
) -> None:
    """It is refused in time: the stream that answers it cannot be followed, and its endpoint must not run twice."""
    server = own_redis()
    async with chatting(server) as visitor:
        clock, same = LoopClock.current(), {"Idempotency-Key": "k1"}
        first = asyncio.create_task(visitor.post({"id": "c1", "waits": True}, headers=same))
        await wait_until_async(lambda: WAITING, description="the endpoint runs")
        visitor.store.hold("subscribe")
        second = asyncio.create_task(visitor.post({"id": "c1", "waits": True}, headers=same))
        await visitor.store.held("subscribe")
        if step == "meta":  # it follows already, and looks by itself
            looks = visitor.store.calls["meta"]
            visitor.store.release("subscribe")
            await wait_until_async(lambda: visitor.store.calls["meta"] >= looks + 2, description="it looks again")
        server.pause()
        silent = clock.time()
        visitor.store.heal()
        answer = await second
        assert clock.time() - silent < ALL_TOLD
        assert (answer.status, refusal(answer)) == (503, "store_unavailable")
        assert len(WAITING) == 1
        WAITING.pop().set()
        answer = await first
        assert answer.status == 200


async def test_a_quota_service_of_the_hosts_own_has_its_own_time(own_redis: Callable[..., RedisServer]) -> None:
    """It may answer long after the store's budget, and is asked once."""
    asked: list[QuotaCall] = []

    async def reserve(call: QuotaCall) -> None:
        asked.append(call)
        await asyncio.sleep(SETTINGS.registration_seconds + 0.3)

    async def settle(call: QuotaCall) -> None: ...

    server = own_redis()
    async with chatting(server, service=CallableQuota(reserve, settle, settle)) as visitor:
        asked.clear()
        answer = await visitor.post({"id": "c1"})
        assert answer.status == 200
        assert "x-streamguard-notice" not in answer.headers, "the store is not judged by what the service took"
        assert len(asked) == 1


async def test_a_quota_on_another_redis_spends_nothing_of_the_streams_budget(
    own_redis: Callable[..., RedisServer],
) -> None:
    server, other = own_redis(), own_redis()
    async with RedisClient(other.url, command_seconds=0.7) as client:
        quota = RedisQuotaStore(client)
        async with chatting(server, service=quota, on_quota_failure="continue") as visitor:
            other.pause()
            answer, seconds = await timed(lambda: visitor.post({"id": "c1"}))
            other.resume()
            assert answer.status == 200
            assert "x-streamguard-notice" not in answer.headers, "the stream is logged"
            assert seconds > SETTINGS.registration_seconds
