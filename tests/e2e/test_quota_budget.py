"""A budget that two workers share, and more requests than it has room for (I8)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import httpx
import pytest

from tests.apps.rationed import RATION
from tests.harness.redis import RedisServer
from tests.harness.waiting import wait_until_async
from tests.harness.workers import Worker

from .calls import USER, new_session, open_gate, raw_post, trace
from .test_quota import Ledger
from .test_quota_faults import rationed, rations

__all__ = ["rationed"]

pytestmark = pytest.mark.anyio


@pytest.mark.promise("I8")
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
