"""Plain Starlette streams that end in different ways: what the harness is tried on, and streamguard compared with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.harness.probe import Probe

__all__ = ["app"]

NAME = os.environ.get("BARE_NAME", "")


async def _events(count: int, *, broken: bool = False) -> AsyncIterator[bytes]:
    for number in range(1, count + 1):
        yield f'id: {number}\ndata: {{"type":"text-delta","id":"0","delta":"{NAME}{number} "}}\n\n'.encode()
        await asyncio.sleep(0)
    if broken:
        raise RuntimeError("this stream breaks on purpose")


async def stream(request: Request) -> StreamingResponse:
    count = int(request.query_params.get("count", "3"))
    broken = "broken" in request.query_params
    return StreamingResponse(_events(count, broken=broken), media_type="text/event-stream")


async def endless(request: Request) -> StreamingResponse:
    async def silence() -> AsyncIterator[bytes]:
        yield b": here\n\nid: 1\ndata: only\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(silence(), media_type="text/event-stream")


app = Probe(Starlette(routes=[Route("/stream", stream, methods=["GET", "POST"]), Route("/endless", endless)]))
