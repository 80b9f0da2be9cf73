"""Workers that die, freeze or lose their Redis while they reserve and settle: each reply is settled once (I8, I10)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import httpx
import pytest

from streamguard.quota import RedisQuotaStore
from streamguard.quota.redis_scripts import _SCRIPTS
from streamguard.stores import RedisClient
from streamguard.stores.redis_scripts import Scripts
from tests.apps.counting import ESTIMATE, LIMIT
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import USER, new_session, open_gate, post, raw_post, status, trace
from .conftest import SHORT_LEASE, SHORT_PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

APP = "tests.apps.counting:application"
COUNTING = {
    "outbox_seconds": 0.2,
    "outbox_retry_seconds": 0.2,
    "settle_visible_seconds": 0.5,
    "quota_seconds": 5.0,
    **SHORT_LEASE,
}


class Ledger(NamedTuple):
    used: int
    reserved: int
    conflicts: int


async def ledger(server: RedisServer) -> Ledger:
    """What the owner is charged; the counters agree with the reservations."""
    async with RedisClient(server.url) as client:
        store = RedisQuotaStore(client)
        (standing,) = (await store.status(USER["X-User"], [LIMIT])).standings
        audit = await store.audit(USER["X-User"], [LIMIT])
    assert audit.drift == 0
    return Ledger(standing.used, standing.reserved, audit.conflicts)


def marker(script: str) -> bytes:
    """What the requests of a script hold: of the streams' first, which the quota's have other names than."""
    if script in ("reserve", "commit"):
        return hashlib.sha1(_SCRIPTS[script].encode(), usedforsecurity=False).hexdigest().encode()
    return Scripts.load().digests[script]


def settled(worker: Worker, session: str) -> bool:
    body = status(worker, session)
    return body["active"] is None and body["last"] is not None and body["last"]["quota"] == "settled"


# Per step: the script whose request or reply is lost when the worker dies, and what the reply then costs.
STEPS: dict[str, tuple[str | None, str | None, int]] = {
    "streaming": (None, None, ESTIMATE),
    "before the settlement": ("request", "commit", 6),
    "after the settlement": ("reply", "commit", 6),
    "before the terminal": ("request", "close", 6),
    "after the terminal": ("reply", "close", 6),
}


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_killed_after_any_step(
    step: str,
    own_redis: Callable[..., RedisServer],
    proxied: Callable[..., FaultProxy],
    worker: Callable[..., Worker],
) -> None:
    server = own_redis()
    proxy = proxied(server)
    what, script, cost = STEPS[step]
    dying = worker(proxy.redis_url(), app=APP, env={"COUNTING_REDIS": proxy.redis_url()}, **COUNTING)
    other = worker(server.url, app=APP, env={"COUNTING_REDIS": server.url}, **COUNTING)
    session = new_session()
    async with post(dying, session, n=6, gate=session, gate_at=4) as stream:
        await stream.read_events(6)
        assert (await ledger(server)).reserved == ESTIMATE
        if script is not None:
            found = marker(script)
            if what == "request":
                proxy.lose_request(lambda request: found in request, times=1000)
            else:
                proxy.lose_reply(lambda request: found in request, cut=False)
            open_gate(dying, session)
            await wait_until_async(
                lambda: proxy.requests_lost or proxy.replies_lost, description=f"the worker is {step}", timeout=30
            )
        dying.kill()
    wait_until(lambda: settled(other, session), description="it is settled", timeout=40)
    assert await ledger(server) == Ledger(cost, 0, 0)
    assert raw_post(other, session, n=2).status_code == 200
    assert await ledger(server) == Ledger(cost + 2, 0, 0)


async def test_a_worker_killed_between_reserving_and_starting(
    own_redis: Callable[..., RedisServer],
    proxied: Callable[..., FaultProxy],
    worker: Callable[..., Worker],
) -> None:
    """Nobody knows of a stream: its reservation expires, and costs nothing."""
    server = own_redis()
    proxy = proxied(server)
    env = {"COUNTING_HOLD": "3"}
    dying = worker(proxy.redis_url(), app=APP, env={"COUNTING_REDIS": proxy.redis_url(), **env}, **COUNTING)
    other = worker(server.url, app=APP, env={"COUNTING_REDIS": server.url, **env}, **COUNTING)
    session = new_session()
    assert raw_post(dying, new_session(), n=2).status_code == 200
    found = marker("register")
    proxy.lose_request(lambda request: found in request, times=1000)

    async def ask() -> None:
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
                await client.post(f"{dying.url}/api/chat", json={"id": session}, headers=USER)

    asking = asyncio.create_task(ask())
    await wait_until_async(lambda: proxy.requests_lost, description="it is reserved, and about to be registered")
    assert (await ledger(server)).reserved == ESTIMATE
    dying.kill()
    await asking
    async with RedisClient(server.url) as client:
        store = RedisQuotaStore(client, hold_seconds=3, stale_seconds=1)

        async def over() -> bool:
            return await store.held(USER["X-User"]) == []

        is_over: Callable[[], Awaitable[bool] | bool] = over
        await wait_until_async(is_over, description="it expired", timeout=20)
    assert await ledger(server) == Ledger(2, 0, 0)
    assert raw_post(other, session, n=2).status_code == 200
    assert await ledger(server) == Ledger(4, 0, 0)


async def test_a_frozen_worker_settles_nothing_after_its_lease(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    server = own_redis()
    env = {"COUNTING_REDIS": server.url}
    frozen, other = (worker(server.url, app=APP, env=env, **COUNTING) for _ in range(2))
    session = new_session()
    async with post(frozen, session, n=10, gate=session, gate_at=5) as stream:
        await stream.read_events(7)
        frozen.pause()
        wait_until(lambda: settled(other, session), description="another worker settled it", timeout=40)
        assert await ledger(server) == Ledger(ESTIMATE, 0, 0)
        frozen.resume()
        open_gate(frozen, session)
        await stream.read_rest()
    await wait_until_async(lambda: f"finally {session}" in trace(frozen), description="the fenced model was ended")
    assert raw_post(frozen, session, n=2).status_code == 200
    assert await ledger(server) == Ledger(ESTIMATE + 2, 0, 0)


async def test_the_quota_s_redis_is_away_when_a_reply_ends(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    server, counted = own_redis(), own_redis()
    settings = COUNTING | {"quota_seconds": 0.5}
    one = worker(server.url, app=APP, env={"COUNTING_REDIS": counted.url}, **settings)
    session = new_session()
    async with post(one, session, n=6, gate=session, gate_at=4) as stream:
        await stream.read_events(6)
        counted.pause()
        open_gate(one, session)
        events = await stream.read_rest()
    assert any('"code":"quota_release_failed"' in event.data for event in events)
    refused = raw_post(one, new_session(), n=2)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "quota_unavailable")
    assert status(one, session)["last"]["quota"] == "pending"
    counted.resume()
    wait_until(lambda: settled(one, session), description="the outbox settled it", timeout=40)

    async def released() -> bool:
        return (await ledger(counted)).reserved == 0

    is_released: Callable[[], Awaitable[bool] | bool] = released
    await wait_until_async(is_released, description="what was refused is released", timeout=20)
    assert await ledger(counted) == Ledger(6, 0, 0)


async def test_the_streams_redis_is_away_for_longer_than_a_lease(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    """The live reply is settled once, for what it consumed; of a dead worker's the estimate, once."""
    server, counted = own_redis(), own_redis()
    settings = COUNTING | SHORT_PATIENCE
    env = {"COUNTING_REDIS": counted.url}
    live, dying = (worker(server.url, app=APP, env=env, **settings) for _ in range(2))
    session, dead = new_session(), new_session()
    async with (
        post(live, session, n=8, gate=session, gate_at=4, again_at=6) as stream,
        post(dying, dead, n=8, gate=dead, gate_at=4) as other,
    ):
        await stream.read_events(6)
        await other.read_events(6)
        server.pause()
        open_gate(live, session)
        await wait_until_async(lambda: _degraded(live), description="it runs without its log", timeout=30)
        dying.kill()
        with suppress(httpx.HTTPError, OSError):
            await other.read_rest()
        await asyncio.sleep(SHORT_LEASE["lease_seconds"] + 0.5)  # what is tested is that this time passes
        server.resume()
        open_gate(live, f"{session}-again")
        await stream.read_rest()
    wait_until(lambda: settled(live, dead), description="the dead worker's is settled", timeout=40)
    wait_until(lambda: settled(live, session), description="the live one's is on record", timeout=40)
    assert await ledger(counted) == Ledger(8 + ESTIMATE, 0, 0)


def _degraded(worker: Worker) -> bool:
    health = httpx.get(f"{worker.url}/api/chat/health/streaming", timeout=10, trust_env=False).json()
    return bool(health["degraded_streams"])


async def test_a_redis_that_comes_back_empty(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    """What was reserved is forgotten with everything else: nothing can be charged, and counting begins anew."""
    server = own_redis()
    one = worker(server.url, app=APP, env={"COUNTING_REDIS": server.url}, **COUNTING, **SHORT_PATIENCE)
    session = new_session()
    async with post(one, session, n=6, gate=session, gate_at=4) as stream:
        await stream.read_events(6)
        server.restart(empty=True)
        open_gate(one, session)
        await stream.read_rest()

    def recovered() -> bool:
        return raw_post(one, new_session(), n=2).status_code == 200

    wait_until(recovered, description="it serves again", timeout=30)
    assert await ledger(server) == Ledger(2, 0, 0)
    assert one.alive
