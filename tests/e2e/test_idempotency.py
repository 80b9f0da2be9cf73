"""Requests with one `Idempotency-Key` on two workers: the endpoint runs once, whatever becomes of the first of them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from streamguard.stores.redis.scripts import Scripts
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, EventReader, SseConnection, open_sse, ui_text
from tests.harness.waiting import wait_until_async
from tests.harness.workers import Worker

from .calls import expected_text, open_gate, status, trace
from .conftest import SHORT_LEASE, SHORT_PATIENCE
from .steps import reached, stop_at

pytestmark = pytest.mark.anyio

IDS = ("x-session-id", "x-stream-id", "x-message-id")
QUICK = {"registration_seconds": 1.0}
"""How long a second request waits for the first one's stream."""


async def keyed(
    worker: Worker, session: str, *, path: str = "/api/chat", user: str = "ann", **script: object
) -> httpx.Response:
    """POST a script, with the session's id for a key, and read the whole response."""
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
        return await client.post(
            worker.url + path,
            json={"id": session, **script},
            headers={"X-User": user, "Idempotency-Key": session},
        )


async def enter(stack: AsyncExitStack, worker: Worker, session: str, **script: object) -> SseConnection:
    """POST the same, and leave the response open."""
    return await stack.enter_async_context(
        open_sse(
            worker.port,
            "/api/chat",
            method="POST",
            headers={"Content-Type": "application/json", "X-User": "ann", "Idempotency-Key": session},
            body=json.dumps({"id": session, **script}).encode(),
            timeout=30.0,
        )
    )


def runs(session: str, *workers: Worker) -> int:
    """How often the model ran for a session."""
    return sum(trace(worker).count(f"model {session}") for worker in workers)


def text_of(answer: httpx.Response) -> str:
    return ui_text(EventReader().feed(answer.content))


def ids_of(answer: httpx.Response | SseConnection) -> list[str]:
    return [answer.headers[name] for name in IDS]


async def test_duplicates_at_the_same_time_on_two_workers(pair: tuple[Worker, Worker], session: str) -> None:
    """One stream, whose endpoint ran once; everybody got the same ids and the whole answer."""
    async with AsyncExitStack() as stack:
        opening = [enter(stack, pair[number % 2], session, n=8, gate=session, gate_at=4) for number in range(6)]
        answers = await asyncio.gather(*opening)
        seen = [await answer.read_events(5) for answer in answers]  # each of them while the model still speaks
        assert runs(session, *pair) == 1
        for worker in pair:
            open_gate(worker, session)
        whole = [early + await answer.read_rest() for early, answer in zip(seen, answers, strict=True)]
        assert {answer.ending for answer in answers} == {Ending.CLEAN}
    assert {answer.status for answer in answers} == {200}
    assert len({tuple(ids_of(answer)) for answer in answers}) == 1
    for events in whole:
        assert events == whole[0]
    assert ui_text(whole[0]) == expected_text(8)
    assert runs(session, *pair) == 1


async def test_replays_on_either_worker_after_the_end(pair: tuple[Worker, Worker], session: str) -> None:
    first = await keyed(pair[0], session, n=5)
    again = [await keyed(worker, session, n=5) for worker in pair]
    assert [answer.content for answer in again] == [first.content] * 2
    assert [ids_of(answer) for answer in again] == [ids_of(first)] * 2
    assert runs(session, *pair) == 1


async def test_another_body_on_another_worker(pair: tuple[Worker, Worker], session: str) -> None:
    first = await keyed(pair[0], session, n=5)
    other = await keyed(pair[1], session, n=6)
    assert (first.status_code, other.status_code) == (200, 409)
    assert other.json()["error"]["code"] == "idempotency_conflict"
    assert runs(session, *pair) == 1


async def test_two_owners_use_one_key_and_one_session_id_at_once(pair: tuple[Worker, Worker], session: str) -> None:
    answers = await asyncio.gather(
        *(keyed(pair[number % 2], session, user=user, n=3) for number, user in enumerate(("ann", "bob")))
    )
    assert [text_of(answer) for answer in answers] == [expected_text(3)] * 2
    assert ids_of(answers[0])[1:] != ids_of(answers[1])[1:]
    assert runs(session, *pair) == 2
    for user, answer in zip(("ann", "bob"), answers, strict=True):
        assert status(pair[0], session, user=user)["last"]["stream_id"] == answer.headers["x-stream-id"]


async def test_a_worker_killed_between_claim_and_registration(
    server: RedisServer, proxy: FaultProxy, worker: Callable[..., Worker], session: str
) -> None:
    dying, other = worker(proxy.redis_url()), worker(server.url, **QUICK)
    stop_at(proxy, "request", Scripts.load().digests["register"])
    first = asyncio.create_task(keyed(dying, session, n=3))
    await reached(proxy, "the worker has claimed and cannot register")
    dying.kill()
    with pytest.raises(httpx.TransportError):
        await first
    again = await keyed(other, session, n=3)
    third = await keyed(other, session, n=3)
    assert (again.status_code, text_of(again)) == (200, expected_text(3))
    assert ids_of(third) == ids_of(again)
    assert runs(session, other) == 1


