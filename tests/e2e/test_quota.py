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
from streamguard.quota.redis.scripts import _SCRIPTS
from streamguard.stores import RedisClient
from streamguard.stores.redis.scripts import Scripts
from tests.apps.counting import ESTIMATE, LIMIT
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import USER, new_session, open_gate, post, raw_post, status, trace
from .conftest import SHORT_LEASE, SHORT_PATIENCE
from .logs import consumed
from .steps import reached, stop_at

pytestmark = pytest.mark.anyio

APP = "tests.apps.counting:application"
COUNTING = {
    "outbox_seconds": 0.2,
    "outbox_retry_seconds": 0.2,
    "settle_visible_seconds": 0.5,
    "quota_seconds": 5.0,
    **SHORT_LEASE,
}


@pytest.fixture
def counting(worker: Callable[..., Worker]) -> Callable[..., Worker]:
    """Starts workers that count in their own Redis, or in `counted`: `counting(url, lease_seconds=…)`."""

    def start(url: str, counted: str | None = None, *, hold_seconds: float = 60, **settings: object) -> Worker:
        env = {"COUNTING_REDIS": counted or url, "COUNTING_HOLD": str(hold_seconds)}
        return worker(url, app=APP, env=env, **COUNTING | settings)

    return start


class Ledger(NamedTuple):
    used: int
    reserved: int
    conflicts: int


async def ledger(server: RedisServer) -> Ledger:
    """What the owner is charged; the counters agree with the reservations."""
    async with RedisClient(server.url, command_seconds=20) as client:
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
STEPS: dict[str, tuple[tuple[str, str] | None, int]] = {
    "streaming": (None, 4),
    "before the settlement": (("request", "commit"), 6),
    "after the settlement": (("reply", "commit"), 6),
    "before the terminal": (("request", "close"), 6),
    "after the terminal": (("reply", "close"), 6),
}


@pytest.mark.promise("I8")
@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_killed_after_any_step(
    step: str, server: RedisServer, proxy: FaultProxy, counting: Callable[..., Worker], session: str
) -> None:
    stop, cost = STEPS[step]
    dying = counting(proxy.redis_url())
    other = counting(server.url)
    async with post(dying, session, n=6, gate=session, gate_at=4) as stream:
        await stream.read_events(6)
        assert (await ledger(server)).reserved == ESTIMATE
        await consumed(server, stream, 4)
        if stop is not None:
            what, script = stop
            stop_at(proxy, what, marker(script))
            open_gate(dying, session)
            await reached(proxy, f"the worker is {step}")
        dying.kill()
    wait_until(lambda: settled(other, session), description="it is settled", timeout=40)
    assert await ledger(server) == Ledger(cost, 0, 0)
    assert raw_post(other, session, n=2).status_code == 200
    assert await ledger(server) == Ledger(cost + 2, 0, 0)


async def test_a_worker_killed_between_reserving_and_starting(
    server: RedisServer, proxy: FaultProxy, counting: Callable[..., Worker], session: str
) -> None:
    """Nobody knows of a stream: its reservation expires, and costs nothing."""
    dying = counting(proxy.redis_url(), hold_seconds=3)
    other = counting(server.url, hold_seconds=3)
    assert raw_post(dying, new_session(), n=2).status_code == 200
    stop_at(proxy, "request", marker("register"))

    async def ask() -> None:
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
                await client.post(f"{dying.url}/api/chat", json={"id": session}, headers=USER)

    asking = asyncio.create_task(ask())
    await reached(proxy, "it is reserved, and about to be registered")
    assert (await ledger(server)).reserved == ESTIMATE
    dying.kill()
    await asking
    async with RedisClient(server.url, command_seconds=20) as client:
        store = RedisQuotaStore(client, hold_seconds=3, stale_seconds=1)

        async def over() -> bool:
            return await store.held(USER["X-User"]) == []

        is_over: Callable[[], Awaitable[bool] | bool] = over
        await wait_until_async(is_over, description="it expired", timeout=20)
    assert await ledger(server) == Ledger(2, 0, 0)
    assert raw_post(other, session, n=2).status_code == 200
    assert await ledger(server) == Ledger(4, 0, 0)


async def test_a_frozen_worker_settles_nothing_after_its_lease(
    server: RedisServer, counting: Callable[..., Worker], session: str
) -> None:
    frozen, other = (counting(server.url) for _ in range(2))
    async with post(frozen, session, n=10, gate=session, gate_at=5) as stream:
        await stream.read_events(7)
        await consumed(server, stream, 5)
        frozen.pause()
        wait_until(lambda: settled(other, session), description="another worker settled it", timeout=40)
        assert await ledger(server) == Ledger(5, 0, 0), "what it had said it consumed"
        frozen.resume()
        open_gate(frozen, session)
        await stream.read_rest()
    await wait_until_async(lambda: f"finally {session}" in trace(frozen), description="the fenced model was ended")
    assert raw_post(frozen, session, n=2).status_code == 200
    assert await ledger(server) == Ledger(5 + 2, 0, 0)


async def test_the_quota_s_redis_is_away_when_a_reply_ends(
    own_redis: Callable[..., RedisServer], counting: Callable[..., Worker], session: str
) -> None:
    server, counted = own_redis(), own_redis()
    one = counting(server.url, counted.url, quota_seconds=0.5)
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
    own_redis: Callable[..., RedisServer], counting: Callable[..., Worker]
) -> None:
    """The live reply is settled once, for what it consumed; a dead worker's for what it had said, once."""
    server, counted = own_redis(), own_redis()
    live, dying = (counting(server.url, counted.url, **SHORT_PATIENCE) for _ in range(2))
    session, dead = new_session(), new_session()
    async with (
        post(live, session, n=8, gate=session, gate_at=4, again_at=6) as stream,
        post(dying, dead, n=8, gate=dead, gate_at=4) as other,
    ):
        await stream.read_events(6)
        await other.read_events(6)
        await consumed(server, other, 4)
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
    assert await ledger(counted) == Ledger(8 + 4, 0, 0)


def _ready(worker: Worker) -> bool:
    return httpx.get(f"{worker.url}/api/chat/health/ready", timeout=10, trust_env=False).is_success


def _degraded(worker: Worker) -> bool:
    health = httpx.get(f"{worker.url}/api/chat/health/streaming", timeout=10, trust_env=False).json()
    return bool(health["degraded_streams"])


async def test_a_redis_that_comes_back_empty(
    server: RedisServer, counting: Callable[..., Worker], session: str
) -> None:
    """What was reserved is forgotten with everything else: nothing can be charged, and counting begins anew."""
    one = counting(server.url, **SHORT_PATIENCE)
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
