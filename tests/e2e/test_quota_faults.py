"""Workers that stall, die or are cut off while others look after what they reserved: nothing is charged twice, nothing
is lost, and nobody gets more than there is (I5, I8, I10, I11)."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from streamguard.quota import Admitted, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.values import SessionKey, StreamRef, new_stream_id
from tests.apps.counting import ESTIMATE
from tests.apps.rationed import RATION
from tests.cli.running import ran
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, resume
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import USER, new_session, open_gate, post, raw_post, status, trace
from .conftest import SHORT_LEASE, SHORT_PATIENCE
from .logs import consumed
from .stalls import HOWS, stalled
from .test_quota import COUNTING, Ledger, ledger, marker, settled
from .test_redis_faults import until_degraded

pytestmark = pytest.mark.anyio

APP = "tests.apps.rationed:application"
LONG_LEASE = {"lease_seconds": 120.0}
HOLD_SECONDS = 3.0
"""For tests in which a reservation expires."""


class Treated(NamedTuple):
    stream_id: str
    duty: str
    result: str
    reason: str


@pytest.fixture
def rationed(worker: Callable[..., Worker]) -> Callable[..., Worker]:
    """Starts workers of one Redis, or of one for streams and one for what is counted."""

    def start(url: str, counted: str | None = None, *, hold_seconds: float = 60.0, **settings: object) -> Worker:
        env = {
            "COUNTING_REDIS": counted or url,
            "COUNTING_HOLD": str(hold_seconds),
        }
        # An answer that is over is settled, also on a busy machine.
        return worker(url, app=APP, env=env, **{**COUNTING, "settle_visible_seconds": 15.0, **settings})

    return start


def a_round(worker: Worker) -> list[Treated]:
    """What a round that a worker makes at once came to."""
    answer = httpx.post(f"{worker.url}/reconcile", timeout=60.0, trust_env=False)
    answer.raise_for_status()
    return [Treated(*one) for one in answer.json()]


async def race(*workers: Worker) -> list[Treated]:
    """What rounds that workers make at the same time came to."""
    rounds = await asyncio.gather(*(asyncio.to_thread(a_round, worker) for worker in workers))
    return [one for some in rounds for one in some]


def told(event: str, *workers: Worker) -> Counter[str]:
    """How often the logs of workers tell of an event, by stream; what their own rounds did included."""
    line = re.compile(rf"^streamguard\.{event} .*?\bstream_id=(\w+)", re.M)
    return Counter(found for worker in workers for found in line.findall(worker.log_path.read_text(errors="replace")))


async def until(asked: Callable[[], Awaitable[bool]], *, description: str, timeout: float = 40.0) -> None:
    """Wait until an async question is answered yes."""
    either: Callable[[], Awaitable[bool] | bool] = asked
    await wait_until_async(either, description=description, timeout=timeout)


# -- a race for what a dead worker left -------------------------------------------------------------------------------


async def test_two_reconcilers_race_for_what_a_dead_worker_reserved(
    own_redis: Callable[..., RedisServer], rationed: Callable[..., Worker]
) -> None:
    """Two replies were under way, with a viewer on another worker; thirty requests had reserved, no more."""
    server = own_redis()
    settings = {**SHORT_LEASE, "hold_seconds": HOLD_SECONDS}
    dying, *rivals = (rationed(server.url, **settings) for _ in range(3))
    sessions = [new_session() for _ in range(2)]
    async with (
        post(dying, sessions[0], n=6, gate=sessions[0], gate_at=4) as one,
        post(dying, sessions[1], n=6, gate=sessions[1], gate_at=4) as two,
    ):
        for stream in (one, two):
            await stream.read_events(6)
        spoken = {stream.headers["x-stream-id"] for stream in (one, two)}
        async with resume(rivals[0].port, sessions[0], headers=USER) as viewer:
            await viewer.read_events(6)
            unspoken = await reserved_only(server, 30)
            for stream in (one, two):
                await consumed(server, stream, 4)
            dying.kill()
            rest = await viewer.read_rest()
            assert (viewer.ending, rest[-1].data) == (Ending.CLEAN, "[DONE]")
            assert any('"code":"interrupted"' in event.data for event in rest)

    await until(lambda: reserved(server, 0), description="everything is settled, or expired and due at once")

    async def over() -> bool:
        await race(*rivals)
        return set(told("reservation_expired", *rivals)) == unspoken and all(
            settled(rival, session) for rival, session in zip(rivals, sessions, strict=True)
        )

    await until(over, description="all of it is seen to", timeout=60)
    assert told("reservation_expired", *rivals) == Counter(unspoken)
    assert told("orphan_settled", *rivals) == Counter(spoken)
    assert await ledger(server) == Ledger(2 * 4, 0, 0), "what they had said they consumed"
    assert await rations(server) == Ledger(0, 0, 0)
    assert await race(*rivals) == []
    for session in sessions:
        assert raw_post(rivals[1], session, n=2).status_code == 200
    assert await ledger(server) == Ledger(2 * 4 + 4, 0, 0)


async def reserved_only(server: RedisServer, number: int) -> set[str]:
    """Reserve as a worker does that dies before it registers: the ids of the streams that never were."""
    async with RedisClient(server.url, command_seconds=20) as client:
        store = RedisQuotaStore(client, hold_seconds=HOLD_SECONDS, stale_seconds=1.0)
        refs = [StreamRef(SessionKey(USER["X-User"], new_session()), new_stream_id()) for _ in range(number)]
        for ref in refs:
            assert isinstance(await store.reserve(ref, {"requests": 1}, [RATION]), Admitted)
    return {ref.stream_id for ref in refs}


async def held(server: RedisServer) -> list[Any]:
    """The owner's reservations that are neither settled nor expired."""
    async with RedisClient(server.url, command_seconds=20) as client:
        return list(await RedisQuotaStore(client).held(USER["X-User"]))