async def test_a_worker_killed_between_registration_and_its_first_word(
    server: RedisServer, worker: Callable[..., Worker], session: str
) -> None:
    """Once its lease has run out, the next request starts anew."""
    dying, other = (worker(server.url, **QUICK, **SHORT_LEASE) for _ in range(2))
    first = asyncio.create_task(keyed(dying, session, n=3, gate=session))
    await wait_until_async(lambda: runs(session, dying), description="the model is asked")
    dying.kill()
    with pytest.raises(httpx.TransportError):
        await first
    open_gate(other, session)

    texts: list[str] = []

    async def answered() -> bool:
        again = await keyed(other, session, n=3, gate=session)
        assert again.status_code in (200, 409)
        texts.append(text_of(again) if again.status_code == 200 else "")
        return texts[-1] != ""

    is_answered: Callable[[], Awaitable[bool] | bool] = answered
    await wait_until_async(is_answered, description="the dead worker's stream is over")
    assert texts[-1] == expected_text(3)
    assert runs(session, other) == 1


@pytest.mark.parametrize("meanwhile", ["running", "over"])
async def test_a_first_request_that_comes_too_late_joins_the_one_that_took_its_place(
    meanwhile: str, server: RedisServer, proxy: FaultProxy, worker: Callable[..., Worker], session: str
) -> None:
    """Frozen between claim and registration, it finds its claim gone, and runs nothing."""
    late, other = worker(proxy.redis_url()), worker(server.url, **QUICK)
    register = Scripts.load().digests["register"]
    frozen = threading.Event()
    proxy.lose_request(lambda request: register in request and not frozen.is_set(), times=1000)
    script: dict[str, object] = {"n": 4, "gate": session, "gate_at": 2}
    async with AsyncExitStack() as stack:
        entering = asyncio.create_task(enter(stack, late, session, **script))
        await reached(proxy, "the worker has claimed and cannot register")
        late.pause()
        frozen.set()
        second = await enter(stack, other, session, **script)
        seen = await second.read_events(4)
        if meanwhile == "over":
            open_gate(other, session)
            seen += await second.read_rest()
        late.resume()
        first = await entering
        if meanwhile == "running":
            open_gate(other, session)
            seen += await second.read_rest()
        assert (first.status, ids_of(first)) == (200, ids_of(second))
        assert await first.read_rest() == seen
    assert ui_text(seen) == expected_text(4)
    assert (runs(session, other), runs(session, late)) == (1, 0)


STEPS = {
    "the claim": ("claim_request", b""),
    "the registration": ("register", b""),
    "the beginning": ("claim_request", b'"begun"'),
}


@pytest.mark.parametrize("step", STEPS)
async def test_a_lost_reply_changes_nothing(
    step: str, server: RedisServer, proxy: FaultProxy, worker: Callable[..., Worker], session: str
) -> None:
    first, other = worker(proxy.redis_url()), worker(server.url)
    name, mark = STEPS[step]
    digest = Scripts.load().digests[name]
    proxy.lose_reply(lambda request: digest in request and mark in request)
    answer = await keyed(first, session, n=4)
    again = await keyed(other, session, n=4)
    assert proxy.replies_lost == 1
    assert (answer.status_code, text_of(answer)) == (200, expected_text(4))
    assert (again.content, ids_of(again)) == (answer.content, ids_of(answer))
    assert runs(session, first, other) == 1


async def test_without_the_store_a_request_runs_as_its_endpoint_says(
    server: RedisServer, proxy: FaultProxy, worker: Callable[..., Worker], session: str
) -> None:
    one = worker(proxy.redis_url(), **SHORT_PATIENCE)
    proxy.refuse()
    answer = await keyed(one, session, n=3)
    refused = await keyed(one, session, path="/api/strict", n=3)
    assert (answer.status_code, text_of(answer)) == (200, expected_text(3))
    assert answer.headers["x-streamguard-notice"] == "not_resumable"
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    proxy.forward()


async def test_a_known_stream_that_cannot_be_reached_is_not_run_again(
    server: RedisServer, proxy: FaultProxy, worker: Callable[..., Worker], session: str
) -> None:
    """The claim was read, then the store fell silent: that the request runs elsewhere is known."""
    first, other = worker(server.url), worker(proxy.redis_url(), **SHORT_PATIENCE)
    await keyed(first, session, n=3)
    stop_at(proxy, "request", Scripts.load().digests["meta"])
    answer = await keyed(other, session, n=3)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert runs(session, other) == 0
