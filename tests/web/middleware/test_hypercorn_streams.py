"""Answers of Hypercorn over HTTP/2, where one connection carries many of them."""

from __future__ import annotations

import asyncio

import pytest
from starlette.middleware import Middleware

from tests.harness.http2 import open_http2
from tests.harness.sse import Ending

from ..response.test_stream_response import STACKS, gated, hypercorning
from ..serving import USER, Gate, make_guard

pytestmark = pytest.mark.anyio

SOON_SECONDS = 10.0


@pytest.mark.parametrize("middleware", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("asked", ["POST /chat?id=s", "GET /api/chat/s/stream"], ids=["first", "resumed"])
async def test_a_cut_answer_is_reset_beside_others(asked: str, middleware: list[Middleware]) -> None:
    """Else its client waits for as long as anything else is open on the connection."""
    guard, gate = make_guard(), Gate()
    headers = {**USER, "accept-encoding": "identity"}
    method, target = asked.split()
    async with (
        hypercorning(gated(guard, gate, middleware)) as port,
        asyncio.timeout(SOON_SECONDS),
        open_http2(port) as client,
    ):
        beside = await client.request("POST", "/chat?id=s" if method == "GET" else "/chat?id=t", headers)
        await client.until_said(beside, b"one")
        viewers = guard._running().viewer_registry.viewers
        before = set(viewers)
        cut = await client.request(method, target, headers)
        await client.until_said(cut, b"one")
        (dropped,) = set(viewers) - before
        dropped.drop("slow")
        assert await client.until_ended(cut) is Ending.CUT
        gate.open()
        assert await client.until_ended(beside) is Ending.CLEAN
        again = await client.request("GET", "/api/chat/s/stream", headers)
        assert await client.until_ended(again) is Ending.CLEAN
        assert b"two" in client.bodies[again]


async def test_a_client_resets_one_answer_and_resumes_it_on_the_same_connection() -> None:
    guard, gate = make_guard(), Gate()
    async with (
        hypercorning(gated(guard, gate, [])) as port,
        asyncio.timeout(SOON_SECONDS),
        open_http2(port) as client,
    ):
        first = await client.request("POST", "/chat?id=s", USER)
        await client.until_said(first, b"one")
        await client.reset(first)
        again = await client.request("GET", "/api/chat/s/stream", USER)
        await client.until_said(again, b"one")
        gate.open()
        assert await client.until_ended(again) is Ending.CLEAN
        assert client.bodies[again].startswith(client.bodies[first])