async def rations(server: RedisServer) -> Ledger:
    """What the owner's counter of requests says; it agrees with the reservations."""
    async with RedisClient(server.url, command_seconds=20) as client:
        audit = await RedisQuotaStore(client).audit(USER["X-User"], [RATION])
    assert audit.drift == 0
    (window,) = audit.windows
    return Ledger(window.used, window.reserved, audit.conflicts)


async def reserved(server: RedisServer, number: int) -> bool:
    return len(await held(server)) == number


# -- workers that stall ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
async def test_a_stall_past_the_reservation_but_not_the_lease(
    how: str, own_redis: Callable[..., RedisServer], rationed: Callable[..., Worker], tmp_path: Path
) -> None:
    """It expires, and what it held may be reserved by others; but the reply lives, so no reconciler ends anything, and
    what it consumes is charged late, once."""
    server = own_redis()
    settings = {**LONG_LEASE, "hold_seconds": HOLD_SECONDS}
    stalling, other = (rationed(server.url, **settings) for _ in range(2))
    session = new_session()
    async with post(stalling, session, n=6, gate=session, gate_at=4) as stream:
        await stream.read_events(6)
        async with stalled(stalling, how, tmp_path):
            await until(lambda: reserved(server, 0), description="it expired", timeout=30)
            assert {one.result for one in await race(other)} <= {"left"}
            planned = await asyncio.to_thread(planned_for, server)
            assert planned == []
            assert raw_post(other, new_session(), n=2).status_code == 200
            assert await ledger(server) == Ledger(2, 0, 0)
        open_gate(stalling, session)
        await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    wait_until(lambda: settled(other, session), description="it is settled", timeout=30)
    assert await ledger(server) == Ledger(2 + 6, 0, 0)
    await race(stalling, other)
    assert await ledger(server) == Ledger(2 + 6, 0, 0)
    assert told("reservation_expired", stalling, other) == Counter()


def planned_for(server: RedisServer) -> list[dict[str, Any]]:
    """What a dry run finds to do."""
    env = {"STREAMGUARD_URL": server.url, "COUNTING_REDIS": server.url}
    planned: list[dict[str, Any]] = ran(
        "reconcile", "--app", "tests.apps.rationed:guard", "--dry-run", "--json", env=env
    ).json["planned"]
    return planned


@pytest.mark.parametrize("how", HOWS)
async def test_a_stall_past_the_lease_and_the_reservation(
    how: str, own_redis: Callable[..., RedisServer], rationed: Callable[..., Worker], tmp_path: Path
) -> None:
    """Another worker ended and settled the reply; who stalled is fenced, and settles nothing."""
    server = own_redis()
    settings = {**SHORT_LEASE, "hold_seconds": HOLD_SECONDS}
    stalling, other = (rationed(server.url, **settings) for _ in range(2))
    session = new_session()
    async with post(stalling, session, n=10, gate=session, gate_at=5) as stream:
        seen = await stream.read_events(7)
        await consumed(server, stream, 5)
        async with resume(other.port, session, headers=USER) as viewer, stalled(stalling, how, tmp_path):
            watched = await viewer.read_rest()
            assert viewer.ending is Ending.CLEAN
            await until(
                lambda: asyncio.to_thread(settled, other, session), description="another settled it", timeout=30
            )
            assert await ledger(server) == Ledger(5, 0, 0)
        open_gate(stalling, session)
        assert seen + await stream.read_rest() == watched
        assert stream.ending is Ending.CLEAN
    await wait_until_async(lambda: f"finally {session}" in trace(stalling), description="the fenced model was ended")
    await race(stalling, other)
    assert await ledger(server) == Ledger(5, 0, 0)
    assert told("orphan_settled", stalling, other).total() == 1
    assert raw_post(stalling, session, n=2).status_code == 200
    assert await ledger(server) == Ledger(5 + 2, 0, 0)


