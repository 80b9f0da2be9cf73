"""What is around the handlers: compression, middlewares, the outermost layer, and other applications."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import cast

import pytest
from litestar import get, post
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.middleware import DefineMiddleware
from litestar.response import Stream
from litestar.testing import TestClient
from litestar.types import Middleware
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from streamguard import StreamGuardMiddleware, StreamRule
from streamguard.testing import Ending as AnswerEnding
from streamguard.testing import GuardedApp
from tests.harness.sse import Ending, SseConnection, open_sse

from ...web.middleware.host_middlewares import Passing
from ...web.serving import USER, Gate, serving
from .apps import application, chat_of, plugin, visiting

pytestmark = pytest.mark.anyio

BODY = {"id": "c1"}


@pytest.mark.parametrize("key", [None, "mine"], ids=["no option", "the application's own option"])
async def test_an_answer_is_not_held_back_by_litestars_compression(key: str | None) -> None:
    """Litestar would hold its head back until the first event. Other answers are compressed as before."""
    streams = plugin()

    @get("/large", media_type="text/plain")
    async def large() -> str:
        return "x" * 5_000

    gate = Gate()
    compression = CompressionConfig(backend="gzip", exclude_opt_key=key)
    async with visiting(streams, chat_of(streams, gate), large, compression_config=compression) as chat:
        chat.headers["accept-encoding"] = "gzip"
        answer = await chat.post(BODY)
        assert "content-encoding" not in answer.headers
        read = await answer.read(3)
        assert "w0" in read[-1].data
        resumed = await chat.resume("c1")
        assert await resumed.read(3) == read
        gate.open()
        assert (await answer.rest())[-1].data == "[DONE]"
        await resumed.rest()
        compressed = await chat.request("GET", "/large")
        assert gzip.decompress(compressed.body) == b"x" * 5_000


def asking(port: int) -> AbstractAsyncContextManager[SseConnection]:
    headers = {**USER, "Content-Type": "application/json"}
    return open_sse(port, "/api/chat", method="POST", headers=headers, body=b'{"id": "c1"}')


@pytest.mark.promise("I3")
@pytest.mark.parametrize("count", [0, 1, 2])
async def test_an_answer_that_is_cut_short_breaks_its_connection(count: int) -> None:
    """However many of Starlette's `BaseHTTPMiddleware` are around the handlers."""
    streams = plugin()
    gate = Gate()
    app = application(
        streams,
        chat_of(streams, gate),
        middleware=[cast("Middleware", Passing)] * count,
        cors_config=CORSConfig(["https://chat.example"]),
    )
    async with serving(cast("ASGIApp", app)) as port:
        async with asking(port) as answer:
            await answer.read_events(3)
            (viewer,) = streams.guard._running().viewer_registry.viewers
            viewer.drop("slow")
            await answer.read_rest()
            assert answer.ending is Ending.CUT
        gate.open()
        await streams.guard.idle()


async def test_an_endpoint_goes_on_without_its_client() -> None:
    streams = plugin()
    gate = Gate()
    app = application(streams, chat_of(streams, gate), middleware=[cast("Middleware", Passing)])
    async with serving(cast("ASGIApp", app)) as port:
        async with asking(port) as answer:
            await answer.read_events(3)
        gate.open()
        await streams.guard.idle()
        async with open_sse(port, "/api/chat/c1/stream", headers=USER) as resumed:
            assert (await resumed.read_rest())[-1].data == "[DONE]"


# -- inside and outside of other applications --------------------------------------------------------------------------


async def test_a_litestar_application_that_is_mounted_in_starlette() -> None:
    """Starlette runs no lifespan of what is mounted: the guard starts with the outer application."""
    streams = plugin()
    gate = Gate()
    app = application(streams, chat_of(streams, gate))
    outer = Starlette(
        routes=[Mount("/inner", Starlette(routes=[Mount("/most", cast("ASGIApp", app))]))],
        lifespan=streams.guard.lifespan,
    )
    async with GuardedApp(outer, streams.guard, prefix="/inner/most/api/chat", headers=USER) as chat:
        answer = await chat.post({"id": "a/b"})
        await answer.read(3)
        answer.drop()
        gate.open()
        await streams.guard.idle()
        assert (await (await chat.resume("a/b")).rest())[-1].data == "[DONE]"
        large = await chat.post({"id": "c1", "padding": "x" * (5 << 20)})
        assert [fault.code for fault in large.faults] == ["payload_too_large"]
        assert (await chat.request("GET", "/nowhere")).status == 404


async def test_a_litestar_application_inside_the_guards_wrap() -> None:
    streams = plugin()
    wrapped = streams.guard.wrap(cast("ASGIApp", application(streams, chat_of(streams))))
    async with GuardedApp(wrapped, streams.guard, headers=USER) as chat:
        answer = await chat.post(BODY)
        await answer.rest()
        assert answer.ending is AnswerEnding.CLEAN
        large = await chat.post({"id": "c1", "padding": "x" * (5 << 20)})
        assert [fault.code for fault in large.faults] == ["payload_too_large"]


@pytest.mark.parametrize("outside", [True, False], ids=["around the application", "among its middlewares"])
async def test_the_middleware_guards_a_handler_that_stays_as_it_is(outside: bool) -> None:
    gate = Gate()

    @post("/v1/chat/completions")
    async def completions() -> Stream:
        async def produce() -> AsyncIterator[str]:
            yield "data: one\n\n"
            await gate.wait()
            yield "data: two\n\n"

        return Stream(produce(), media_type="text/event-stream")

    streams = plugin()
    rules = [StreamRule("/v1/chat/completions", session="header.x-session-id")]
    inside = [DefineMiddleware(StreamGuardMiddleware, guard=streams.guard, rules=rules)]  # type: ignore[arg-type]
    app = cast("ASGIApp", application(streams, completions, middleware=[] if outside else inside))
    if outside:
        app = StreamGuardMiddleware(app, guard=streams.guard, rules=rules)
    async with GuardedApp(app, streams.guard, headers={**USER, "x-session-id": "a/b"}) as chat:
        answer = await chat.post({}, path="/v1/chat/completions")
        await answer.read(1)
        answer.drop()
        gate.open()
        await streams.guard.idle()
        resumed = await chat.resume("a/b")
        assert [event.data for event in await resumed.rest()] == ["one", "two"]
        last = (await chat.status("a/b")).last
        assert last is not None
        assert last.outcome == "completed"


def test_litestars_test_client_runs_it() -> None:
    streams = plugin()
    app = application(streams, chat_of(streams))
    with TestClient(app) as client:
        answer = client.post("/api/chat", json=BODY, headers=USER)
        assert answer.text.endswith("data: [DONE]\n\n")
        assert client.get("/api/chat/c1/stream", headers=USER).text == answer.text


@pytest.mark.processes
def test_without_litestar_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["litestar"] = None
import streamguard.contrib.litestar as contrib
try:
    contrib.StreamGuardPlugin
except Exception as exc:
    print(type(exc).__name__, exc)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == (
        "ConfigurationError streamguard.contrib.litestar.StreamGuardPlugin needs Litestar: "
        "`pip install 'streamguard-asgi[litestar]'`"
    )
