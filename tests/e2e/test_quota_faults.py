"""Workers that stall, die or are cut off while others look after what they reserved: nothing is charged twice, nothing
is lost, and nobody gets more than there is (I5, I8, I10, I11)."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from streamguard.quota import RedisQuotaStore
from streamguard.stores import RedisClient
from tests.apps.counting import ESTIMATE
from tests.apps.rationed import RATION
from tests.cli.running import ran
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, SseConnection, resume
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import USER, new_session, open_gate, post, raw_post, status, trace
from .conftest import SHORT_LEASE, SHORT_PATIENCE
from .test_quota import COUNTING, Ledger, ledger, marker, settled

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

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
def rationed(worker: Callable[..., Worker], tmp_path: Path) -> Callable[..., Worker]:
    """Starts workers of one Redis, or of one for streams and one for what is counted."""

    def start(url: str, counted: str | None = None, *, hold_seconds: float = 60.0, **settings: object) -> Worker:
        env = {
            "COUNTING_REDIS": counted or url,
            "COUNTING_HOLD": str(hold_seconds),
            "RATIONED_HOLD_UP": str(tmp_path / "hold-up"),
        }
        return worker(url, app=APP, env=env, **{**COUNTING, **settings})

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


@asynccontextmanager
async def stalled(worker: Worker, how: str, tmp_path: Path) -> AsyncIterator[None]:
    """Neither serves nor renews anything in the meantime."""
    if how == "stopped by a signal":
        worker.pause()
        yield
        worker.resume()
        return
    (tmp_path / "hold-up").touch()
    holding = asyncio.create_task(asyncio.to_thread(httpx.post, f"{worker.url}/hold-up", timeout=90.0, trust_env=False))
    yield
    (tmp_path / "hold-up").unlink()
    (await holding).raise_for_status()


# -- a budget, and more requests than it has room for -----------------------------------------------------------------


async def test_two_hundred_posts_to_two_workers_get_what_there_is(
    own_redis: Callable[..., RedisServer], rationed: Callable[..., Worker]
) -> None:
    """Exactly 37 replies begin; every other request is told why not, and when to ask again, and reaches no model."""
    server = own_redis()
    workers = [rationed(server.url) for _ in range(2)]
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, timeout=100.0, limits=limits) as client:

        async def asked(number: int) -> httpx.Response:
            body = {"id": f"chat-{number}", "n": 2, "gate": "all", "gate_at": 1}
            return await client.post(f"{workers[number % 2].url}/api/rationed", json=body, headers=USER)

        posts = [asyncio.create_task(asked(number)) for number in range(200)]
        await wait_until_async(
            lambda: sum(post.done() for post in posts) >= 200 - RATION.limit,
            description="all that have no room were refused",
            timeout=60,
        )
        refused = [post.result() for post in posts if post.done()]
        assert {answer.status_code for answer in refused} == {429}
        await wait_until_async(lambda: models(workers) == RATION.limit, description="all others began", timeout=60)
        assert await rations(server) == Ledger(0, RATION.limit, 0)
        for one in workers:
            open_gate(one, "all")
        answers = await asyncio.gather(*posts)
    admitted = [answer for answer in answers if answer.status_code == 200]
    assert (len(admitted), len(refused)) == (RATION.limit, 200 - RATION.limit)
    assert sorted(left_of(answer) for answer in admitted) == list(range(RATION.limit))
    for answer in refused:
        error = answer.json()["error"]
        assert (error["code"], error["phase"], error["reason"]) == ("quota_exceeded", "quota", "held")
        assert 1 <= int(answer.headers["retry-after"]) == error["retry_after_seconds"] <= 5
        assert left_of(answer) == 0
        assert answer.headers["x-request-id"]
        assert "x-stream-id" not in answer.headers
    assert models(workers) == RATION.limit
    assert await rations(server) == Ledger(RATION.limit, 0, 0)
    spent = raw_post(workers[0], new_session(), path="/api/rationed")
    assert (spent.status_code, spent.json()["error"]["reason"]) == (429, "spent")
    assert 0 < int(spent.headers["retry-after"]) <= RATION.period_seconds


def models(workers: list[Worker]) -> int:
    """How many replies began."""
    return sum(line.startswith("model ") for worker in workers for line in trace(worker))


def left_of(answer: httpx.Response) -> int:
    """What an answer's headers say is left of the ration."""
    assert answer.headers["ratelimit-policy"] == '"requests-week";q=37;w=604800'
    found = re.fullmatch(r'"requests-week";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert found is not None
    assert 0 < int(found[2]) <= RATION.period_seconds
    return int(found[1])


async def rations(server: RedisServer) -> Ledger:
    """What the owner's counter of requests says; it agrees with the reservations."""
    async with RedisClient(server.url) as client:
        audit = await RedisQuotaStore(client).audit(USER["X-User"], [RATION])
    assert audit.drift == 0
    (window,) = audit.windows
    return Ledger(window.used, window.reserved, audit.conflicts)


# -- a race for what a dead worker left -------------------------------------------------------------------------------


async def test_two_reconcilers_race_for_what_a_dead_worker_reserved(
    own_redis: Callable[..., RedisServer], proxied: Callable[..., FaultProxy], rationed: Callable[..., Worker]
) -> None:
    """Two replies were under way, with a viewer on another worker; four requests were not registered yet."""
    server = own_redis()
    proxy = proxied(server)
    settings = {**SHORT_LEASE, "hold_seconds": HOLD_SECONDS}
    dying = rationed(proxy.redis_url(), registration_seconds=60.0, **settings)
    rivals = [rationed(server.url, **settings) for _ in range(2)]
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
            proxy.lose_request(marker("register"), times=1_000)
            asking = [asyncio.create_task(ask(dying, new_session())) for _ in range(4)]
            await until(lambda: reserved(server, 6), description="all six are reserved", timeout=40)
            unspoken = {one.ref.stream_id for one in await held(server)} - spoken
            dying.kill()
            assert await asyncio.gather(*asking) == [None] * 4
            rest = await viewer.read_rest()
            assert (viewer.ending, rest[-1].data) == (Ending.CLEAN, "[DONE]")
            assert any('"code":"interrupted"' in event.data for event in rest)

    async def over() -> bool:
        await race(*rivals)
        return set(told("reservation_expired", *rivals)) == unspoken and all(
            settled(rival, session) for rival, session in zip(rivals, sessions, strict=True)
        )

    await until(over, description="all of it is seen to", timeout=60)
    assert told("reservation_expired", *rivals) == Counter(unspoken)
    assert told("orphan_settled", *rivals) == Counter(spoken)
    assert await ledger(server) == Ledger(2 * ESTIMATE, 0, 0)
    assert await race(*rivals) == []
    for session in sessions:
        assert raw_post(rivals[1], session, n=2).status_code == 200
    assert await ledger(server) == Ledger(2 * ESTIMATE + 4, 0, 0)


async def ask(worker: Worker, session: str, **script: object) -> httpx.Response | None:
    """A worker's answer; None from one that dies before it answers."""
    async with httpx.AsyncClient(trust_env=False, timeout=100.0) as client:
        with suppress(httpx.TransportError):
            return await client.post(f"{worker.url}/api/chat", json={"id": session, **script}, headers=USER)
    return None


async def held(server: RedisServer) -> list[Any]:
    """The owner's reservations that are neither settled nor expired."""
    async with RedisClient(server.url) as client:
        return list(await RedisQuotaStore(client).held(USER["X-User"]))


async def reserved(server: RedisServer, number: int) -> bool:
    return len(await held(server)) == number


# -- workers that stall ------------------------------------------------------------------------------------------------

HOWS = ["stopped by a signal", "stalled event loop"]


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
        async with resume(other.port, session, headers=USER) as viewer, stalled(stalling, how, tmp_path):
            watched = await viewer.read_rest()
            assert viewer.ending is Ending.CLEAN
            await until(
                lambda: asyncio.to_thread(settled, other, session), description="another settled it", timeout=30
            )
            assert await ledger(server) == Ledger(ESTIMATE, 0, 0)
        open_gate(stalling, session)
        assert seen + await stream.read_rest() == watched
        assert stream.ending is Ending.CLEAN
    await wait_until_async(lambda: f"finally {session}" in trace(stalling), description="the fenced model was ended")
    await race(stalling, other)
    assert await ledger(server) == Ledger(ESTIMATE, 0, 0)
    assert told("orphan_settled", stalling, other).total() == 1
    assert raw_post(stalling, session, n=2).status_code == 200
    assert await ledger(server) == Ledger(ESTIMATE + 2, 0, 0)


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
    asking = asyncio.create_task(ask(frozen, session, n=6))
    await wait_until_async(lambda: proxy.requests_lost, description="it is reserved, and about to be registered")
    frozen.pause()

    async def ended() -> bool:
        await race(other)
        return told("reservation_expired", other).total() == 1

    await until(ended, description="another's reconciler ended the reservation", timeout=40)
    assert await ledger(server) == Ledger(2, 0, 0)
    frozen.resume()
    answer = await asking
    assert answer is not None
    assert answer.status_code == 200
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
        proxy.refuse()
        open_gate(cut_off, session)
        await degraded(stream)
        await until(lambda: asyncio.to_thread(settled, other, session), description="another settled it", timeout=40)
        assert await ledger(counted) == Ledger(ESTIMATE, 0, 0)
        proxy.forward()
        wait_until(lambda: ready(cut_off), description="its Redis is back", timeout=30)
        open_gate(cut_off, f"{session}-again")
        await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    await race(cut_off, other)
    assert await ledger(counted) == Ledger(ESTIMATE, 0, 0)
    assert status(other, session)["last"]["outcome"] == "interrupted"
    assert raw_post(cut_off, session, n=2).status_code == 200
    assert await ledger(counted) == Ledger(ESTIMATE + 2, 0, 0)


async def degraded(stream: SseConnection) -> None:
    """Read up to the notice that the stream goes on without its log."""
    while (event := await stream.next_event()) is not None:
        if '"code":"not_resumable"' in event.data:
            return
    raise AssertionError("it ended without a notice")


def ready(worker: Worker) -> bool:
    answer = httpx.get(f"{worker.url}/api/chat/health/ready", timeout=10.0, trust_env=False)
    return answer.status_code == 200
