"""A worker that is killed around the append that decides what its stream speaks: another ends it in that form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from streamguard.stores.redis.scripts import Scripts
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, resume
from tests.harness.waiting import wait_until_async
from tests.harness.workers import Worker

from .calls import USER, get, open_gate, post, raw_post, status
from .conftest import SHORT_LEASE
from .logs import codes, terminals
from .steps import reached, stop_at

pytestmark = pytest.mark.anyio


@pytest.mark.promise("I4")
@pytest.mark.parametrize("killed", ["before", "after"])
async def test_a_worker_killed_around_the_first_append(
    killed: str, server: RedisServer, proxy: FaultProxy, worker: Callable[..., Worker], session: str
) -> None:
    dying = worker(proxy.redis_url(), command_seconds=30.0, **SHORT_LEASE)
    other = worker(server.url, **SHORT_LEASE)
    stop_at(proxy, "request" if killed == "before" else "reply", Scripts.load().digests["append"])

    async def ask() -> None:
        async with post(dying, session, path="/api/parts", n=3, gate=session, gate_at=1) as stream:
            await stream.read_rest()

    asking = asyncio.create_task(ask())
    await wait_until_async(lambda: status(other, session)["active"] is not None, description="it is registered")
    stream_id = status(other, session)["active"]["stream_id"]
    async with resume(other.port, session, headers=USER) as remote:
        assert remote.status == 200
        await reached(proxy, f"the worker is {killed} its first append")
        dying.kill()
        watched = await remote.read_rest()
        assert remote.ending is Ending.CLEAN
    await asyncio.gather(asking, return_exceptions=True)  # its connection broke
    (terminal,) = terminals(server, stream_id)
    assert terminal["outcome"] == "interrupted"
    if killed == "before":
        (error,) = [json.loads(event.data) for event in watched]
        assert error["error"]["code"] == "interrupted"
        assert error["errorText"] == error["error"]["message"]
    else:
        assert json.loads(watched[0].data) == {"type": "start", "messageId": "theirs"}
        assert codes(watched) == ["interrupted"]
        assert [event.data for event in watched][-1] == "[DONE]"
    last = status(other, session)["last"]
    assert (last["message_id"] == "theirs") is (killed == "after")
    assert raw_post(other, session, n=2).status_code == 200


async def test_it_is_watched_from_another_worker_process(pair: tuple[Worker, Worker], session: str) -> None:
    one, two = pair
    async with post(one, session, path="/api/parts", n=3, gate=session, gate_at=0) as local:
        first = await local.read_events(1)
        async with resume(two.port, session, headers=USER) as remote:
            watched = await remote.read_events(1)
            assert watched == first
            open_gate(one, session)
            assert await remote.read_rest() == await local.read_rest()
    assert get(two, session).headers["x-message-id"] == "theirs"
