"""A real nginx in front of each server, with the configuration of the how-to page: every event at once, silent answers
that stay open, and broken connections that stay broken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import httpx
import pytest
from anyio import create_task_group

from tests.docs.samples import blocks
from tests.harness.nginx import Nginx
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending
from tests.harness.waiting import wait_until_async

from .behind_proxy import BehindProxy
from .matrix import GRACEFUL_SECONDS, Chat, Site, left, said, worker_of

pytestmark = pytest.mark.anyio

(_, CONFIGURATION), (_, BELOW_A_PATH) = blocks("docs/how-to/deploy/nginx.md", "nginx")
SILENT_SECONDS: Final = 70.0
"""Longer than nginx's own patience with a silent upstream, 60 seconds."""
FEWEST_KEEP_ALIVES: Final = 4
"""How many come in that time at least. One comes in 15 seconds: five, where the machine never stood still."""


@pytest.fixture(scope="module", params=GRACEFUL_SECONDS)
def place(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[Site]:
    worker = worker_of("starlette", request.param, redis)
    yield Site(worker, redis)
    worker.close()


@pytest.fixture(scope="module")
def nginx(place: Site) -> Iterator[Nginx]:
    with Nginx(CONFIGURATION, upstream=place.worker.port) as server:
        yield server


@pytest.fixture
def chat(place: Site, nginx: Nginx) -> Chat:
    if not place.worker.alive:
        place.worker.start()
    return Chat(place, through=nginx.port)


class TestNginx(BehindProxy):
    """The page's configuration."""


async def test_headers(chat: Chat) -> None:
    async with chat.post() as stream:
        await stream.read_rest()
    headers = stream.headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert headers["transfer-encoding"] == "chunked"
    assert headers["x-session-id"] == chat.id
    assert "content-encoding" not in headers


async def test_nothing_waits_in_buffers_where_nginx_has_them(place: Site) -> None:
    """By the header of each answer alone."""
    if not place.worker.alive:
        place.worker.start()
    buffering = CONFIGURATION.replace("proxy_buffering off;", "proxy_buffering on;")
    with Nginx(buffering, upstream=place.worker.port) as nginx:
        chat = Chat(place, through=nginx.port)
        async with chat.post(gate=chat.id) as stream:
            await said(stream, "w0")
            await chat.open_gate()
            assert (await stream.read_rest())[-1].data == "[DONE]"


async def test_without_the_page_s_http_1_1_a_cut_answer_would_look_whole(place: Site) -> None:
    """Why the page insists on it, and what the guard says where it is missing."""
    if not place.worker.alive:
        place.worker.start()
    older = CONFIGURATION.replace("proxy_http_version 1.1;", "proxy_http_version 1.0;")
    with Nginx(older, upstream=place.worker.port) as nginx:
        chat = Chat(place, through=nginx.port)
        async with chat.post(gate=chat.id, gate_at=2) as stream:
            await said(stream, "w1")
        await wait_until_async(lambda: "misuse=http_1_0" in place.worker.log(), description="the guard warns")


async def test_below_a_path_conversation_ids_come_as_they_were_sent(place: Site) -> None:
    if not place.worker.alive:
        place.worker.start()
    moved = CONFIGURATION.replace("location / {", "location /app/ {")
    moved = moved.replace("proxy_pass http://chat;", "proxy_pass http://chat$below_app;")
    with Nginx(f"{BELOW_A_PATH}\n{moved}", upstream=place.worker.port) as nginx:
        chat = Chat(place, through=nginx.port)
        chat.id = "one/two three"
        async with chat.post("/app/api/chat") as stream:
            assert (await stream.read_rest())[-1].data == "[DONE]"
        for path in ("/api/chat", "/app/api/chat"):
            port = nginx.port if path.startswith("/app") else place.worker.port
            async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}") as client:
                found = await client.get(f"{path}/one%2Ftwo%20three?x=1", headers=chat.headers)
            assert found.status_code == 200
            assert found.json()["session_id"] == "one/two three"
            assert found.json()["last"]["stream_id"] == stream.headers["x-stream-id"]


@pytest.mark.slow
async def test_silent_streams_stay_open(redis: RedisServer) -> None:
    """Of every server, at the same time."""
    with ExitStack() as running:
        async with create_task_group() as silent:
            for server in GRACEFUL_SECONDS:
                worker = running.enter_context(worker_of("starlette", server, redis))
                nginx = running.enter_context(Nginx(CONFIGURATION, upstream=worker.port))
                silent.start_soon(stays_open, Chat(Site(worker, redis), through=nginx.port))


async def stays_open(chat: Chat) -> None:
    """The model says nothing until it is released, and that happens once keep-alives have come for long enough."""
    async with chat.post(gate=chat.id, timeout=30.0) as stream:
        await said(stream, "w0")
        began, arrivals = time.monotonic(), [0.0]
        while arrivals[-1] < SILENT_SECONDS:
            comments = len(stream.reader.comments)
            while len(stream.reader.comments) == comments:
                assert await stream.read_bytes(1), f"{stream.ending} after {arrivals}: {stream.events[-3:]}"
            arrivals.append(time.monotonic() - began)
        assert not [event for event in stream.events if "w1" in event.data]
        assert len(arrivals) > FEWEST_KEEP_ALIVES  # one by one: what comes together counts as one
        await chat.open_gate()
        rest = await stream.read_rest()
        assert (stream.ending, rest[-1].data) == (Ending.CLEAN, "[DONE]")
    assert await chat.left() == left("completed", 3)