async def test_a_reservation_that_was_given_up_before_its_stream_began(
    own_redis: Callable[..., RedisServer], proxied: Callable[..., FaultProxy], rationed: Callable[..., Worker]
) -> None:
    """Its worker froze between reserving and registering, another's reconciler ended the reservation, and the worker
    went on. The reply is charged for what it consumed, once."""
    server = own_redis()
    proxy = proxied(server)
    settings = {**LONG_LEASE, "hold_seconds": HOLD_SECONDS, "registration_seconds": 90.0}
    frozen = rationed(proxy.redis_url(), server.url, **settings)
    other = rationed(server.url, **settings)
    session = new_session()
    assert raw_post(frozen, new_session(), n=2).status_code == 200
    proxy.lose_request(marker("register"))
    body = {"id": session, "n": 6}
    asking = asyncio.create_task(
        asyncio.to_thread(httpx.post, f"{frozen.url}/api/chat", json=body, headers=USER, timeout=100.0, trust_env=False)
    )
    await wait_until_async(lambda: proxy.requests_lost, description="it is reserved, and about to be registered")
    frozen.pause()

    async def ended() -> bool:
        await race(other)
        return told("reservation_expired", other).total() == 1

    await until(ended, description="another's reconciler ended the reservation")
    assert await ledger(server) == Ledger(2, 0, 0)
    frozen.resume()
    assert (await asking).status_code == 200
    await until(lambda: asyncio.to_thread(settled, other, session), description="it is settled", timeout=30)
    assert await ledger(server) == Ledger(2 + 6, 0, 0)
    assert await race(frozen, other) == []
    assert await ledger(server) == Ledger(2 + 6, 0, 0)


# -- a reply that lives long, and one that is cut off ------------------------------------------------------------------


async def test_a_live_stream_keeps_its_reservation_however_old(
    own_redis: Callable[..., RedisServer], rationed: Callable[..., Worker]
) -> None:
    """Older than lease, TTLs and the reservation's first life, through rounds of both workers."""
    server = own_redis()
    old = {
        "lease_seconds": 4.0,
        "live_ttl_seconds": 16.0,
        "outbox_retention_seconds": 16.0,
        "hold_seconds": 8.0,
    }
    one, other = (rationed(server.url, **old) for _ in range(2))
    session = new_session()
    async with post(one, session, n=6, gate=session, gate_at=4) as stream:
        await stream.read_events(6)
        stream_id = stream.headers["x-stream-id"]
        over = time.monotonic() + 2.5 * 8.0

        async def is_old() -> bool:
            assert await race(one, other) == []
            (reservation,) = await held(server)
            assert reservation.ref.stream_id == stream_id
            assert await ledger(server) == Ledger(0, ESTIMATE, 0)
            return time.monotonic() > over

        await until(is_old, description="it is older than any threshold", timeout=60)
        assert await asyncio.to_thread(planned_for, server) == []
        open_gate(one, session)
        await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    wait_until(lambda: settled(other, session), description="it is settled", timeout=30)
    assert await ledger(server) == Ledger(6, 0, 0)
    assert told("reservation_expired", one, other) == told("orphan_settled", one, other) == Counter()


async def test_one_worker_s_redis_is_away_for_longer_than_a_lease(
    own_redis: Callable[..., RedisServer], proxied: Callable[..., FaultProxy], rationed: Callable[..., Worker]
) -> None:
    """Another took its reply over and settled it; who was cut off finds that out, and settles nothing."""
    server, counted = own_redis(), own_redis()
    proxy = proxied(server)
    settings = {**SHORT_LEASE, **SHORT_PATIENCE}
    cut_off = rationed(proxy.redis_url(), counted.url, **settings)
    other = rationed(server.url, counted.url, **settings)
    session = new_session()
    async with post(cut_off, session, n=8, gate=session, gate_at=4, again_at=6) as stream:
        await stream.read_events(6)
        await consumed(server, stream, 4)
        proxy.refuse()
        open_gate(cut_off, session)
        await until_degraded(stream)
        await until(lambda: asyncio.to_thread(settled, other, session), description="another settled it")
        assert await ledger(counted) == Ledger(4, 0, 0)
        proxy.forward()
        wait_until(lambda: ready(cut_off), description="its Redis is back", timeout=30)
        open_gate(cut_off, f"{session}-again")
        await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    await race(cut_off, other)
    assert await ledger(counted) == Ledger(4, 0, 0)
    assert status(other, session)["last"]["outcome"] == "interrupted"
    assert raw_post(cut_off, session, n=2).status_code == 200
    assert await ledger(counted) == Ledger(4 + 2, 0, 0)


def ready(worker: Worker) -> bool:
    answer = httpx.get(f"{worker.url}/api/chat/health/ready", timeout=10.0, trust_env=False)
    return answer.status_code == 200
